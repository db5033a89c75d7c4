package shardctrler

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"raftlab/labrpc"
)

// Clerk asks the servers in turn, and begins with the last one that answered.
type Clerk struct {
	servers []*labrpc.ClientEnd
	name    string
	number  uint64
	first   int
}

// MakeClerk returns a client.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	var id [8]byte
	rand.Read(id[:])
	return &Clerk{servers: servers, name: hex.EncodeToString(id[:])}
}

func (ck *Clerk) Query(num int) Config { return ck.run(Command{Kind: "query", Num: num}) }

func (ck *Clerk) Join(servers map[int][]string) { ck.run(Command{Kind: "join", Servers: servers}) }

func (ck *Clerk) Leave(gids []int) { ck.run(Command{Kind: "leave", GIDs: gids}) }

func (ck *Clerk) Move(shard int, gid int) {
	ck.run(Command{Kind: "move", Shard: shard, GIDs: []int{gid}})
}

func (ck *Clerk) run(c Command) Config {
	ck.number++
	c.Clerk, c.Number = ck.name, ck.number
	for {
		for i := range ck.servers {
			at := (ck.first + i) % len(ck.servers)
			var answer Answer
			if ck.servers[at].Call("ShardCtrler.Run", c, &answer) && answer.Done {
				ck.first = at
				return answer.Config
			}
		}
		time.Sleep(30 * time.Millisecond)
	}
}
