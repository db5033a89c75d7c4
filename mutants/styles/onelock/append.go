package raft

import "time"

type AppendEntriesArgs struct {
	Term         int
	LeaderId     int
	PrevLogIndex int
	PrevLogTerm  int
	Entries      []LogEntry
	LeaderCommit int
}

// AppendEntriesReply says with XTerm, XIndex and XLen where the logs may agree: the term
// of the conflicting entry, the first index of that term, and the index after the last
// entry. XTerm is -1 if the follower has no entry at PrevLogIndex.
type AppendEntriesReply struct {
	Term    int
	Success bool
	XTerm   int
	XIndex  int
	XLen    int
}

func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term < rf.currentTerm {
		reply.Term = rf.currentTerm
		return
	}
	rf.becomeFollower(args.Term)
	reply.Term = rf.currentTerm
	rf.lastHeard = time.Now()

	if args.PrevLogIndex > rf.lastEntry().Index {
		reply.XTerm = -1
		reply.XLen = rf.lastEntry().Index + 1
		return
	}
	if args.PrevLogIndex > rf.firstIndex() && rf.entry(args.PrevLogIndex).Term != args.PrevLogTerm {
		reply.XTerm = rf.entry(args.PrevLogIndex).Term
		reply.XIndex = args.PrevLogIndex
		for reply.XIndex-1 > rf.firstIndex() && rf.entry(reply.XIndex-1).Term == reply.XTerm {
			reply.XIndex--
		}
		return
	}

	rf.appendNew(args.Entries)
	reply.Success = true
	lastNew := args.PrevLogIndex + len(args.Entries)
	if n := min(args.LeaderCommit, lastNew); n > rf.commitIndex {
		rf.commitIndex = n
		rf.applyCond.Signal()
	}
}

// appendNew appends entries not in the log, and truncates the log only at a conflict.
// Entries that the snapshot covers are committed, so they agree.
func (rf *Raft) appendNew(entries []LogEntry) {
	for i, e := range entries {
		if e.Index <= rf.firstIndex() {
			continue
		}
		if e.Index <= rf.lastEntry().Index && rf.entry(e.Index).Term == e.Term {
			continue
		}
		rf.log = append(rf.log[:e.Index-rf.firstIndex():e.Index-rf.firstIndex()], entries[i:]...)
		rf.persist()
		return
	}
}
