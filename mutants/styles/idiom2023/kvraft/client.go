package kvraft

import (
	"crypto/rand"
	"math/big"
	"time"

	"raftlab/labrpc"
)

// Clerk is a client with one command at a time.
type Clerk struct {
	servers  []*labrpc.ClientEnd
	leader   int
	clientID int64
	seq      int64
}

func nrand() int64 {
	limit := big.NewInt(int64(1) << 62)
	x, _ := rand.Int(rand.Reader, limit)
	return x.Int64()
}

// MakeClerk creates a client of the servers.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, clientID: nrand()}
}

// Get returns the value of key, or "" without such a key.
func (ck *Clerk) Get(key string) string {
	ck.seq++
	args := GetArgs{Key: key, ClientID: ck.clientID, Seq: ck.seq}
	for {
		reply := GetReply{}
		ok := ck.servers[ck.leader].Call("KVServer.Get", &args, &reply)
		if ok && reply.Err == OK {
			return reply.Value
		}
		if ok && reply.Err == ErrNoKey {
			return ""
		}
		ck.nextServer()
	}
}

// nextServer turns to another server, with a pause after each round.
func (ck *Clerk) nextServer() {
	ck.leader = (ck.leader + 1) % len(ck.servers)
	if ck.leader == 0 {
		time.Sleep(20 * time.Millisecond)
	}
}

// PutAppend sends a command until a server has executed it.
func (ck *Clerk) PutAppend(key string, value string, op string) {
	ck.seq++
	args := PutAppendArgs{Key: key, Value: value, Op: op, ClientID: ck.clientID, Seq: ck.seq}
	for {
		reply := PutAppendReply{}
		if ck.servers[ck.leader].Call("KVServer.PutAppend", &args, &reply) && reply.Err == OK {
			return
		}
		ck.nextServer()
	}
}

// Put sets the value of key.
func (ck *Clerk) Put(key string, value string) {
	ck.PutAppend(key, value, "Put")
}

// Append extends the value of key.
func (ck *Clerk) Append(key string, value string) {
	ck.PutAppend(key, value, "Append")
}
