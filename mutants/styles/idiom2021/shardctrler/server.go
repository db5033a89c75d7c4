// Package shardctrler has one lock, and a channel for each log index that a handler
// waits for.
package shardctrler

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const executeTimeout = 500 * time.Millisecond

type notification struct {
	clientId  int64
	commandId int
	config    Config
}

// ShardCtrler is a replica of the controller.
type ShardCtrler struct {
	mu      sync.Mutex
	me      int
	rf      *raft.Raft
	applyCh chan raft.ApplyMsg
	dead    int32

	configs     []Config
	lastCommand map[int64]int
	notifyChs   map[int]chan notification
}

// Command handles an operation.
func (sc *ShardCtrler) Command(args *CommandArgs, reply *CommandReply) {
	sc.mu.Lock()
	index, _, isLeader := sc.rf.Start(*args)
	if !isLeader {
		sc.mu.Unlock()
		reply.Err = ErrWrongLeader
		return
	}
	ch := make(chan notification, 1)
	sc.notifyChs[index] = ch
	sc.mu.Unlock()

	select {
	case n := <-ch:
		if n.clientId == args.ClientId && n.commandId == args.CommandId {
			reply.Err, reply.Config = OK, n.config
		} else {
			reply.Err = ErrWrongLeader
		}
	case <-time.After(executeTimeout):
		reply.Err = ErrTimeout
	}
	sc.mu.Lock()
	if sc.notifyChs[index] == ch {
		delete(sc.notifyChs, index)
	}
	sc.mu.Unlock()
}

func (sc *ShardCtrler) applier() {
	for !sc.killed() {
		msg := <-sc.applyCh
		if !msg.CommandValid {
			continue
		}
		sc.mu.Lock()
		args := msg.Command.(CommandArgs)
		n := notification{clientId: args.ClientId, commandId: args.CommandId}
		if args.Op == "Query" {
			n.config = sc.query(args.Num)
		} else if sc.lastCommand[args.ClientId] < args.CommandId {
			sc.lastCommand[args.ClientId] = args.CommandId
			sc.change(args)
		}
		if ch, ok := sc.notifyChs[msg.CommandIndex]; ok {
			ch <- n
			delete(sc.notifyChs, msg.CommandIndex)
		}
		sc.mu.Unlock()
	}
}

func (sc *ShardCtrler) query(num int) Config {
	if num < 0 || num >= len(sc.configs) {
		return sc.configs[len(sc.configs)-1]
	}
	return sc.configs[num]
}

func (sc *ShardCtrler) change(args CommandArgs) {
	last := sc.configs[len(sc.configs)-1]
	next := Config{Num: last.Num + 1, Shards: last.Shards, Groups: make(map[int][]string)}
	for gid, servers := range last.Groups {
		next.Groups[gid] = append([]string(nil), servers...)
	}
	switch args.Op {
	case "Join":
		for gid, servers := range args.Servers {
			next.Groups[gid] = append([]string(nil), servers...)
		}
		next.rebalance()
	case "Leave":
		for _, gid := range args.GIDs {
			delete(next.Groups, gid)
		}
		next.rebalance()
	case "Move":
		next.Shards[args.Shard] = args.GID
	}
	sc.configs = append(sc.configs, next)
}

// rebalance gives shards of nobody to the smallest group, and then moves shards from the
// largest group to the smallest one.
func (c *Config) rebalance() {
	if len(c.Groups) == 0 {
		c.Shards = [NShards]int{}
		return
	}
	gids := make([]int, 0, len(c.Groups))
	for gid := range c.Groups {
		gids = append(gids, gid)
	}
	sort.Ints(gids)
	owned := make(map[int][]int)
	for shard, gid := range c.Shards {
		if _, ok := c.Groups[gid]; ok {
			owned[gid] = append(owned[gid], shard)
		}
	}
	extremes := func() (small, large int) {
		small, large = gids[0], gids[0]
		for _, gid := range gids {
			if len(owned[gid]) < len(owned[small]) {
				small = gid
			}
			if len(owned[gid]) > len(owned[large]) {
				large = gid
			}
		}
		return small, large
	}
	for shard, gid := range c.Shards {
		if _, ok := c.Groups[gid]; !ok {
			small, _ := extremes()
			owned[small] = append(owned[small], shard)
			c.Shards[shard] = small
		}
	}
	for {
		small, large := extremes()
		if len(owned[large])-len(owned[small]) <= 1 {
			return
		}
		shard := owned[large][0]
		owned[large] = owned[large][1:]
		owned[small] = append(owned[small], shard)
		c.Shards[shard] = small
	}
}

// Kill stops the server.
func (sc *ShardCtrler) Kill() {
	atomic.StoreInt32(&sc.dead, 1)
	sc.rf.Kill()
}

func (sc *ShardCtrler) killed() bool {
	return atomic.LoadInt32(&sc.dead) == 1
}

// Raft returns the server's Raft.
func (sc *ShardCtrler) Raft() *raft.Raft {
	return sc.rf
}

// StartServer starts a replica.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(CommandArgs{})
	sc := new(ShardCtrler)
	sc.me = me
	sc.configs = []Config{{Groups: map[int][]string{}}}
	sc.lastCommand = make(map[int64]int)
	sc.notifyChs = make(map[int]chan notification)
	sc.applyCh = make(chan raft.ApplyMsg)
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.applier()
	return sc
}
