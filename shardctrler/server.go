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
	// Snapshot is the initial state, a snapshot that this package has given to a log.
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
	rf      *raft.Raft // for the lab's harness; nil after Open
	raftLog rsm.Log
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
	snapshot := persister.ReadSnapshot()
	rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
		return raft.Make(servers, me, persister, applyCh)
	})
	sc, err := Open(log, Options{Snapshot: snapshot, MaxRaftState: labMaxRaftState})
	if err != nil {
		panic(fmt.Sprintf("shardctrler: server %d: %v", me, err))
	}
	sc.rf = rf
	return sc
}

// Open starts a server over a log that has just started, such as that of package
// onnode. Open restores the state from opts.Snapshot and runs the server. The server
// stops the log when the server is killed, has failed, or cannot start. The caller
// closes what is below the log.
func Open(log rsm.Log, opts Options) (*ShardCtrler, error) {
	sc, err := newServer(log, opts)
	if err != nil {
		log.Stop()
		return nil, fmt.Errorf("shardctrler: %w", err)
	}
	sc.replica.Run(log)
	return sc, nil
}

// newServer returns a server that does not run yet.
func newServer(log rsm.Log, opts Options) (*ShardCtrler, error) {
	if opts.KeepConfigs < 0 {
		return nil, fmt.Errorf("Options.KeepConfigs is %d; want 0 (all) or more", opts.KeepConfigs)
	}
	sc := &ShardCtrler{
		raftLog: log,
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
	return sc, err
}

// Raft returns the Raft server that StartServer has started, or nil after Open.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// Kill stops the server and its log, and returns without waiting. Further
// calls do nothing.
func (sc *ShardCtrler) Kill() {
	sc.once.Do(func() { close(sc.stop) })
	sc.replica.Kill()
}

// Wait waits for the goroutines of a killed server, except those of its log.
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
	role := sc.raftLog.Leadership()
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
		elected := sc.raftLog.Changed()
		configs, grown := sc.history.after(args.Num)
		isLeader := sc.raftLog.Leadership().Leads
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
