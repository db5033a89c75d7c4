package rsm

import "context"

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
func (r *Replica[C, R]) Query(ctx context.Context, cmd C) (R, error) {
	var none R
	confirms, ok := r.log.(ReadIndexer)
	if !ok {
		return r.Submit(ctx, 0, 0, cmd)
	}
	if err := confirms.ReadIndex(ctx); err != nil {
		return none, err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	r.mu.Lock()
	killed := r.killed
	r.mu.Unlock()
	if killed { // perhaps before a command that ReadIndex has counted on
		return none, ErrStopped
	}
	if r.keeper != nil {
		return r.keeper.ApplyFor(0, 0, cmd)
	}
	return r.machine.Apply(cmd), nil
}
