package raft

import "time"

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

// Snapshot takes the service's snapshot of everything up to index, and cuts the log.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.firstIndex() || index > rf.lastApplied {
		return
	}
	rf.cutLog(index, rf.entry(index).Term)
	rf.persister.Save(rf.encodeState(), snapshot)
}

// cutLog drops the entries up to index, which becomes the sentinel's.
func (rf *Raft) cutLog(index, term int) {
	log := []LogEntry{{Index: index, Term: term}}
	if index < rf.lastEntry().Index && rf.entry(index).Term == term {
		log = append(log, rf.log[index+1-rf.firstIndex():]...)
	}
	rf.log = log
}

// CondInstallSnapshot always agrees: the snapshot was installed before the service saw it.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	return true
}

func (rf *Raft) PersistBytes() int {
	return rf.persister.RaftStateSize()
}

func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term < rf.currentTerm {
		reply.Term = rf.currentTerm
		return
	}
	rf.becomeFollower(args.Term)
	reply.Term = rf.currentTerm
	rf.lastHeard = time.Now()
	if args.LastIncludedIndex <= rf.commitIndex {
		return // everything in the snapshot has been committed here already
	}

	rf.cutLog(args.LastIncludedIndex, args.LastIncludedTerm)
	rf.persister.Save(rf.encodeState(), args.Data)
	rf.commitIndex = args.LastIncludedIndex
	rf.lastApplied = args.LastIncludedIndex
	rf.snapshot = &ApplyMsg{
		SnapshotValid: true,
		Snapshot:      args.Data,
		SnapshotTerm:  args.LastIncludedTerm,
		SnapshotIndex: args.LastIncludedIndex,
	}
	rf.applyCond.Signal()
}
