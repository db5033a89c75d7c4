package shardkv

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// Clerk is a client.
type Clerk struct {
	ctrler  *shardctrler.Clerk
	makeEnd func(string) *labrpc.ClientEnd
	config  shardctrler.Config
	name    string
	number  uint64
}

// MakeClerk returns a client.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	var id [8]byte
	rand.Read(id[:])
	return &Clerk{ctrler: shardctrler.MakeClerk(ctrlers), makeEnd: make_end, name: hex.EncodeToString(id[:])}
}

func (ck *Clerk) Get(key string) string        { return ck.run(Command{Kind: "get", Key: key}) }
func (ck *Clerk) Put(key string, value string) { ck.run(Command{Kind: "put", Key: key, Value: value}) }
func (ck *Clerk) Append(key string, value string) {
	ck.run(Command{Kind: "append", Key: key, Value: value})
}

// run asks all servers of the group, and the controller after each round.
func (ck *Clerk) run(c Command) string {
	ck.number++
	c.Clerk, c.Number = ck.name, ck.number
	for {
		for _, server := range ck.config.Groups[ck.config.Shards[key2shard(c.Key)]] {
			var answer Answer
			if !ck.makeEnd(server).Call("ShardKV.Run", c, &answer) {
				continue
			}
			if answer.Outcome == Done {
				return answer.Value
			}
			if answer.Outcome == WrongGroup {
				break
			}
		}
		time.Sleep(50 * time.Millisecond)
		ck.config = ck.ctrler.Query(-1)
	}
}
