package shardctrler

import (
	"crypto/rand"
	"math/big"
	"time"

	"raftlab/labrpc"
)

type Clerk struct {
	servers  []*labrpc.ClientEnd
	leader   int
	clientId int64
	seq      int
}

func nrand() int64 {
	bigx, _ := rand.Int(rand.Reader, big.NewInt(int64(1)<<62))
	return bigx.Int64()
}

func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, clientId: nrand()}
}

func (ck *Clerk) session() Session {
	ck.seq++
	return Session{ck.clientId, ck.seq}
}

func (ck *Clerk) Query(num int) Config {
	args := &QueryArgs{Session: ck.session(), Num: num}
	for {
		for range ck.servers {
			var reply QueryReply
			if ck.servers[ck.leader].Call("ShardCtrler.Query", args, &reply) && reply.Err == OK {
				return reply.Config
			}
			ck.leader = (ck.leader + 1) % len(ck.servers)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (ck *Clerk) Join(servers map[int][]string) {
	ck.change("ShardCtrler.Join", &JoinArgs{Session: ck.session(), Servers: servers})
}

func (ck *Clerk) Leave(gids []int) {
	ck.change("ShardCtrler.Leave", &LeaveArgs{Session: ck.session(), GIDs: gids})
}

func (ck *Clerk) Move(shard int, gid int) {
	ck.change("ShardCtrler.Move", &MoveArgs{Session: ck.session(), Shard: shard, GID: gid})
}

func (ck *Clerk) change(method string, args any) {
	for {
		for range ck.servers {
			var reply ChangeReply
			if ck.servers[ck.leader].Call(method, args, &reply) && reply.Err == OK {
				return
			}
			ck.leader = (ck.leader + 1) % len(ck.servers)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
