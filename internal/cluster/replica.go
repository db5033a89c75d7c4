//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labrpc"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
	"raftlab/rsm/onnode"
)

// replica is one server of the cluster, running or stopped.
type replica struct {
	number int // among all, from 1
	group  *group
	peer   int // place in the group, from 0
	path   string
	opts   Options
	net    *labrpc.Network
	launch launcher

	changing sync.Mutex // held while it is started or stopped

	mu     sync.Mutex
	run    *running // nil: stopped
	ending *running // stopped, with the data file not closed yet
	broken error    // why the data file could not be used
}

// running is the state of a running replica.
type running struct {
	store  *boltstore.Store
	host   *node.Host
	server service

	released  chan struct{} // closed when the host has closed its storage
	stop      chan struct{} // closed when the replica is stopped
	watching  sync.WaitGroup
	recording sync.WaitGroup
	lost      atomic.Pointer[error] // why the data file has gone

	// After halt:
	impatient bool          // the disk did not answer
	halted    chan struct{} // closed when the goroutines have ended
	result    error         // of closing the server, before halted
}

// service is a replica's member of its group, with the state machine.
type service interface {
	member() *node.Node
	// kill begins the end of the service, and does not wait.
	kill()
	// wait waits for the end, after kill and after the end of the host.
	wait()
	health() health
}

// health is the part of Status from the service.
type health struct {
	keys, sessions int
	err            error
}

// launcher starts a replica's service on a host. After an error nothing of the service
// runs.
type launcher func(host *node.Host, cfg node.Config, opts Options) (service, error)

// logService is a service of package rsm.
type logService struct {
	rsmService
	log *onnode.Log
}

// rsmService is a replica of package rsm.
type rsmService interface {
	Kill()
	Wait()
	health() health
	rpc() any // for package labrpc
}

// onLog returns the launcher of a service of package rsm.
func onLog(start func(log rsm.Log, snapshot []byte, opts Options) (rsmService, error)) launcher {
	return func(host *node.Host, cfg node.Config, opts Options) (service, error) {
		log, err := onnode.Start(host, cfg)
		if err != nil {
			return nil, err
		}
		server, err := start(log, log.Snapshot(), opts)
		if err != nil {
			return nil, errors.Join(err, log.Close())
		}
		return logService{server, log}, nil
	}
}

func (s logService) member() *node.Node { return s.log.Node() }

func (s logService) kill() { s.Kill() }

func (s logService) wait() {
	s.Wait()
	_ = s.log.Close() // the host has closed the member
}

// Errors of starting and stopping.
var (
	// ErrNoReplica reports a number without a replica.
	ErrNoReplica = errors.New("no such replica")
	// ErrRunning reports a start of a running replica.
	ErrRunning = errors.New("the replica is running")
	// ErrStopped reports a stop of a stopped replica.
	ErrStopped = errors.New("the replica is stopped")
	// ErrProcess reports a change of a member that is a process of its own.
	ErrProcess = errors.New("each member of this store is a process of its own")
)

// current returns the running server, or nil.
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

// failure returns the reason of a server that does not serve, for a time
// (node.ErrStalled) or for good.
func (run *running) failure() error {
	if lost := run.lost.Load(); lost != nil {
		return *lost
	}
	err := errors.Join(run.server.member().Err(), run.server.health().err)
	if err == nil && run.server.member().Stalled() {
		return node.ErrStalled
	}
	return err
}

// runs reports whether the server has not stopped by itself.
func (run *running) runs() bool {
	err := run.failure()
	return err == nil || errors.Is(err, node.ErrStalled)
}

// heldStorage keeps the store open when the host closes its storage, so that the
// replica can record the sequences of its peers afterwards. The host no longer uses
// the store once released is closed.
type heldStorage struct {
	node.Storage
	released chan struct{}
}

func (s heldStorage) Close() error {
	close(s.released)
	return nil
}

// start opens the data file and starts the server. A replica may have stopped by
// itself, for example because of a full disk. Then start starts the replica again.
func (r *replica) start() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.makeRoom(); err != nil {
		return err
	}
	return r.open()
}

// makeRoom halts a server that stopped by itself, and waits until the data file of
// the last run is released.
func (r *replica) makeRoom() error {
	if run := r.current(); run != nil {
		if run.runs() {
			return ErrRunning
		}
		r.halt(run)
	}
	return r.closed(closePatience)
}

// open starts the server on the data file, or notes why the file cannot be used.
func (r *replica) open() error {
	store, err := r.group.open(r.peer, r.opts)
	if err == nil {
		if err = r.group.checkAge(r.peer); err != nil {
			err = errors.Join(err, r.group.release(r.peer, store))
		}
	}
	r.mu.Lock()
	r.broken = err
	r.mu.Unlock()
	if err != nil {
		return r.withAdvice(err)
	}
	return r.startOn(store)
}

// withAdvice adds the way out to an error of a data file.
func (r *replica) withAdvice(err error) error {
	if !isBroken(err) {
		return err
	}
	return fmt.Errorf("%w; the file was left as it is; raftlab replica repair %d rebuilds the file from those of the other replicas", err, r.number)
}

// startOn starts the server on an open store. After a failure startOn closes the
// store.
func (r *replica) startOn(store *boltstore.Store) error {
	run, err := r.begin(store)
	if err != nil {
		return errors.Join(err, r.group.release(r.peer, store))
	}
	if s, ok := run.server.(rsmService); ok && s.rpc() != nil {
		server := labrpc.MakeServer()
		server.AddService(labrpc.MakeService(s.rpc()))
		r.net.AddServer(r.number, server)
	}
	run.watching.Go(func() { r.watch(run) })
	run.recording.Go(func() { r.record(run) })
	r.set(run)
	return nil
}

// checkInterval is the interval of checks and records of a data file.
const checkInterval = time.Second

// watch logs leadership and failures of the replica, and stops the replica when its
// data file is removed, replaced or cut.
func (r *replica) watch(run *running) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	led := uint64(0)
	for {
		changed := run.server.member().Changed()
		if term, leads := run.server.member().Leadership(); leads && term != led {
			led = term
			r.opts.Logger.Info("replica leads", "replica", r.number, "term", led)
		}
		if !run.runs() {
			r.opts.Logger.Error("replica has stopped by itself", "replica", r.number, "error", r.withAdvice(run.failure()))
			return
		}
		select {
		case <-changed:
		case <-run.stop:
			return
		case <-ticker.C:
			if err := run.store.Check(); err != nil {
				r.fail(run, err)
			}
		}
	}
}

// fail stops the server after the loss of its data file, and keeps the reason.
func (r *replica) fail(run *running, err error) {
	run.lost.CompareAndSwap(nil, &err)
	r.net.DeleteServer(r.number)
	run.server.kill()
}

// record records the sequences of the other replicas in the time after the last
// update. Save does so with each update.
func (r *replica) record(run *running) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-run.stop:
			return
		case <-ticker.C:
			if run.failure() != nil {
				continue
			}
			if err := run.store.RecordPeers(); err != nil {
				r.fail(run, err)
				return
			}
		}
	}
}

// begin starts the server on an open store. After an error nothing uses the store.
func (r *replica) begin(store *boltstore.Store) (*running, error) {
	run := &running{
		store:    store,
		released: make(chan struct{}),
		stop:     make(chan struct{}),
		halted:   make(chan struct{}),
	}
	storage := node.Storage(store)
	if r.opts.storage != nil {
		storage = r.opts.storage(r.number, storage)
	}
	opts := r.opts
	opts.Logger = slog.New(quieter{r.opts.Logger.Handler()}).With("replica", r.number)
	var err error
	run.host, err = node.NewHost(node.HostConfig{
		Storage:        heldStorage{storage, run.released},
		Transport:      r.group.network.Join(hostID(r.peer)),
		Workers:        1, // of one group
		StorageTimeout: opts.StorageTimeout,
		CloseTimeout:   closePatience,
		Logger:         opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	if run.server, err = r.launch(run.host, r.group.config(), opts); err != nil {
		return nil, errors.Join(err, run.host.Close())
	}
	return run, nil
}

func (r *replica) stop() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if run := r.current(); run != nil {
		return r.end(run)
	}
	return ErrStopped
}

// closePatience bounds the wait for the disk of a stopped replica.
const closePatience = time.Second

// errHeld reports a stopped replica with a save that has not returned.
var errHeld = errors.New("the disk does not answer, and so the data file is not released")

// end stops the server and closes the data file, unless the disk does not answer.
func (r *replica) end(run *running) error {
	r.halt(run)
	err := r.closed(run.patience())
	if errors.Is(err, errHeld) {
		r.opts.Logger.Warn("replica is stopped, but its disk does not answer", "replica", r.number)
		return nil
	}
	return err
}

// halt ends the server like a crash. One of the server's goroutines may wait for the
// disk, so another goroutine waits for them.
func (r *replica) halt(run *running) {
	run.impatient = run.server.member().Stalled()
	r.net.DeleteServer(r.number)
	close(run.stop)
	run.server.kill()
	run.watching.Wait()
	go func() {
		run.result = run.finish()
		close(run.halted)
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run, r.ending = nil, run
}

// finish ends the host and waits for the goroutines of a halted server. One of them
// may wait for the disk.
func (run *running) finish() error {
	err := run.host.Close()
	<-run.released
	if errors.Is(err, node.ErrStalled) {
		err = nil // the disk has answered since
	}
	run.recording.Wait()
	run.server.wait()
	return err
}

// patience bounds the wait for the disk of a halted server.
func (run *running) patience() time.Duration {
	if run.impatient {
		return 0
	}
	return closePatience
}

// wait waits until the goroutines of a halted server have ended.
func (run *running) wait(patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-run.halted:
		return nil
	case <-timer.C:
	}
	select {
	case <-run.halted:
		return nil
	default:
		return errHeld
	}
}

// closed closes the data file of a halted server. It returns errHeld if the
// server's goroutines have not ended within patience.
func (r *replica) closed(patience time.Duration) error {
	r.mu.Lock()
	run := r.ending
	r.mu.Unlock()
	if run == nil {
		return nil
	}
	if err := run.wait(patience); err != nil {
		return err
	}
	r.mu.Lock()
	r.ending = nil
	r.mu.Unlock()
	return errors.Join(run.result, r.group.release(r.peer, run.store))
}

// haltForGood halts a running server at the end of the cluster.
func (r *replica) haltForGood() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if run := r.current(); run != nil {
		r.halt(run)
	}
	r.mu.Lock()
	run := r.ending
	r.mu.Unlock()
	if run == nil {
		return nil
	}
	if err := run.wait(run.patience()); err != nil {
		return err
	}
	if run.failure() == nil {
		return run.store.RecordPeers()
	}
	return nil
}

// quieter demotes Raft's info messages to debug.
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
	// Name is set for a member that is a process of its own.
	Name string `json:"name,omitempty"`
	// Group is the gid of the replica's group, or "controller". In a store without
	// groups Group is empty. Term, Leader and the indexes belong to the group.
	Group string `json:"group,omitempty"`
	// State is "running", "stalled" (the disk does not answer), "stopped", or
	// "failed" (the replica stopped by itself, or could not start). Error has the
	// reason. A running replica has an Error if its disk has no room for snapshots.
	State string `json:"state"`
	// Role is "leader", "follower", "candidate" or "pre-candidate".
	Role          string `json:"role,omitempty"`
	Term          uint64 `json:"term"`
	Leader        int    `json:"leader"` // 0: not known to the replica
	CommitIndex   uint64 `json:"commitIndex"`
	AppliedIndex  uint64 `json:"appliedIndex"`
	LastIndex     uint64 `json:"lastIndex"`
	SnapshotIndex uint64 `json:"snapshotIndex"`
	LogBytes      int    `json:"logBytes"`
	FileBytes     int64  `json:"fileBytes"`
	Keys          int    `json:"keys"`
	Sessions      int    `json:"sessions"`
	// Disconnected is set for a replica without connections to the others, see
	// [Cluster.Disconnect].
	Disconnected bool   `json:"disconnected,omitempty"`
	Error        string `json:"error,omitempty"`
}

func (r *replica) status() Status {
	s := Status{Number: r.number, Group: r.group.group, State: "stopped"}
	if info, err := os.Stat(r.path); err == nil {
		s.FileBytes = info.Size()
	}
	r.mu.Lock()
	run, ending, broken := r.run, r.ending, r.broken
	r.mu.Unlock()
	switch {
	case run == nil && broken != nil:
		s.State, s.Error = "failed", r.withAdvice(broken).Error()
		return s
	case run == nil && ending != nil:
		s.Error = errHeld.Error()
		return s
	case run == nil:
		return s
	}
	run.describe(&s)
	if leader, _ := run.server.member().Leader(); leader != core.None {
		s.Leader = r.number - r.peer - 1 + int(leader)
	}
	switch err := run.failure(); {
	case errors.Is(err, node.ErrStalled):
		s.State, s.Leader, s.Error = "stalled", 0, err.Error()
	case err != nil:
		s.State, s.Role, s.Leader, s.Error = "failed", "", 0, r.withAdvice(err).Error()
	}
	return s
}

// describe fills in the state of a running server. A server that has stopped by
// itself has no state of Raft.
func (run *running) describe(s *Status) {
	ctx, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	server := run.server.health()
	s.State, s.Keys, s.Sessions, s.LogBytes = "running", server.keys, server.sessions, int(run.store.LogBytes())
	st, err := run.server.member().Status(ctx)
	if err != nil {
		return
	}
	s.Role, s.Term = st.State.String(), st.CurrentTerm
	s.CommitIndex, s.AppliedIndex = st.CommitIndex, st.LastApplied
	s.LastIndex, s.SnapshotIndex = st.LastIndex, st.SnapshotIndex
}

// statusPatience bounds the wait for a server's picture of itself.
const statusPatience = time.Second
