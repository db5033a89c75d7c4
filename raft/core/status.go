package core

// Status is a picture of a server at one moment.
type Status struct {
	ID            NodeID
	State         State
	CurrentTerm   uint64
	VotedFor      NodeID
	Leader        NodeID // None if unknown
	SnapshotIndex uint64 // the last compacted entry
	LastIndex     uint64
	LastTerm      uint64
	CommitIndex   uint64
	LastApplied   uint64 // the last entry that NextToApply has handed out

	// ConfigurationIndex and ConfigurationTerm are the place of the newest configuration, 0
	// for that of Config. Joint, Voter and Learner describe the newest configuration and
	// this server's part. See Core.Configuration.
	ConfigurationIndex, ConfigurationTerm uint64
	Joint, Voter, Learner                 bool
	// Removed reports a committed configuration without this former member. The host may
	// stop the server.
	Removed bool
	// Transferee is the server to which the leader transfers its leadership.
	Transferee NodeID
	// Quiescent reports silence. The server counts no ticks until an event.
	Quiescent bool
	// Lease reports that the leader may answer reads at once (thesis 6.4.1).
	Lease bool
	// UncommittedBytes is the size of the leader's uncommitted commands.
	UncommittedBytes int
	// PendingReads counts the reads without an index.
	PendingReads int
	// CachedIndex is the index of the first entry in memory.
	CachedIndex uint64
}

// Status returns a picture of the server.
func (c *Core) Status() Status {
	cfg := c.newest()
	return Status{
		ID: c.id, State: c.state, CurrentTerm: c.currentTerm, VotedFor: c.votedFor, Leader: c.leader,
		SnapshotIndex: c.log.snapshotIndex, LastIndex: c.log.lastIndex(), LastTerm: c.log.lastTerm(),
		CommitIndex: c.commitIndex, LastApplied: c.lastApplied,

		ConfigurationIndex: cfg.index, ConfigurationTerm: cfg.term, Joint: cfg.Joint(), Voter: c.isVoter(),
		Learner: c.isLearner(c.id), Removed: c.isRemoved(), Transferee: c.transferee, Quiescent: c.quiescent, Lease: c.hasLease(),
		UncommittedBytes: c.uncommitted.bytes, PendingReads: c.reads.pending, CachedIndex: c.log.first,
	}
}

// MemberStatus is the leader's picture of one member.
type MemberStatus struct {
	ID       NodeID
	Voter    bool // votes in the newest configuration
	Outgoing bool // votes in the replaced part of a joint configuration
	Learner  bool
	State    ProgressState
	// MatchIndex is the last entry known to be replicated, NextIndex the next entry to
	// send, and Lag the number of missing entries.
	MatchIndex, NextIndex, Lag uint64
	// Active reports an answer since the leader last checked. The leader checks once in an
	// election timeout.
	Active bool
	// CaughtUp reports that the learner may become a voter (thesis 4.2.1).
	CaughtUp bool
	// InflightBytes is the size of the unacknowledged entries on their way.
	InflightBytes int
	// SnapshotIndex is the chunked snapshot on its way, and SnapshotOffset the size of the
	// acknowledged part.
	SnapshotIndex, SnapshotOffset uint64
}

// Members returns the leader's picture of each member and of itself, sorted by id. On
// another server the result describes only the configuration.
func (c *Core) Members() []MemberStatus {
	cfg, last := c.newest(), c.log.lastIndex()
	var all []MemberStatus
	for _, id := range cfg.IDs() {
		voter, outgoing := majority(cfg.Voters).has(id), majority(cfg.Outgoing).has(id)
		m := MemberStatus{ID: id, Voter: voter, Outgoing: outgoing, Learner: c.isLearner(id)}
		if id == c.id {
			m.MatchIndex, m.NextIndex, m.Active = c.log.stableIndex, last+1, true
			m.Lag = last - m.MatchIndex
		} else if p := c.peer(id); p != nil {
			m.State, m.MatchIndex, m.NextIndex = p.state, p.matchIndex, p.nextIndex
			m.Lag, m.Active, m.InflightBytes = last-p.matchIndex, p.active, p.inflight.bytes
			m.CaughtUp = c.caughtUp(p)
			m.SnapshotIndex, m.SnapshotOffset = p.chunks.index, p.chunks.offset
		}
		all = append(all, m)
	}
	return all
}
