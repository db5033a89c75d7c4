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
)

// Options are what [Open] needs to know. The zero value of each field means its
// default.
type Options struct {
	// Snapshot is the state to begin with, as this package gave it to Raft; nil:
	// configuration 0 alone.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces it; 0 and -1: never. See rsm.Options.SnapshotBytes.
	MaxRaftState int
	// KeepConfigs is how many configurations are kept at least, when older ones
	// may be dropped; 0: all are kept.
	KeepConfigs int
	// Logger is told of snapshots and failures; default: silent.
	Logger *slog.Logger
}

// labMaxRaftState is Options.MaxRaftState of a server that StartServer starts.
const labMaxRaftState = 64 << 10

// ShardCtrler is one server of the service. Its methods may be called from any
// goroutine.
type ShardCtrler struct {
	rf      *raft.Raft // for the lab's harness; may be nil
	raft    rsm.Raft
	replica *rsm.Replica[Command, Result]
	history *history
	keep    int
	stop    chan struct{} // closed by Kill
	once    sync.Once

	mu       sync.Mutex
	reached  map[int]int // the configuration that each group has, by gid, as it told this server
	dropping bool
}

// StartServer starts the server me of servers, with what persister holds from
// before, and returns at once. The caller adds both the ShardCtrler and its Raft
// server to the network.
//
// StartServer panics if persister holds a state that cannot be read.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) *ShardCtrler {
	start := func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
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

// Open starts a server over the Raft server that start makes, which is to put
// what it commits on applyCh; start is called once, after the state was
// restored. An error of start, or of restoring, is returned. The server kills
// the Raft server when it is killed; what that stands on (its storage) stays
// the caller's to close.
func Open(start func(applyCh chan raft.ApplyMsg) (rsm.Raft, error), opts Options) (*ShardCtrler, error) {
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
	if sc.raft, err = start(applyCh); err != nil {
		return nil, fmt.Errorf("shardctrler: starting Raft: %w", err)
	}
	sc.rf, _ = sc.raft.(*raft.Raft)
	sc.replica.Run(sc.raft, applyCh)
	return sc, nil
}

// Raft returns the Raft server, if it is one of package raft's; else nil.
func (sc *ShardCtrler) Raft() *raft.Raft { return sc.rf }

// Kill stops the server and its Raft server, and returns without waiting. It may
// be called more than once.
func (sc *ShardCtrler) Kill() {
	sc.once.Do(func() { close(sc.stop) })
	sc.replica.Kill()
}

// Wait returns when the goroutines of a killed server have ended, but for those
// of its Raft server.
func (sc *ShardCtrler) Wait() { sc.replica.Wait() }

// Status is a picture of a server, for people and monitoring.
type Status struct {
	Term     int
	IsLeader bool  // it believes so
	Applied  int   // index of the last command that the history includes
	Newest   int   // number of the newest configuration
	Configs  int   // how many are kept
	Sessions int   // client sessions that are remembered
	Err      error // why the server stopped by itself; nil while it runs
}

// Status returns what the server is now.
func (sc *ShardCtrler) Status() Status {
	term, isLeader := sc.raft.GetState()
	s := Status{
		Term:     term,
		IsLeader: isLeader,
		Applied:  sc.replica.Applied(),
		Sessions: sc.replica.Sessions(),
		Err:      sc.replica.Err(),
	}
	sc.history.mu.Lock()
	defer sc.history.mu.Unlock()
	s.Newest, s.Configs = sc.history.newest().Num, len(sc.history.configs)
	return s
}

// Execute is the RPC handler of commands; for the network, not for programs.
func (sc *ShardCtrler) Execute(args *clerk.Args[Command], reply *clerk.Reply[Result]) {
	if args.Command.Kind >= kindDrop {
		reply.Code = clerk.Refused
		return
	}
	clerk.Serve(sc.replica, args, reply)
}

// awaitHold is how long a server lets a group wait for the next configuration
// before it says that there is none. The group asks again.
const awaitHold = 500 * time.Millisecond

// awaitMax is how many configurations one answer has at most.
const awaitMax = 64

// AwaitArgs asks for the configurations that follow Num.
type AwaitArgs struct {
	GID    int  // of the group that asks; 0: none
	Num    int  // the configuration that it has
	Newest bool // the newest alone will do, and now or never
}

// Await is the RPC handler for those who wait for the next configuration; for
// the network, not for programs. It needs no entry in the log: a configuration
// that a server has applied is there for ever, so each server tells those that
// it has. Which is the newest, and that there is none, after a while, the leader
// alone says: it has them first, and so one server hears of all groups how far
// they are.
func (sc *ShardCtrler) Await(args *AwaitArgs, reply *clerk.Reply[[]Config]) {
	sc.note(args.GID, args.Num)
	timer := time.NewTimer(awaitHold)
	defer timer.Stop()
	for held := !args.Newest; ; {
		var elected <-chan struct{}
		if n, ok := sc.raft.(rsm.Notifier); ok {
			elected = n.Changed()
		}
		configs, grown := sc.history.after(args.Num)
		_, isLeader := sc.raft.GetState()
		switch {
		case len(configs) > 0 && !args.Newest:
			reply.Code, reply.Result = clerk.Done, configs[:min(len(configs), awaitMax)]
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

// note remembers that a group has configuration num, and drops what no group
// needs any more.
func (sc *ShardCtrler) note(gid, num int) {
	if sc.keep == 0 || gid == 0 {
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
	// If it fails, the next group that asks has it done.
	_, _ = sc.replica.Submit(ctx, 0, 0, Command{Kind: kindDrop, Num: below})
	sc.mu.Lock()
	sc.dropping = false
	sc.mu.Unlock()
}

// droppable returns the configuration below which none is needed: at least keep
// stay, every group that is named in one that is kept has reached it, and it
// has groups itself.
func (h *history) droppable(keep int, reached map[int]int) (below int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	below = h.newest().Num - keep + 1
	for _, c := range h.configs {
		for gid := range c.Groups {
			below = min(below, reached[gid])
		}
	}
	oldest := h.configs[0].Num
	for below > oldest && len(h.at(below).Groups) == 0 {
		below--
	}
	return below, below > oldest
}
