package core

import (
	"fmt"
	"slices"
)

// Core is one Raft server. Its methods are called from one goroutine at a time.
type Core struct {
	cfg Config
	id  NodeID

	// Persistent state on all servers (Figure 2). The next Ready has the unsaved part.
	currentTerm uint64
	votedFor    NodeID
	log         *raftLog
	savedState  HardState // as last handed out to be saved

	// Volatile state on all servers (Figure 2).
	commitIndex uint64
	lastApplied uint64 // handed out by NextToApply

	state  State
	leader NodeID // of currentTerm, None if unknown

	// Membership: the log's configurations, oldest first, and the voters of the newest (§6).
	configs     []indexedConfiguration
	electorate  electorate
	members     []NodeID // all of the newest configuration but this server, sorted
	removedAt   uint64   // index of the configuration that this server was told it is no member of
	wasMember   bool     // a committed configuration had this server
	heardCommit uint64   // highest leaderCommit that was received

	// Time, in ticks.
	now              uint64 // since the start, without quiescent time
	electionElapsed  int    // since the timer was reset; a leader's, since it checked for a quorum
	electionTimeout  int
	heartbeatElapsed int
	sinceLeader      int    // since a leader was heard, or the start
	busy             uint64 // leader: tick of the last request
	quiescent        bool   // silent until something happens

	votes    map[NodeID]bool // candidates: the answers so far
	transfer bool            // candidate: the leader asked for the election
	progress []*progress     // leader: of each other member, and of removed ones

	uncommitted     uncommitted // leader
	transferee      NodeID      // leader: the chosen successor, None if there is none
	transferElapsed int
	leaseBroken     bool // leader: a successor may have been told to call an election
	reads
	loads []Load

	// restoring is the leader's snapshot until the service applies it.
	restoring      *Snapshot
	restoringSaved bool
	incoming       *incomingSnapshot // the received part of a chunked snapshot
	chunks         []SnapshotChunk   // for the next Ready

	messages  []Message // for the next Ready
	afterSave []Message
}

// New makes the server that cfg describes, a follower, from its saved state.
func New(cfg Config, saved Persistent) (*Core, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	log, err := newLog(saved, cfg.MaxCachedBytes)
	if err != nil {
		return nil, err
	}
	if term := saved.HardState.CurrentTerm; log.lastTerm() > term {
		return nil, fmt.Errorf("core: the stored log ends in term %d, after the stored currentTerm %d", log.lastTerm(), term)
	}
	c := &Core{
		cfg: cfg, id: cfg.ID, log: log, savedState: saved.HardState,
		currentTerm: saved.HardState.CurrentTerm,
		votedFor:    saved.HardState.VotedFor,
		commitIndex: saved.Snapshot.LastIncludedIndex,
		lastApplied: saved.Snapshot.LastIncludedIndex,
	}
	if applied := cfg.Applied; applied > c.lastApplied {
		if applied > log.lastIndex() {
			return nil, fmt.Errorf("core: Config.Applied is %d; the stored log ends at %d", applied, log.lastIndex())
		}
		c.commitIndex, c.lastApplied = applied, applied
	}
	if err := c.loadConfigurations(saved); err != nil {
		return nil, err
	}
	if cfg.LeaseTicks == 0 || saved.HardState == (HardState{}) {
		c.sinceLeader = cfg.ElectionTicks // nobody holds a lease on a server that has never run
	}
	c.resetElectionTimer()
	return c, nil
}

// Elapse records ticks that the host could not give, for example during a pause of the
// process. A lease runs out by these ticks. The timers do not count them, because the pause
// says nothing about the other servers.
func (c *Core) Elapse(ticks uint64) { c.now += ticks }

// Step handles a message. Every RequestVote, AppendEntries and InstallSnapshot is answered
// by exactly one reply, in a Ready to come. An error (ErrUnknownServer, ErrMalformed,
// ErrUnsafe) means that the message was dropped and nothing changed.
//
// The sender need not be a member of this server's configuration. A server with a short log
// follows leaders and votes for candidates from newer configurations (thesis 4.1).
func (c *Core) Step(m Message) error {
	if m.To != c.id || m.From == c.id || m.From == None {
		return fmt.Errorf("%w: %d to %d at server %d", ErrUnknownServer, m.From, m.To, c.id)
	}
	if m.Body == nil || m.Body.term() >= maxNumber {
		return fmt.Errorf("%w: %v; terms end at %d", ErrMalformed, m, uint64(maxNumber))
	}
	if err := c.check(m); err != nil {
		return err
	}
	if c.quiescent {
		c.stepQuiescent(m)
	}
	switch b := m.Body.(type) {
	case *RequestVote:
		c.reply(m, c.handleRequestVote(b))
	case *RequestVoteReply:
		c.handleRequestVoteReply(m.From, b)
	case *AppendEntries:
		c.reply(m, c.handleAppendEntries(b))
	case *AppendEntriesReply:
		c.handleAppendEntriesReply(m.From, b)
	case *InstallSnapshot:
		c.handleInstallSnapshot(m, b)
	case *InstallSnapshotReply:
		c.handleInstallSnapshotReply(m.From, b)
	case *TimeoutNow:
		c.handleTimeoutNow(b)
	case *ReadIndex:
		c.handleReadIndex(m.From, b)
	case *ReadIndexReply:
		c.handleReadIndexReply(m.From, b)
	case *Quiesce:
		c.reply(m, c.handleQuiesce(b))
	case *QuiesceReply:
		c.handleQuiesceReply(m.From, b)
	}
	return nil
}

// check refuses messages of incorrect servers.
func (c *Core) check(m Message) error {
	switch b := m.Body.(type) {
	case *RequestVote:
		return checkVote(m.From, b)
	case *AppendEntries:
		return c.checkAppend(m.From, b)
	case *InstallSnapshot:
		return c.checkSnapshot(m.From, b)
	case *TimeoutNow:
		return c.checkLeader(m.From, b.Term, b.LeaderID)
	case *Quiesce:
		return c.checkLeader(m.From, b.Term, b.LeaderID)
	case *RequestVoteReply:
		return checkIndex(m, b.RemovedAt)
	case *ReadIndexReply:
		return checkIndex(m, b.Index)
	}
	return nil
}

// checkIndex refuses an index beyond any log.
func checkIndex(m Message, index uint64) error {
	if index >= maxNumber {
		return fmt.Errorf("%w: %v with index %d; indexes end at %d", ErrMalformed, m, index, uint64(maxNumber))
	}
	return nil
}

// Tick lets one unit of time pass.
func (c *Core) Tick() {
	if c.quiescent {
		return
	}
	c.now++
	c.electionElapsed++
	c.heartbeatElapsed++
	c.sinceLeader++
	switch c.state {
	case Leader:
		c.tickLeader()
	case Candidate, PreCandidate:
		if c.heartbeatElapsed >= c.cfg.HeartbeatTicks {
			c.heartbeatElapsed = 0
			c.requestVotes()
		}
	case Follower:
		c.expireReads()
	}
	if c.state != Leader && c.electionElapsed >= c.electionTimeout {
		c.preCampaign()
	}
}

// QuietTicks returns how many of the next ticks only move timers, as long as there is no
// other input. The host may hand them in late, before that input or the tick behind them.
func (c *Core) QuietTicks() int {
	if c.state == Follower && len(c.forwarded) == 0 {
		return max(c.electionTimeout-c.electionElapsed-1, 0)
	}
	if c.state != Leader || c.transferee != None || slices.ContainsFunc(c.progress, c.owesCommit) {
		return 0
	}
	return max(min(c.cfg.HeartbeatTicks-c.heartbeatElapsed, c.cfg.ElectionTicks-c.electionElapsed)-1, 0)
}

// Propose appends a command to the leader's log (§5.3) and returns its index and term. The
// command has committed when an entry of that term is applied at that index. If the entry
// there has another term, the command was lost.
//
// Propose returns ErrNotLeader, ErrTransferring or ErrTooMuchUncommitted.
func (c *Core) Propose(data []byte) (index, term uint64, err error) {
	switch {
	case c.state != Leader:
		return 0, 0, ErrNotLeader
	case c.transferee != None:
		return 0, 0, ErrTransferring
	case c.uncommitted.refuses(len(data), c.cfg.MaxUncommittedBytes):
		return 0, 0, ErrTooMuchUncommitted
	}
	c.Wake()
	return c.appendOwn(Command, data), c.currentTerm, nil
}

// Unreachable reports that a request to the server id, or the reply, was lost. The leader
// then repeats the request sooner.
func (c *Core) Unreachable(id NodeID) {
	if p := c.peer(id); p != nil && c.state == Leader {
		p.lost()
	}
}

// Ready is work for the host. The package documentation gives the order.
type Ready struct {
	// HardState is to be saved. nil means no change.
	HardState *HardState
	// Snapshot came from the leader, is to be saved, and replaces the whole log. nil means
	// none.
	Snapshot *Snapshot
	// Chunks are pieces of a snapshot, to be written down.
	Chunks []SnapshotChunk
	// Entries are to be saved, in place of the stored entries from the first index on.
	Entries []Entry
	// Messages may leave at once.
	Messages []Message
	// AfterSave leave when HardState, Snapshot, Chunks and Entries are saved.
	AfterSave []Message
}

// Empty reports whether there is nothing to do.
func (rd Ready) Empty() bool { return !rd.NeedsSave() && len(rd.Messages)+len(rd.AfterSave) == 0 }

// NeedsSave reports whether there is anything to put on disk.
func (rd Ready) NeedsSave() bool {
	return rd.HardState != nil || rd.Snapshot != nil || len(rd.Entries) > 0 || len(rd.Chunks) > 0
}

// Ready returns the work since the last call. Saved follows before the next Ready.
func (c *Core) Ready() Ready {
	rd := Ready{Messages: c.Outgoing(), Entries: c.log.unstable(), Chunks: c.chunks, AfterSave: c.afterSave}
	if (HardState{c.currentTerm, c.votedFor}) != c.savedState {
		rd.HardState = &HardState{c.currentTerm, c.votedFor} // allocated only here
		c.savedState = *rd.HardState
	}
	if c.restoring != nil && !c.restoringSaved {
		rd.Snapshot = c.restoring
	}
	c.afterSave, c.chunks = nil, nil
	return rd
}

// Outgoing returns the Messages of a Ready and leaves the rest for the next Ready. While
// the disk is busy with the last Ready, the host calls Outgoing, so that replication and
// heartbeats go on (thesis 10.2.1).
func (c *Core) Outgoing() []Message {
	c.startReads()
	if c.state == Leader {
		c.sendEntries()
		c.sendRound()
	}
	out := c.messages
	c.messages = nil
	return out
}

// Saved reports that the host has saved all of rd. A save may commit entries, and makes the
// only voter of a cluster the leader. The host therefore looks for a new Ready and for
// entries to apply.
func (c *Core) Saved(rd Ready) {
	if rd.Snapshot != nil && rd.Snapshot == c.restoring {
		c.restoringSaved = true
	}
	if hs := rd.HardState; hs != nil && hs.CurrentTerm == c.currentTerm {
		c.voteSaved()
	}
	if n := len(rd.Entries); n > 0 {
		c.log.savedTo(rd.Entries[n-1].Index, rd.Entries[n-1].Term)
		c.maybeCommit()
	}
	if n := len(rd.Chunks); n > 0 {
		c.chunkSaved(rd.Chunks[n-1])
	}
}

// NextToApply hands out the next snapshot to replace the service's state, or the next
// committed entries in order (about maxBytes, at least one), or neither. All of them are on
// this server's own disk. The core counts them as applied from then on. With
// [Config.MaxCachedBytes], the next entries may be in storage only. LoadToApply then has
// their range.
func (c *Core) NextToApply(maxBytes int) (*Snapshot, []Entry) {
	if !c.HasToApply() {
		return nil, nil
	}
	if snap := c.restoring; snap != nil {
		c.restoring, c.restoringSaved = nil, false
		c.lastApplied = snap.LastIncludedIndex
		return snap, nil
	}
	if c.lastApplied+1 < c.log.first {
		return nil, nil
	}
	entries := c.log.slice(c.lastApplied+1, min(c.commitIndex, c.log.stableIndex), maxBytes)
	c.lastApplied += uint64(len(entries))
	c.log.evict()
	return nil, entries
}

// HasToApply reports whether NextToApply or LoadToApply would hand anything out.
func (c *Core) HasToApply() bool {
	if c.restoring != nil {
		return c.restoringSaved
	}
	return c.lastApplied < min(c.commitIndex, c.log.stableIndex)
}

// Compact drops the log up to index. The host has saved a snapshot of the service's state
// at that index or behind (§7).
func (c *Core) Compact(index uint64) error {
	if _, err := c.SnapshotTerm(index); err != nil {
		return err
	}
	c.log.compact(index)
	c.dropConfigurations(index)
	return nil
}

// SnapshotTerm returns the term of the entry at index, for a snapshot that ends there. The
// errors are those of Compact.
func (c *Core) SnapshotTerm(index uint64) (uint64, error) {
	if index <= c.log.snapshotIndex {
		return 0, fmt.Errorf("%w: %d; the snapshot ends at %d", ErrCompacted, index, c.log.snapshotIndex)
	}
	if index > c.lastApplied {
		return 0, fmt.Errorf("%w: %d; applied up to %d", ErrNotApplied, index, c.lastApplied)
	}
	term, _ := c.log.term(index)
	return term, nil
}

// SnapshotHeader returns the header of a snapshot at index, with the term and the
// configuration in force. The errors are those of Compact.
func (c *Core) SnapshotHeader(index uint64) (Snapshot, error) {
	term, err := c.SnapshotTerm(index)
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{index, term, c.configurationAt(index).Clone(), nil}, nil
}

// Entries returns the entries in memory. Without [Config.MaxCachedBytes] the whole log
// behind the compacted part is in memory. The caller must not change them.
func (c *Core) Entries() []Entry { return slices.Clip(c.log.entries) }

// send queues a message that may leave at once.
func (c *Core) send(to NodeID, b Body) {
	c.messages = append(c.messages, Message{From: c.id, To: to, Body: b})
}

// reply queues the answer to m. The answer may depend on unsaved state.
func (c *Core) reply(m Message, b Body) {
	c.afterSave = append(c.afterSave, Message{From: c.id, To: m.From, Call: m.Call, Body: b})
}

// commitTo moves commitIndex forward, never back (Figure 2).
func (c *Core) commitTo(index uint64) {
	if index <= c.commitIndex {
		return
	}
	if index > c.log.lastIndex() {
		panic(fmt.Sprintf("core: server %d: commitIndex %d would pass the log's end at %d", c.id, index, c.log.lastIndex()))
	}
	c.commitIndex = index
	c.log.settle(index)
	c.noteMembership()
}

// peer returns the leader's progress of a server, nil if there is none.
func (c *Core) peer(id NodeID) *progress {
	for _, p := range c.progress {
		if p.id == id {
			return p
		}
	}
	return nil
}
