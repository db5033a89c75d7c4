// Package shardctrler is the controller of lab 4 in the idiom of 2023.
package shardctrler

import (
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

// ShardCtrler is a replica of the controller.
type ShardCtrler struct {
	mu      sync.Mutex
	me      int
	rf      *raft.Raft
	applyCh chan raft.ApplyMsg
	dead    atomic.Bool

	configs []Config // by number
	done    map[int64]int
	waiters map[int]chan outcome
}

// Op is a command in the log. Args is one of the argument types.
type Op struct {
	Req  Request
	Args any
}

type outcome struct {
	req    Request
	config Config
}

// Join handles new groups.
func (sc *ShardCtrler) Join(args *JoinArgs, reply *Reply) {
	*reply = sc.run(args.Req, *args)
}

// Leave handles the end of groups.
func (sc *ShardCtrler) Leave(args *LeaveArgs, reply *Reply) {
	*reply = sc.run(args.Req, *args)
}

// Move handles the move of a shard.
func (sc *ShardCtrler) Move(args *MoveArgs, reply *Reply) {
	*reply = sc.run(args.Req, *args)
}

// Query handles a question, which goes through the log as well.
func (sc *ShardCtrler) Query(args *QueryArgs, reply *Reply) {
	*reply = sc.run(args.Req, *args)
}

// run waits for the execution of a command.
func (sc *ShardCtrler) run(req Request, args any) Reply {
	sc.mu.Lock()
	index, _, leader := sc.rf.Start(Op{Req: req, Args: args})
	if !leader {
		sc.mu.Unlock()
		return Reply{Err: ErrWrongLeader}
	}
	ch := make(chan outcome, 1)
	sc.waiters[index] = ch
	sc.mu.Unlock()
	select {
	case out := <-ch:
		if out.req == req {
			return Reply{Err: OK, Config: out.config}
		}
	case <-time.After(500 * time.Millisecond):
		sc.mu.Lock()
		if sc.waiters[index] == ch {
			delete(sc.waiters, index)
		}
		sc.mu.Unlock()
	}
	return Reply{Err: ErrWrongLeader}
}

func (sc *ShardCtrler) applier() {
	for !sc.killed() {
		msg := <-sc.applyCh
		op, ok := msg.Command.(Op)
		if !msg.CommandValid || !ok {
			continue
		}
		sc.mu.Lock()
		out := outcome{req: op.Req, config: sc.execute(op)}
		if ch, ok := sc.waiters[msg.CommandIndex]; ok {
			delete(sc.waiters, msg.CommandIndex)
			ch <- out
		}
		sc.mu.Unlock()
	}
}

// execute changes the configurations once for each command.
func (sc *ShardCtrler) execute(op Op) Config {
	if query, ok := op.Args.(QueryArgs); ok {
		last := len(sc.configs) - 1
		if query.Num < 0 || query.Num > last {
			return sc.configs[last]
		}
		return sc.configs[query.Num]
	}
	if op.Req.Number <= sc.done[op.Req.Client] {
		return Config{}
	}
	sc.done[op.Req.Client] = op.Req.Number
	next := sc.successor()
	switch args := op.Args.(type) {
	case JoinArgs:
		for gid, servers := range args.Servers {
			next.Groups[gid] = servers
		}
		next.rebalance()
	case LeaveArgs:
		for _, gid := range args.GIDs {
			delete(next.Groups, gid)
		}
		next.rebalance()
	case MoveArgs:
		next.Shards[args.Shard] = args.GID
	}
	sc.configs = append(sc.configs, next)
	return Config{}
}

// Kill ends the replica.
func (sc *ShardCtrler) Kill() {
	sc.dead.Store(true)
	sc.rf.Kill()
}

func (sc *ShardCtrler) killed() bool { return sc.dead.Load() }

// Raft returns the Raft of this replica.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// StartServer starts a replica.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(Op{})
	labgob.Register(JoinArgs{})
	labgob.Register(LeaveArgs{})
	labgob.Register(MoveArgs{})
	labgob.Register(QueryArgs{})
	sc := &ShardCtrler{
		me:      me,
		applyCh: make(chan raft.ApplyMsg),
		configs: []Config{{Groups: map[int][]string{}}},
		done:    make(map[int64]int),
		waiters: make(map[int]chan outcome),
	}
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.applier()
	return sc
}
