package node

import (
	"errors"
	"fmt"
	"strings"

	"raftlab/raft/core"
)

// Every error of a proposal matches one of two errors. The caller learns from
// them whether another proposal of the command could have a second effect.
var (
	// ErrRefused is matched by the errors of commands that never entered the
	// log and never will.
	ErrRefused = errors.New("the command was refused")
	// ErrUnknown is matched by the errors of commands whose outcome is open:
	// the command may or may not take effect, now or later.
	ErrUnknown = errors.New("the outcome of the command is unknown")
)

// Causes of refusal and of unknown outcomes.
var (
	// ErrNotLeader is matched by a refusal of a member without the leadership; the
	// error is a [*NotLeaderError].
	ErrNotLeader = errors.New("this member is not the leader")
	// ErrQueueFull is matched by a refusal for want of room; see
	// [Config.MaxPending] and [Config.MaxPendingBytes].
	ErrQueueFull = errors.New("too many commands are pending")
	// ErrTooLarge is matched by the refusal of a command above
	// [Config.MaxCommandBytes]; the error is a [*TooLargeError].
	ErrTooLarge = errors.New("the command is too large")
	// ErrStopped is matched by the errors of a member that was closed or has
	// failed. [Node.Err] has the cause.
	ErrStopped = errors.New("the member is stopped")
	// ErrLeadershipLost is matched by the error of a command in the log of a
	// leader that lost the leadership. With [Config.CommandsOnly], ErrLeadershipLost
	// is also the cause of a refusal: the leadership was lost before the command came
	// to its place in the log.
	ErrLeadershipLost = errors.New("the leadership was lost before the command committed")
)

// Errors of starting.
var (
	// ErrBootstrapped is matched by the error of [Bootstrap] for a group that
	// has a state already.
	ErrBootstrapped = errors.New("the group has been bootstrapped before")
	// ErrNotBootstrapped is matched by the error of Start for a group that has
	// no state, if [Config.Members] is empty and [Config.Join] is false.
	ErrNotBootstrapped = errors.New("the group has no state; want Config.Members to begin with, or Config.Join")
	// ErrStarted is matched by the error of Start for a group that runs on the
	// host already.
	ErrStarted = errors.New("the group runs on this host already")
	// ErrConfig is matched by the error of a setting out of range. The error
	// names the field, the value and the limit.
	ErrConfig = errors.New("wrong configuration")
)

// ErrStalled is matched by the errors and events of a host whose storage does
// not answer in time. See [HostConfig.StorageTimeout]. Commands of a leader that steps
// down for this reason end with ErrUnknown, ErrLeadershipLost and ErrStalled.
var ErrStalled = errors.New("the storage does not answer")

// ErrBlocked is matched by the error of Close while a method of a state machine or
// [HostConfig.Observe] does not return.
var ErrBlocked = errors.New("the service's code does not return")

// NotLeaderError is the refusal of a member without the leadership.
type NotLeaderError struct {
	// Leader is the leader of the current term, core.None if unknown.
	Leader core.NodeID
	// Address is where the leader's transport is reached, "" if unknown.
	Address string
}

func (e *NotLeaderError) Error() string {
	if e.Leader == core.None {
		return "raft: this member is not the leader, and no leader is known"
	}
	return fmt.Sprintf("raft: this member is not the leader; member %d at %q is", e.Leader, e.Address)
}

// Is reports that the error is a refusal.
func (e *NotLeaderError) Is(target error) bool {
	return target == ErrNotLeader || target == ErrRefused
}

// TooLargeError is the refusal of a command above the limit.
type TooLargeError struct {
	Size, Limit int // in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("raft: the command has %d bytes; the limit is %d", e.Size, e.Limit)
}

// Is reports that the error is a refusal.
func (e *TooLargeError) Is(target error) bool {
	return target == ErrTooLarge || target == ErrRefused
}

// PanicError is why a member stopped whose state machine panicked.
type PanicError struct {
	Method string // of the state machine
	Value  string // the panic's value, printed
	Cause  error  // the panic's value if that is an error, else nil
	Stack  []byte
}

// Unwrap returns the cause, so that callers recognize a machine's own error.
func (e *PanicError) Unwrap() error { return e.Cause }

func (e *PanicError) Error() string {
	return fmt.Sprintf("raft: the state machine panicked in %s: %s\n%s", e.Method, e.Value, e.Stack)
}

// outcome is an error with the kind of outcome that the caller tests for.
type outcome struct {
	kind  error // ErrRefused, ErrUnknown or ErrStopped
	cause error
}

func (e *outcome) Error() string   { return fmt.Sprintf("raft: %v: %v", e.kind, bare(e.cause)) }
func (e *outcome) Unwrap() []error { return []error{e.kind, e.cause} }

// activity is an error with what the package was doing.
type activity struct {
	doing string
	cause error
}

// while returns an error that says what the package was doing.
func while(cause error, format string, args ...any) error {
	return &activity{fmt.Sprintf(format, args...), cause}
}

func (e *activity) Error() string { return fmt.Sprintf("raft: %s: %s", e.doing, bare(e.cause)) }
func (e *activity) Unwrap() error { return e.cause }

// bare returns the text of an error without the name of the package, which stands
// before the whole text.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "raft: ") }

func refused(cause error) error { return &outcome{ErrRefused, cause} }
func unknown(cause error) error { return &outcome{ErrUnknown, cause} }

// These errors are returned often, and carry nothing of their own.
var (
	errQueueFull      = refused(ErrQueueFull)
	errRefusedStopped = refused(ErrStopped)
	errUnknownStopped = unknown(ErrStopped)
	errLeadershipLost = unknown(ErrLeadershipLost)
	errPlaceLost      = refused(ErrLeadershipLost)
	errLeaderStalled  = unknown(fmt.Errorf("%w: %w", ErrLeadershipLost, ErrStalled))
)
