package kvraft

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

func (ck *Clerk) Get(key string) string        { return ck.run(Command{Kind: "get", Key: key}) }
func (ck *Clerk) Put(key string, value string) { ck.run(Command{Kind: "put", Key: key, Value: value}) }
func (ck *Clerk) Append(key string, value string) {
	ck.run(Command{Kind: "append", Key: key, Value: value})
}

func (ck *Clerk) run(c Command) string {
	ck.number++
	c.Clerk, c.Number = ck.name, ck.number
	for {
		for i := range ck.servers {
			at := (ck.first + i) % len(ck.servers)
			var answer Answer
			if ck.servers[at].Call("KVServer.Run", c, &answer) && answer.Done {
				ck.first = at
				return answer.Value
			}
		}
		time.Sleep(30 * time.Millisecond)
	}
}
