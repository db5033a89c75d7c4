package core

// Status is a picture of a server at one moment.
type Status struct {
	ID            NodeID
	State         State
	CurrentTerm   uint64
	VotedFor      NodeID
	Leader        NodeID // None: unknown
	SnapshotIndex uint64 // the log is compacted up to here
	LastIndex     uint64
	LastTerm      uint64
	CommitIndex   uint64
	LastApplied   uint64

	// ConfigurationIndex is the index of the newest configuration; 0: that of
	// Config. Joint, Voter and Learner describe that configuration and this
	// server's part in it. See Core.Configuration.
	ConfigurationIndex uint64
	Joint              bool
	Voter              bool
	Learner            bool
	// Removed: a committed configuration does not have this server any more. The
	// host may stop the server.
	Removed bool
	// Transferee is the server to which the leader transfers its leadership.
	Transferee NodeID
	// Quiescent: the server counts no ticks until something happens.
	Quiescent bool
	// Lease: the leader may answer reads at once (thesis 6.4.1).
	Lease bool
	// UncommittedBytes are those of the leader's commands that are not committed.
	UncommittedBytes int
	// PendingReads counts the reads that wait for their index.
	PendingReads int
	// CachedIndex is the index of the first entry in memory.
	CachedIndex uint64
}

// Status returns a picture of the server.
func (c *Core) Status() Status {
	cfg := c.newest()
	return Status{
		ID:                 c.id,
		State:              c.state,
		CurrentTerm:        c.currentTerm,
		VotedFor:           c.votedFor,
		Leader:             c.leader,
		SnapshotIndex:      c.log.snapshotIndex,
		LastIndex:          c.log.lastIndex(),
		LastTerm:           c.log.lastTerm(),
		CommitIndex:        c.commitIndex,
		LastApplied:        c.lastApplied,
		ConfigurationIndex: cfg.index,
		Joint:              cfg.Joint(),
		Voter:              c.isVoter(),
		Learner:            c.isLearner(c.id),
		Removed:            c.isRemoved(),
		Transferee:         c.transferee,
		Quiescent:          c.quiescent,
		Lease:              c.hasLease(),
		UncommittedBytes:   c.uncommitted.bytes,
		PendingReads:       c.reads.pending,
		CachedIndex:        c.log.first,
	}
}

// MemberStatus is the leader's picture of one member.
type MemberStatus struct {
	ID       NodeID
	Voter    bool // votes in the newest configuration
	Outgoing bool // votes in the configuration that is being left
	Learner  bool
	State    ProgressState
	// MatchIndex is the last entry known to be replicated, NextIndex the next one
	// to send, and Lag the number of entries that the member lacks.
	MatchIndex, NextIndex, Lag uint64
	// Active: the member has answered since the leader last checked, which is
	// once in an election timeout.
	Active bool
	// CaughtUp: the learner may become a voter (thesis 4.2.1).
	CaughtUp bool
	// InflightBytes are the entries that were sent and not acknowledged.
	InflightBytes int
	// SnapshotOffset is how much of a chunked snapshot the member has
	// acknowledged, and SnapshotIndex the index of that snapshot.
	SnapshotIndex, SnapshotOffset uint64
}

// Members returns the leader's picture of each member, itself included, sorted by
// id. On another server the result has only what the configuration tells.
func (c *Core) Members() []MemberStatus {
	cfg, last := c.newest(), c.log.lastIndex()
	var all []MemberStatus
	for _, id := range cfg.IDs() {
		m := MemberStatus{
			ID:       id,
			Voter:    majority(cfg.Voters).has(id),
			Outgoing: majority(cfg.Outgoing).has(id),
			Learner:  c.isLearner(id),
		}
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
