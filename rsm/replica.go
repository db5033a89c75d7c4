package rsm

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"raftlab/internal/admission"
	"raftlab/raft"
)

// Raft is the part of the lab's Raft that a Replica uses.
type Raft interface {
	Start(command any) (index int, term int, isLeader bool)
	GetState() (term int, isLeader bool)
	Snapshot(index int, snapshot []byte)
	Kill()
}

// Notifier is a Raft that tells of changes: the channel is closed when
// GetState's answer changes after the call to Changed.
type Notifier interface {
	Changed() <-chan struct{}
}

// Errors of Submit. After ErrNotLeader, ErrSessionExpired, ErrInvalid and ErrBusy
// this call did nothing; after the others the command may or may not take effect, and
// can be submitted again, here or elsewhere, under the same client and sequence
// number.
var (
	// ErrNotLeader: this server does not lead, so it cannot commit anything.
	ErrNotLeader = errors.New("rsm: not the leader")
	// ErrLost: the leadership ended before the command was seen to commit.
	ErrLost = errors.New("rsm: leadership was lost before the command committed")
	// ErrStopped: the replica was killed, or has failed.
	ErrStopped = errors.New("rsm: replica is stopped")
	// ErrSessionExpired: the client's session has ended, so it is not known any
	// more which of its commands took effect. See [Sessions].
	ErrSessionExpired = errors.New("rsm: client session has expired")
	// ErrInvalid: the request is not one that a client makes.
	ErrInvalid = errors.New("rsm: invalid request")
	// ErrStale: the client has already gone on to a later command.
	ErrStale = errors.New("rsm: the client has submitted a later command")
	// ErrBusy: too many commands are under way here and waiting.
	ErrBusy = errors.New("rsm: too many commands are under way")
)

// Options are a Replica's settings. The zero value of each means its default.
type Options struct {
	// SnapshotBytes is the size of the applied commands, in bytes, after which a
	// snapshot is taken. 0 and -1 mean never. Only applied commands count, because a
	// snapshot removes no others from the log. The service goes on while a snapshot
	// is encoded and saved. If twice SnapshotBytes are applied meanwhile, and enough
	// for the next snapshot, applying waits.
	SnapshotBytes int
	// SnapshotGrowth postpones a snapshot until the applied commands are also as
	// large as SnapshotGrowth times the last snapshot. With 1, snapshots write at
	// most about twice the bytes that the log receives, however large the state is.
	// With 0, the default, SnapshotBytes alone decides.
	SnapshotGrowth float64
	// MaxInFlightBytes bounds the commands that were submitted here and are not
	// applied yet, in bytes; a larger command is proposed when no other is under
	// way. Further commands wait. The default is [DefaultInFlightBytes], or four
	// times SnapshotBytes if that is set and smaller, but at least 4 KiB.
	MaxInFlightBytes int
	// MaxInFlight bounds the number of those commands; default [DefaultInFlight]. As
	// many commands again may wait. Others are refused with [ErrBusy].
	MaxInFlight int
	// MaxSessions bounds the client sessions that are remembered; default
	// [DefaultMaxSessions]. It must be the same on every replica. A
	// [SessionKeeper] has a bound of its own.
	MaxSessions int
	// Logger is told of snapshots and failures; default: silent.
	Logger *slog.Logger
}

const (
	// DefaultMaxSessions is the default of Options.MaxSessions.
	DefaultMaxSessions = 1 << 16
	// DefaultInFlightBytes is the default of Options.MaxInFlightBytes.
	DefaultInFlightBytes = 16 << 20
	// DefaultInFlight is the default of Options.MaxInFlight.
	DefaultInFlight = 1 << 14

	// minInFlightBytes is the least default of Options.MaxInFlightBytes. A smaller
	// one would let few small commands share a round of replication.
	minInFlightBytes = 4 << 10
)

func (o *Options) setDefaults() error {
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxSessions < 1 {
		return fmt.Errorf("rsm: Options.MaxSessions is %d; want at least 1", o.MaxSessions)
	}
	if o.MaxInFlightBytes == 0 {
		o.MaxInFlightBytes = DefaultInFlightBytes
		if o.SnapshotBytes > 0 {
			o.MaxInFlightBytes = min(DefaultInFlightBytes, max(4*o.SnapshotBytes, minInFlightBytes))
		}
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = DefaultInFlight
	}
	switch {
	case o.MaxInFlightBytes < 1:
		return fmt.Errorf("rsm: Options.MaxInFlightBytes is %d; want at least 1", o.MaxInFlightBytes)
	case o.MaxInFlight < 1:
		return fmt.Errorf("rsm: Options.MaxInFlight is %d; want at least 1", o.MaxInFlight)
	case o.SnapshotGrowth < 0:
		return fmt.Errorf("rsm: Options.SnapshotGrowth is %v; want at least 0", o.SnapshotGrowth)
	}
	return nil
}

// Replica is one server's copy of a replicated state machine. Its methods may
// be called from any goroutine.
type Replica[C, R any] struct {
	opts Options
	log  *slog.Logger
	rf   Raft // set by Run

	stop    chan struct{}
	running sync.WaitGroup // applier, watcher and at most one encoder

	// Only the applier touches these, once it runs.
	machine    StateMachine[C, R]
	keeper     SessionKeeper[C, R] // machine, if it is one; else nil
	snapshotAt int                 // index of the last snapshot taken or restored
	encoding   bool                // a snapshot is being encoded and saved
	encoded    chan int            // capacity 1: that has ended; the snapshot's size
	demand     chan struct{}       // capacity 1: Snapshot was called
	removable  int                 // bytes of the commands after snapshotAt that were applied
	imageSize  int                 // of the last snapshot; while one is encoded: expected

	gate *admission.Gate // bounds the waiters whose requests are in the log

	mu       sync.Mutex
	killed   bool
	failure  error
	sessions *Sessions[R] // changed by the applier alone
	applied  int          // index of the last command that the state includes
	waiters  waiters[R]
}

// New makes a replica of machine and restores it from snapshot, as a Replica
// wrote it; nil: the state stays what it is.
func New[C, R any](machine StateMachine[C, R], snapshot []byte, opts Options) (*Replica[C, R], error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	r := &Replica[C, R]{
		opts:     opts,
		log:      opts.Logger,
		stop:     make(chan struct{}),
		machine:  machine,
		encoded:  make(chan int, 1),
		demand:   make(chan struct{}, 1),
		sessions: NewSessions[R](opts.MaxSessions),
		gate: admission.NewGate(admission.Limits{
			Bytes:    opts.MaxInFlightBytes,
			Requests: opts.MaxInFlight,
			Waiting:  opts.MaxInFlight,
		}),
	}
	r.waiters = newWaiters[R](r.gate)
	r.keeper, _ = machine.(SessionKeeper[C, R])
	if len(snapshot) > 0 {
		if err := r.restore(snapshot); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Run joins the replica to its Raft server, which has just been started with
// applyCh. It is called once, before Submit, and returns at once; [Replica.Kill]
// ends what it started.
func (r *Replica[C, R]) Run(rf Raft, applyCh <-chan raft.ApplyMsg) {
	r.mu.Lock()
	r.rf = rf
	killed := r.killed
	r.mu.Unlock()
	if killed {
		rf.Kill()
		return
	}
	r.running.Go(func() { r.applyAll(applyCh) })
	r.running.Go(r.watch)
}

// Kill stops the replica and its Raft server, releases every waiting Submit,
// and returns without waiting. It may be called more than once.
func (r *Replica[C, R]) Kill() {
	r.mu.Lock()
	rf, first := r.rf, !r.killed
	if first {
		r.killed = true
		close(r.stop)
		r.waiters.release(ErrStopped, func(place) bool { return true })
		r.gate.Close()
	}
	r.mu.Unlock()
	if first && rf != nil {
		rf.Kill()
	}
}

// Wait returns when the goroutines of a killed replica have ended.
func (r *Replica[C, R]) Wait() { r.running.Wait() }

// Err returns why the replica stopped by itself; nil while it runs, and after Kill.
func (r *Replica[C, R]) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// Applied returns the index of the last command that the state includes.
func (r *Replica[C, R]) Applied() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// Sessions returns how many client sessions are remembered; of a
// [SessionKeeper]'s it knows nothing.
func (r *Replica[C, R]) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions.Len()
}

// Snapshot asks for a snapshot of the state as soon as no other is under way,
// whatever SnapshotBytes says. It does not wait for it.
func (r *Replica[C, R]) Snapshot() {
	select {
	case r.demand <- struct{}{}:
	default: // asked for already
	}
}

// InFlight returns the number of the commands that were submitted here and are
// not applied yet, and their size in bytes.
func (r *Replica[C, R]) InFlight() (commands, bytes int) {
	load := r.gate.Load()
	return load.Requests, load.Bytes
}

// fail stops a replica whose state can no longer be trusted.
func (r *Replica[C, R]) fail(err error) {
	r.mu.Lock()
	if r.failure == nil && !r.killed {
		r.failure = err
		r.log.Error("replica stops", "error", err)
	}
	r.mu.Unlock()
	r.Kill()
}
