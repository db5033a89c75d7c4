package shardkv

import (
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/labrpc"
	"raftlab/mutants/student/shardctrler"
)

// retryPause is the pause of a clerk before the next question to the controller.
const retryPause = 30 * time.Millisecond

// Clerk carries out operations for one client. Get, Put and Append retry until the right
// group has answered.
type Clerk struct {
	ctl     *shardctrler.Clerk
	makeEnd func(string) *labrpc.ClientEnd
	id      int64
	//lab:begin 4B The newest known configuration, and the number of the latest operation.

	mu     sync.Mutex
	seq    int64
	config shardctrler.Config
	//lab:end
}

// MakeClerk returns a clerk that follows a controller. make_end makes an end to the server
// with a name.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return &Clerk{ctl: shardctrler.MakeClerk(ctrlers), makeEnd: make_end, id: rand.Int64()}
}

// Get returns the value of a key, which is empty for a missing key.
func (ck *Clerk) Get(key string) string { return ck.operation("Get", key, "") }

// Put replaces the value of a key.
func (ck *Clerk) Put(key string, value string) { ck.operation("Put", key, value) }

// Append adds to the value of a key.
func (ck *Clerk) Append(key string, value string) { ck.operation("Append", key, value) }

// operation asks the servers of the shard's group until one has carried the operation
// out.
func (ck *Clerk) operation(kind, key, value string) string {
	//lab:begin 4B Ask the group of the key's shard, and follow changes of the configuration.
	//lab:stub return ""
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.seq++
	args := OpArgs{Kind: kind, Key: key, Value: value, Client: ck.id, Seq: ck.seq}
	for {
		for _, name := range ck.config.Groups[ck.config.Shards[key2shard(key)]] {
			var reply OpReply
			ok := ck.makeEnd(name).Call("ShardKV.Do", &args, &reply)
			if ok && reply.Err == OK {
				return reply.Value
			}
			if ok && reply.Err == ErrWrongGroup {
				break
			}
		}
		time.Sleep(retryPause)
		ck.config = ck.ctl.Query(-1)
	}
	//lab:end
}
