package shardkv

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// Options are the settings of a server. A field without the word "required" may be
// zero, which stands for the default.
type Options struct {
	// GID is the number of the server's group. Required, positive.
	GID int
	// Controllers are ends to the servers of the configuration service. Required.
	Controllers []*labrpc.ClientEnd
	// MakeEnd makes an end to a server by its name in a configuration. Required.
	MakeEnd func(server string) *labrpc.ClientEnd
	// Snapshot is the initial state, a snapshot that this package has given to Raft.
	// Without a snapshot the server starts without configuration and shards.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces the log. With 0 or -1 the server takes no snapshots. See
	// rsm.Options.SnapshotBytes.
	MaxRaftState int
	// SnapshotGrowth postpones snapshots of a large state, and MaxInFlightBytes
	// bounds the commands in progress. See rsm.Options.
	SnapshotGrowth   float64
	MaxInFlightBytes int
	// Limits bound keys and values. All servers of all groups must have the same
	// limits.
	Limits kv.Limits
	// MaxSessions bounds the client sessions of each shard. All servers of all groups
	// must have the same bound. The default is [rsm.DefaultMaxSessions].
	MaxSessions int
	// Logger receives configurations, moves, snapshots and failures. The default
	// discards them.
	Logger *slog.Logger
}

func (o *Options) setDefaults() error {
	if o.MaxSessions == 0 {
		o.MaxSessions = rsm.DefaultMaxSessions
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.GID <= 0:
		return fmt.Errorf("Options.GID is %d; want a positive number", o.GID)
	case o.MaxSessions < 1:
		return fmt.Errorf("Options.MaxSessions is %d; want at least 1", o.MaxSessions)
	case len(o.Controllers) == 0:
		return fmt.Errorf("Options.Controllers is empty")
	case o.MakeEnd == nil:
		return fmt.Errorf("Options.MakeEnd is nil")
	}
	return nil
}

// ShardKV is one server of a group. Any goroutine may call the methods.
type ShardKV struct {
	rf      *raft.Raft // for the lab's harness, which adds rf to its network; may be nil
	raft    rsm.Raft
	gid     int
	log     *slog.Logger
	replica *rsm.Replica[Command, Result]
	state   *state
	ctrl    *shardctrler.Clerk
	groups  *directory

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by Kill
	running sync.WaitGroup  // lead and the goroutines that lead starts

	mu         sync.Mutex
	installing map[task]bool // moves to this group with a piece in the log
}

// StartServer starts the server me of group gid and returns at once. servers are
// ends to the group's servers, and persister holds the state of an earlier run.
// The server takes a snapshot when Raft's state reaches maxraftstate bytes, or
// never if maxraftstate is -1. ctrlers are ends to the configuration service.
// make_end makes an end to a server by its name in a configuration. The caller
// adds both the ShardKV and its Raft server to the network.
//
// StartServer panics if the state in persister is damaged or of another version.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	start := func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
		return raft.Make(servers, me, persister, applyCh), nil
	}
	server, err := Open(start, Options{
		GID:          gid,
		Controllers:  ctrlers,
		MakeEnd:      make_end,
		Snapshot:     persister.ReadSnapshot(),
		MaxRaftState: maxraftstate,
	})
	if err != nil {
		panic(fmt.Sprintf("shardkv: server %d of group %d: %v", me, gid, err))
	}
	return server
}

// Open starts a server over a Raft server. Open restores the state and then calls
// start once. start starts the Raft server, which sends committed entries to
// applyCh. Open returns the errors of start and of restoring. Kill also kills the
// Raft server. The caller closes the storage of the Raft server.
func Open(start func(applyCh chan raft.ApplyMsg) (rsm.Raft, error), opts Options) (*ShardKV, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, fmt.Errorf("shardkv: %w", err)
	}
	server := &ShardKV{
		gid:        opts.GID,
		log:        opts.Logger.With("group", opts.GID),
		state:      newState(opts.GID, opts.Limits, opts.MaxSessions),
		ctrl:       shardctrler.MakeClerk(opts.Controllers),
		groups:     newDirectory(opts.MakeEnd),
		installing: make(map[task]bool),
	}
	var err error
	server.replica, err = rsm.New(server.state, opts.Snapshot, rsm.Options{
		SnapshotBytes:    opts.MaxRaftState,
		SnapshotGrowth:   opts.SnapshotGrowth,
		MaxInFlightBytes: opts.MaxInFlightBytes,
		Logger:           server.log,
	})
	if err != nil {
		return nil, fmt.Errorf("shardkv: %w", err)
	}
	applyCh := make(chan raft.ApplyMsg)
	if server.raft, err = start(applyCh); err != nil {
		return nil, fmt.Errorf("shardkv: starting Raft: %w", err)
	}
	server.rf, _ = server.raft.(*raft.Raft)
	server.replica.Run(server.raft, applyCh)
	ctx, cancel := context.WithCancel(context.Background())
	server.stop, server.stopped = cancel, ctx.Done()
	server.running.Go(func() { server.lead(ctx) })
	return server, nil
}

// Kill stops the server and its Raft server, and returns without waiting. Further
// calls do nothing.
func (s *ShardKV) Kill() {
	s.stop()
	s.replica.Kill()
}

// Wait waits for the goroutines of a killed server, except those of its Raft server.
func (s *ShardKV) Wait() {
	s.running.Wait()
	s.replica.Wait()
}

// EndSession ends the session of a client that will not write again. The errors are
// those of [rsm.Replica.Submit].
func (s *ShardKV) EndSession(ctx context.Context, client uint64) error {
	return s.replica.EndSession(ctx, client)
}

// holdTime bounds how long a server holds a request whose answer is likely to
// change soon.
const holdTime = 80 * time.Millisecond

// Submit commits and executes a command and returns the result. The result says
// why a command was refused. The errors are those of [rsm.Replica.Submit]. A command
// that has to wait for its shard or for a transaction waits up to 80 ms.
func (s *ShardKV) Submit(ctx context.Context, client, seq uint64, c Command) (Result, error) {
	switch {
	case c.Kind.internal() || c.Kind > KindFetch:
		return Result{}, fmt.Errorf("%w: command of kind %d", rsm.ErrInvalid, c.Kind)
	case c.Kind == KindTxn && (client == 0 || seq == 0):
		return Result{}, fmt.Errorf("%w: a transaction without a session", rsm.ErrInvalid)
	}
	c.Limited = true
	timer := time.NewTimer(holdTime)
	defer timer.Stop()
	for {
		changed := s.state.watch()
		if _, isLeader := s.raft.GetState(); !isLeader {
			return Result{}, rsm.ErrNotLeader
		}
		result, err := s.try(ctx, client, seq, c)
		if err != nil || !result.Code.soon() {
			return result, err
		}
		select {
		case <-changed:
		case <-timer.C:
			return result, nil
		case <-s.stopped:
			return Result{}, rsm.ErrStopped
		case <-ctx.Done():
			return result, ctx.Err()
		}
	}
}

// try executes a command unless the applied state already decides the answer.
func (s *ShardKV) try(ctx context.Context, client, seq uint64, c Command) (Result, error) {
	result, fresh := s.state.precheck(client, seq, &c)
	if !fresh {
		return result, nil
	}
	if c.Kind == KindInstall {
		m := task{shard: c.Shard, num: c.Num}
		if !s.beginInstall(m) {
			return Result{Code: Arriving}, nil
		}
		defer s.endInstall(m)
	}
	return s.replica.Submit(ctx, client, seq, c)
}

// beginInstall returns false if a piece of the same move is already in the log.
func (s *ShardKV) beginInstall(m task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installing[m] {
		return false
	}
	s.installing[m] = true
	return true
}

func (s *ShardKV) endInstall(m task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.installing, m)
}

// Execute is the RPC handler. Programs call [ShardKV.Submit].
func (s *ShardKV) Execute(args *clerk.Args[Command], reply *clerk.Reply[Result]) {
	clerk.Serve(s, args, reply)
}
