package node

import "io"

// StateMachine is a service's state, of which each member has a copy. The
// member calls Apply, Snapshot and Restore from one goroutine at a time.
//
// A panic of a method, or of a view's method, stops the member with a [*PanicError], not
// the process. So does a call of runtime.Goexit, for example by FailNow of a test. If
// a proposer runs Apply, runtime.Goexit ends the proposer's goroutine, and this call of
// Propose does not return. The other calls do. An
// error of Snapshot, of the view's WriteTo or of Restore stops the member, too.
type StateMachine interface {
	// Apply executes committed commands in order and sets their results. Apply
	// is deterministic: states and results follow from the commands alone.
	Apply(commands []Command)
	// Snapshot returns an immutable view of the state. Snapshot returns soon.
	// The view's WriteTo is called once, from another goroutine, while Apply
	// goes on. If the view is an io.Closer, Close is called when the view is
	// no longer needed, whether or not WriteTo was called.
	Snapshot() (io.WriterTo, error)
	// Restore replaces the state by the one that a view has written. The body is a
	// [SnapshotBody].
	Restore(body io.Reader) error
}

// SnapshotBody is the reader that Restore gets, for state machines that keep the
// place of a snapshot.
type SnapshotBody interface {
	io.Reader
	Header() SnapshotHeader
}

// Durable is a StateMachine with a disk of its own. A restarted member restores no
// snapshot that the state already includes, and applies only commands that the
// state lacks.
type Durable interface {
	StateMachine
	// Applied returns the index of the last command that the state on disk
	// includes, 0 for none. Applied is called once, before the other methods. Start
	// refuses an index beyond the end of the log, with [ErrDamaged].
	Applied() (index uint64, err error)
	// Sync makes all that was applied before the call durable. The log is dropped
	// only up to what a Sync has made durable. Sync is called from a goroutine
	// beside Apply.
	Sync() error
}

// Command is a committed command.
type Command struct {
	// Index is the command's place in the log. Places of commands ascend, with
	// gaps where Raft's own entries stand.
	Index uint64
	// Term is the term of the leader that took the command in.
	Term uint64
	// Data is what was proposed. Apply may keep Data, and does not change it.
	Data []byte
	// Result is set by Apply and handed to the proposer, if the command was
	// proposed on this host. Apply leaves Result alone from then on.
	Result []byte
}

// Result is the outcome of a command that was applied.
type Result struct {
	Index uint64 // the command's place in the log
	Term  uint64
	Data  []byte // as the state machine set it
}
