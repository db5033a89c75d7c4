//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
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
	number int    // among all, from 1
	group  string // see set
	peer   int    // its number in the group, from 0
	path   string
	ends   []*labrpc.ClientEnd // to each of its group, in order
	opts   Options
	net    *labrpc.Network
	launch launcher

	changing sync.Mutex // held while it is started or stopped

	mu  sync.Mutex
	run *running // nil: stopped
}

// running is what a replica has while it runs.
type running struct {
	store  *boltstore.Store
	raft   *raft.Raft
	server service

	stop     chan struct{} // closed when it is stopped
	watching sync.WaitGroup
}

// service is what stands on a replica's Raft server.
type service interface {
	Kill()
	Wait()
	health() health
}

// health is what is told of a service.
type health struct {
	applied, keys, sessions int
	err                     error
}

// launcher starts a service; open starts the Raft server that it stands on.
type launcher func(open func(chan raft.ApplyMsg) (rsm.Raft, error), snapshot []byte, opts Options) (service, error)

// kvService is the store of a cluster without groups.
type kvService struct{ *kvraft.KVServer }

func (s kvService) health() health {
	st := s.Status()
	return health{applied: st.Applied, keys: st.Keys, sessions: st.Sessions, err: st.Err}
}

func startKV(open func(chan raft.ApplyMsg) (rsm.Raft, error), snapshot []byte, opts Options) (service, error) {
	server, err := kvraft.Open(open, kvraft.Options{
		Snapshot:       snapshot,
		MaxRaftState:   opts.SnapshotBytes,
		SnapshotGrowth: snapshotGrowth,
		Limits:         Limits,
		Logger:         opts.Logger,
	})
	return kvService{server}, err
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

// failure is why it stopped by itself; nil: it did not.
func (run *running) failure() error { return errors.Join(run.raft.Err(), run.server.health().err) }

// start opens the data file and starts the server on it. One that stopped by
// itself, for a full disk say, is started again.
func (r *replica) start() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if run := r.current(); run != nil {
		if run.failure() == nil {
			return ErrRunning
		}
		if err := r.end(run); err != nil {
			return err
		}
	}
	store, err := boltstore.Open(r.path, boltstore.Options{})
	if isBroken(err) {
		err = fmt.Errorf("%w; nothing was changed and the others go on: end the server and start it again, and it says which file to copy in its place", err)
	}
	if err != nil {
		return err
	}
	return r.startOn(store)
}

// startOn starts the server on an open store, which it closes if that fails.
func (r *replica) startOn(store *boltstore.Store) error {
	run, err := r.begin(store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	host := labrpc.MakeServer()
	host.AddService(labrpc.MakeService(run.raft))
	if s, ok := run.server.(interface{ rpc() any }); ok {
		host.AddService(labrpc.MakeService(s.rpc()))
	}
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
		if err := run.failure(); err != nil {
			r.opts.Logger.Error("replica has stopped by itself", "replica", r.number, "error", err)
			return
		}
	}
}

// begin starts the server on an open store.
func (r *replica) begin(store *boltstore.Store) (*running, error) {
	snapshot, err := store.ReadSnapshot()
	if err != nil {
		return nil, err
	}
	run := &running{store: store, stop: make(chan struct{})}
	log := slog.New(quieter{r.opts.Logger.Handler()}).With("replica", r.number)
	startRaft := func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
		run.raft, err = raft.Open(r.ends, r.peer, store, applyCh, raft.Options{Logger: log})
		return run.raft, err
	}
	opts := r.opts
	opts.Logger = log
	run.server, err = r.launch(startRaft, snapshot.Data, opts)
	return run, err
}

func (r *replica) stop() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if run := r.current(); run != nil {
		return r.end(run)
	}
	return ErrStopped
}

// end ends the server as a crash would, but for its goroutines, which it waits
// for, and the data file, which it closes.
func (r *replica) end(run *running) error {
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
	// Group is the replica's group: its gid, or "controller"; "" if there are no
	// groups. Term, Leader and what follows are of that group.
	Group string `json:"group,omitempty"`
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
	s := Status{Number: r.number, Group: r.group, State: "stopped"}
	if info, err := os.Stat(r.path); err == nil {
		s.FileBytes = info.Size()
	}
	run := r.current()
	if run == nil {
		return s
	}
	st, server := run.raft.Status(), run.server.health()
	s.State, s.Role = "running", st.State.String()
	s.Term = st.CurrentTerm
	if st.Leader != core.None {
		s.Leader = r.number - r.peer - 1 + int(st.Leader)
	}
	s.CommitIndex, s.AppliedIndex = st.CommitIndex, uint64(server.applied)
	s.LastIndex, s.SnapshotIndex = st.LastIndex, st.SnapshotIndex
	s.LogBytes, s.Keys, s.Sessions = run.store.StateSize(), server.keys, server.sessions
	if err := run.failure(); err != nil {
		s.State, s.Role, s.Leader, s.Error = "failed", "", 0, err.Error()
	}
	return s
}
