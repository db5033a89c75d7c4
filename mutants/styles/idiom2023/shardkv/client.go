package shardkv

import (
	"crypto/rand"
	"math/big"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

func key2shard(key string) int {
	shard := 0
	if len(key) > 0 {
		shard = int(key[0])
	}
	return shard % shardctrler.NShards
}

func nrand() int64 {
	limit := big.NewInt(int64(1) << 62)
	x, _ := rand.Int(rand.Reader, limit)
	return x.Int64()
}

// Clerk is a client of all groups.
type Clerk struct {
	sm       *shardctrler.Clerk
	config   shardctrler.Config
	makeEnd  func(string) *labrpc.ClientEnd
	ends     map[string]*labrpc.ClientEnd
	leaders  map[int]int
	clientID int64
	seq      int64
}

// MakeClerk creates a client.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return &Clerk{
		sm:       shardctrler.MakeClerk(ctrlers),
		makeEnd:  make_end,
		ends:     make(map[string]*labrpc.ClientEnd),
		leaders:  make(map[int]int),
		clientID: nrand(),
	}
}

func (ck *Clerk) end(name string) *labrpc.ClientEnd {
	if ck.ends[name] == nil {
		ck.ends[name] = ck.makeEnd(name)
	}
	return ck.ends[name]
}

// command asks the group of the shard, and the controller for a newer configuration.
func (ck *Clerk) command(kind, key, value string) string {
	ck.seq++
	args := CommandArgs{kind, key, value, ck.clientID, ck.seq}
	for {
		gid := ck.config.Shards[key2shard(key)]
		servers := ck.config.Groups[gid]
		for range servers {
			var reply CommandReply
			at := ck.leaders[gid] % len(servers)
			ok := ck.end(servers[at]).Call("ShardKV.Command", &args, &reply)
			if ok && (reply.Err == OK || reply.Err == ErrNoKey) {
				return reply.Value
			}
			if ok && reply.Err == ErrWrongGroup {
				break
			}
			ck.leaders[gid] = at + 1
		}
		time.Sleep(50 * time.Millisecond)
		ck.config = ck.sm.Query(-1)
	}
}

// Get returns the value of key, or "" without such a key.
func (ck *Clerk) Get(key string) string { return ck.command("Get", key, "") }

// Put sets the value of key.
func (ck *Clerk) Put(key string, value string) { ck.command("Put", key, value) }

// Append extends the value of key.
func (ck *Clerk) Append(key string, value string) { ck.command("Append", key, value) }
