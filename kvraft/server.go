package kvraft

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// Options are what [Open] needs to know. The zero value of each field means its
// default.
type Options struct {
	// Snapshot is the state to begin with, as this package gave it to Raft; nil:
	// an empty store.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces it; 0 and -1: never. See rsm.Options.SnapshotBytes.
	MaxRaftState int
	// SnapshotGrowth postpones snapshots of a large state, and MaxInFlightBytes
	// bounds the commands in progress. See rsm.Options.
	SnapshotGrowth   float64
	MaxInFlightBytes int
	// Limits bound keys and values. They must be the same on every server.
	Limits kv.Limits
	// MaxSessions bounds the client sessions that are remembered, and must be
	// the same on every server; default [rsm.DefaultMaxSessions].
	MaxSessions int
	// Logger is told of snapshots and failures; default: silent.
	Logger *slog.Logger
}

// KVServer is one server of the service. Its methods may be called from any
// goroutine.
type KVServer struct {
	rf      *raft.Raft // for the lab's harness, which adds it to its network; may be nil
	node    *labraft.Log
	replica *rsm.Replica[kv.Op, kv.Result]
	store   *store
}

// store is a kv.Store whose size may be looked at while it is in use.
type store struct {
	*kv.Store
	keys atomic.Int64
}

func (s *store) Apply(op kv.Op) kv.Result {
	defer func() { s.keys.Store(int64(s.Len())) }()
	return s.Store.Apply(op)
}

func (s *store) Restore(snapshot []byte) error {
	defer func() { s.keys.Store(int64(s.Len())) }()
	return s.Store.Restore(snapshot)
}

// StartKVServer starts the server me of servers, with what persister holds from
// before, and returns at once. It takes a snapshot when the Raft state reaches
// maxraftstate bytes; -1: never. The caller adds both the KVServer and its Raft
// server to the network.
//
// StartKVServer panics if persister holds a state that cannot be read.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	start := func(applyCh chan raft.ApplyMsg) (labraft.Raft, error) {
		return raft.Make(servers, me, persister, applyCh), nil
	}
	server, err := Open(start, Options{
		Snapshot:     persister.ReadSnapshot(),
		MaxRaftState: maxraftstate,
	})
	if err != nil {
		panic(fmt.Sprintf("kvraft: server %d: %v", me, err))
	}
	return server
}

// Open starts a server over the Raft server that start makes, which is to put
// what it commits on applyCh; start is called once, after the state was
// restored. An error of start, or of restoring, is returned. The server kills
// the Raft server when it is killed; what that stands on (its storage) stays
// the caller's to close.
func Open(start func(applyCh chan raft.ApplyMsg) (labraft.Raft, error), opts Options) (*KVServer, error) {
	server := &KVServer{store: &store{Store: kv.NewStore(opts.Limits)}}
	var err error
	server.replica, err = rsm.New(server.store, opts.Snapshot, rsm.Options{
		SnapshotBytes:    opts.MaxRaftState,
		SnapshotGrowth:   opts.SnapshotGrowth,
		MaxInFlightBytes: opts.MaxInFlightBytes,
		MaxSessions:      opts.MaxSessions,
		Logger:           opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("kvraft: %w", err)
	}
	applyCh := make(chan raft.ApplyMsg)
	rf, err := start(applyCh)
	if err != nil {
		return nil, fmt.Errorf("kvraft: starting Raft: %w", err)
	}
	server.rf, _ = rf.(*raft.Raft)
	server.node = labraft.New(rf, applyCh)
	server.replica.Run(server.node)
	return server, nil
}

// Kill stops the server and its Raft server, and returns without waiting. It may
// be called more than once.
func (s *KVServer) Kill() { s.replica.Kill() }

// Wait returns when the goroutines of a killed server have ended, but for those
// of its Raft server.
func (s *KVServer) Wait() { s.replica.Wait() }

// Do executes an operation and returns its result when it is committed and
// applied here. What is wrong with the operation itself is in the result's
// Code; an error means that there is no result:
//
//   - rsm.ErrNotLeader, rsm.ErrSessionExpired: this call did nothing;
//   - rsm.ErrLost, rsm.ErrStopped, ctx's: a write may or may not take effect;
//   - rsm.ErrStale: the client has gone on to a later write.
//
// client and seq make a write that is submitted again, here or on another
// server, take effect once: a client has a random id and numbers its writes from
// 1, each only after the one before has its result. client 0 has no session, and
// its writes take effect each time they are submitted. Reads need no session
// and ignore both.
func (s *KVServer) Do(ctx context.Context, client, seq uint64, op kv.Op) (kv.Result, error) {
	if op.ReadOnly() {
		client, seq = 0, 0
	}
	return s.replica.Submit(ctx, client, seq, op)
}

// EndSession ends the session of a client that will write no more. Its errors are Do's.
func (s *KVServer) EndSession(ctx context.Context, client uint64) error {
	return s.replica.EndSession(ctx, client)
}

// Status is a picture of a server, for people and monitoring.
type Status struct {
	Term     int
	IsLeader bool  // it believes so
	Applied  int   // index of the last command that the store includes
	Keys     int   // in the store
	Sessions int   // client sessions that are remembered
	Err      error // why the server stopped by itself; nil while it runs
}

// Status returns what the server is now.
func (s *KVServer) Status() Status {
	role := s.node.Leadership()
	return Status{
		Term:     int(role.Term),
		IsLeader: role.Leads,
		Applied:  int(s.replica.Applied()),
		Keys:     int(s.store.keys.Load()),
		Sessions: s.replica.Sessions(),
		Err:      s.replica.Err(),
	}
}
