package core

import "errors"

// Errors of [Core.Step]. The message was dropped and nothing changed.
var (
	// ErrUnknownServer is returned for a message that is addressed to another
	// server, or that names no other server as its sender.
	ErrUnknownServer = errors.New("core: message from or to an unknown server")
	// ErrMalformed is returned for a message that no correct server sends:
	// entries that are not consecutive, a request in term 0, a request whose
	// LeaderID or CandidateID is not its sender.
	ErrMalformed = errors.New("core: malformed message")
	// ErrUnsafe is returned for a message that contradicts a safety property: a
	// second leader in one term, or another entry in the place of a committed
	// one. Some server has lost its persistent state, or is not Raft.
	ErrUnsafe = errors.New("core: message contradicts a safety property")
)

// Errors of requests to a leader. Nothing changed.
var (
	// ErrNotLeader is returned by a server that is not the leader.
	ErrNotLeader = errors.New("core: not the leader")
	// ErrNoLeader is returned by ReadIndex on a server that knows no leader.
	ErrNoLeader = errors.New("core: no leader is known")
	// ErrTransferring is returned while the leader transfers its leadership.
	ErrTransferring = errors.New("core: leadership is being transferred")
	// ErrTooMuchUncommitted is returned by Propose when the commands that are
	// not committed yet have reached [Config.MaxUncommittedBytes].
	ErrTooMuchUncommitted = errors.New("core: too many uncommitted bytes")
	// ErrTooManyReads is returned by ReadIndex when [Config.MaxPendingReads]
	// reads are waiting.
	ErrTooManyReads = errors.New("core: too many pending reads")
	// ErrNoSuccessor is returned by TransferLeadership for a server that is no
	// voter, or when no voter can take over.
	ErrNoSuccessor = errors.New("core: no voter to transfer leadership to")
)

// Errors of ProposeConfiguration, beyond ErrNotLeader and ErrTransferring.
var (
	// ErrBadConfiguration is returned for a configuration without voters, with a
	// server named twice, with attributes of a server that is no member, or
	// beyond a limit. The text says what is wrong.
	ErrBadConfiguration = errors.New("core: bad configuration")
	// ErrUnchanged is returned for a configuration that is in force already.
	ErrUnchanged = errors.New("core: the configuration is in force already")
	// ErrChangePending is returned while an earlier change is not finished.
	ErrChangePending = errors.New("core: another configuration change is not finished")
	// ErrTermNotCommitted is returned before the leader has committed an entry
	// of its term, and so may not know the configuration that is committed.
	ErrTermNotCommitted = errors.New("core: the leader has not committed an entry of its term yet")
	// ErrNotCaughtUp is returned for a new voter that is not a learner with
	// nearly the whole log. Such a voter could stop the cluster from committing.
	ErrNotCaughtUp = errors.New("core: new voter has not caught up as a learner")
)

// Errors of compaction.
var (
	// ErrCompacted is returned for an index that was compacted already.
	ErrCompacted = errors.New("core: index is already compacted")
	// ErrNotApplied is returned for an index that NextToApply has not handed out.
	ErrNotApplied = errors.New("core: index is not applied yet")
)
