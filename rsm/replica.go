package rsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/raft"
)

// StateMachine is a service's state. C is its command and R its result; both
// are encoded with msgpack, so their exported fields are what counts. A Replica
// calls the methods from one goroutine at a time.
type StateMachine[C, R any] interface {
	// Apply executes a command. It is deterministic: the result and the new
	// state follow from the state and the command alone.
	Apply(command C) R
	// Snapshot returns a function that encodes the state as of now. It returns
	// quickly; the function it returns is called once, from another goroutine,
	// while Apply goes on.
	Snapshot() func() ([]byte, error)
	// Restore replaces the state by an encoded one. nil is the initial state.
	Restore(snapshot []byte) error
}

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

// pollInterval is how often a Raft that is no Notifier is asked for its state.
const pollInterval = 50 * time.Millisecond

// Errors of Submit. After ErrNotLeader and ErrSessionExpired nothing was done;
// after the others the command may or may not take effect, and can be submitted
// again, here or elsewhere, under the same client and sequence number.
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
)

// Options are a Replica's settings. The zero value of each means its default.
type Options struct {
	// MaxRaftState is the size of Raft's state, in bytes, from which on a
	// snapshot is taken. 0 and -1 mean never.
	MaxRaftState int
	// StateSize returns that size; required if MaxRaftState is positive.
	StateSize func() int
	// MaxSessions bounds the client sessions that are remembered; default
	// [DefaultMaxSessions]. It must be the same on every replica.
	MaxSessions int
	// Logger is told of snapshots and failures; default: silent.
	Logger *slog.Logger
}

// DefaultMaxSessions is how many client sessions are remembered by default.
const DefaultMaxSessions = 1 << 16

// Replica is one server's copy of a replicated state machine. Its methods may
// be called from any goroutine.
type Replica[C, R any] struct {
	opts Options
	log  *slog.Logger
	rf   Raft

	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup // applier, watcher and at most one encoder

	// Only the applier touches these.
	machine    StateMachine[C, R]
	snapshotAt int // index of the last snapshot taken or restored

	mu       sync.Mutex
	sessions *Sessions[R]
	applied  int                   // index of the last command that the state includes
	waiting  map[uint64]*waiter[R] // by request id
	placedAt map[int]*waiter[R]    // by index in the log
	encoding bool
	failure  error
}

// waiter is a Submit that waits for its request to be applied.
type waiter[R any] struct {
	done  chan outcome[R] // capacity 1
	index int             // where the request is in the log; 0: not known yet
	term  int
}

type outcome[R any] struct {
	result R
	err    error
}

// New makes a replica of machine and restores it from snapshot, as a Replica
// wrote it; nil is the initial state.
func New[C, R any](machine StateMachine[C, R], snapshot []byte, opts Options) (*Replica[C, R], error) {
	if opts.MaxSessions == 0 {
		opts.MaxSessions = DefaultMaxSessions
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxSessions < 1 {
		return nil, fmt.Errorf("rsm: Options.MaxSessions is %d; want at least 1", opts.MaxSessions)
	}
	if opts.MaxRaftState > 0 && opts.StateSize == nil {
		return nil, fmt.Errorf("rsm: Options.MaxRaftState is %d, but Options.StateSize is nil", opts.MaxRaftState)
	}
	r := &Replica[C, R]{
		opts:     opts,
		log:      opts.Logger,
		stop:     make(chan struct{}),
		machine:  machine,
		sessions: NewSessions[R](opts.MaxSessions),
		waiting:  make(map[uint64]*waiter[R]),
		placedAt: make(map[int]*waiter[R]),
	}
	if len(snapshot) > 0 {
		if err := r.restore(snapshot); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Run joins the replica to its Raft server, which has just been started with
// applyCh. It returns at once; [Replica.Kill] ends what it started.
func (r *Replica[C, R]) Run(rf Raft, applyCh <-chan raft.ApplyMsg) {
	r.rf = rf
	r.running.Go(func() { r.applyAll(applyCh) })
	r.running.Go(r.watch)
}

// Kill stops the replica and its Raft server, releases every waiting Submit,
// and returns without waiting. It may be called more than once.
func (r *Replica[C, R]) Kill() {
	r.stopOnce.Do(func() {
		close(r.stop)
		if r.rf != nil {
			r.rf.Kill()
		}
		r.release(ErrStopped, func(*waiter[R]) bool { return true })
	})
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

// Sessions returns how many client sessions are remembered.
func (r *Replica[C, R]) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions.Len()
}

func (r *Replica[C, R]) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// fail stops a replica whose state can no longer be trusted.
func (r *Replica[C, R]) fail(err error) {
	r.mu.Lock()
	r.failure = err
	r.mu.Unlock()
	r.log.Error("replica stops", "error", err)
	r.Kill()
}

// Submit proposes a command and returns its result once it is committed and
// applied here. client and seq identify it: a client numbers its commands from
// 1 and has one under way at a time; submitted again, on any replica, a command
// takes effect once and gets the result of that one time. client 0 has no
// session: the command takes effect each time it is submitted, which suits
// reading.
func (r *Replica[C, R]) Submit(ctx context.Context, client, seq uint64, command C) (R, error) {
	if client != 0 && seq == 0 {
		var none R
		return none, fmt.Errorf("%w: sequence number 0 of client %d; a client's first command is number 1", ErrInvalid, client)
	}
	return r.submit(ctx, Request[C]{Client: client, Seq: seq, Command: command})
}

// EndSession forgets a client that will submit no more.
func (r *Replica[C, R]) EndSession(ctx context.Context, client uint64) error {
	_, err := r.submit(ctx, Request[C]{Kind: endSession, Client: client})
	return err
}

func (r *Replica[C, R]) submit(ctx context.Context, req Request[C]) (R, error) {
	w := &waiter[R]{done: make(chan outcome[R], 1)}
	req.ID = rand.Uint64()
	if out, ready := r.enlist(req, w); ready {
		return out.result, out.err
	}
	defer r.forget(req.ID, w)
	index, term, isLeader := r.rf.Start(encodeRequest(req))
	if !isLeader {
		var none R
		return none, ErrNotLeader
	}
	r.placed(w, index, term)
	select {
	case out := <-w.done:
		return out.result, out.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// enlist enters a waiter before its request can be applied, unless there is
// nothing to wait for: the session already knows the answer.
func (r *Replica[C, R]) enlist(req Request[C], w *waiter[R]) (outcome[R], bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped() {
		return outcome[R]{err: ErrStopped}, true
	}
	if req.Kind == command && req.Client != 0 {
		if result, verdict := r.sessions.Lookup(req.Client, req.Seq); verdict == Duplicate {
			return outcome[R]{result: result}, true
		}
	}
	r.waiting[req.ID] = w
	return outcome[R]{}, false
}

// placed notes where a waiter's request stands in the log, and looks whether
// that place was already taken by another.
func (r *Replica[C, R]) placed(w *waiter[R], index, term int) {
	r.mu.Lock()
	w.index, w.term = index, term
	r.placedAt[index] = w
	if r.applied >= index {
		w.finish(outcome[R]{err: ErrLost}) // unless it has its outcome already
	}
	r.mu.Unlock()
	if now, isLeader := r.rf.GetState(); !isLeader || now != term {
		r.release(ErrLost, func(other *waiter[R]) bool { return other == w })
	}
}

// finish gives a waiter its outcome; the first one counts.
func (w *waiter[R]) finish(out outcome[R]) {
	select {
	case w.done <- out:
	default:
	}
}

func (r *Replica[C, R]) forget(id uint64, w *waiter[R]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, id)
	if r.placedAt[w.index] == w {
		delete(r.placedAt, w.index)
	}
}

// release gives up on the waiters for which lost is true.
func (r *Replica[C, R]) release(err error, lost func(*waiter[R]) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting {
		if lost(w) {
			w.finish(outcome[R]{err: err})
		}
	}
}

// watch follows the Raft server's term and leadership.
func (r *Replica[C, R]) watch() {
	notifier, notifies := r.rf.(Notifier)
	var poll <-chan time.Time
	if !notifies {
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		poll = ticker.C
	}
	led := 0 // the last term that was begun here
	for {
		var changed <-chan struct{}
		if notifies {
			changed = notifier.Changed()
		}
		term, isLeader := r.rf.GetState()
		r.release(ErrLost, func(w *waiter[R]) bool { return w.index != 0 && (!isLeader || w.term != term) })
		if isLeader && term > led {
			led = term
			r.rf.Start(encodeRequest(Request[C]{Kind: beginTerm}))
		}
		select {
		case <-changed:
		case <-poll:
		case <-r.stop:
			return
		}
	}
}
