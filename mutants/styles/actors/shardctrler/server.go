// Package shardctrler has one goroutine that owns the state and calls Raft.
package shardctrler

import (
	"maps"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const patience = 500 * time.Millisecond

type request struct {
	command Command
	answer  chan Answer
}

// ShardCtrler is a replica.
type ShardCtrler struct {
	rf       *raft.Raft
	requests chan request
	applyCh  chan raft.ApplyMsg
	quit     chan struct{}
	once     sync.Once
}

// Run is the RPC of all operations.
func (sc *ShardCtrler) Run(c Command, answer *Answer) {
	r := request{c, make(chan Answer, 1)}
	timeout := time.After(patience)
	select {
	case sc.requests <- r:
	case <-timeout:
		return
	case <-sc.quit:
		return
	}
	select {
	case *answer = <-r.answer:
	case <-timeout:
	case <-sc.quit:
	}
}

func (sc *ShardCtrler) loop() {
	history := []Config{{Groups: map[int][]string{}}}
	seen := make(map[string]uint64)
	waiting := make(map[int]request)
	for {
		select {
		case <-sc.quit:
			return
		case r := <-sc.requests:
			index, _, leads := sc.rf.Start(r.command)
			if !leads {
				r.answer <- Answer{}
				continue
			}
			waiting[index] = r
		case msg := <-sc.applyCh:
			if !msg.CommandValid {
				continue
			}
			c := msg.Command.(Command)
			answer := Answer{Done: true}
			if c.Kind == "query" {
				at := c.Num
				if at < 0 || at >= len(history) {
					at = len(history) - 1
				}
				answer.Config = history[at]
			} else if seen[c.Clerk] < c.Number {
				seen[c.Clerk] = c.Number
				history = append(history, history[len(history)-1].after(c))
			}
			if r, ok := waiting[msg.CommandIndex]; ok {
				delete(waiting, msg.CommandIndex)
				if r.command.Clerk != c.Clerk || r.command.Number != c.Number {
					answer = Answer{}
				}
				r.answer <- answer
			}
		}
	}
}

// after returns the configuration that a command makes of c.
func (c Config) after(cmd Command) Config {
	c.Num++
	c.Groups = maps.Clone(c.Groups)
	switch cmd.Kind {
	case "join":
		maps.Copy(c.Groups, cmd.Servers)
	case "leave":
		for _, gid := range cmd.GIDs {
			delete(c.Groups, gid)
		}
	case "move":
		c.Shards[cmd.Shard] = cmd.GIDs[0]
		return c
	}
	c.level()
	return c
}

// Kill ends the loop.
func (sc *ShardCtrler) Kill() {
	sc.once.Do(func() { close(sc.quit) })
	sc.rf.Kill()
}

// Raft returns the server's Raft.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// StartServer starts a replica.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(Command{})
	sc := &ShardCtrler{
		requests: make(chan request),
		applyCh:  make(chan raft.ApplyMsg),
		quit:     make(chan struct{}),
	}
	sc.rf = raft.Make(servers, me, persister, sc.applyCh)
	go sc.loop()
	return sc
}
