package shardctrler

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"raftlab/labrpc"
)

// Clerk is a client of the controller.
type Clerk struct {
	servers []*labrpc.ClientEnd
	last    Request
	leader  int
}

// MakeClerk creates a client.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	var b [8]byte
	rand.Read(b[:])
	return &Clerk{servers: servers, last: Request{Client: int64(binary.LittleEndian.Uint64(b[:]) >> 1)}}
}

func (ck *Clerk) number() Request {
	ck.last.Number++
	return ck.last
}

// call tries one server after the other until one has executed the command.
func (ck *Clerk) call(method string, args any) Config {
	for {
		for range ck.servers {
			var reply Reply
			ok := ck.servers[ck.leader].Call("ShardCtrler."+method, args, &reply)
			if ok && reply.Err == OK {
				return reply.Config
			}
			ck.leader = (ck.leader + 1) % len(ck.servers)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Query returns configuration num, or the newest.
func (ck *Clerk) Query(num int) Config {
	return ck.call("Query", &QueryArgs{Req: ck.number(), Num: num})
}

// Join adds groups.
func (ck *Clerk) Join(servers map[int][]string) {
	ck.call("Join", &JoinArgs{Req: ck.number(), Servers: servers})
}

// Leave removes groups.
func (ck *Clerk) Leave(gids []int) {
	ck.call("Leave", &LeaveArgs{Req: ck.number(), GIDs: gids})
}

// Move gives a shard to a group.
func (ck *Clerk) Move(shard int, gid int) {
	ck.call("Move", &MoveArgs{Req: ck.number(), Shard: shard, GID: gid})
}
