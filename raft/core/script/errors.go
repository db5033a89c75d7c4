package script

import "errors"

// Errors of commands.
var (
	// ErrCommand reports a command or an option that does not exist, or a command without
	// its arguments.
	ErrCommand = errors.New("no such command")
	// ErrNoCluster reports a command before the first cluster command.
	ErrNoCluster = errors.New("no cluster yet")
	// ErrArgument reports an argument of the wrong form, such as a word in the place of a
	// number, or a server that does not exist.
	ErrArgument = errors.New("wrong argument")
	// ErrLimit reports a script or an argument beyond a bound.
	ErrLimit = errors.New("beyond the limit")
	// ErrNoMessage reports that no message matches.
	ErrNoMessage = errors.New("no such message is on its way")
	// ErrDown reports a command to a server that is down.
	ErrDown = errors.New("the server is down")
	// ErrUnexpected reports an expect command that does not hold.
	ErrUnexpected = errors.New("unexpected")
	// ErrOpenBlock reports a script whose last block has no separator.
	ErrOpenBlock = errors.New("the last block has no ---- line")
	// ErrPanic reports that a core has panicked. Panics guard the invariants of the core,
	// so only a core with a bug, or a damaged disk, gets there.
	ErrPanic = errors.New("a server panics")
)
