package shardkv

import (
	"crypto/rand"
	"math/big"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

type Clerk struct {
	sm       *shardctrler.Clerk
	config   shardctrler.Config
	make_end func(string) *labrpc.ClientEnd
	leaders  map[int]int // of each group, the server that answered last
	clientId int64
	seq      int
}

func nrand() int64 {
	bigx, _ := rand.Int(rand.Reader, big.NewInt(int64(1)<<62))
	return bigx.Int64()
}

func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return &Clerk{
		sm:       shardctrler.MakeClerk(ctrlers),
		make_end: make_end,
		leaders:  make(map[int]int),
		clientId: nrand(),
	}
}

func (ck *Clerk) Get(key string) string {
	return ck.operate("Get", key, "")
}

func (ck *Clerk) Put(key string, value string) {
	ck.operate("Put", key, value)
}

func (ck *Clerk) Append(key string, value string) {
	ck.operate("Append", key, value)
}

func (ck *Clerk) operate(kind, key, value string) string {
	ck.seq++
	args := &OpArgs{Kind: kind, Key: key, Value: value, ClientId: ck.clientId, Seq: ck.seq}
	for {
		gid := ck.config.Shards[key2shard(key)]
		if value, ok := ck.askGroup(gid, args); ok {
			return value
		}
		time.Sleep(20 * time.Millisecond)
		ck.config = ck.sm.Query(-1)
	}
}

// askGroup tries each server of a group once, until the leader answers.
func (ck *Clerk) askGroup(gid int, args *OpArgs) (string, bool) {
	servers := ck.config.Groups[gid]
	for range servers {
		var reply OpReply
		srv := ck.make_end(servers[ck.leaders[gid]%len(servers)])
		if srv.Call("ShardKV.Operate", args, &reply) {
			if reply.Err == OK {
				return reply.Value, true
			}
			if reply.Err == ErrWrongGroup {
				return "", false
			}
		}
		ck.leaders[gid]++
	}
	return "", false
}
