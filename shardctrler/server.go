package shardctrler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/rsm/labraft"
)

// Options are the settings of a server. The zero value of each field stands for the
// default.
type Options struct {
	// Snapshot is the initial state, a snapshot that this package has given to Raft.
	// Without a snapshot the server starts with configuration 0.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces the log. With 0 or -1 the server takes no snapshots. See
	// rsm.Options.SnapshotBytes.
	MaxRaftState int
	// KeepConfigs is the least number of configurations to keep when older ones are
	// dropped. With 0 the service keeps all configurations.
	KeepConfigs int
	// Logger receives snapshots and failures. The default discards them.
	Logger *slog.Logger
}

// labMaxRaftState is Options.MaxRaftState of a server that StartServer starts.
const labMaxRaftState = 64 << 10

// ShardCtrler is one server of the service. Any goroutine may call the methods.
type ShardCtrler struct {
	rf      *raft.Raft // for the lab's harness; may be nil
	node    *labraft.Log
	replica *rsm.Replica[Command, Result]
	history *history
	keep    int
	stop    chan struct{} // closed by Kill
	once    sync.Once

	mu       sync.Mutex
	reached  map[int]int // the newest configuration that each group has reported, by gid
	dropping bool        // a drop is in progress
}

// StartServer starts the server me and returns at once. servers are ends to all
// servers, and persister holds the state of an earlier run. The caller adds both the
// ShardCtrler and its Raft server to the network.
//
// StartServer panics if the state in persister is damaged or of another version.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	start := func(applyCh chan raft.ApplyMsg) (labraft.Raft, error) {
		return raft.Make(servers, me, persister, applyCh), nil
	}
	sc, err := Open(start, Options{
		Snapshot:     persister.ReadSnapshot(),
		MaxRaftState: labMaxRaftState,
	})
	if err != nil {
		panic(fmt.Sprintf("shardctrler: server %d: %v", me, err))
	}
	return sc
}

// Open starts a server over a Raft server. Open restores the state and then calls
// start once. start starts the Raft server, which sends committed entries to
// applyCh. Open returns the errors of start and of restoring. Kill also kills the
// Raft server. The caller closes the storage of the Raft server.
func Open(start func(applyCh chan raft.ApplyMsg) (labraft.Raft, error), opts Options) (*ShardCtrler, error) {
	if opts.KeepConfigs < 0 {
		return nil, fmt.Errorf("shardctrler: Options.KeepConfigs is %d; want 0 (all) or more", opts.KeepConfigs)
	}
	sc := &ShardCtrler{
		history: newHistory(),
		keep:    opts.KeepConfigs,
		stop:    make(chan struct{}),
		reached: make(map[int]int),
	}
	var err error
	sc.replica, err = rsm.New(sc.history, opts.Snapshot, rsm.Options{
		SnapshotBytes: opts.MaxRaftState,
		Logger:        opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("shardctrler: %w", err)
	}
	applyCh := make(chan raft.ApplyMsg)
	rf, err := start(applyCh)
	if err != nil {
		return nil, fmt.Errorf("shardctrler: starting Raft: %w", err)
	}
	sc.rf, _ = rf.(*raft.Raft)
	sc.node = labraft.New(rf, applyCh)
	sc.replica.Run(sc.node)
	return sc, nil
}

// Raft returns the Raft server, or nil if the server runs on another Raft than that
// of package raft.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// Kill stops the server and its Raft server, and returns without waiting. Further
// calls do nothing.
func (sc *ShardCtrler) Kill() {
	sc.once.Do(func() { close(sc.stop) })
	sc.replica.Kill()
}

// Wait waits for the goroutines of a killed server, except those of its Raft server.
func (sc *ShardCtrler) Wait() { sc.replica.Wait() }

// Status is a picture of a server for people and monitoring.
type Status struct {
	Term     int
	IsLeader bool  // as far as the server knows
	Applied  int   // index of the last command that the history includes
	Newest   int   // number of the newest configuration
	Configs  int   // kept configurations
	Sessions int   // client sessions
	Err      error // why the server stopped by itself; nil while the server runs
}

// Status returns the present status of the server.
func (sc *ShardCtrler) Status() Status {
	role := sc.node.Leadership()
	s := Status{
		Term:     int(role.Term),
		IsLeader: role.Leads,
		Applied:  int(sc.replica.Applied()),
		Sessions: sc.replica.Sessions(),
		Err:      sc.replica.Err(),
	}
	sc.history.mu.Lock()
	defer sc.history.mu.Unlock()
	s.Newest, s.Configs = sc.history.newest().Num, len(sc.history.configs)
	return s
}

// Execute is the RPC handler of commands. Programs use a [Clerk]. A command that is
// too large for any configuration is refused before the command is logged.
func (sc *ShardCtrler) Execute(args *clerk.Args[Command], reply *clerk.Reply[Result]) {
	if args.Command.Kind >= kindDrop || args.Command.checkSize() != nil {
		reply.Code = clerk.Refused
		return
	}
	clerk.Serve(sc.replica, args, reply)
}

// awaitHold bounds how long a server holds a request for the next configuration. The
// group then asks again.
const awaitHold = 500 * time.Millisecond

// awaitMax bounds the configurations in one answer.
const awaitMax = 64

// firstFew returns as many configurations as one answer takes: at most awaitMax and,
// beyond the first, at most MaxConfigBytes.
func firstFew(configs []Config) []Config {
	configs = configs[:min(len(configs), awaitMax)]
	size := 0
	for i, c := range configs {
		if size += groupBytes(c.Groups); size > MaxConfigBytes && i > 0 {
			return configs[:i]
		}
	}
	return configs
}

// AwaitArgs asks for the configurations after Num.
type AwaitArgs struct {
	GID    int  // the group that asks; 0 for any other client
	Num    int  // the configuration that the client has
	Newest bool // answer at once, with the newest configuration alone
}

// Await is the RPC handler for clients that wait for the next configuration. Programs
// use a [Clerk]. An applied configuration is committed for good, so any server
// returns its configurations without a log entry. Only the leader says which
// configuration is the newest, and that there is no newer one. The leader has new
// configurations first, and all groups report their progress to one server.
func (sc *ShardCtrler) Await(args *AwaitArgs, reply *clerk.Reply[[]Config]) {
	sc.report(args.GID, args.Num)
	timer := time.NewTimer(awaitHold)
	defer timer.Stop()
	for held := !args.Newest; ; {
		elected := sc.node.Changed()
		configs, grown := sc.history.after(args.Num)
		isLeader := sc.node.Leadership().Leads
		switch {
		case len(configs) > 0 && !args.Newest:
			reply.Code, reply.Result = clerk.Done, firstFew(configs)
			return
		case !isLeader:
			reply.Code = clerk.NotLeader
			return
		case len(configs) > 0:
			reply.Code, reply.Result = clerk.Done, configs[len(configs)-1:]
			return
		case !held:
			reply.Code = clerk.Done
			return
		}
		select {
		case <-grown:
		case <-elected:
		case <-timer.C:
			held = false
		case <-sc.stop:
			held = false
		}
	}
}

// report records that a group has reached configuration num, and drops the
// configurations that no group needs. Groups outside of the kept configurations
// are ignored.
func (sc *ShardCtrler) report(gid, num int) {
	if sc.keep == 0 || !sc.history.names(gid) {
		return
	}
	sc.mu.Lock()
	sc.reached[gid] = max(num, sc.reached[gid])
	below, drop := sc.history.droppable(sc.keep, sc.reached)
	drop = drop && !sc.dropping
	sc.dropping = sc.dropping || drop
	sc.mu.Unlock()
	if !drop {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// After a failure the next report tries again.
	_, _ = sc.replica.Submit(ctx, 0, 0, Command{Kind: kindDrop, Num: below})
	sc.mu.Lock()
	sc.dropping = false
	sc.mu.Unlock()
}
