package kvraft

import (
	"math/rand/v2"
	"time"

	"raftlab/labrpc"
)

type Clerk struct {
	servers []*labrpc.ClientEnd
	turn    int // the server to ask first
	id      int64
	seq     int64
}

func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int64()}
}

func (ck *Clerk) Get(key string) string {
	return ck.do(Command{Kind: get, Key: key})
}

func (ck *Clerk) Put(key string, value string) {
	ck.do(Command{Kind: put, Key: key, Value: value})
}

func (ck *Clerk) Append(key string, value string) {
	ck.do(Command{Kind: add, Key: key, Value: value})
}

func (ck *Clerk) do(c Command) string {
	ck.seq++
	c.Client, c.Seq = ck.id, ck.seq
	for refused := 0; ; refused++ {
		if refused > 0 && refused%len(ck.servers) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		reply := Reply{}
		ok := ck.servers[ck.turn].Call("KVServer.Do", &c, &reply)
		if ok && reply.Done {
			return reply.Value
		}
		ck.turn++
		ck.turn %= len(ck.servers)
	}
}
