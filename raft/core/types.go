package core

// NodeID names a server for the server's whole life. Any number but 0, which is [None],
// will do. An id is never given to another server.
type NodeID uint64

// None is no server, for example an unknown leader or a vote not given.
const None NodeID = 0

// maxNumber bounds the terms and indexes that a server accepts from others. Real numbers
// stay far below, and arithmetic on accepted numbers cannot wrap.
const maxNumber = 1 << 63

// State is the role of a server (§5.1, Figure 4).
type State uint8

const (
	// Follower answers requests and sends none of its own.
	Follower State = iota
	// PreCandidate asks for promises of votes before it disturbs the others with a new term
	// (thesis 9.6).
	PreCandidate
	// Candidate has begun a term and asks for votes.
	Candidate
	// Leader accepts commands and replicates them.
	Leader
)

// String returns the paper's word for s.
func (s State) String() string {
	return [...]string{"follower", "pre-candidate", "candidate", "leader"}[s]
}

// EntryType distinguishes commands from the entries of the protocol.
type EntryType uint8

const (
	// Command is an entry for the service's state machine.
	Command EntryType = iota
	// NoOp is a leader's first entry of its term (§8). A no-op has no data and exists only
	// with [Config.LeaderNoOp].
	NoOp
	// ConfigurationEntry holds an encoded [Configuration] (§6).
	ConfigurationEntry
)

// Entry is one entry of the log (Figure 6). The core does not interpret the Data of a
// command. Nobody changes Data after an entry was handed in.
type Entry struct {
	Index uint64 // position, from 1
	Term  uint64 // term of the leader that created the entry
	Type  EntryType
	Data  []byte
}

// entryOverhead is the size of an entry beyond its data: about the encoded length of the
// other fields.
const entryOverhead = 16

func (e Entry) size() int { return len(e.Data) + entryOverhead }

func sizeOf(entries []Entry) int {
	n := 0
	for i := range entries {
		n += entries[i].size()
	}
	return n
}

// HardState is the part of Figure 2's persistent state that is not the log.
type HardState struct {
	CurrentTerm uint64
	VotedFor    NodeID
}

// Snapshot replaces the log up to and including LastIncludedIndex (§7).
type Snapshot struct {
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	// Configuration is the configuration in force at LastIncludedIndex. The zero value
	// means the configuration of [Config].
	Configuration Configuration
	// Data is the service's state, opaque to Raft. Data is empty where the host keeps the
	// body of a snapshot in a file of its own.
	Data []byte
}

// Persistent is the state that survives a crash: Figure 2's persistent state, with the
// beginning of the log replaced by a snapshot (§7). The zero value is a server that has
// never run.
type Persistent struct {
	HardState HardState
	Snapshot  Snapshot // LastIncludedIndex 0 for none
	// Entries are the whole log. They are consecutive, and the first one follows the
	// snapshot.
	Entries []Entry
	// Stored describes a log whose entries stay in storage, in place of Entries.
	Stored *StoredLog
}

// StoredLog describes a log in storage. The host reads entries when the core asks for them,
// so a long log occupies no memory.
type StoredLog struct {
	// CompactedIndex and CompactedTerm are those of the last compacted entry, at most the
	// snapshot's. 0 stands for a whole log.
	CompactedIndex, CompactedTerm uint64
	// LastIndex is the index of the last entry, CompactedIndex if there is none.
	LastIndex uint64
	// Terms are the terms of all entries. The first run begins at CompactedIndex+1.
	Terms []TermRun
	// Configurations are the entries of type [ConfigurationEntry], in order. The ones
	// before the snapshot's end are ignored.
	Configurations []Entry
}

// TermRun says that the entries from First on have this term, as far as the next run or the
// end of the log. Terms never fall along a log, so a log has at most one run for each term.
type TermRun struct{ First, Term uint64 }

// Range is a run of entries of the log, from First to Last. The zero value is empty.
type Range struct{ First, Last uint64 }

// Empty reports whether r has no entries.
func (r Range) Empty() bool { return r.First == 0 || r.First > r.Last }
