package shardctrler

import (
	"math/rand"
	"sync"
	"time"

	"raftlab/labrpc"
)

type Clerk struct {
	mu      sync.Mutex
	servers []*labrpc.ClientEnd
	id      int64
	seq     int64
}

func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int63()}
}

func (ck *Clerk) next() ID {
	ck.seq++
	return ID{Client: ck.id, Seq: ck.seq}
}

func (ck *Clerk) Query(num int) Config {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	return ck.call("ShardCtrler.Query", &QueryArgs{ck.next(), num}).Config
}

func (ck *Clerk) Join(servers map[int][]string) {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.call("ShardCtrler.Join", &JoinArgs{ck.next(), servers})
}

func (ck *Clerk) Leave(gids []int) {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.call("ShardCtrler.Leave", &LeaveArgs{ck.next(), gids})
}

func (ck *Clerk) Move(shard int, gid int) {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.call("ShardCtrler.Move", &MoveArgs{ck.next(), shard, gid})
}

// call tries each server in turn, and pauses after each round.
func (ck *Clerk) call(method string, args any) Reply {
	for {
		for _, server := range ck.servers {
			var reply Reply
			if server.Call(method, args, &reply) && reply.Err == OK {
				return reply
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}
