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
}

// RequestVoteReply answers a [RequestVote].
type RequestVoteReply struct {
	Term        uint64 // the voter's currentTerm
	VoteGranted bool
	RequestTerm uint64 // the request's term: an answer counts in that term alone
	PreVote     bool   // the request's
}

// AppendEntries replicates entries and, empty, is the heartbeat (Figure 2).
type AppendEntries struct {
	Term         uint64
	LeaderID     NodeID
	PrevLogIndex uint64
	PrevLogTerm  uint64
	Entries      []Entry
	LeaderCommit uint64
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
}

// InstallSnapshot brings a follower up whose next entries the leader no longer
// has (Figure 13). It is sent whole, as one chunk.
type InstallSnapshot struct {
	Term              uint64
	LeaderID          NodeID
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	// Data is the service's state. The core sends it empty: the host fills in
	// the snapshot that it has saved, and with it the two fields above.
	Data []byte
}

// InstallSnapshotReply answers an [InstallSnapshot].
type InstallSnapshotReply struct {
	Term        uint64 // the follower's currentTerm
	RequestTerm uint64 // the request's term: an answer counts in that term alone
	// MatchIndex is the index up to which the follower's state now agrees with
	// the leader's log; 0 if the request was refused.
	MatchIndex uint64
}

func (b *RequestVote) term() uint64          { return b.Term }
func (b *RequestVoteReply) term() uint64     { return b.Term }
func (b *AppendEntries) term() uint64        { return b.Term }
func (b *AppendEntriesReply) term() uint64   { return b.Term }
func (b *InstallSnapshot) term() uint64      { return b.Term }
func (b *InstallSnapshotReply) term() uint64 { return b.Term }

func (b *RequestVote) String() string {
	name := "RequestVote"
	if b.PreVote {
		name = "PreVote"
	}
	return fmt.Sprintf("%s term=%d last=%d/%d", name, b.Term, b.LastLogIndex, b.LastLogTerm)
}

func (b *RequestVoteReply) String() string {
	name := "RequestVoteReply"
	if b.PreVote {
		name = "PreVoteReply"
	}
	return fmt.Sprintf("%s term=%d granted=%t", name, b.Term, b.VoteGranted)
}

func (b *AppendEntries) String() string {
	return fmt.Sprintf("AppendEntries term=%d prev=%d/%d entries=%s commit=%d",
		b.Term, b.PrevLogIndex, b.PrevLogTerm, describeEntries(b.Entries), b.LeaderCommit)
}

func (b *AppendEntriesReply) String() string {
	if b.Success {
		return fmt.Sprintf("AppendEntriesReply term=%d match=%d", b.Term, b.MatchIndex)
	}
	if b.Term > b.RequestTerm {
		return fmt.Sprintf("AppendEntriesReply term=%d refused term=%d", b.Term, b.RequestTerm)
	}
	return fmt.Sprintf("AppendEntriesReply term=%d refused prev=%d hint=%d/%d",
		b.Term, b.PrevLogIndex, b.HintIndex, b.HintTerm)
}

func (b *InstallSnapshot) String() string {
	return fmt.Sprintf("InstallSnapshot term=%d last=%d/%d bytes=%d",
		b.Term, b.LastIncludedIndex, b.LastIncludedTerm, len(b.Data))
}

func (b *InstallSnapshotReply) String() string {
	return fmt.Sprintf("InstallSnapshotReply term=%d match=%d", b.Term, b.MatchIndex)
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
