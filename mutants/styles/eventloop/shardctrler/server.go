// Package shardctrler is a shard controller whose handlers poll until the command has
// been applied.
package shardctrler

import (
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const (
	pollEvery = 5 * time.Millisecond
	pollLimit = 100 // polls
)

type ShardCtrler struct {
	mu       sync.Mutex
	rf       *raft.Raft
	applyCh  chan raft.ApplyMsg
	quit     chan struct{}
	quitOnce sync.Once

	configs  []Config
	sessions map[int64]int64
}

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(Change{})
	sc := &ShardCtrler{
		applyCh:  make(chan raft.ApplyMsg),
		quit:     make(chan struct{}),
		configs:  []Config{{Groups: map[int][]string{}}},
		sessions: map[int64]int64{},
	}
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.applyLoop()
	return sc
}

// Change serves Join, Leave and Move.
func (sc *ShardCtrler) Change(args *Change, reply *Reply) {
	reply.Done = sc.await(args)
}

// Query proposes a command and answers after the command has been applied, so the answer
// includes all finished changes.
func (sc *ShardCtrler) Query(args *Change, reply *Reply) {
	if !sc.await(args) {
		return
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	num := args.Num
	if num < 0 || num >= len(sc.configs) {
		num = len(sc.configs) - 1
	}
	reply.Config = sc.configs[num]
	reply.Done = true
}

// await proposes a command and polls for its session.
func (sc *ShardCtrler) await(args *Change) bool {
	if sc.applied(args) {
		return true
	}
	_, term, leads := sc.rf.Start(*args)
	for polls := 0; leads && polls < pollLimit; polls++ {
		time.Sleep(pollEvery)
		if sc.applied(args) {
			return true
		}
		var now int
		now, leads = sc.rf.GetState()
		leads = leads && now == term
	}
	return false
}

func (sc *ShardCtrler) applied(args *Change) bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.sessions[args.Client] >= args.Seq
}

func (sc *ShardCtrler) applyLoop() {
	for {
		select {
		case <-sc.quit:
			return
		case msg := <-sc.applyCh:
			if msg.CommandValid {
				sc.apply(msg.Command.(Change))
			}
		}
	}
}

func (sc *ShardCtrler) apply(c Change) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.sessions[c.Client] >= c.Seq {
		return
	}
	sc.sessions[c.Client] = c.Seq
	next := sc.configs[len(sc.configs)-1].successor()
	switch {
	case c.Join != nil:
		for gid, servers := range c.Join {
			next.Groups[gid] = servers
		}
		next.level()
	case c.Leave != nil:
		for _, gid := range c.Leave {
			delete(next.Groups, gid)
		}
		next.level()
	case c.Move:
		next.Shards[c.Shard] = c.GID
	default:
		return // a query
	}
	sc.configs = append(sc.configs, next)
}

func (sc *ShardCtrler) Kill() {
	sc.rf.Kill()
	sc.quitOnce.Do(func() { close(sc.quit) })
}

func (sc *ShardCtrler) Raft() *raft.Raft {
	return sc.rf
}
