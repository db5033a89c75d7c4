package shardctrler

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labrpc"
)

// retryPause is the pause of a clerk after all servers have refused.
const retryPause = 20 * time.Millisecond

// Clerk carries out operations for one client. The methods retry until a server has
// answered.
type Clerk struct {
	servers []*labrpc.ClientEnd
	id      int64
	//lab:begin 4A The number of the latest operation.

	mu     sync.Mutex
	seq    int64
	closed atomic.Bool
	//lab:end
}

// MakeClerk returns a clerk that reaches the servers in any order.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, id: rand.Int64()}
}

// Query returns configuration num, or the newest for -1 and for a number that is too
// large.
func (ck *Clerk) Query(num int) Config { return ck.operation(OpArgs{Kind: "Query", Num: num}) }

// Join adds groups.
func (ck *Clerk) Join(servers map[int][]string) {
	ck.operation(OpArgs{Kind: "Join", Servers: servers})
}

// Leave removes groups.
func (ck *Clerk) Leave(gids []int) { ck.operation(OpArgs{Kind: "Leave", GIDs: gids}) }

// Move assigns a shard to a group.
func (ck *Clerk) Move(shard int, gid int) {
	ck.operation(OpArgs{Kind: "Move", Shard: shard, GID: gid})
}

// operation asks one server after another until one has carried the operation out.
func (ck *Clerk) operation(args OpArgs) Config {
	//lab:begin 4A Find the leader, and retry with the same number until the leader answers.
	//lab:stub return Config{}
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.seq++
	args.Client, args.Seq = ck.id, ck.seq
	for !ck.closed.Load() {
		for _, server := range ck.servers {
			var reply OpReply
			if server.Call("ShardCtrler.Do", &args, &reply) && reply.Err == OK {
				return reply.Config
			}
		}
		time.Sleep(retryPause)
	}
	return Config{}
	//lab:end
}

// Close ends the retries of an operation. A server that follows the controller closes its
// clerk in Kill.
func (ck *Clerk) Close() {
	//lab:begin 4B End the retries.
	ck.closed.Store(true)
	//lab:end
}
