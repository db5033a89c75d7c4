// Package shardctrler is a shard controller in which a handler waits on a channel of the
// index that Start returned.
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

const waitTimeout = 500 * time.Millisecond

// Op is a command of the log. Kind selects the used fields.
type Op struct {
	Kind    string
	Session Session
	Servers map[int][]string // Join
	GIDs    []int            // Leave
	Shard   int              // Move
	GID     int              // Move
	Num     int              // Query
}

type outcome struct {
	session Session
	config  Config
}

type ShardCtrler struct {
	mu      sync.Mutex
	me      int
	rf      *raft.Raft
	applyCh chan raft.ApplyMsg
	dead    int32

	configs []Config // indexed by config num
	lastSeq map[int64]int
	waiting map[int]chan outcome
}

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(Op{})
	sc := &ShardCtrler{
		me:      me,
		applyCh: make(chan raft.ApplyMsg),
		configs: []Config{{Groups: map[int][]string{}}},
		lastSeq: make(map[int64]int),
		waiting: make(map[int]chan outcome),
	}
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.applier()
	return sc
}

func (sc *ShardCtrler) Join(args *JoinArgs, reply *ChangeReply) {
	_, reply.Err = sc.execute(Op{Kind: "Join", Session: args.Session, Servers: args.Servers})
}

func (sc *ShardCtrler) Leave(args *LeaveArgs, reply *ChangeReply) {
	_, reply.Err = sc.execute(Op{Kind: "Leave", Session: args.Session, GIDs: args.GIDs})
}

func (sc *ShardCtrler) Move(args *MoveArgs, reply *ChangeReply) {
	_, reply.Err = sc.execute(Op{Kind: "Move", Session: args.Session, Shard: args.Shard, GID: args.GID})
}

func (sc *ShardCtrler) Query(args *QueryArgs, reply *QueryReply) {
	reply.Config, reply.Err = sc.execute(Op{Kind: "Query", Session: args.Session, Num: args.Num})
}

func (sc *ShardCtrler) execute(op Op) (Config, Err) {
	sc.mu.Lock()
	index, _, isLeader := sc.rf.Start(op)
	if !isLeader {
		sc.mu.Unlock()
		return Config{}, ErrWrongLeader
	}
	ch := make(chan outcome, 1)
	sc.waiting[index] = ch
	sc.mu.Unlock()

	select {
	case out := <-ch:
		if out.session == op.Session {
			return out.config, OK
		}
	case <-time.After(waitTimeout):
		sc.mu.Lock()
		if sc.waiting[index] == ch {
			delete(sc.waiting, index)
		}
		sc.mu.Unlock()
	}
	return Config{}, ErrWrongLeader
}

func (sc *ShardCtrler) applier() {
	for msg := range sc.applyCh {
		if sc.killed() {
			return
		}
		if !msg.CommandValid {
			continue
		}
		sc.mu.Lock()
		op := msg.Command.(Op)
		config := sc.apply(op)
		if ch, ok := sc.waiting[msg.CommandIndex]; ok {
			ch <- outcome{op.Session, config}
			delete(sc.waiting, msg.CommandIndex)
		}
		sc.mu.Unlock()
	}
}

func (sc *ShardCtrler) apply(op Op) Config {
	newest := sc.configs[len(sc.configs)-1]
	if op.Kind == "Query" {
		if op.Num < 0 || op.Num >= len(sc.configs) {
			return newest
		}
		return sc.configs[op.Num]
	}
	if op.Session.Seq <= sc.lastSeq[op.Session.ClientId] {
		return Config{}
	}
	sc.lastSeq[op.Session.ClientId] = op.Session.Seq

	// Readers may hold the newest config, so the new config has a copy of the map.
	config := Config{Num: newest.Num + 1, Shards: newest.Shards, Groups: maps.Clone(newest.Groups)}
	switch op.Kind {
	case "Join":
		for gid, servers := range op.Servers {
			config.Groups[gid] = servers
		}
		config.rebalance()
	case "Leave":
		for _, gid := range op.GIDs {
			delete(config.Groups, gid)
		}
		config.rebalance()
	case "Move":
		config.Shards[op.Shard] = op.GID
	}
	sc.configs = append(sc.configs, config)
	return Config{}
}

func (sc *ShardCtrler) Kill() {
	atomic.StoreInt32(&sc.dead, 1)
	sc.rf.Kill()
}

func (sc *ShardCtrler) killed() bool {
	return atomic.LoadInt32(&sc.dead) == 1
}

// Raft is needed by the tests of shardkv.
func (sc *ShardCtrler) Raft() *raft.Raft {
	return sc.rf
}
