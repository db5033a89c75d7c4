package node

import (
	"context"
	"errors"
	"time"

	"raftlab/raft/core"
)

// read is a linearizable read without an index yet.
type read struct {
	done  chan struct{} // closed when index or err is set
	index uint64
	err   error
}

func (r *read) settle(index uint64, err error) {
	r.index, r.err = index, err
	close(r.done)
}

// errReadAgain says that the leadership changed during a read.
var errReadAgain = errors.New("the leadership changed")

// ReadIndex makes a read of the state machine linearizable (thesis 6.4). When
// ReadIndex returns, the state machine on this host includes every command that was
// acknowledged anywhere before the call. The result is an index that the state
// machine has reached.
//
// Any member serves reads; members that do not lead ask the leader. Reads that
// wait at the same time share one round of messages, and nothing is written to
// the log. ReadIndex waits for a leader as long as ctx allows. The error is ctx's
// cause, or matches [ErrStopped].
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	begun := time.Now()
	for {
		index, err := n.readIndex(ctx)
		switch {
		case err == nil:
			if err = n.applied.wait(ctx, index); err == nil {
				n.stats.reads.observe(time.Since(begun))
			}
			return index, err
		case !errors.Is(err, errReadAgain):
			return 0, err
		}
		pause := time.NewTimer(n.cfg.HeartbeatInterval / 4)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return 0, context.Cause(ctx)
		}
	}
}

// Barrier waits until the state machine on this host includes every command that
// was acknowledged before the call.
func (n *Node) Barrier(ctx context.Context) error {
	_, err := n.ReadIndex(ctx)
	return err
}

// readIndex asks the core once.
func (n *Node) readIndex(ctx context.Context) (uint64, error) {
	r := &read{done: make(chan struct{})}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return 0, ErrStopped
	}
	n.inbox.reads = append(n.inbox.reads, r)
	n.unlockAndRun()
	select {
	case <-r.done:
		return r.index, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// beginReads hands new reads to the core, as one read. While earlier reads wait for
// their index, new ones gather and share the next round of messages. They wait for a
// tick at most, since the earlier messages may be lost.
func (n *Node) beginReads(all []*read, ticked bool) {
	n.newReads = append(n.newReads, all...)
	if len(n.newReads) == 0 || len(n.reads) > 0 && !ticked {
		return
	}
	batch := n.newReads
	n.newReads = nil
	n.readID++
	if err := n.core.ReadIndex(n.readID); err != nil {
		settleReads(batch, 0, errReadAgain)
		return
	}
	n.reads[n.readID] = batch
}

// endReads ends the reads whose index is known.
func (n *Node) endReads() {
	for _, s := range n.core.Reads() {
		batch := n.reads[s.ID]
		delete(n.reads, s.ID)
		if s.Failed {
			settleReads(batch, 0, errReadAgain)
		} else {
			settleReads(batch, s.Index, nil)
		}
	}
}

func settleReads(reads []*read, index uint64, err error) {
	for _, r := range reads {
		r.settle(index, err)
	}
}

// await waits until the core fulfils a condition. The goroutine with the baton
// evaluates the condition each time the core has run.
func (n *Node) await(ctx context.Context, condition func(*core.Core) (bool, error)) error {
	w := &waiter{condition: condition, done: make(chan struct{})}
	if !n.call(func() { n.waiters = append(n.waiters, w) }) {
		return ErrStopped
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		n.call(func() { w.abandoned = true })
		return context.Cause(ctx)
	}
}

// waiter is a goroutine that waits for a condition.
type waiter struct {
	condition func(*core.Core) (bool, error)
	abandoned bool
	done      chan struct{} // closed when the condition holds, or err is set
	err       error
}

// notifyWaiters ends the waiting of those whose condition holds.
func (n *Node) notifyWaiters() {
	left := n.waiters[:0]
	for _, w := range n.waiters {
		if w.abandoned {
			continue
		}
		ok, err := w.condition(n.core)
		if !ok && err == nil {
			left = append(left, w)
			continue
		}
		w.err = err
		close(w.done)
	}
	clear(n.waiters[len(left):])
	n.waiters = left
}
