package kvraft

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

func (ck *Clerk) Get(key string) string {
	ck.seq++
	args := GetArgs{Key: key, ClientId: ck.clientId, Seq: ck.seq}
	for {
		var reply GetReply
		if ck.servers[ck.leader].Call("KVServer.Get", &args, &reply) && reply.Err == OK {
			return reply.Value
		}
		ck.tryNext()
	}
}

func (ck *Clerk) Put(key string, value string) {
	ck.putAppend(key, value, "Put")
}

func (ck *Clerk) Append(key string, value string) {
	ck.putAppend(key, value, "Append")
}

func (ck *Clerk) putAppend(key string, value string, op string) {
	ck.seq++
	args := PutAppendArgs{Key: key, Value: value, Op: op, ClientId: ck.clientId, Seq: ck.seq}
	for {
		var reply PutAppendReply
		if ck.servers[ck.leader].Call("KVServer.PutAppend", &args, &reply) && reply.Err == OK {
			return
		}
		ck.tryNext()
	}
}

// tryNext goes on to the next server, and rests after all of them.
func (ck *Clerk) tryNext() {
	ck.leader = (ck.leader + 1) % len(ck.servers)
	if ck.leader == 0 {
		time.Sleep(10 * time.Millisecond)
	}
}
