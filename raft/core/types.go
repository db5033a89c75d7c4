package core

import "fmt"

// NodeID names a server. It is never 0: that is [None].
type NodeID uint64

// None is no server: the leader where none is known, the vote not given.
const None NodeID = 0

// maxNumber bounds the terms and indexes that a server takes from others, far
// above any real one: what counts up from there does not run over.
const maxNumber = 1 << 63

// State is what a server is at the moment (§5.1, Figure 4).
type State uint8

const (
	// Follower answers requests and starts nothing of its own.
	Follower State = iota
	// PreCandidate asks whether it could win an election before it disturbs
	// the others with a new term (thesis 9.6).
	PreCandidate
	// Candidate has begun a term and asks for votes.
	Candidate
	// Leader takes commands and replicates them.
	Leader
)

// String returns the paper's word for s.
func (s State) String() string {
	switch s {
	case Follower:
		return "follower"
	case PreCandidate:
		return "pre-candidate"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// EntryType tells commands from entries that the protocol made.
type EntryType uint8

const (
	// Command is an entry for the service's state machine.
	Command EntryType = iota
	// NoOp is a leader's first entry of its term (§8). It carries nothing and
	// is made only with [Config.LeaderNoOp].
	NoOp
)

// Entry is one place in the log (Figure 6). The core never looks into Data and
// never changes it; whoever hands in an entry leaves its Data alone from then on.
type Entry struct {
	Index uint64 // position, from 1
	Term  uint64 // term of the leader that took it in
	Type  EntryType
	Data  []byte
}

// entryOverhead is what an entry costs beyond its data when sizes are summed:
// about its fields' encoded length.
const entryOverhead = 16

func (e Entry) size() int { return len(e.Data) + entryOverhead }

// HardState is the part of Figure 2's persistent state that is not the log.
type HardState struct {
	CurrentTerm uint64
	VotedFor    NodeID
}

// Snapshot stands for the log up to and including LastIncludedIndex (§7).
type Snapshot struct {
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	Data              []byte // the service's state, opaque to Raft
}

// Persistent is what a server must find again after a crash: Figure 2's
// persistent state, with the log's beginning replaced by a snapshot (§7).
// The zero value is a server that has never run.
type Persistent struct {
	HardState HardState
	Snapshot  Snapshot // LastIncludedIndex 0: none
	Entries   []Entry  // consecutive, the first at Snapshot.LastIncludedIndex+1
}
