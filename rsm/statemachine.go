package rsm

import "io"

// StateMachine is a service's state, with commands of type C and results of type
// R. Both are encoded with msgpack as arrays of their exported fields. So a field
// may be added at the end, and no field may be removed. A Replica never calls two
// methods at the same time.
type StateMachine[C, R any] interface {
	// Apply executes a command. Apply is deterministic: the result and the new state
	// follow from the state and the command alone.
	Apply(command C) R
	// Snapshot returns a function that writes the current state. Snapshot returns
	// quickly. The function is called once, from another goroutine, while Apply goes
	// on.
	Snapshot() func(io.Writer) error
	// Restore replaces the state by a written state. Restore neither keeps nor
	// changes the bytes. After an error the state is unchanged.
	Restore(snapshot []byte) error
}

// SessionKeeper is a StateMachine with client sessions as a part of its state. A
// service needs one if parts of its state, with their sessions, move to another
// replicated state machine. The Replica then keeps no sessions and calls ApplyFor
// instead of Apply. [Sessions] helps to build one.
type SessionKeeper[C, R any] interface {
	StateMachine[C, R]
	// ApplyFor executes command number seq of client, unless the command has taken
	// effect before, and returns the result. Client 0 has no session. Submit returns
	// the error, which like the result follows from the state and the arguments
	// alone.
	ApplyFor(client, seq uint64, command C) (R, error)
	// EndSession ends a client's session.
	EndSession(client uint64)
}
