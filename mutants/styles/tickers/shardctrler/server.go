// Package shardctrler has a condition variable, and a table with the last operation of
// each client.
package shardctrler

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

type lastOp struct {
	seq    int64
	config Config
}

type ShardCtrler struct {
	mu      sync.Mutex
	applied *sync.Cond
	rf      *raft.Raft
	applyCh chan raft.ApplyMsg
	dead    atomic.Bool

	configs []Config
	table   map[int64]lastOp
	index   int
}

func (sc *ShardCtrler) Join(args *JoinArgs, reply *Reply)   { sc.do(args.ID, *args, reply) }
func (sc *ShardCtrler) Leave(args *LeaveArgs, reply *Reply) { sc.do(args.ID, *args, reply) }
func (sc *ShardCtrler) Move(args *MoveArgs, reply *Reply)   { sc.do(args.ID, *args, reply) }
func (sc *ShardCtrler) Query(args *QueryArgs, reply *Reply) { sc.do(args.ID, *args, reply) }

func (sc *ShardCtrler) do(id ID, op any, reply *Reply) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	reply.Err = ErrWrongLeader
	index, term, leads := sc.rf.Start(op)
	for leads {
		if last := sc.table[id.Client]; last.seq == id.Seq {
			reply.Err, reply.Config = OK, last.config
			return
		}
		now, still := sc.rf.GetState()
		if !still || now != term || sc.index >= index || sc.dead.Load() {
			return
		}
		sc.applied.Wait()
	}
}

func (sc *ShardCtrler) apply(op any) {
	newest := sc.configs[len(sc.configs)-1]
	switch args := op.(type) {
	case QueryArgs:
		if sc.table[args.ID.Client].seq < args.ID.Seq {
			found := newest
			if args.Num >= 0 && args.Num < len(sc.configs) {
				found = sc.configs[args.Num]
			}
			sc.table[args.ID.Client] = lastOp{seq: args.ID.Seq, config: found}
		}
	case JoinArgs:
		if sc.fresh(args.ID) {
			next := newest.successor()
			maps.Copy(next.Groups, args.Servers)
			next.balance()
			sc.configs = append(sc.configs, next)
		}
	case LeaveArgs:
		if sc.fresh(args.ID) {
			next := newest.successor()
			for _, gid := range args.GIDs {
				delete(next.Groups, gid)
			}
			next.balance()
			sc.configs = append(sc.configs, next)
		}
	case MoveArgs:
		if sc.fresh(args.ID) {
			next := newest.successor()
			next.Shards[args.Shard] = args.GID
			sc.configs = append(sc.configs, next)
		}
	}
}

// fresh notes an operation, and reports whether the operation is new.
func (sc *ShardCtrler) fresh(id ID) bool {
	if sc.table[id.Client].seq >= id.Seq {
		return false
	}
	sc.table[id.Client] = lastOp{seq: id.Seq}
	return true
}

func (sc *ShardCtrler) follow() {
	for msg := range sc.applyCh {
		if !msg.CommandValid {
			continue
		}
		sc.mu.Lock()
		sc.apply(msg.Command)
		sc.index = msg.CommandIndex
		sc.applied.Broadcast()
		sc.mu.Unlock()
	}
}

// tick wakes handlers after the server has lost the leadership.
func (sc *ShardCtrler) tick() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		sc.applied.Broadcast()
		if sc.dead.Load() {
			return
		}
	}
}

func (sc *ShardCtrler) Kill() {
	sc.dead.Store(true)
	sc.rf.Kill()
}

func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(JoinArgs{})
	labgob.Register(LeaveArgs{})
	labgob.Register(MoveArgs{})
	labgob.Register(QueryArgs{})
	sc := &ShardCtrler{
		applyCh: make(chan raft.ApplyMsg),
		configs: []Config{{Groups: map[int][]string{}}},
		table:   map[int64]lastOp{},
	}
	sc.applied = sync.NewCond(&sc.mu)
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.follow()
	go sc.tick()
	return sc
}
