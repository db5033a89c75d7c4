package rsm

import (
	"context"
	"errors"
	"io"
)

// Log is one server's part in a replicated log. Package onnode adapts a member of
// package node, and package labraft a lab's Raft. The methods may be called from any
// goroutine.
type Log interface {
	// Propose appends a command to the log if this server leads, and returns without
	// waiting for the commit. The command is committed when the entry at the place's
	// index carries the place's term. After an error, which is ErrNotLeader on a
	// follower, nothing was appended. The caller does not change command afterwards.
	Propose(command []byte) (Place, error)
	// Leadership returns the current term, and whether this server leads.
	Leadership() Leadership
	// Changed returns a channel that is closed at the latest when Leadership's result
	// next changes. The channel may be closed without a change.
	Changed() <-chan struct{}
	// Deliver passes the committed entries and the snapshots from the leader to r, in
	// the order of the log and from one goroutine. Deliver returns when stop is
	// closed, or with the first error of r. Deliver is called once.
	Deliver(r Receiver, stop <-chan struct{}) error
	// SaveSnapshot saves a snapshot in the place of the entries up to the snapshot's
	// index, and returns the size of the snapshot. SaveSnapshot may block until the
	// snapshot is durable. The error is that of Snapshot.Write, or matches ErrNoRoom if
	// the disk is full. After ErrNoRoom the log is as before, and the replica tries again
	// later. A log that otherwise cannot save a snapshot stops, and reports the cause
	// itself.
	SaveSnapshot(Snapshot) (size int, err error)
	// Stop stops this server's part in the log, and returns without waiting.
	Stop()
}

// OwnNoOps is a [Log] that may commit a no-op of its own at the beginning of each
// term. A [Replica] then proposes none.
type OwnNoOps interface{ OwnNoOps() bool }

// Receiver is the state machine's side of [Log.Deliver].
type Receiver interface {
	// Apply applies the committed command at index. Indexes rise and may have gaps,
	// because a log may have entries of its own.
	Apply(index uint64, command []byte) error
	// Install replaces the state by a snapshot from the leader.
	Install(snapshot []byte) error
}

// ErrNoRoom is matched by the error of a [Log] without room for a snapshot.
var ErrNoRoom = errors.New("rsm: no room for the snapshot")

// Snapshot is a state that a [Log] saves.
type Snapshot struct {
	Index uint64 // of the last command that the state includes
	// Expected is the likely size in bytes, or more.
	Expected int
	// Write writes the snapshot. Write is called at most once.
	Write func(io.Writer) error
}

// Place is the position of an entry in the log, and the term of the leader that
// appended the entry.
type Place struct{ Index, Term uint64 }

// Leadership is a server's view of its term and role.
type Leadership struct {
	Term  uint64
	Leads bool
}

// over reports whether the leadership that gave out a place has ended. The zero
// Place is not in the log yet, so no leadership gave it out.
func (l Leadership) over(p Place) bool {
	return p.Term != 0 && (p.Term < l.Term || p.Term == l.Term && !l.Leads)
}

// AwaitLeadership waits until the leadership of a log is as wanted, or ctx ends.
// It returns the leadership that wanted accepted, or else the error of ctx. If ctx has
// ended before the call, AwaitLeadership returns the error of ctx in any case.
func AwaitLeadership(ctx context.Context, log interface {
	Leadership() Leadership
	Changed() <-chan struct{}
}, wanted func(Leadership) bool) (Leadership, error) {
	for {
		// A killed Raft may claim to lead for ever, so an ended ctx comes first.
		if err := ctx.Err(); err != nil {
			return Leadership{}, err
		}
		changed := log.Changed() // before Leadership, so that no change is missed
		if now := log.Leadership(); wanted(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Leadership{}, ctx.Err()
		}
	}
}
