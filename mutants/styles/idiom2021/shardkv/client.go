package shardkv

import (
	"crypto/rand"
	"math/big"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// Clerk is a client of the sharded service.
type Clerk struct {
	sm        *shardctrler.Clerk
	config    shardctrler.Config
	make_end  func(string) *labrpc.ClientEnd
	clientId  int64
	commandId int
}

func nrand() int64 {
	max := big.NewInt(int64(1) << 62)
	bigx, _ := rand.Int(rand.Reader, max)
	return bigx.Int64()
}

// MakeClerk makes a client.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	ck := new(Clerk)
	ck.sm = shardctrler.MakeClerk(ctrlers)
	ck.make_end = make_end
	ck.clientId = nrand()
	ck.config = ck.sm.Query(-1)
	return ck
}

// Get returns the value of key.
func (ck *Clerk) Get(key string) string {
	ck.commandId++
	args := GetArgs{Key: key, ClientId: ck.clientId, CommandId: ck.commandId}
	for {
		if servers, ok := ck.config.Groups[ck.config.Shards[key2shard(key)]]; ok {
			for _, server := range servers {
				var reply GetReply
				ok := ck.make_end(server).Call("ShardKV.Get", &args, &reply)
				if ok && (reply.Err == OK || reply.Err == ErrNoKey) {
					return reply.Value
				}
				if ok && reply.Err == ErrWrongGroup {
					break
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
		ck.config = ck.sm.Query(-1)
	}
}

// PutAppend does a Put or an Append.
func (ck *Clerk) PutAppend(key string, value string, op string) {
	ck.commandId++
	args := PutAppendArgs{Key: key, Value: value, Op: op, ClientId: ck.clientId, CommandId: ck.commandId}
	for {
		if servers, ok := ck.config.Groups[ck.config.Shards[key2shard(key)]]; ok {
			for _, server := range servers {
				var reply PutAppendReply
				ok := ck.make_end(server).Call("ShardKV.PutAppend", &args, &reply)
				if ok && reply.Err == OK {
					return
				}
				if ok && reply.Err == ErrWrongGroup {
					break
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
		ck.config = ck.sm.Query(-1)
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
