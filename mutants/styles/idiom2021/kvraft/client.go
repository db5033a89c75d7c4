package kvraft

import (
	"crypto/rand"
	"math/big"

	"raftlab/labrpc"
)

// Clerk is a client. A clerk has one operation at a time.
type Clerk struct {
	servers   []*labrpc.ClientEnd
	leaderId  int
	clientId  int64
	commandId int
}

func nrand() int64 {
	max := big.NewInt(int64(1) << 62)
	bigx, _ := rand.Int(rand.Reader, max)
	return bigx.Int64()
}

// MakeClerk makes a client of servers.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	ck := new(Clerk)
	ck.servers = servers
	ck.clientId = nrand()
	return ck
}

// Get returns the value of key, and the empty string for a missing key.
func (ck *Clerk) Get(key string) string {
	ck.commandId++
	args := GetArgs{Key: key, ClientId: ck.clientId, CommandId: ck.commandId}
	for {
		reply := GetReply{}
		ok := ck.servers[ck.leaderId].Call("KVServer.Get", &args, &reply)
		if ok && (reply.Err == OK || reply.Err == ErrNoKey) {
			return reply.Value
		}
		ck.leaderId = (ck.leaderId + 1) % len(ck.servers)
	}
}

// PutAppend does a Put or an Append.
func (ck *Clerk) PutAppend(key string, value string, op string) {
	ck.commandId++
	args := PutAppendArgs{Key: key, Value: value, Op: op, ClientId: ck.clientId, CommandId: ck.commandId}
	for {
		reply := PutAppendReply{}
		ok := ck.servers[ck.leaderId].Call("KVServer.PutAppend", &args, &reply)
		if ok && reply.Err == OK {
			return
		}
		ck.leaderId = (ck.leaderId + 1) % len(ck.servers)
	}
}

// Put replaces the value of key.
func (ck *Clerk) Put(key string, value string) {
	ck.PutAppend(key, value, "Put")
}

// Append appends to the value of key.
func (ck *Clerk) Append(key string, value string) {
	ck.PutAppend(key, value, "Append")
}
