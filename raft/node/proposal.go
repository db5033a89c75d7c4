package node

import (
	"context"
	"sync/atomic"
	"time"
)

// proposal is a command between the call of Propose and the result.
type proposal struct {
	data  []byte
	begun time.Time // when the proposer called
	place           // in the log, zero before the command has one

	// placed: settled with the place in the log, for Append.
	placed bool
	// waits: the core does not take the command yet, and the proposer may withdraw the
	// command. See keepWaiting.
	waits atomic.Bool
	// done has capacity 1 for Propose and Append, and is closed for a Future. In a log
	// of commands only, nobody waits for Append's, and done is nil.
	done   chan struct{}
	reused bool
	result Result
	err    error
}

// newProposal returns a proposal whose done channel is used again. A member has
// a free list of its own, because the channels of a testing/synctest bubble must
// not leave the bubble.
func (n *Node) newProposal(command []byte) *proposal {
	p, ok := n.proposals.Get().(*proposal)
	if !ok {
		p = &proposal{done: make(chan struct{}, 1), reused: true}
	}
	p.data, p.begun = command, time.Now()
	return p
}

func (p *proposal) settle(result Result, err error) {
	p.result, p.err = result, err
	switch {
	case p.done == nil:
	case p.reused:
		p.done <- struct{}{}
	default:
		close(p.done)
	}
}

// recycle puts a proposal on the free list whose proposer has seen the outcome.
func (n *Node) recycle(p *proposal) {
	p.data, p.place, p.placed, p.result, p.err = nil, place{}, false, Result{}, nil
	n.proposals.Put(p)
}

// Propose appends a command to the replicated log and waits until the command
// has been applied here. The caller does not change command from then on.
//
// Propose waits while [Config.MaxPending] or [Config.MaxPendingBytes] is reached. The
// wait ends with room, with ctx, with the leadership and with the member. Propose
// never returns [ErrQueueFull]. Each error matches [ErrRefused], so that the command
// can be proposed again, or [ErrUnknown]. If ctx ends first, the error matches ctx's
// cause and one of these two.
func (n *Node) Propose(ctx context.Context, command []byte) (Result, error) {
	result, err := n.proposeAndWait(ctx, command)
	return result, n.stats.count(err)
}

func (n *Node) proposeAndWait(ctx context.Context, command []byte) (Result, error) {
	if err := n.enter(ctx, command); err != nil {
		return Result{}, err
	}
	p := n.newProposal(command)
	if err := n.enqueue(p); err != nil {
		n.room.leave(1, len(command))
		n.recycle(p)
		return Result{}, err
	}
	if done := ctx.Done(); done == nil {
		<-p.done
	} else {
		select {
		case <-p.done:
		case <-done:
			// The proposal is not reused. Others settle it later, or drop it.
			if p.waits.CompareAndSwap(true, false) {
				return Result{}, refused(context.Cause(ctx))
			}
			return Result{}, unknown(context.Cause(ctx))
		}
	}
	result, err := p.result, p.err
	n.recycle(p)
	return result, err
}

// enter waits until there is room for a command. The wait ends with ctx, with the
// leadership and with the member.
func (n *Node) enter(ctx context.Context, command []byte) error {
	for {
		s := n.standing.Load()
		if err := n.admissible(s, command); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return refused(context.Cause(ctx))
		}
		freed, err := n.room.enterOrWait(len(command))
		if freed == nil {
			return err
		}
		select {
		case <-freed:
		case <-s.changed:
		case <-ctx.Done():
		}
	}
}

// Future is the outcome to come of a command.
type Future struct{ p *proposal }

// Done is closed when the outcome is there.
func (f *Future) Done() <-chan struct{} { return f.p.done }

// Result waits for the outcome and returns it, as [Node.Propose] does.
func (f *Future) Result() (Result, error) {
	<-f.p.done
	return f.p.result, f.p.err
}

// ProposeAsync appends a command to the replicated log and returns at once. It
// is [Node.Propose] with two differences: the outcome comes in a Future, and
// ProposeAsync refuses with [ErrQueueFull] where Propose waits for room. No Future has
// this error.
func (n *Node) ProposeAsync(command []byte) (*Future, error) {
	if err := n.admissible(n.standing.Load(), command); err != nil {
		return nil, n.stats.count(err)
	}
	if err := n.room.enter(len(command)); err != nil {
		return nil, n.stats.count(err)
	}
	p := &proposal{data: command, begun: time.Now(), done: make(chan struct{})}
	if err := n.enqueue(p); err != nil {
		n.room.leave(1, len(command))
		return nil, n.stats.count(err)
	}
	return &Future{p}, nil
}

// Append appends a command to the leader's log and returns the place of the
// command, without waiting for the commit. The command has committed if the state
// machine gets a command with this index and this term. If the state machine gets
// another command at this index, or if a snapshot passes the index, the caller has
// to look for the outcome in the state. Append is for services, such as those of
// package rsm, with records of their own about pending commands.
//
// The error matches [ErrRefused], and the command has no effect. Config.MaxPending
// bounds the calls of Append at one time, and Config.MaxPendingBytes the commands
// that are not committed. Beyond them, and while commands of Propose wait for
// commits, Append refuses with [ErrQueueFull].
//
// With [Config.CommandsOnly], Append does not wait for the core either. Both bounds
// then are for the commands that are not applied. If the leadership ends at the same
// time, the command may be lost, as any command may whose leader fails.
func (n *Node) Append(command []byte) (index, term uint64, err error) {
	index, term, err = n.appendCommand(command)
	return index, term, n.stats.count(err)
}

func (n *Node) appendCommand(command []byte) (index, term uint64, err error) {
	if err := n.admissible(n.standing.Load(), command); err != nil {
		return 0, 0, err
	}
	if err := n.room.enter(len(command)); err != nil {
		return 0, 0, err
	}
	if n.cfg.CommandsOnly {
		return n.appendNext(command)
	}
	p := n.newProposal(command)
	p.placed = true
	if err := n.enqueue(p); err != nil {
		n.room.leave(1, len(command))
		n.recycle(p)
		return 0, 0, err
	}
	<-p.done
	index, term, err = p.result.Index, p.result.Term, p.err
	n.recycle(p)
	return index, term, err
}

// admissible refuses a command of a member that stands so, before the command is queued.
func (n *Node) admissible(s *standing, command []byte) error {
	if len(command) > n.cfg.MaxCommandBytes {
		return &TooLargeError{Size: len(command), Limit: n.cfg.MaxCommandBytes}
	}
	switch {
	case s.leads(n.id):
		return nil
	case s.stopped:
		return errRefusedStopped
	}
	return n.notLeader(s)
}

// enqueue hands a proposal to the core.
func (n *Node) enqueue(p *proposal) error {
	n.mu.Lock()
	if err := n.deposit(p); err != nil {
		n.mu.Unlock()
		return err
	}
	n.unlockAndRunAll()
	return nil
}

// deposit puts a proposal into the inbox. In a log of commands only, the proposal
// gets its place here, because the core appends proposals in the inbox's order and
// nothing else. n.mu is held.
func (n *Node) deposit(p *proposal) error {
	switch {
	case n.closed:
		return errRefusedStopped
	case n.cfg.CommandsOnly:
		p.place = n.next
		n.next.index++
	}
	n.inbox.proposals = append(n.inbox.proposals, p)
	return nil
}

// appendNext is Append in a log of commands only. A worker runs the core, so that
// the next commands can join this one.
func (n *Node) appendNext(command []byte) (index, term uint64, err error) {
	p := &proposal{data: command, begun: time.Now()}
	n.mu.Lock()
	if err := n.deposit(p); err != nil {
		n.mu.Unlock()
		n.room.leave(1, len(command))
		return 0, 0, err
	}
	index, term = p.index, p.term // the core may settle p from now on
	n.unlockAndSchedule()
	return index, term, nil
}

// takePending removes and returns the proposal whose entry is at index, or
// returns nil if there is none. The pending proposals are in the log's order.
func (n *Node) takePending(index uint64) *proposal {
	if n.pending.len() == 0 || (*n.pending.front()).index != index {
		return nil
	}
	return n.pending.pop()
}

// failPending ends all proposals that have a place in the log.
func (n *Node) failPending(err error) {
	for n.pending.len() > 0 {
		n.settle(n.pending.pop(), Result{}, err)
	}
}
