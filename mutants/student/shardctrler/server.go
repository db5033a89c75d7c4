// Package shardctrler is a student's shard controller.
package shardctrler

import (
	"maps"
	"slices"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/mutants/student/replica"
	"raftlab/raft"
)

// ShardCtrler is one server of the controller.
type ShardCtrler struct {
	me int
	rf *raft.Raft
	//lab:begin 4A All configurations, and who waits for which command.
	*replica.Server

	// Guarded by the replica.
	configs  []Config // by number
	history  []OpArgs // that made the configurations
	sessions replica.Sessions
	//lab:end
}

// StartServer starts server me.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	labgob.Register(OpArgs{})
	applyCh := make(chan raft.ApplyMsg)
	sc := &ShardCtrler{me: me, rf: raft.Make(servers, me, persister, applyCh)}
	//lab:begin 4A The first configuration has number 0 and no groups. Start a goroutine that reads applyCh.
	sc.configs, sc.sessions = []Config{{Groups: map[int][]string{}}}, make(replica.Sessions)
	sc.Server = replica.New(sc.rf, applyCh, persister, snapshotFrom, sc)
	//lab:end
	return sc
}

// Raft returns the server's Raft, which the tests add to the network.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// Kill stops the server.
func (sc *ShardCtrler) Kill() {
	//lab:begin 4A Stop your goroutines, too.
	//lab:stub sc.rf.Kill()
	sc.Server.Kill()
	//lab:end
}

// Do handles the request of a clerk.
func (sc *ShardCtrler) Do(args *OpArgs, reply *OpReply) {
	//lab:begin 4A Replicate the operation, and answer when it has been applied.
	//lab:stub reply.Err = ErrWrongLeader
	reply.Err = ErrWrongLeader
	if config, ok := sc.Submit(*args); ok {
		reply.Err, reply.Config = OK, config.(Config)
	}
	//lab:end
}

//lab:begin 4A Apply committed operations in order, each once.

// Apply applies an operation.
func (sc *ShardCtrler) Apply(command any) any {
	op := command.(OpArgs)
	newest := len(sc.configs) - 1
	if op.Kind == "Query" {
		if op.Num < 0 || op.Num > newest {
			op.Num = newest
		}
		return sc.configs[op.Num]
	}
	sc.sessions.Once(op.Client, op.Seq, func() string {
		sc.change(op)
		return ""
	})
	return Config{}
}

// change makes the next configuration.
func (sc *ShardCtrler) change(op OpArgs) {
	next := sc.configs[len(sc.configs)-1]
	next.Num++
	next.Groups = maps.Clone(next.Groups)
	next.change(op)
	sc.configs, sc.history = append(sc.configs, next), append(sc.history, op)
}

// change applies a Join, Leave or Move.
func (c *Config) change(op OpArgs) {
	switch op.Kind {
	case "Join":
		maps.Copy(c.Groups, op.Servers)
		c.balance()
	case "Leave":
		for _, gid := range op.GIDs {
			delete(c.Groups, gid)
		}
		c.balance()
	case "Move":
		c.Shards[op.Shard] = op.GID
	}
}

// balance gives each group an equal share of the shards, and moves as few shards as
// possible. The order of gids decides, and not the order of a map, so each replica makes
// the same configuration.
func (c *Config) balance() {
	count := make(map[int]int)
	gids := slices.Sorted(maps.Keys(c.Groups))
	for shard, gid := range c.Shards {
		if _, member := c.Groups[gid]; !member {
			c.Shards[shard] = 0
		} else {
			count[gid]++
		}
	}
	if len(gids) == 0 {
		return
	}
	fewest := func() int {
		return slices.MinFunc(gids, func(a, b int) int { return count[a] - count[b] })
	}
	for shard, gid := range c.Shards {
		if gid == 0 {
			c.Shards[shard] = fewest()
			count[c.Shards[shard]]++
		}
	}
	for {
		most := slices.MaxFunc(gids, func(a, b int) int { return count[a] - count[b] })
		least := fewest()
		if count[most]-count[least] <= 1 {
			return
		}
		c.Shards[slices.Index(c.Shards[:], most)] = least
		count[most]--
		count[least]++
	}
}

// snapshotFrom is the size of the Raft state that needs a snapshot. The lab asks for none.
// But each group asks for configurations all the time, and each question is in the log.
const snapshotFrom = 16 << 10

// Save writes a snapshot: the operations, which are shorter than the configurations.
func (sc *ShardCtrler) Save(e *labgob.LabEncoder) {
	e.Encode(sc.history)
	e.Encode(sc.sessions)
}

// Restore reads a snapshot.
func (sc *ShardCtrler) Restore(d *labgob.LabDecoder) {
	var history []OpArgs
	sc.sessions = nil
	if d.Decode(&history) != nil || d.Decode(&sc.sessions) != nil {
		panic("the snapshot is not a controller's")
	}
	sc.configs, sc.history = sc.configs[:1:1], nil
	for _, op := range history {
		sc.change(op)
	}
}

//lab:end
