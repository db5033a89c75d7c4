package rsm

import (
	"errors"
	"log/slog"
	"sync"

	"raftlab/internal/admission"
)

// Errors of Submit. After ErrNotLeader, ErrSessionExpired, ErrInvalid, ErrStale and
// ErrBusy the submission had no effect. After ErrLost, ErrStopped and an error of
// ctx the command may or may not take effect. It can be submitted again with the
// same client and sequence number, on any server.
var (
	// ErrNotLeader means that this server does not lead.
	ErrNotLeader = errors.New("rsm: not the leader")
	// ErrLost means that the leadership ended before the command was applied.
	ErrLost = errors.New("rsm: leadership was lost before the command committed")
	// ErrStopped means that the replica was killed or has failed.
	ErrStopped = errors.New("rsm: replica is stopped")
	// ErrSessionExpired means that the client's session has ended, so that earlier
	// submissions of the command can no longer be recognized. See [Sessions].
	ErrSessionExpired = errors.New("rsm: client session has expired")
	// ErrInvalid means that no client makes such a request.
	ErrInvalid = errors.New("rsm: invalid request")
	// ErrStale means that the client has gone on to a later command.
	ErrStale = errors.New("rsm: the client has submitted a later command")
	// ErrBusy means that too many commands are in flight on this server. See
	// Options.MaxInFlightBytes.
	ErrBusy = errors.New("rsm: too many commands are in flight")
)

// Replica is one server's copy of a replicated state machine. The methods may be
// called from any goroutine.
type Replica[C, R any] struct {
	opts   Options
	logger *slog.Logger
	log    Log // set by Run
	gate   *admission.Gate

	stop    chan struct{}    // closed by Kill
	running sync.WaitGroup   // deliver, saveSnapshots and watch
	toSave  chan captured[R] // capacity 1: from capture to saveSnapshots

	// applying guards the machine and the snapshot policy. It is taken before mu.
	applying      sync.Mutex
	machine       StateMachine[C, R]
	keeper        SessionKeeper[C, R] // machine if it is a SessionKeeper; else nil
	snapshotIndex uint64              // of the last snapshot that was captured or restored
	snapshotSize  int                 // of that snapshot; while it is encoded: expected
	removable     int                 // bytes of the commands that were applied since
	saved         chan struct{}       // closed when the snapshot in progress is saved; nil: none
	demanded      bool                // by Snapshot
	postponed     bool                // the disk had no room for the last snapshot

	mu          sync.Mutex
	killed      bool
	failure     error
	sessions    *Sessions[R] // changed by deliver alone
	applied     uint64       // index of the last command in the state; changed with both locks
	submissions submissions[R]
}

// New returns a replica of machine. If snapshot, written by a Replica, is not
// empty, the machine is restored from it.
func New[C, R any](machine StateMachine[C, R], snapshot []byte, opts Options) (*Replica[C, R], error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	gate := admission.NewGate(admission.Limits{
		Bytes:    opts.MaxInFlightBytes,
		Requests: opts.MaxInFlight,
		Waiting:  opts.MaxInFlight,
	})
	r := &Replica[C, R]{
		opts:        opts,
		logger:      opts.Logger,
		gate:        gate,
		stop:        make(chan struct{}),
		toSave:      make(chan captured[R], 1),
		machine:     machine,
		sessions:    NewSessions[R](opts.MaxSessions),
		submissions: newSubmissions[R](gate),
	}
	r.keeper, _ = machine.(SessionKeeper[C, R])
	if len(snapshot) > 0 {
		if err := r.restore(snapshot); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Run connects the replica to this server's part in the log, which has just
// started, and returns without waiting. Run is called once, before Submit. The
// replica stops the log when the replica is killed or fails.
func (r *Replica[C, R]) Run(log Log) {
	r.mu.Lock()
	r.log = log
	killed := r.killed
	r.mu.Unlock()
	if killed {
		log.Stop()
		return
	}
	r.running.Go(r.deliver)
	r.running.Go(r.saveSnapshots)
	r.running.Go(r.watch)
}

// Kill stops the replica and the log, settles every Submit, and returns without
// waiting. Kill may be called more than once.
func (r *Replica[C, R]) Kill() {
	r.mu.Lock()
	log, first := r.log, !r.killed
	if first {
		r.killed = true
		close(r.stop)
		r.submissions.settleAll(ErrStopped, func(Place) bool { return true })
		r.gate.Close()
	}
	r.mu.Unlock()
	if first && log != nil {
		log.Stop()
	}
}

// Wait returns when the goroutines of a killed replica have ended.
func (r *Replica[C, R]) Wait() { r.running.Wait() }

// Err returns the cause if the replica has failed. Err is nil while the replica
// runs and after Kill.
func (r *Replica[C, R]) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// Applied returns the index of the last command in the state.
func (r *Replica[C, R]) Applied() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// Sessions returns the number of client sessions, without those of a
// [SessionKeeper].
func (r *Replica[C, R]) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions.Len()
}

// InFlight returns the number and the size in bytes of the commands that were
// submitted here and are not applied yet.
func (r *Replica[C, R]) InFlight() (commands, bytes int) {
	load := r.gate.Load()
	return load.Requests, load.Bytes
}

// fail stops a replica whose state is no longer that of the log.
func (r *Replica[C, R]) fail(err error) {
	r.mu.Lock()
	if r.failure == nil && !r.killed {
		r.failure = err
		r.logger.Error("replica stops", "error", err)
	}
	r.mu.Unlock()
	r.Kill()
}
