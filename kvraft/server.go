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

// Options are the settings of a server. A zero field stands for its default.
type Options struct {
	// Snapshot is the initial state, a snapshot that this package has given to a log.
	// Without a snapshot the server starts with an empty store.
	Snapshot []byte
	// MaxRaftState is the size of the log, in bytes, from which on a snapshot
	// replaces the log. With 0 or -1 the server takes no snapshots. See
	// rsm.Options.SnapshotBytes.
	MaxRaftState int
	// SnapshotGrowth postpones snapshots of a large state, and MaxInFlightBytes
	// bounds the commands in progress. See rsm.Options.
	SnapshotGrowth   float64
	MaxInFlightBytes int
	// Limits bound keys and values. All servers must have the same limits.
	Limits kv.Limits
	// MaxSessions bounds the client sessions. All servers must have the same bound.
	// The default is [rsm.DefaultMaxSessions].
	MaxSessions int
	// Logger receives snapshots and failures. The default discards them.
	Logger *slog.Logger
}

// KVServer is one server of the service. Any goroutine may call the methods.
type KVServer struct {
	rf      *raft.Raft // for the lab's harness, which adds rf to its network; nil after Open
	raftLog rsm.Log
	replica *rsm.Replica[kv.Op, kv.Result]
	store   *store
}

// store is a kv.Store with a count of keys for other goroutines.
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

// StartKVServer starts the server me of servers from the contents of persister, and
// returns without waiting. The server takes a snapshot when the log reaches
// maxraftstate bytes, or never with -1. The caller adds the KVServer and its Raft
// server to the network.
//
// StartKVServer panics if the contents of persister cannot be read.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	snapshot := persister.ReadSnapshot()
	rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
		return raft.Make(servers, me, persister, applyCh)
	})
	server, err := Open(log, Options{Snapshot: snapshot, MaxRaftState: maxraftstate})
	if err != nil {
		panic(fmt.Sprintf("kvraft: server %d: %v", me, err))
	}
	server.rf = rf
	return server
}

// Open starts a server over a log that has just started, such as that of package
// onnode. Open restores the state from opts.Snapshot and runs the server. The server
// stops the log when the server is killed, has failed, or cannot start. The caller
// closes what is below the log.
func Open(log rsm.Log, opts Options) (*KVServer, error) {
	server := &KVServer{raftLog: log, store: &store{Store: kv.NewStore(opts.Limits)}}
	var err error
	server.replica, err = rsm.New(server.store, opts.Snapshot, rsm.Options{
		SnapshotBytes:    opts.MaxRaftState,
		SnapshotGrowth:   opts.SnapshotGrowth,
		MaxInFlightBytes: opts.MaxInFlightBytes,
		MaxSessions:      opts.MaxSessions,
		Logger:           opts.Logger,
	})
	if err != nil {
		log.Stop()
		return nil, fmt.Errorf("kvraft: %w", err)
	}
	server.replica.Run(log)
	return server, nil
}

// Kill stops the server and its log, and returns without waiting. Kill may be
// called more than once.
func (s *KVServer) Kill() { s.replica.Kill() }

// Wait returns when the goroutines of a killed server have ended, except for those
// of the log.
func (s *KVServer) Wait() { s.replica.Wait() }

// Do executes an operation and returns the result when the operation is committed
// and applied here. Reads go through the log too, unless the log is an
// [rsm.ReadIndexer], and then any server answers them. A problem with the operation itself is in the result's Code. An
// error means that there is no result:
//
//   - after rsm.ErrNotLeader, rsm.ErrBusy, rsm.ErrSessionExpired and rsm.ErrStale this
//     call had no effect
//   - after rsm.ErrLost, rsm.ErrStopped and an error of ctx a write may or may not take
//     effect
//
// A client has a random id and numbers its writes from 1, each after the result of
// the last. A write that is submitted again with the same client and seq, on any
// server, takes effect once. Client 0 has no session, and its writes take effect
// each time. Reads need no session and ignore client and seq.
func (s *KVServer) Do(ctx context.Context, client, seq uint64, op kv.Op) (kv.Result, error) {
	if op.ReadOnly() {
		return s.replica.Query(ctx, op)
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
	IsLeader bool  // the server believes so
	Applied  int   // index of the last command in the store
	Keys     int   // in the store
	Sessions int   // of clients
	Err      error // cause if the server has failed; nil while the server runs
}

// Status returns a picture of the server.
func (s *KVServer) Status() Status {
	role := s.raftLog.Leadership()
	return Status{
		Term:     int(role.Term),
		IsLeader: role.Leads,
		Applied:  int(s.replica.Applied()),
		Keys:     int(s.store.keys.Load()),
		Sessions: s.replica.Sessions(),
		Err:      s.replica.Err(),
	}
}
