package core

import "errors"

// Errors of [Core.Step]. The message was dropped and nothing changed.
var (
	// ErrUnknownServer reports a message to another server, or from no other server.
	ErrUnknownServer = errors.New("core: message from or to an unknown server")
	// ErrMalformed reports a message of an incorrect server, for example entries with a
	// gap, or a LeaderID other than the sender.
	ErrMalformed = errors.New("core: malformed message")
	// ErrUnsafe reports a message against a safety property, for example of a second leader
	// in one term, or with another entry in the place of a committed one. Some server has
	// lost its persistent state, or is not Raft.
	ErrUnsafe = errors.New("core: message contradicts a safety property")
)

// Errors of requests to a server. Nothing changed.
var (
	// ErrNotLeader is returned by a server other than the leader.
	ErrNotLeader = errors.New("core: not the leader")
	// ErrNoLeader is returned by ReadIndex on a server without a known leader.
	ErrNoLeader = errors.New("core: no leader is known")
	// ErrTransferring is returned while the leader transfers its leadership.
	ErrTransferring = errors.New("core: leadership is being transferred")
	// ErrTooMuchUncommitted is returned by Propose at [Config.MaxUncommittedBytes].
	ErrTooMuchUncommitted = errors.New("core: too many uncommitted bytes")
	// ErrTooManyReads is returned by ReadIndex at [Config.MaxPendingReads].
	ErrTooManyReads = errors.New("core: too many pending reads")
	// ErrNoSuccessor reports a chosen successor without a vote, or a cluster without a
	// voter to take over.
	ErrNoSuccessor = errors.New("core: no voter to transfer leadership to")
)

// Errors of ProposeConfiguration, beyond ErrNotLeader and ErrTransferring.
var (
	// ErrBadConfiguration reports a configuration without voters, with a server named
	// twice, with attributes of a stranger, or beyond a limit. The text has the details.
	ErrBadConfiguration = errors.New("core: bad configuration")
	// ErrUnchanged reports a configuration already in force.
	ErrUnchanged = errors.New("core: the configuration is in force already")
	// ErrChangePending is returned until an earlier change has ended.
	ErrChangePending = errors.New("core: another configuration change is not finished")
	// ErrTermNotCommitted is returned until the leader has committed an entry of its term.
	// Before, the leader may not know the committed configuration.
	ErrTermNotCommitted = errors.New("core: the leader has not committed an entry of its term yet")
	// ErrNotCaughtUp reports a new voter other than a learner with nearly the whole log.
	// Commitment would wait for such a voter.
	ErrNotCaughtUp = errors.New("core: new voter has not caught up as a learner")
)

// Errors of compaction.
var (
	// ErrCompacted reports an index within the compacted part.
	ErrCompacted = errors.New("core: index is already compacted")
	// ErrNotApplied reports an index beyond the entries from NextToApply.
	ErrNotApplied = errors.New("core: index is not applied yet")
)
