package shardkv

import (
	"math/rand"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

type Clerk struct {
	ctrler  *shardctrler.Clerk
	config  shardctrler.Config
	makeEnd func(string) *labrpc.ClientEnd
	leaders map[int]int // the last leader of each group
	id      int64
	seq     int64
}

func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return &Clerk{
		ctrler:  shardctrler.MakeClerk(ctrlers),
		makeEnd: make_end,
		leaders: map[int]int{},
		id:      rand.Int63(),
	}
}

func (ck *Clerk) Get(key string) string    { return ck.do("Get", key, "") }
func (ck *Clerk) Put(key, value string)    { ck.do("Put", key, value) }
func (ck *Clerk) Append(key, value string) { ck.do("Append", key, value) }

func (ck *Clerk) do(op, key, value string) string {
	ck.seq++
	args := Args{Op: op, Key: key, Value: value, Client: ck.id, Seq: ck.seq}
	for {
		gid := ck.config.Shards[key2shard(key)]
		if value, ok := ck.ask(gid, ck.config.Groups[gid], &args); ok {
			return value
		}
		time.Sleep(50 * time.Millisecond)
		ck.config = ck.ctrler.Query(-1)
	}
}

// ask tries each server of a group once, the last leader first.
func (ck *Clerk) ask(gid int, servers []string, args *Args) (string, bool) {
	for i := range servers {
		at := (ck.leaders[gid] + i) % len(servers)
		var reply Reply
		if !ck.makeEnd(servers[at]).Call("ShardKV.Do", args, &reply) {
			continue
		}
		switch reply.Err {
		case OK:
			ck.leaders[gid] = at
			return reply.Value, true
		case ErrWrongGroup:
			return "", false
		}
	}
	return "", false
}
