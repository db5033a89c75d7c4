package raft

// InstallSnapshotArgs is Figure 13 without chunks.
type InstallSnapshotArgs struct {
	Term              int
	LeaderID          int
	LastIncludedIndex int
	LastIncludedTerm  int
	Data              []byte
}

// InstallSnapshotReply has the term of the follower.
type InstallSnapshotReply struct {
	Term int
}

// Snapshot discards the log up to index, because the service has a snapshot.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.first().Index || index > rf.commitIndex {
		return
	}
	rf.discard(index, rf.at(index).Term)
	rf.snapshot = snapshot
	rf.persist()
}

// CondInstallSnapshot is left from the lab of 2021. Raft has installed the snapshot.
func (rf *Raft) CondInstallSnapshot(int, int, []byte) bool { return true }

// discard makes index and term the sentinel of the log, and keeps the entries behind if
// the log has that entry.
func (rf *Raft) discard(index, term int) {
	log := []Entry{{Index: index, Term: term}}
	if index <= rf.last().Index && rf.at(index).Term == term {
		log = append(log, rf.log[index-rf.first().Index+1:]...)
	}
	rf.log = log
}

// InstallSnapshot installs the snapshot at once. The applier gives it to the service.
func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term > rf.currentTerm {
		rf.stepDown(args.Term)
	}
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	rf.heard.Store(true)
	rf.state = StateFollower
	if args.LastIncludedIndex <= rf.commitIndex {
		return
	}
	rf.discard(args.LastIncludedIndex, args.LastIncludedTerm)
	rf.snapshot = args.Data
	rf.persist()
	rf.commitIndex = args.LastIncludedIndex
	rf.lastApplied = args.LastIncludedIndex
	rf.toApply = &ApplyMsg{
		SnapshotValid: true,
		Snapshot:      args.Data,
		SnapshotTerm:  args.LastIncludedTerm,
		SnapshotIndex: args.LastIncludedIndex,
	}
	rf.applyCond.Signal()
}

func (rf *Raft) installSnapshot(peer int, args InstallSnapshotArgs) {
	var reply InstallSnapshotReply
	if !rf.peers[peer].Call("Raft.InstallSnapshot", &args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.stepDown(reply.Term)
		return
	}
	if rf.state != StateLeader || rf.currentTerm != args.Term {
		return
	}
	if args.LastIncludedIndex > rf.matchIndex[peer] {
		rf.matchIndex[peer] = args.LastIncludedIndex
		rf.nextIndex[peer] = args.LastIncludedIndex + 1
		rf.advanceCommit()
	}
}

// applier sends all that the service gets. A batch is copied under the lock and sent
// without the lock. A snapshot that arrives meanwhile waits for the end of the batch.
func (rf *Raft) applier() {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	for !rf.killed() {
		if rf.toApply == nil && rf.lastApplied >= rf.commitIndex {
			rf.applyCond.Wait()
			continue
		}
		var batch []ApplyMsg
		if rf.toApply != nil {
			batch = append(batch, *rf.toApply)
			rf.toApply = nil
		}
		for index := rf.lastApplied + 1; index <= rf.commitIndex; index++ {
			batch = append(batch, ApplyMsg{
				CommandValid: true,
				Command:      rf.at(index).Command,
				CommandIndex: index,
			})
		}
		rf.lastApplied = rf.commitIndex
		rf.mu.Unlock()
		for _, msg := range batch {
			if rf.killed() {
				break
			}
			rf.applyCh <- msg
		}
		rf.mu.Lock()
	}
}
