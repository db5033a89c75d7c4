package rsm

import (
	"io"
)

// StateMachine is a service's state. C is its command and R its result; both
// are encoded with msgpack as the arrays of their exported fields, so a field
// may be added at the end and none removed. A Replica calls the methods from one
// goroutine at a time.
type StateMachine[C, R any] interface {
	// Apply executes a command. It is deterministic: the result and the new
	// state follow from the state and the command alone.
	Apply(command C) R
	// Snapshot returns a function that writes the state as of now. It returns
	// quickly; the function it returns is called once, from another goroutine,
	// while Apply goes on.
	Snapshot() func(io.Writer) error
	// Restore replaces the state by a written one. It does not keep or change
	// the bytes; after an error the state is as it was.
	Restore(snapshot []byte) error
}

// SessionKeeper is a StateMachine that keeps its clients' sessions itself, as a
// part of its state: one that hands parts of its state to another, each with
// the sessions that belong to it. The Replica keeps none then, and calls
// ApplyFor in the place of Apply. [Sessions] is there to build it with.
type SessionKeeper[C, R any] interface {
	StateMachine[C, R]
	// ApplyFor executes the command seq of client if it has not taken effect
	// yet, and returns its result; client 0 has no session. An error is what
	// Submit returns; like the result, it follows from the state and the
	// arguments alone.
	ApplyFor(client, seq uint64, command C) (R, error)
	// EndSession ends a client's session.
	EndSession(client uint64)
}
