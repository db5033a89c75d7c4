package raft

import "time"

// Snapshot says that the service has a snapshot with all up to index.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.lastIncludedIndex || index > rf.lastApplied {
		return
	}
	rf.compactTo(index, rf.termAt(index))
	rf.persistWithSnapshot(snapshot)
}

// InstallSnapshot handles a leader's snapshot. The handler gives the snapshot to the
// service. Nothing is installed before the service calls CondInstallSnapshot.
func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term < rf.currentTerm {
		reply.Term = rf.currentTerm
		return
	}
	newTerm := args.Term > rf.currentTerm
	rf.becomeFollower(args.Term)
	if newTerm {
		rf.persist()
	}
	rf.resetElectionTimer()
	reply.Term = rf.currentTerm
	if args.LastIncludedIndex <= rf.commitIndex {
		return
	}
	if rf.pendingSnapshot != nil && rf.pendingSnapshot.SnapshotIndex >= args.LastIncludedIndex {
		return
	}
	rf.pendingSnapshot = &ApplyMsg{
		SnapshotValid: true,
		Snapshot:      args.Data,
		SnapshotTerm:  args.LastIncludedTerm,
		SnapshotIndex: args.LastIncludedIndex,
	}
}

// CondInstallSnapshot installs the snapshot that the service has got from applyCh,
// unless Raft has applied newer entries since. The applier waits for this call.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.offered = false
	if lastIncludedIndex <= rf.lastApplied {
		return false
	}
	DPrintf("[%d] installs the snapshot of %d", rf.me, lastIncludedIndex)
	rf.compactTo(lastIncludedIndex, lastIncludedTerm)
	rf.lastApplied = lastIncludedIndex
	rf.commitIndex = max(rf.commitIndex, lastIncludedIndex)
	rf.persistWithSnapshot(snapshot)
	return true
}

func (rf *Raft) snapshotTo(server int, args InstallSnapshotArgs) {
	reply := InstallSnapshotReply{}
	if rf.killed() || !rf.sendInstallSnapshot(server, &args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.becomeFollower(reply.Term)
		rf.persist()
		return
	}
	if rf.role != Leader || rf.currentTerm != args.Term {
		return
	}
	// The follower may not have installed the snapshot yet, so matchIndex stays.
	rf.nextIndex[server] = max(rf.nextIndex[server], args.LastIncludedIndex+1)
}

// applier is the only goroutine that sends on applyCh.
func (rf *Raft) applier() {
	for !rf.killed() {
		msg, ok := rf.nextApplyMsg()
		if !ok {
			time.Sleep(pollInterval)
			continue
		}
		rf.applyCh <- msg
	}
}

func (rf *Raft) nextApplyMsg() (ApplyMsg, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.offered {
		return ApplyMsg{}, false
	}
	if rf.pendingSnapshot != nil {
		msg := *rf.pendingSnapshot
		rf.pendingSnapshot = nil
		if msg.SnapshotIndex > rf.lastApplied {
			rf.offered = true
			return msg, true
		}
	}
	if rf.lastApplied >= rf.commitIndex {
		return ApplyMsg{}, false
	}
	rf.lastApplied++
	return ApplyMsg{
		CommandValid: true,
		Command:      rf.entryAt(rf.lastApplied).Command,
		CommandIndex: rf.lastApplied,
	}, true
}
