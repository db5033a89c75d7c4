//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"

	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/rsm"
)

// replica is one server of the cluster, which runs or is stopped.
type replica struct {
	number int // from 1
	path   string
	ends   []*labrpc.ClientEnd // to each, in order
	opts   Options
	net    *labrpc.Network

	changing sync.Mutex // held while it is started or stopped

	mu  sync.Mutex
	run *running // nil: stopped
}

// running is what a replica has while it runs.
type running struct {
	store  *boltstore.Store
	raft   *raft.Raft
	server *kvraft.KVServer

	stop     chan struct{} // closed when it is stopped
	watching sync.WaitGroup
}

// Errors of starting and stopping.
var (
	// ErrNoReplica: there is no replica of that number.
	ErrNoReplica = errors.New("no such replica")
	// ErrRunning: the replica to start runs already.
	ErrRunning = errors.New("the replica is running")
	// ErrStopped: the replica to stop does not run.
	ErrStopped = errors.New("the replica is stopped")
)

// current returns what runs; nil: nothing.
func (r *replica) current() *running {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run
}

func (r *replica) set(run *running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
}

// start opens the data file and starts the server on it.
func (r *replica) start() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if r.current() != nil {
		return ErrRunning
	}
	store, err := boltstore.Open(r.path, boltstore.Options{})
	if err != nil {
		return err
	}
	return r.startOn(store)
}

// startOn starts the server on an open store, which it closes if that fails.
func (r *replica) startOn(store *boltstore.Store) error {
	run, err := r.launch(store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	host := labrpc.MakeServer()
	host.AddService(labrpc.MakeService(run.raft))
	r.net.AddServer(r.number, host)
	run.watching.Go(func() { r.watch(run) })
	r.set(run)
	return nil
}

// watch is the goroutine that logs when the replica comes to lead, or fails.
func (r *replica) watch(run *running) {
	led := 0
	for {
		changed := run.raft.Changed()
		if term, leads := run.raft.GetState(); leads && term != led {
			led = term
			r.opts.Logger.Info("replica leads", "replica", r.number, "term", term)
		}
		select {
		case <-changed:
		case <-run.stop:
			return
		}
		if err := errors.Join(run.raft.Err(), run.server.Status().Err); err != nil {
			r.opts.Logger.Error("replica has stopped by itself", "replica", r.number, "error", err)
			return
		}
	}
}

// launch starts the server on an open store.
func (r *replica) launch(store *boltstore.Store) (*running, error) {
	snapshot, err := store.ReadSnapshot()
	if err != nil {
		return nil, err
	}
	run := &running{store: store, stop: make(chan struct{})}
	log := slog.New(quieter{r.opts.Logger.Handler()}).With("replica", r.number)
	startRaft := func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
		run.raft, err = raft.Open(r.ends, r.number-1, store, applyCh, raft.Options{Logger: log})
		return run.raft, err
	}
	run.server, err = kvraft.Open(startRaft, kvraft.Options{
		Snapshot:     snapshot.Data,
		MaxRaftState: r.opts.SnapshotBytes,
		StateSize:    store.StateSize,
		Limits:       Limits,
		Logger:       log,
	})
	return run, err
}

// stop ends the server as a crash would, but for its goroutines, which it waits
// for, and the data file, which it closes.
func (r *replica) stop() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	run := r.current()
	if run == nil {
		return ErrStopped
	}
	r.net.DeleteServer(r.number)
	close(run.stop)
	run.watching.Wait()
	run.server.Kill()
	run.server.Wait()
	err := run.raft.Close()
	r.set(nil)
	return err
}

// quieter makes debug messages of what Raft is glad to tell.
type quieter struct{ slog.Handler }

func (q quieter) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, demoted(level))
}

func (q quieter) Handle(ctx context.Context, rec slog.Record) error {
	rec.Level = demoted(rec.Level)
	return q.Handler.Handle(ctx, rec)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }

func demoted(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

// Status is a picture of one replica.
type Status struct {
	Number int `json:"replica"`
	// State is "running", "stopped", or "failed": it stopped by itself.
	State string `json:"state"`
	// Role is "leader", "follower", "candidate" or "pre-candidate".
	Role          string `json:"role,omitempty"`
	Term          uint64 `json:"term"`
	Leader        int    `json:"leader"` // as it knows; 0: not known
	CommitIndex   uint64 `json:"commitIndex"`
	AppliedIndex  uint64 `json:"appliedIndex"`
	LastIndex     uint64 `json:"lastIndex"`
	SnapshotIndex uint64 `json:"snapshotIndex"`
	LogBytes      int    `json:"logBytes"`
	FileBytes     int64  `json:"fileBytes"`
	Keys          int    `json:"keys"`
	Sessions      int    `json:"sessions"`
	Error         string `json:"error,omitempty"`
}

func (r *replica) status() Status {
	s := Status{Number: r.number, State: "stopped"}
	if info, err := os.Stat(r.path); err == nil {
		s.FileBytes = info.Size()
	}
	run := r.current()
	if run == nil {
		return s
	}
	st, server := run.raft.Status(), run.server.Status()
	s.State, s.Role = "running", st.State.String()
	s.Term, s.Leader = st.CurrentTerm, int(st.Leader)
	s.CommitIndex, s.AppliedIndex = st.CommitIndex, uint64(server.Applied)
	s.LastIndex, s.SnapshotIndex = st.LastIndex, st.SnapshotIndex
	s.LogBytes, s.Keys, s.Sessions = run.store.StateSize(), server.Keys, server.Sessions
	if err := errors.Join(run.raft.Err(), server.Err); err != nil {
		s.State, s.Role, s.Leader, s.Error = "failed", "", int(core.None), err.Error()
	}
	return s
}
