package raft

// RequestVoteArgs as in Figure 2.
type RequestVoteArgs struct {
	Term         int
	CandidateId  int
	LastLogIndex int
	LastLogTerm  int
}

// RequestVoteReply as in Figure 2.
type RequestVoteReply struct {
	Term        int
	VoteGranted bool
}

// AppendEntriesArgs as in Figure 2.
type AppendEntriesArgs struct {
	Term         int
	LeaderId     int
	PrevLogIndex int
	PrevLogTerm  int
	Entries      []LogEntry
	LeaderCommit int
}

// AppendEntriesReply has the fields for a fast backup beside those of Figure 2.
type AppendEntriesReply struct {
	Term    int
	Success bool
	XTerm   int // the term of the conflicting entry, or -1
	XIndex  int // the first index with XTerm
	XLen    int // the first index that the follower's log lacks
}

// InstallSnapshotArgs as in Figure 13, in one chunk.
type InstallSnapshotArgs struct {
	Term              int
	LeaderId          int
	LastIncludedIndex int
	LastIncludedTerm  int
	Data              []byte
}

// InstallSnapshotReply as in Figure 13.
type InstallSnapshotReply struct {
	Term int
}

func (rf *Raft) sendRequestVote(server int, args *RequestVoteArgs, reply *RequestVoteReply) bool {
	return rf.peers[server].Call("Raft.RequestVote", args, reply)
}

func (rf *Raft) sendAppendEntries(server int, args *AppendEntriesArgs, reply *AppendEntriesReply) bool {
	return rf.peers[server].Call("Raft.AppendEntries", args, reply)
}

func (rf *Raft) sendInstallSnapshot(server int, args *InstallSnapshotArgs, reply *InstallSnapshotReply) bool {
	return rf.peers[server].Call("Raft.InstallSnapshot", args, reply)
}
