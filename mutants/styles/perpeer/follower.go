package raft

type AppendEntriesArgs struct {
	Term         int
	LeaderId     int
	PrevLogIndex int
	PrevLogTerm  int
	Terms        []int
	Commands     []any
	LeaderCommit int
}

// AppendEntriesReply has after a refusal the term of the entry at PrevLogIndex, and the
// first index of the term. If the log is too short, the term is 0, and the index follows
// the last entry.
type AppendEntriesReply struct {
	Term          int
	Success       bool
	ConflictTerm  int
	ConflictIndex int
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

func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term < rf.term {
		reply.Term = rf.term
		return
	}
	rf.stepDown(args.Term)
	rf.pushDeadline()
	reply.Term = rf.term

	if args.PrevLogIndex > rf.log.Last() {
		reply.ConflictIndex = rf.log.Last() + 1
		return
	}
	if args.PrevLogIndex > rf.log.Base && rf.log.Term(args.PrevLogIndex) != args.PrevLogTerm {
		first := args.PrevLogIndex
		for first-1 > rf.log.Base && rf.log.Term(first-1) == rf.log.Term(first) {
			first--
		}
		reply.ConflictTerm = rf.log.Term(first)
		reply.ConflictIndex = first
		return
	}
	rf.takeEntries(args)
	reply.Success = true
	known := args.PrevLogIndex + len(args.Terms)
	if args.LeaderCommit < known {
		known = args.LeaderCommit
	}
	if known > rf.commitIndex {
		rf.commitIndex = known
		rf.applyCond.Signal()
	}
}

// takeEntries appends the missing entries, and cuts the log at a conflict first.
func (rf *Raft) takeEntries(args *AppendEntriesArgs) {
	changed := false
	for i, term := range args.Terms {
		index := args.PrevLogIndex + 1 + i
		if index <= rf.log.Base {
			continue
		}
		if index <= rf.log.Last() && rf.log.Term(index) != term {
			rf.log.CutAfter(index - 1)
		}
		if index > rf.log.Last() {
			rf.log.Append(term, args.Commands[i])
			changed = true
		}
	}
	if changed {
		rf.save()
	}
}

func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term < rf.term {
		reply.Term = rf.term
		return
	}
	rf.stepDown(args.Term)
	rf.pushDeadline()
	reply.Term = rf.term
	index, term := args.LastIncludedIndex, args.LastIncludedTerm
	if index <= rf.commitIndex {
		return
	}
	if index <= rf.log.Last() && rf.log.Term(index) == term {
		rf.log.CutBefore(index)
	} else {
		rf.log = Log{Base: index, Terms: []int{term}, Commands: []any{nil}}
	}
	rf.snapshot = args.Data
	rf.commitIndex = index
	rf.installed = true
	rf.save()
	rf.applyCond.Signal()
}
