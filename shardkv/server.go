package shardkv

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/rsm/labraft"
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
	// Snapshot is the initial state, a snapshot that this package has given to a log.
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
	rf      *raft.Raft // for the lab's harness, which adds rf to its network; nil after Open
	raftLog rsm.Log
	gid     int
	log     *slog.Logger
	replica *rsm.Replica[Command, Result]
	state   *state
	ctrl    *shardctrler.Clerk
	groups  *directory

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by Kill
	running sync.WaitGroup  // lead and the goroutines that lead starts

	heldUntil atomic.Int64 // see HoldTransactions; in nanoseconds

	mu         sync.Mutex
	submitting map[submission]chan struct{} // commands that are being logged; closed at the end
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
	snapshot := persister.ReadSnapshot()
	rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
		return raft.Make(servers, me, persister, applyCh)
	})
	server, err := Open(log, Options{
		GID:          gid,
		Controllers:  ctrlers,
		MakeEnd:      make_end,
		Snapshot:     snapshot,
		MaxRaftState: maxraftstate,
	})
	if err != nil {
		panic(fmt.Sprintf("shardkv: server %d of group %d: %v", me, gid, err))
	}
	server.rf = rf
	return server
}

// Open starts a server over a log that has just started, such as that of package
// onnode. Open restores the state from opts.Snapshot and runs the server. The server
// stops the log when the server is killed, has failed, or cannot start. The caller
// closes what is below the log.
func Open(log rsm.Log, opts Options) (*ShardKV, error) {
	server, err := newServer(log, opts)
	if err != nil {
		log.Stop()
		return nil, fmt.Errorf("shardkv: %w", err)
	}
	server.replica.Run(log)
	ctx, cancel := context.WithCancel(context.Background())
	server.stop, server.stopped = cancel, ctx.Done()
	server.running.Go(func() { server.lead(ctx) })
	return server, nil
}

// newServer returns a server that does not run yet.
func newServer(log rsm.Log, opts Options) (*ShardKV, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	server := &ShardKV{
		raftLog:    log,
		gid:        opts.GID,
		log:        opts.Logger.With("group", opts.GID),
		state:      newState(opts.GID, opts.Limits, opts.MaxSessions),
		ctrl:       shardctrler.MakeClerk(opts.Controllers),
		groups:     newDirectory(opts.MakeEnd),
		submitting: make(map[submission]chan struct{}),
	}
	var err error
	server.replica, err = rsm.New(server.state, opts.Snapshot, rsm.Options{
		SnapshotBytes:    opts.MaxRaftState,
		SnapshotGrowth:   opts.SnapshotGrowth,
		MaxInFlightBytes: opts.MaxInFlightBytes,
		Logger:           server.log,
	})
	return server, err
}

// Kill stops the server and its log, and returns without waiting. Further
// calls do nothing.
func (s *ShardKV) Kill() {
	s.stop()
	s.replica.Kill()
}

// Wait waits for the goroutines of a killed server, except those of its log.
func (s *ShardKV) Wait() {
	s.running.Wait()
	s.replica.Wait()
}

// EndSession ends the session of a client that will not write again. The errors are
// those of [rsm.Replica.Submit].
func (s *ShardKV) EndSession(ctx context.Context, client uint64) error {
	return s.replica.EndSession(ctx, client)
}

// holdTime bounds how long a server holds a request if the answer is likely to change
// soon. holdLarge is the bound for large requests, as sending them again is costly.
const (
	holdTime  = 80 * time.Millisecond
	holdLarge = 800 * time.Millisecond
)

// Submit commits and executes a command and returns the result. The result says
// why a command was refused. The errors are those of [rsm.Replica.Submit]. A command
// that has to wait for its shard or for a transaction waits up to 80 ms, and up to
// 800 ms if the command is large.
func (s *ShardKV) Submit(ctx context.Context, client, seq uint64, c Command) (Result, error) {
	switch {
	case c.Kind.internal() || c.Kind > KindFetch:
		return Result{}, fmt.Errorf("%w: command of kind %d", rsm.ErrInvalid, c.Kind)
	case c.Kind == KindTxn && (client == 0 || seq == 0):
		return Result{}, fmt.Errorf("%w: a transaction without a session", rsm.ErrInvalid)
	}
	c.Limited = true
	hold := holdTime
	if c.large() {
		hold = holdLarge
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	for {
		changed := s.state.watch()
		if !s.raftLog.Leadership().Leads {
			return Result{}, rsm.ErrNotLeader
		}
		result, other, err := s.try(ctx, client, seq, c)
		if err != nil || !result.Code.soon() {
			return result, err
		}
		select {
		case <-changed:
		case <-other:
		case <-timer.C:
			return result, nil
		case <-s.stopped:
			return Result{}, rsm.ErrStopped
		case <-ctx.Done():
			return result, ctx.Err()
		}
	}
}

// try executes a command unless the applied state already decides the answer. If
// the same command is in the log already, the code is Pending, and other is closed
// when that submission ends.
func (s *ShardKV) try(ctx context.Context, client, seq uint64, c Command) (result Result, other <-chan struct{}, err error) {
	result, fresh := s.state.precheck(client, seq, &c)
	if !fresh {
		return result, nil, nil
	}
	if s.holds(&c) {
		return Result{Code: Busy}, nil, nil
	}
	if _, confirms := s.raftLog.(rsm.ReadIndexer); confirms && c.Kind == KindOp && c.Op.ReadOnly() {
		result, err = s.replica.Query(ctx, c)
		return result, nil, err
	}
	id, once := c.submission(client, seq)
	if !once {
		result, err = s.replica.Submit(ctx, client, seq, c)
		return result, nil, err
	}
	end, other := s.beginSubmission(id)
	if other != nil {
		return Result{Code: Pending}, other, nil
	}
	defer end()
	result, err = s.replica.Submit(ctx, client, seq, c)
	return result, nil, err
}

// submission identifies a command that takes effect once. Such a command may be
// large, and is not logged again while this server is logging the command.
type submission struct {
	kind        Kind
	shard       int
	client, seq uint64
	num, offset int   // KindInstall
	txn         TxnID // KindPrepare
}

// submission returns the identity of a command of a client, if there is one.
func (c *Command) submission(client, seq uint64) (id submission, ok bool) {
	id = submission{kind: c.Kind, shard: c.Shard, client: client, seq: seq}
	switch {
	case c.Kind == KindInstall:
		id.num, id.offset = c.Num, c.Piece.Offset
	case c.Kind == KindPrepare:
		id.txn = c.Phase.ID
	default:
		return id, client != 0
	}
	return id, true
}

// beginSubmission registers a submission and returns a function that ends the
// submission. If the same command is registered, end is nil, and other is closed
// when that submission ends.
func (s *ShardKV) beginSubmission(id submission) (end func(), other <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.submitting[id]; ok {
		return nil, other
	}
	done := make(chan struct{})
	s.submitting[id] = done
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.submitting, id)
		close(done)
	}, nil
}

// Execute is the RPC handler. Programs call [ShardKV.Submit].
func (s *ShardKV) Execute(args *clerk.Args[Command], reply *clerk.Reply[Result]) {
	clerk.Serve(s, args, reply)
}
