package kvraft

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
	leader  int
}

func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int63()}
}

func (ck *Clerk) Get(key string) string    { return ck.do("Get", key, "") }
func (ck *Clerk) Put(key, value string)    { ck.do("Put", key, value) }
func (ck *Clerk) Append(key, value string) { ck.do("Append", key, value) }

// do holds the lock, so operations of a clerk come one after the other.
func (ck *Clerk) do(op, key, value string) string {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.seq++
	for {
		args := Args{Op: op, Key: key, Value: value, Client: ck.id, Seq: ck.seq}
		var reply Reply
		if ck.servers[ck.leader].Call("KVServer.Do", &args, &reply) && reply.Err == OK {
			return reply.Value
		}
		ck.leader = (ck.leader + 1) % len(ck.servers)
		time.Sleep(10 * time.Millisecond)
	}
}
