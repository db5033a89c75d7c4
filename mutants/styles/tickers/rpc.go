package raft

type RequestVoteArgs struct {
	Term         int
	CandidateId  int
	LastLogIndex int
	LastLogTerm  int
}

type RequestVoteReply struct {
	Term        int
	VoteGranted bool
}

type AppendEntriesArgs struct {
	Term         int
	LeaderId     int
	PrevLogIndex int
	PrevLogTerm  int
	Entries      []Entry
	LeaderCommit int
}

// AppendEntriesReply has in Hint, after a refusal, a possible index of agreement.
type AppendEntriesReply struct {
	Term    int
	Success bool
	Hint    int
}

type InstallSnapshotArgs struct {
	Term              int
	LeaderId          int
	LastIncludedIndex int
	LastIncludedTerm  int
	Data              []byte
}

type InstallSnapshotReply struct {
	Term int
}

func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	rf.sawTerm(args.Term)
	reply.Term = rf.hard.Term

	sameTerm := args.Term == rf.hard.Term
	mayVote := rf.hard.VotedFor < 0 || rf.hard.VotedFor == args.CandidateId
	upToDate := args.LastLogTerm > rf.log.lastTerm() ||
		(args.LastLogTerm == rf.log.lastTerm() && args.LastLogIndex >= rf.log.lastIndex())
	if sameTerm && mayVote && upToDate {
		rf.hard.VotedFor = args.CandidateId
		rf.persist()
		rf.resetElectionTimer()
		reply.VoteGranted = true
	}
}

// followLeader begins both RPCs of a leader. The result is false for an old leader.
func (rf *Raft) followLeader(term int) bool {
	if term < rf.hard.Term {
		return false
	}
	rf.sawTerm(term)
	rf.isCandidate = false
	rf.resetElectionTimer()
	return true
}

func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	valid := rf.followLeader(args.Term)
	reply.Term = rf.hard.Term
	if !valid {
		return
	}

	// Entries in the snapshot are committed, so the leader has the same entries.
	prev, prevTerm, entries := args.PrevLogIndex, args.PrevLogTerm, args.Entries
	if skip := rf.log.Base - prev; skip > 0 {
		if skip > len(entries) {
			reply.Success = true
			return
		}
		prev, prevTerm, entries = rf.log.Base, rf.log.BaseTerm, entries[skip:]
	}

	if prev > rf.log.lastIndex() {
		reply.Hint = rf.log.lastIndex()
		return
	}
	if conflict := rf.log.term(prev); conflict != prevTerm {
		hint := prev - 1
		for hint > rf.commitIndex && rf.log.term(hint) == conflict {
			hint--
		}
		reply.Hint = hint
		return
	}
	if rf.log.merge(prev, entries) {
		rf.persist()
	}
	reply.Success = true
	rf.commitTo(min(args.LeaderCommit, args.PrevLogIndex+len(args.Entries)))
}

func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	valid := rf.followLeader(args.Term)
	reply.Term = rf.hard.Term
	if !valid || args.LastIncludedIndex <= rf.commitIndex {
		return
	}
	rf.log.compact(args.LastIncludedIndex, args.LastIncludedTerm)
	rf.persister.Save(rf.stateBytes(), args.Data)
	rf.commitIndex = args.LastIncludedIndex
	rf.queue.push(ApplyMsg{
		SnapshotValid: true,
		Snapshot:      args.Data,
		SnapshotTerm:  args.LastIncludedTerm,
		SnapshotIndex: args.LastIncludedIndex,
	})
}
