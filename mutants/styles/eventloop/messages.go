package raft

type RequestVoteArgs struct {
	Term      int
	Candidate int
	LastIndex int
	LastTerm  int
}

type RequestVoteReply struct {
	Term    int
	Granted bool
}

type AppendEntriesArgs struct {
	Term      int
	PrevIndex int
	PrevTerm  int
	Entries   []Entry
	Commit    int
}

// AppendEntriesReply has in Next, after a failure, the index to send next.
type AppendEntriesReply struct {
	Term    int
	Success bool
	Next    int
}

type InstallSnapshotArgs struct {
	Term      int
	LastIndex int
	LastTerm  int
	Data      []byte
}

type InstallSnapshotReply struct {
	Term int
}
