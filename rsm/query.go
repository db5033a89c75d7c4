package rsm

import (
	"cmp"
	"context"
	"fmt"
)

// ReadIndexer is a [Log] that confirms reads without an entry (thesis 6.4). Package
// onnode has one.
type ReadIndexer interface {
	// ReadIndex returns when the Receiver has been given every command that was
	// acknowledged on any server before the call. The error is that of ctx, or matches
	// ErrStopped.
	ReadIndex(ctx context.Context) error
}

// Query executes a command that changes nothing, and returns the result of a state
// that includes every command acknowledged on any server before the call. Query
// proposes nothing if the log is a [ReadIndexer], and then works on any server.
// Otherwise Query is [Replica.Submit] without a session.
//
// Two queries, or a query and a command, are never executed at the same time. The
// error is that of ctx, matches ErrStopped, or is one of Submit's.
func (r *Replica[C, R]) Query(ctx context.Context, cmd C) (result R, err error) {
	if _, ok := r.log.(ReadIndexer); !ok {
		return r.Submit(ctx, 0, 0, cmd)
	}
	failed := r.Read(ctx, func() {
		if r.keeper != nil {
			result, err = r.keeper.ApplyFor(0, 0, cmd)
		} else {
			result = r.machine.Apply(cmd)
		}
	})
	return result, cmp.Or(failed, err)
}

// Read calls read on a state that includes every command acknowledged on any server
// before the call, while no command is executed. read changes nothing. The error is that
// of ctx, or matches ErrStopped. If the log is no [ReadIndexer], the error is ErrInvalid.
func (r *Replica[C, R]) Read(ctx context.Context, read func()) error {
	confirms, ok := r.log.(ReadIndexer)
	if !ok {
		return fmt.Errorf("%w: the log %T has no reads without an entry", ErrInvalid, r.log)
	}
	if err := confirms.ReadIndex(ctx); err != nil {
		return err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	r.mu.Lock()
	killed := r.killed
	r.mu.Unlock()
	if killed { // perhaps before a command that ReadIndex has counted on
		return ErrStopped
	}
	read()
	return nil
}
