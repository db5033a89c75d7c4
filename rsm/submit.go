package rsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"raftlab/internal/admission"
)

// Submit proposes a command and returns the result when the command is committed
// and applied on this server. A client numbers its commands from 1 and submits the
// next one after the result of the last. A command that is submitted again, on any
// server, takes effect once, and every submission gets the result of that one time.
// Client 0 has no session: its commands take effect each time, as reads may.
//
// The error is one of this package's, of ctx, or of a [SessionKeeper].
func (r *Replica[C, R]) Submit(ctx context.Context, client, seq uint64, cmd C) (R, error) {
	if client != 0 && seq == 0 {
		var none R
		return none, fmt.Errorf("%w: sequence number 0 of client %d; a client's first command is number 1", ErrInvalid, client)
	}
	return r.submit(ctx, request[C]{Client: client, Seq: seq, Command: cmd})
}

// EndSession ends the session of a client that submits no more commands. The
// errors are those of Submit.
func (r *Replica[C, R]) EndSession(ctx context.Context, client uint64) error {
	_, err := r.submit(ctx, request[C]{Kind: endSession, Client: client})
	return err
}

func (r *Replica[C, R]) submit(ctx context.Context, req request[C]) (R, error) {
	req.ID = rand.Uint64()
	s, isNew := r.enter(&req)
	if isNew {
		r.propose(ctx, s, req.encode())
	}
	select {
	case <-s.done: // even if ctx has ended: the answer says more
		return s.answer.result, s.answer.err
	default:
	}
	select {
	case <-s.done:
		return s.answer.result, s.answer.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// enter returns the submission for a request. The submission is not new if the
// session knows the result, or if the same command is in progress already.
func (r *Replica[C, R]) enter(req *request[C]) (s *submission[R], isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return settled(answer[R]{err: ErrStopped}), false
	}
	var id commandID
	if req.Kind == command && req.Client != 0 && r.keeper == nil {
		id = commandID{req.Client, req.Seq}
		if result, done, _ := r.sessions.Lookup(id.client, id.seq); done {
			return settled(answer[R]{result: result}), false
		}
		if s := r.submissions.byCommand[id]; s != nil {
			return s, false
		}
	}
	return r.submissions.add(req.ID, id), true
}

// propose puts a new request into the log when the bounds of the commands in
// flight allow it.
func (r *Replica[C, R]) propose(ctx context.Context, s *submission[R], data []byte) {
	if !r.gate.TryAcquire(cost(data)) {
		if err := r.awaitRoom(ctx, cost(data)); err != nil {
			r.settle(s, err)
			return
		}
	}
	r.mu.Lock()
	admitted := r.submissions.admit(s, cost(data))
	r.mu.Unlock()
	if !admitted {
		return
	}
	place, err := r.log.Propose(data)
	if err != nil {
		r.settle(s, err)
		return
	}
	r.proposed(s, place)
}

func (r *Replica[C, R]) settle(s *submission[R], err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.submissions.settle(s, answer[R]{err: err})
}

// awaitRoom waits until the gate admits so many bytes. Only a leader lets requests
// wait. A follower refuses them at once, so that the client asks the leader.
func (r *Replica[C, R]) awaitRoom(ctx context.Context, bytes int) error {
	if !r.log.Leadership().Leads {
		return ErrNotLeader
	}
	switch err := r.gate.Acquire(ctx, bytes); {
	case err == nil:
		return nil
	case errors.Is(err, admission.ErrClosed):
		return ErrStopped
	default: // the queue is full, or ctx has ended in the queue
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
}

// proposed notes a submission's place in the log. The place, or the leadership,
// may have been lost in the meantime.
func (r *Replica[C, R]) proposed(s *submission[R], place Place) {
	r.mu.Lock()
	r.submissions.setPlace(s, place)
	if r.applied >= place.Index {
		r.submissions.settle(s, answer[R]{err: ErrLost})
	}
	r.mu.Unlock()
	// The leadership is read after the place is set. An earlier change is seen here,
	// and a later change by watch.
	if r.log.Leadership().over(place) {
		r.settle(s, ErrLost)
	}
}

// watch is the goroutine that follows the leadership. When a leadership ends, watch
// settles the submissions of that leadership as lost. When this server begins to
// lead, watch proposes the no-op of the term.
func (r *Replica[C, R]) watch() {
	led := uint64(0) // last term with a no-op from here
	own, ok := r.log.(OwnNoOps)
	noOps := !ok || !own.OwnNoOps()
	for {
		changed := r.log.Changed()
		now := r.log.Leadership()
		r.mu.Lock()
		r.submissions.settleAll(ErrLost, now.over)
		r.mu.Unlock()
		if noOps && now.Leads && now.Term > led {
			led = now.Term
			// After an error this server no longer leads, and a later term has its own.
			_, _ = r.log.Propose((&request[C]{Kind: noOp}).encode())
		}
		select {
		case <-changed:
		case <-r.stop:
			return
		}
	}
}
