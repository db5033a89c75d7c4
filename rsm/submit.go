package rsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"raftlab/internal/admission"
)

// Submit proposes a command and returns its result once it is committed and
// applied here. client and seq identify it: a client numbers its commands from
// 1 and has one under way at a time; submitted again, on any replica, a command
// takes effect once and gets the result of that one time. client 0 has no
// session: the command takes effect each time it is submitted, which suits
// reading.
//
// The error is one of this package's, ctx's, or a [SessionKeeper]'s.
func (r *Replica[C, R]) Submit(ctx context.Context, client, seq uint64, cmd C) (R, error) {
	if client != 0 && seq == 0 {
		var none R
		return none, fmt.Errorf("%w: sequence number 0 of client %d; a client's first command is number 1", ErrInvalid, client)
	}
	return r.submit(ctx, request[C]{Client: client, Seq: seq, Command: cmd})
}

// EndSession ends the session of a client that will submit no more. Its errors are Submit's.
func (r *Replica[C, R]) EndSession(ctx context.Context, client uint64) error {
	_, err := r.submit(ctx, request[C]{Kind: endSession, Client: client})
	return err
}

func (r *Replica[C, R]) submit(ctx context.Context, req request[C]) (R, error) {
	req.ID = rand.Uint64()
	w, isNew := r.enlist(&req)
	if isNew {
		r.propose(ctx, w, req.encode())
	}
	select {
	case <-w.done: // also if ctx has ended: this outcome says more
		return w.out.result, w.out.err
	default:
	}
	select {
	case <-w.done:
		return w.out.result, w.out.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// propose puts a new waiter's request into the log when there is room for it among
// the requests under way.
func (r *Replica[C, R]) propose(ctx context.Context, w *waiter[R], data []byte) {
	if !r.gate.TryAcquire(cost(data)) {
		if err := r.awaitRoom(ctx, cost(data)); err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.waiters.settle(w, outcome[R]{err: err})
			return
		}
	}
	r.mu.Lock()
	admitted := r.waiters.admit(w, cost(data))
	r.mu.Unlock()
	if admitted {
		index, term, isLeader := r.rf.Start(data)
		r.placed(w, place{index, term}, isLeader)
	}
}

// awaitRoom waits until so many bytes may be put into the log. Only a leader has
// others wait, as it is the leader's log that the requests under way are in.
func (r *Replica[C, R]) awaitRoom(ctx context.Context, bytes int) error {
	if _, isLeader := r.rf.GetState(); !isLeader {
		return ErrNotLeader
	}
	switch err := r.gate.Acquire(ctx, bytes); {
	case err == nil:
		return nil
	case errors.Is(err, admission.ErrClosed):
		return ErrStopped
	default: // the queue is full, or ctx ended in it
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
}

// enlist enters a waiter for a request before it can be applied. It is not new
// if there is nothing to propose: the session knows the answer, or the same
// command is under way already.
func (r *Replica[C, R]) enlist(req *request[C]) (w *waiter[R], isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return settled(outcome[R]{err: ErrStopped}), false
	}
	var id identity
	if req.Kind == command && req.Client != 0 && r.keeper == nil {
		id = identity{req.Client, req.Seq}
		if result, done, _ := r.sessions.Lookup(id.client, id.seq); done {
			return settled(outcome[R]{result: result}), false
		}
		if w := r.waiters.same[id]; w != nil {
			return w, false
		}
	}
	return r.waiters.add(req.ID, id), true
}

// placed notes where a waiter's request stands in the log, and looks whether
// that place, or the leadership, has gone to another meanwhile.
func (r *Replica[C, R]) placed(w *waiter[R], at place, isLeader bool) {
	r.mu.Lock()
	if isLeader {
		r.waiters.place(w, at)
	} else {
		r.waiters.settle(w, outcome[R]{err: ErrNotLeader})
	}
	if r.applied >= at.index {
		r.waiters.settle(w, outcome[R]{err: ErrLost})
	}
	r.mu.Unlock()
	// Raft is asked after the waiter has its place: a change before this is seen
	// here, and one after it by the watcher.
	if now, leads := r.rf.GetState(); at.lost(now, leads) {
		r.mu.Lock()
		r.waiters.settle(w, outcome[R]{err: ErrLost})
		r.mu.Unlock()
	}
}

// pollInterval is how often a Raft that is no Notifier is asked for its state.
const pollInterval = 50 * time.Millisecond

// watch is the goroutine that follows the Raft server's term and leadership. It
// releases those who wait for what a past leadership was to commit, and begins
// each term of this server's own with a command.
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
		r.mu.Lock()
		r.waiters.release(ErrLost, func(at place) bool { return at.lost(term, isLeader) })
		r.mu.Unlock()
		if isLeader && term > led {
			led = term
			r.rf.Start((&request[C]{Kind: beginTerm}).encode())
		}
		select {
		case <-changed:
		case <-poll:
		case <-r.stop:
			return
		}
	}
}
