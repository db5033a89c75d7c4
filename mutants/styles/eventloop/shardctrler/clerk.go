package shardctrler

import (
	"math/rand/v2"
	"time"

	"raftlab/labrpc"
)

type Clerk struct {
	servers []*labrpc.ClientEnd
	id      int64
	seq     int64
}

func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int64()}
}

func (ck *Clerk) Query(num int) Config {
	return ck.call("ShardCtrler.Query", Change{Num: num})
}

func (ck *Clerk) Join(servers map[int][]string) {
	ck.call("ShardCtrler.Change", Change{Join: servers})
}

func (ck *Clerk) Leave(gids []int) {
	ck.call("ShardCtrler.Change", Change{Leave: gids})
}

func (ck *Clerk) Move(shard int, gid int) {
	ck.call("ShardCtrler.Change", Change{Move: true, Shard: shard, GID: gid})
}

func (ck *Clerk) call(method string, c Change) Config {
	ck.seq++
	c.Client, c.Seq = ck.id, ck.seq
	for {
		for _, server := range ck.servers {
			reply := Reply{}
			if server.Call(method, &c, &reply) && reply.Done {
				return reply.Config
			}
		}
		time.Sleep(30 * time.Millisecond)
	}
}
