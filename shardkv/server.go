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

// Options are what [Open] needs to know. The zero value of each field means its
// default, but for those that are required.
type Options struct {
	// GID is the group that the server belongs to; required, positive.
	GID int
	// Controllers are ends to the servers of the configuration service; required.
	Controllers []*labrpc.ClientEnd
	// MakeEnd makes an end to a server that a configuration names; required.
	MakeEnd func(server string) *labrpc.ClientEnd
	// Snapshot is the state to begin with, as this package gave it to Raft; nil:
	// no configuration and no shards.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces it; 0 and -1: never. See rsm.Options.SnapshotBytes.
	MaxRaftState int
	// SnapshotGrowth postpones snapshots of a large state, and MaxInFlightBytes
	// bounds the commands under way. See rsm.Options.
	SnapshotGrowth   float64
	MaxInFlightBytes int
	// Limits bound keys and values. They must be the same on every server of
	// every group.
	Limits kv.Limits
	// MaxSessions bounds the client sessions that are remembered for each shard,
	// and must be the same on every server of every group; default
	// [rsm.DefaultMaxSessions].
	MaxSessions int
	// Logger is told of configurations, moves, snapshots and failures; default:
	// silent.
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
		return fmt.Errorf("Options.GID is %d; a gid is positive", o.GID)
	case o.MaxSessions < 1:
		return fmt.Errorf("Options.MaxSessions is %d; want at least 1", o.MaxSessions)
	case len(o.Controllers) == 0:
		return fmt.Errorf("Options.Controllers are none")
	case o.MakeEnd == nil:
		return fmt.Errorf("Options.MakeEnd is nil")
	}
	return nil
}

// ShardKV is one server of a group. Its methods may be called from any
// goroutine.
type ShardKV struct {
	rf      *raft.Raft // for the lab's harness, which adds it to its network; may be nil
	raft    rsm.Raft
	gid     int
	log     *slog.Logger
	replica *rsm.Replica[Command, Result]
	state   *state
	ctrl    *shardctrler.Clerk
	groups  *directory

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by Kill
	running sync.WaitGroup  // lead and what it starts

	mu         sync.Mutex
	installing map[duty]bool // moves to this group that are being committed
}

// StartServer starts the server me of group gid, whose servers are servers, with
// what persister holds from before, and returns at once. It takes a snapshot
// when the Raft state reaches maxraftstate bytes; -1: never. ctrlers are ends to
// the configuration service, and make_end makes one to a server that a
// configuration names. The caller adds both the ShardKV and its Raft server to
// the network.
//
// StartServer panics if persister holds a state that cannot be read.
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

// Open starts a server over the Raft server that start makes, which is to put
// what it commits on applyCh; start is called once, after the state was
// restored. An error of start, or of restoring, is returned. The server kills
// the Raft server when it is killed; what that stands on (its storage) stays
// the caller's to close.
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
		installing: make(map[duty]bool),
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

// Kill stops the server and its Raft server, and returns without waiting. It may
// be called more than once.
func (s *ShardKV) Kill() {
	s.stop()
	s.replica.Kill()
}

// Wait returns when the goroutines of a killed server have ended, but for those
// of its Raft server.
func (s *ShardKV) Wait() {
	s.running.Wait()
	s.replica.Wait()
}

// EndSession ends the session of a client that will write no more. Its errors are those of
// rsm.Replica's Submit.
func (s *ShardKV) EndSession(ctx context.Context, client uint64) error {
	return s.replica.EndSession(ctx, client)
}

// hold is how long a server keeps a request that has to wait for something that
// is likely to happen soon, before it answers that it has not happened.
const hold = 80 * time.Millisecond

// Submit executes a command when it is committed and applied here. What is wrong
// with the command itself is in the result; an error means that there is no
// result, as of rsm.Replica's Submit. A command that has to wait, for its shard to
// arrive or for a transaction, waits for a moment.
func (s *ShardKV) Submit(ctx context.Context, client, seq uint64, c Command) (Result, error) {
	switch {
	case c.Kind >= kindConfig:
		return Result{}, fmt.Errorf("%w: kind %d of command", rsm.ErrInvalid, c.Kind)
	case c.Kind == KindTxn && (client == 0 || seq == 0):
		return Result{}, fmt.Errorf("%w: a transaction without a session", rsm.ErrInvalid)
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	for {
		changed := s.state.watch()
		if _, isLeader := s.raft.GetState(); !isLeader {
			return Result{}, rsm.ErrNotLeader
		}
		result, err := s.try(ctx, client, seq, c)
		if err != nil || !result.Status.soon() {
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

// try executes a command if, as things stand here, there is sense in it.
func (s *ShardKV) try(ctx context.Context, client, seq uint64, c Command) (Result, error) {
	result, fresh := s.state.foretell(client, seq, &c)
	if !fresh {
		return result, nil
	}
	if c.Kind == KindInstall {
		m := duty{shard: c.Shard, num: c.Num}
		if !s.beginInstall(m) {
			return Result{Status: Arriving}, nil
		}
		defer s.endInstall(m)
	}
	return s.replica.Submit(ctx, client, seq, c)
}

// beginInstall says false if the same data, which may be large, is on its way
// through the log already.
func (s *ShardKV) beginInstall(m duty) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installing[m] {
		return false
	}
	s.installing[m] = true
	return true
}

func (s *ShardKV) endInstall(m duty) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.installing, m)
}

// Execute is the RPC handler; for the network, not for programs.
func (s *ShardKV) Execute(args *clerk.Args[Command], reply *clerk.Reply[Result]) {
	clerk.Serve(s, args, reply)
}
