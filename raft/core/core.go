package core

import (
	"errors"
	"fmt"
	"slices"
)

// Config is what a server is told before it starts. Times are in ticks, whose
// length is the host's choice.
type Config struct {
	// ID is this server; it must be among Voters.
	ID NodeID
	// Voters are all servers of the cluster, at least one, each once.
	Voters []NodeID
	// ElectionTicks is the minimum election timeout. Each timeout is drawn from
	// [ElectionTicks, 2*ElectionTicks) (§5.2). At least 2, and more than HeartbeatTicks.
	ElectionTicks int
	// HeartbeatTicks is how often a leader with nothing to say speaks. At least 1.
	HeartbeatTicks int
	// MaxRequestBytes bounds the entries of one AppendEntries; a larger entry
	// goes alone. 0 means 1 MiB.
	MaxRequestBytes int
	// MaxInflight bounds the AppendEntries with entries that are on their way
	// to one follower. 0 means 64.
	MaxInflight int
	// MaxInflightBytes bounds their entries' size: once it is reached, the next
	// one waits for an answer. 0 means 4 MiB.
	MaxInflightBytes int
	// LeaderNoOp makes a new leader begin its term with an empty entry, so that
	// what its predecessors left is committed without waiting for a command (§8).
	LeaderNoOp bool
	// Rand draws election timeouts. The same draws and the same inputs make
	// the same run.
	Rand Rand
}

// Rand is a source of random numbers; *rand.Rand of math/rand/v2 is one.
type Rand interface {
	// IntN returns a number from [0, n), n > 0.
	IntN(n int) int
}

func (cfg *Config) setDefaults() {
	if cfg.MaxRequestBytes == 0 {
		cfg.MaxRequestBytes = 1 << 20
	}
	if cfg.MaxInflight == 0 {
		cfg.MaxInflight = 64
	}
	if cfg.MaxInflightBytes == 0 {
		cfg.MaxInflightBytes = 4 << 20
	}
}

func (cfg *Config) validate() error {
	sorted := slices.Sorted(slices.Values(cfg.Voters))
	switch {
	case cfg.ID == None:
		return errors.New("core: Config.ID is 0, which means no server")
	case slices.Contains(cfg.Voters, None):
		return errors.New("core: Config.Voters holds 0, which means no server")
	case len(slices.Compact(sorted)) != len(cfg.Voters):
		return fmt.Errorf("core: Config.Voters %v names a server twice", cfg.Voters)
	case !slices.Contains(cfg.Voters, cfg.ID):
		return fmt.Errorf("core: Config.ID %d is not among Config.Voters %v", cfg.ID, cfg.Voters)
	case cfg.HeartbeatTicks < 1:
		return fmt.Errorf("core: Config.HeartbeatTicks is %d; want at least 1", cfg.HeartbeatTicks)
	case cfg.ElectionTicks < 2 || cfg.ElectionTicks <= cfg.HeartbeatTicks:
		return fmt.Errorf("core: Config.ElectionTicks is %d; want at least 2 and more than HeartbeatTicks (%d)",
			cfg.ElectionTicks, cfg.HeartbeatTicks)
	case cfg.MaxRequestBytes < 1 || cfg.MaxInflight < 1 || cfg.MaxInflightBytes < 1:
		return fmt.Errorf("core: Config.MaxRequestBytes %d, MaxInflight %d and MaxInflightBytes %d must be positive",
			cfg.MaxRequestBytes, cfg.MaxInflight, cfg.MaxInflightBytes)
	case cfg.Rand == nil:
		return errors.New("core: Config.Rand is nil")
	}
	return nil
}

// Errors of the core's methods.
var (
	// ErrNotLeader is returned by Propose on a server that is not the leader.
	ErrNotLeader = errors.New("core: not the leader")
	// ErrUnknownServer is returned by Step for a message that is not from
	// another voter to this server.
	ErrUnknownServer = errors.New("core: message from or to an unknown server")
	// ErrMalformed is returned by Step for a message that no correct server
	// sends: entries that are not consecutive, say, a request in term 0, or one
	// whose LeaderID or CandidateID is not its sender. Nothing is changed by it.
	ErrMalformed = errors.New("core: malformed message")
	// ErrUnsafe is returned by Step for a message that contradicts a safety
	// property: a second leader in one term, or another entry in the place of a
	// committed one. Some server has lost its persistent state, or is not Raft.
	// Nothing is changed by it.
	ErrUnsafe = errors.New("core: message contradicts a safety property")
	// ErrCompacted is returned by Compact for an index that a snapshot already
	// stands for.
	ErrCompacted = errors.New("core: index is already compacted")
	// ErrNotApplied is returned by Compact for an index that was not handed
	// out by NextToApply yet.
	ErrNotApplied = errors.New("core: index is not applied yet")
)

// Core is one Raft server. Its methods are called from one goroutine at a time.
type Core struct {
	cfg    Config
	id     NodeID
	voters majority

	// Persistent state on all servers (Figure 2); what is not on disk yet goes
	// out with the next Ready.
	currentTerm uint64
	votedFor    NodeID
	log         *raftLog
	savedState  HardState // as last handed out to be saved

	// Volatile state on all servers (Figure 2).
	commitIndex uint64
	lastApplied uint64 // handed out by NextToApply

	state  State
	leader NodeID // of currentTerm, as far as known

	// Time, in ticks.
	electionElapsed  int // since the timer was reset; a leader's, since it checked for a quorum
	electionTimeout  int
	heartbeatElapsed int

	votes    map[NodeID]bool      // candidates: the answers so far
	progress map[NodeID]*progress // leader: of each other voter

	// restoring is a snapshot that came from the leader and is not yet applied;
	// restoringSaved says that it is on disk.
	restoring      *Snapshot
	restoringSaved bool

	messages  []Message // for the next Ready
	afterSave []Message
}

// New makes the server that cfg describes, a follower, from what it had saved.
func New(cfg Config, saved Persistent) (*Core, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	log, err := newLog(saved.Snapshot, saved.Entries)
	if err != nil {
		return nil, err
	}
	if term := saved.HardState.CurrentTerm; log.lastTerm() > term {
		return nil, fmt.Errorf("core: the stored log ends in term %d, after the stored currentTerm %d", log.lastTerm(), term)
	}
	c := &Core{
		cfg:         cfg,
		id:          cfg.ID,
		voters:      slices.Clone(cfg.Voters),
		currentTerm: saved.HardState.CurrentTerm,
		votedFor:    saved.HardState.VotedFor,
		savedState:  saved.HardState,
		log:         log,
		commitIndex: log.snapshotIndex,
		lastApplied: log.snapshotIndex,
	}
	c.resetElectionTimer()
	return c, nil
}

// Step takes in a message. Every request is answered by exactly one reply, in a
// Ready to come. An error (ErrUnknownServer, ErrMalformed, ErrUnsafe) says that the
// message was dropped and nothing changed.
func (c *Core) Step(m Message) error {
	if m.To != c.id || m.From == c.id || !slices.Contains(c.voters, m.From) {
		return fmt.Errorf("%w: %d to %d at server %d of %v", ErrUnknownServer, m.From, m.To, c.id, c.voters)
	}
	if m.Body == nil || m.Body.term() >= maxNumber {
		return fmt.Errorf("%w: %v; terms end at %d", ErrMalformed, m, uint64(maxNumber))
	}
	switch b := m.Body.(type) {
	case *RequestVote:
		if err := checkVote(m.From, b); err != nil {
			return err
		}
		c.reply(m, c.handleRequestVote(b))
	case *RequestVoteReply:
		c.handleRequestVoteReply(m.From, b)
	case *AppendEntries:
		if err := c.checkAppend(m.From, b); err != nil {
			return err
		}
		c.reply(m, c.handleAppendEntries(b))
	case *AppendEntriesReply:
		c.handleAppendEntriesReply(m.From, b)
	case *InstallSnapshot:
		if err := c.checkSnapshot(m.From, b); err != nil {
			return err
		}
		c.reply(m, c.handleInstallSnapshot(b))
	case *InstallSnapshotReply:
		c.handleInstallSnapshotReply(m.From, b)
	}
	return nil
}

// Tick lets one unit of time pass.
func (c *Core) Tick() {
	c.electionElapsed++
	c.heartbeatElapsed++
	switch c.state {
	case Leader:
		c.tickLeader()
	case Candidate, PreCandidate:
		c.tickCandidate()
	}
	if c.state != Leader && c.electionElapsed >= c.electionTimeout {
		c.preCampaign()
	}
}

// Propose appends a command to the leader's log (§5.3) and returns its place.
// Whether it commits shows when that place is applied: with this term, or with
// another one, which means that it was lost.
func (c *Core) Propose(data []byte) (index, term uint64, err error) {
	if c.state != Leader {
		return 0, 0, ErrNotLeader
	}
	return c.appendOwn(Command, data), c.currentTerm, nil
}

// Unreachable says that a request to the server id, or its reply, was lost.
// It only makes the leader quicker: silence would tell it too.
func (c *Core) Unreachable(id NodeID) {
	if p := c.progress[id]; p != nil && c.state == Leader {
		p.lost()
	}
}

// Ready is what a server wants done; package documentation gives the order.
type Ready struct {
	// HardState is to be saved; nil: it has not changed.
	HardState *HardState
	// Snapshot came from the leader and is to be saved; it replaces the whole
	// log. nil: none.
	Snapshot *Snapshot
	// Entries are to be saved; they replace what is stored from the index of
	// the first of them on.
	Entries []Entry
	// Messages may leave at once.
	Messages []Message
	// AfterSave leave when HardState, Snapshot and Entries are saved.
	AfterSave []Message
}

// Empty says that there is nothing to do.
func (rd Ready) Empty() bool {
	return !rd.NeedsSave() && len(rd.Messages) == 0 && len(rd.AfterSave) == 0
}

// NeedsSave says that there is something to put on disk.
func (rd Ready) NeedsSave() bool {
	return rd.HardState != nil || rd.Snapshot != nil || len(rd.Entries) > 0
}

// Ready returns what has come up since the last call. It is to be followed by
// Saved before it is called again.
func (c *Core) Ready() Ready {
	rd := Ready{
		Messages:  c.Outgoing(),
		Entries:   c.log.unstable(),
		AfterSave: c.afterSave,
	}
	if hs := (HardState{c.currentTerm, c.votedFor}); hs != c.savedState {
		rd.HardState = &hs
		c.savedState = hs
	}
	if c.restoring != nil && !c.restoringSaved {
		rd.Snapshot = c.restoring
	}
	c.afterSave = nil
	return rd
}

// Outgoing returns the messages that may leave at once, as Ready does, and
// leaves the rest for the next Ready. A host whose disk is still busy with the
// last Ready calls it, so that replication and heartbeats go on meanwhile
// (thesis 10.2.1).
func (c *Core) Outgoing() []Message {
	c.sendEntries()
	out := c.messages
	c.messages = nil
	return out
}

// Saved reports that what rd asked to save is on disk. That may commit entries,
// and makes a server that is alone in its cluster the leader; so there may be a
// new Ready, and something to apply.
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
}

// NextToApply hands out what is to be applied next: a snapshot that replaces
// the service's state, or committed entries in order (about maxBytes, at least
// one), or neither. What was handed out counts as applied. Only what is also on
// this server's own disk is handed out.
func (c *Core) NextToApply(maxBytes int) (*Snapshot, []Entry) {
	if !c.HasToApply() {
		return nil, nil
	}
	if snap := c.restoring; snap != nil {
		c.restoring, c.restoringSaved = nil, false
		c.lastApplied = snap.LastIncludedIndex
		return snap, nil
	}
	entries := c.log.slice(c.lastApplied+1, min(c.commitIndex, c.log.stableIndex), maxBytes)
	c.lastApplied += uint64(len(entries))
	return nil, entries
}

// HasToApply says whether NextToApply would hand something out.
func (c *Core) HasToApply() bool {
	if c.restoring != nil {
		return c.restoringSaved
	}
	return c.lastApplied < min(c.commitIndex, c.log.stableIndex)
}

// Compact drops the log up to index, for which the host has saved a snapshot
// of the service's state at that index (§7).
func (c *Core) Compact(index uint64) error {
	if _, err := c.SnapshotTerm(index); err != nil {
		return err
	}
	c.log.compact(index)
	return nil
}

// SnapshotTerm returns the term of the entry at index, with which a snapshot
// that ends there is saved; the errors are those of Compact.
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

// Status is a picture of a server at one moment.
type Status struct {
	ID            NodeID
	State         State
	CurrentTerm   uint64
	VotedFor      NodeID
	Leader        NodeID // None: not known
	SnapshotIndex uint64
	LastIndex     uint64
	LastTerm      uint64
	CommitIndex   uint64
	LastApplied   uint64
}

// Status returns what the server is now.
func (c *Core) Status() Status {
	return Status{
		ID:            c.id,
		State:         c.state,
		CurrentTerm:   c.currentTerm,
		VotedFor:      c.votedFor,
		Leader:        c.leader,
		SnapshotIndex: c.log.snapshotIndex,
		LastIndex:     c.log.lastIndex(),
		LastTerm:      c.log.lastTerm(),
		CommitIndex:   c.commitIndex,
		LastApplied:   c.lastApplied,
	}
}

// Entries returns the part of the log that no snapshot stands for. It must not
// be changed.
func (c *Core) Entries() []Entry { return slices.Clip(c.log.entries) }

// send queues a request that may leave at once.
func (c *Core) send(to NodeID, b Body) {
	c.messages = append(c.messages, Message{From: c.id, To: to, Body: b})
}

// reply queues the answer to m; it may promise what is not saved yet.
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
}

// others calls do for each other voter, in a fixed order so that runs repeat.
func (c *Core) others(do func(NodeID)) {
	for _, id := range c.voters {
		if id != c.id {
			do(id)
		}
	}
}
