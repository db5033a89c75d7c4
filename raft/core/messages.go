package core

import "fmt"

// Message is a request or a reply on its way between two servers.
type Message struct {
	From, To NodeID
	// Call pairs a reply with its request. Both carry the same number. The host chooses the
	// number, and the core only copies the number.
	Call uint64
	Body Body
}

// String shows m on one line, for traces.
func (m Message) String() string {
	return fmt.Sprintf("%d->%d %s", m.From, m.To, m.Body)
}

// Body is the content of a [Message], a pointer to one of the types below.
type Body interface {
	fmt.Stringer
	// term is the sender's. The method also keeps the set of types closed.
	term() uint64
}

// RequestVote asks for a vote (Figure 2), or with PreVote for the promise of a vote (thesis
// 9.6).
type RequestVote struct {
	Term         uint64 // the candidate's, or for a pre-vote the term to come
	CandidateID  NodeID
	LastLogIndex uint64
	LastLogTerm  uint64
	PreVote      bool
	// Transfer marks an election on the leader's own wish. Voters then grant votes although
	// they hear the leader (thesis 3.10). With PreVote it marks the question of a server
	// whether it was removed, with the entry that added the server as the last one. A voter
	// without that entry says nothing, because the addition may have been lost.
	Transfer bool
}

// RequestVoteReply answers a [RequestVote].
type RequestVoteReply struct {
	Term        uint64 // the voter's currentTerm
	VoteGranted bool
	RequestTerm uint64 // the request's term, the only one in which the answer counts
	PreVote     bool   // the request's
	// RemovedAt is the index of a committed configuration without the candidate. 0 means
	// that the voter knows none.
	RemovedAt uint64
}

// AppendEntries replicates entries. Without entries the request is a heartbeat (Figure 2).
type AppendEntries struct {
	Term         uint64
	LeaderID     NodeID
	PrevLogIndex uint64
	PrevLogTerm  uint64
	Entries      []Entry
	LeaderCommit uint64
	// Round numbers the rounds of heartbeats that confirm a leadership for reads (thesis
	// 6.4).
	Round uint64
}

// AppendEntriesReply answers an [AppendEntries]. Beyond Figure 2, the reply says where the
// logs agree, so the leader needs no memory of the request and finds the point of
// divergence in a few steps (end of §5.3).
type AppendEntriesReply struct {
	Term         uint64 // the follower's currentTerm
	Success      bool
	RequestTerm  uint64 // the request's term, the only one in which the answer counts
	PrevLogIndex uint64 // the request's
	// MatchIndex, on success, is the highest index at which the logs are known to agree.
	MatchIndex uint64
	// HintIndex and HintTerm, on failure, are the last place of a possible agreement, the
	// follower's last entry up to PrevLogIndex with a term of at most PrevLogTerm.
	HintIndex uint64
	HintTerm  uint64
	Round     uint64 // the request's
}

// InstallSnapshot sends a snapshot to a follower that needs compacted entries (Figure 13),
// whole or with Chunked in pieces.
type InstallSnapshot struct {
	Term     uint64
	LeaderID NodeID
	// The host fills in the fields from LastIncludedIndex to Data, and with Chunked those
	// below, from its newest snapshot. In a request with Offset above 0, LastIncludedIndex
	// names the snapshot under way. A host without that snapshot sends the beginning of its
	// newest one, with Offset 0.
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	// Configuration is the one in force at LastIncludedIndex. The zero value stands for the
	// configuration of Config.
	Configuration Configuration
	// Data is the service's state, or the chunk of the state at Offset.
	Data []byte

	Chunked  bool   // Data is one of several pieces
	Offset   uint64 // position of Data in the snapshot
	Size     uint64 // of the whole snapshot
	Checksum uint64 // of the whole snapshot, for the host
	Done     bool   // Data is the last piece
}

// InstallSnapshotReply answers an [InstallSnapshot].
type InstallSnapshotReply struct {
	Term        uint64 // the follower's currentTerm
	RequestTerm uint64 // the request's term, the only one in which the answer counts
	// MatchIndex is the last index at which the follower's log now agrees with the
	// leader's. 0 means a refusal, or more chunks to come.
	MatchIndex uint64
	// LastIncludedIndex and Offset answer a chunk. They name the snapshot under way and the
	// position of the next chunk.
	LastIncludedIndex uint64
	Offset            uint64
}

// TimeoutNow makes the leader's chosen successor call an election at once (thesis 3.10).
// TimeoutNow has no reply.
type TimeoutNow struct {
	Term     uint64
	LeaderID NodeID
}

// ReadIndex asks the leader for the index of linearizable reads that began at the sender
// (thesis 6.4).
type ReadIndex struct {
	Term uint64
	ID   uint64 // the reply carries the same
}

// ReadIndexReply answers a [ReadIndex] when the leader has confirmed its leadership, or at
// once if the receiver cannot.
type ReadIndexReply struct {
	Term   uint64
	ID     uint64 // the request's
	Index  uint64 // the reads see the state behind this index
	Failed bool   // the receiver was not the leader, or lost its leadership
}

// Quiesce announces that the cluster is idle. A follower with the whole log may stop its
// election timer (Config.Quiesce).
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
		name += " (transfer)"
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
func (b *ReadIndex) String() string  { return fmt.Sprintf("ReadIndex term=%d", b.Term) }
func (b *Quiesce) String() string {
	return fmt.Sprintf("Quiesce term=%d commit=%d", b.Term, b.CommitIndex)
}
func (b *QuiesceReply) String() string {
	return fmt.Sprintf("QuiesceReply term=%d quiescent=%t", b.Term, b.Quiescent)
}

func (b *ReadIndexReply) String() string {
	if b.Failed {
		return fmt.Sprintf("ReadIndexReply term=%d failed", b.Term)
	}
	return fmt.Sprintf("ReadIndexReply term=%d index=%d", b.Term, b.Index)
}

// describeRound shows the number of a heartbeat round, if there is one.
func describeRound(round uint64) string {
	if round == 0 {
		return ""
	}
	return fmt.Sprintf(" round=%d", round)
}

// describeEntries shows the index and term of each entry, like "[4/2 5/2]".
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
