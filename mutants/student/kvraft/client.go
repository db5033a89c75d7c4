package kvraft

import (
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/labrpc"
)

// retryPause is the pause of a clerk after all servers have refused.
const retryPause = 20 * time.Millisecond

// Clerk carries out operations for one client. Get, Put and Append retry until a server
// has answered.
type Clerk struct {
	servers []*labrpc.ClientEnd
	id      int64
	//lab:begin 3A The number of the latest operation, and the server that answered last.

	mu     sync.Mutex
	seq    int64
	leader int
	//lab:end
}

// MakeClerk returns a clerk that reaches the servers in any order.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int64()}
}

// Get returns the value of a key, which is empty for a missing key.
func (ck *Clerk) Get(key string) string { return ck.operation("Get", key, "") }

// Put replaces the value of a key.
func (ck *Clerk) Put(key string, value string) { ck.operation("Put", key, value) }

// Append adds to the value of a key.
func (ck *Clerk) Append(key string, value string) { ck.operation("Append", key, value) }

// operation asks one server after another until one has carried the operation out.
func (ck *Clerk) operation(kind, key, value string) string {
	//lab:begin 3A Find the leader, and retry with the same number until the leader answers.
	//lab:stub return ""
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.seq++
	args := OpArgs{Kind: kind, Key: key, Value: value, Client: ck.id, Seq: ck.seq}
	for {
		for range ck.servers {
			var reply OpReply
			if ck.servers[ck.leader].Call("KVServer.Do", &args, &reply) && reply.Err == OK {
				return reply.Value
			}
			ck.leader = (ck.leader + 1) % len(ck.servers)
		}
		time.Sleep(retryPause)
	}
	//lab:end
}
