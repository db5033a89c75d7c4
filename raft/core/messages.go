package core

import "fmt"

// Message is one of the paper's three RPCs, or the reply to one, on its way.
type Message struct {
	From, To NodeID
	// Call pairs a reply with its request: the reply carries the request's
	// number. The host chooses it; the core only copies it.
	Call uint64
	Body Body
}

// String shows m on one line, for traces.
func (m Message) String() string {
	return fmt.Sprintf("%d->%d %s", m.From, m.To, m.Body)
}

// Body is what a [Message] says: a pointer to one of the types below.
type Body interface {
	fmt.Stringer
	// term is the sender's, and keeps the set closed: Step knows every kind there is.
	term() uint64
}

// RequestVote asks for a vote (Figure 2), or with PreVote for the promise that
// the vote would be granted (thesis 9.6).
type RequestVote struct {
	Term         uint64 // the candidate's; for a pre-vote, the term it would begin
	CandidateID  NodeID
	LastLogIndex uint64
	LastLogTerm  uint64
	PreVote      bool
	// Transfer says that the leader itself asked for the election (thesis 3.10):
	// voters do not refuse because they hear the leader.
	Transfer bool
}

// RequestVoteReply answers a [RequestVote].
type RequestVoteReply struct {
	Term        uint64 // the voter's currentTerm
	VoteGranted bool
	RequestTerm uint64 // the request's term: an answer counts in that term alone
	PreVote     bool   // the request's
	// RemovedAt is the index of a committed configuration of which the
	// candidate is no member; 0 if the voter knows none.
	RemovedAt uint64
}

// AppendEntries replicates entries and, empty, is the heartbeat (Figure 2).
type AppendEntries struct {
	Term         uint64
	LeaderID     NodeID
	PrevLogIndex uint64
	PrevLogTerm  uint64
	Entries      []Entry
	LeaderCommit uint64
	// Round numbers the heartbeat rounds that confirm a leadership for reads
	// (thesis 6.4). The reply carries the same.
	Round uint64
}

// AppendEntriesReply answers an [AppendEntries]. Beyond Figure 2 it tells where
// the logs agree, so that a reply needs no memory of its request and a leader
// finds the point of divergence in a few steps (end of §5.3).
type AppendEntriesReply struct {
	Term         uint64 // the follower's currentTerm
	Success      bool
	RequestTerm  uint64 // the request's term: an answer counts in that term alone
	PrevLogIndex uint64 // the request's
	// MatchIndex, on success, is the highest index at which both logs are known to agree.
	MatchIndex uint64
	// HintIndex and HintTerm, on failure, are the last place in the follower's
	// log that could agree: the highest index up to PrevLogIndex whose term is
	// not above PrevLogTerm, and its term.
	HintIndex uint64
	HintTerm  uint64
	Round     uint64 // the request's
}

// InstallSnapshot sends a snapshot to a follower that needs entries that the
// leader no longer has (Figure 13): whole, or with Chunked in pieces.
type InstallSnapshot struct {
	Term     uint64
	LeaderID NodeID
	// LastIncludedIndex to Data are empty or a minimum when the core sends the
	// message. The host fills in the newest snapshot that it has saved. Of a
	// chunk with Offset above 0, LastIncludedIndex names the snapshot that the
	// follower has the beginning of. If the host no longer has that snapshot, it
	// sends the beginning of its newest one, with Offset 0.
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	// Configuration is the one in force at LastIncludedIndex. The zero value
	// means that the configuration of Config is.
	Configuration Configuration
	// Data is the service's state, or the chunk of it at Offset.
	Data []byte

	Chunked  bool   // Data is one of several pieces
	Offset   uint64 // position of Data in the snapshot
	Size     uint64 // of the whole snapshot
	Checksum uint64 // of the whole snapshot; the core only compares it
	Done     bool   // Data is the last piece
}

// InstallSnapshotReply answers an [InstallSnapshot].
type InstallSnapshotReply struct {
	Term        uint64 // the follower's currentTerm
	RequestTerm uint64 // the request's term: an answer counts in that term alone
	// MatchIndex is the index up to which the follower's state now agrees with
	// the leader's log; 0 if the request was refused or more chunks are needed.
	MatchIndex uint64
	// LastIncludedIndex and Offset, of the reply to a chunk, are the snapshot that
	// the follower is receiving and the position from which it needs more.
	LastIncludedIndex uint64
	Offset            uint64
}

// TimeoutNow makes the server that a leader has chosen as its successor call an
// election at once (thesis 3.10). It has no reply.
type TimeoutNow struct {
	Term     uint64
	LeaderID NodeID
}

// ReadIndex asks the leader for the index of a linearizable read that began at
// the sender (thesis 6.4). One message may stand for several reads.
type ReadIndex struct {
	Term uint64
	ID   uint64 // the reply carries the same
}

// ReadIndexReply answers a [ReadIndex]: when the leader has confirmed its
// leadership, or at once if it cannot.
type ReadIndexReply struct {
	Term   uint64
	ID     uint64 // the request's
	Index  uint64 // the reads see the state behind this index
	Failed bool   // the receiver was not the leader, or lost its leadership
}

// Quiesce tells a follower that the cluster is idle: the follower may stop its
// election timer if it has the whole log (Config.Quiesce).
type Quiesce struct {
	Term        uint64
	LeaderID    NodeID
	CommitIndex uint64 // also the index of the leader's last entry
}

// QuiesceReply answers a [Quiesce].
type QuiesceReply struct {
	Term        uint64
	RequestTerm uint64
	Quiescent   bool // the follower has stopped its timer
}

func (b *RequestVote) term() uint64          { return b.Term }
func (b *RequestVoteReply) term() uint64     { return b.Term }
func (b *AppendEntries) term() uint64        { return b.Term }
func (b *AppendEntriesReply) term() uint64   { return b.Term }
func (b *InstallSnapshot) term() uint64      { return b.Term }
func (b *InstallSnapshotReply) term() uint64 { return b.Term }
func (b *TimeoutNow) term() uint64           { return b.Term }
func (b *ReadIndex) term() uint64            { return b.Term }
func (b *ReadIndexReply) term() uint64       { return b.Term }
func (b *Quiesce) term() uint64              { return b.Term }
func (b *QuiesceReply) term() uint64         { return b.Term }

func (b *RequestVote) String() string {
	name := "RequestVote"
	if b.PreVote {
		name = "PreVote"
	}
	if b.Transfer {
		name = "RequestVote (transfer)"
	}
	return fmt.Sprintf("%s term=%d last=%d/%d", name, b.Term, b.LastLogIndex, b.LastLogTerm)
}

func (b *RequestVoteReply) String() string {
	name := "RequestVoteReply"
	if b.PreVote {
		name = "PreVoteReply"
	}
	s := fmt.Sprintf("%s term=%d granted=%t", name, b.Term, b.VoteGranted)
	if b.RemovedAt > 0 {
		s += fmt.Sprintf(" removed at %d", b.RemovedAt)
	}
	return s
}

func (b *AppendEntries) String() string {
	return fmt.Sprintf("AppendEntries term=%d prev=%d/%d entries=%s commit=%d",
		b.Term, b.PrevLogIndex, b.PrevLogTerm, describeEntries(b.Entries), b.LeaderCommit) + describeRound(b.Round)
}

func (b *AppendEntriesReply) String() string {
	if b.Success {
		return fmt.Sprintf("AppendEntriesReply term=%d match=%d", b.Term, b.MatchIndex) + describeRound(b.Round)
	}
	if b.Term > b.RequestTerm {
		return fmt.Sprintf("AppendEntriesReply term=%d refused term=%d", b.Term, b.RequestTerm)
	}
	return fmt.Sprintf("AppendEntriesReply term=%d refused prev=%d hint=%d/%d",
		b.Term, b.PrevLogIndex, b.HintIndex, b.HintTerm) + describeRound(b.Round)
}

func (b *InstallSnapshot) String() string {
	s := fmt.Sprintf("InstallSnapshot term=%d last=%d/%d bytes=%d",
		b.Term, b.LastIncludedIndex, b.LastIncludedTerm, len(b.Data))
	if b.Chunked {
		s += fmt.Sprintf(" offset=%d of %d", b.Offset, b.Size)
	}
	return s
}

func (b *InstallSnapshotReply) String() string {
	if b.LastIncludedIndex > 0 && b.MatchIndex == 0 {
		return fmt.Sprintf("InstallSnapshotReply term=%d last=%d offset=%d", b.Term, b.LastIncludedIndex, b.Offset)
	}
	return fmt.Sprintf("InstallSnapshotReply term=%d match=%d", b.Term, b.MatchIndex)
}

func (b *TimeoutNow) String() string { return fmt.Sprintf("TimeoutNow term=%d", b.Term) }

func (b *ReadIndex) String() string { return fmt.Sprintf("ReadIndex term=%d", b.Term) }

func (b *ReadIndexReply) String() string {
	if b.Failed {
		return fmt.Sprintf("ReadIndexReply term=%d failed", b.Term)
	}
	return fmt.Sprintf("ReadIndexReply term=%d index=%d", b.Term, b.Index)
}

func (b *Quiesce) String() string {
	return fmt.Sprintf("Quiesce term=%d commit=%d", b.Term, b.CommitIndex)
}

func (b *QuiesceReply) String() string {
	return fmt.Sprintf("QuiesceReply term=%d quiescent=%t", b.Term, b.Quiescent)
}

// describeRound shows the number of a heartbeat round, if there is one.
func describeRound(round uint64) string {
	if round == 0 {
		return ""
	}
	return fmt.Sprintf(" round=%d", round)
}

// describeEntries shows a run of entries as its places in the log: "[]" or
// "[4/2 5/2]", index and term.
func describeEntries(entries []Entry) string {
	s := "["
	for i, e := range entries {
		if i > 0 {
			s += " "
		}
		if i == 4 && len(entries) > 6 {
			last := entries[len(entries)-1]
			return s + fmt.Sprintf("... %d/%d]", last.Index, last.Term)
		}
		s += fmt.Sprintf("%d/%d", e.Index, e.Term)
	}
	return s + "]"
}
