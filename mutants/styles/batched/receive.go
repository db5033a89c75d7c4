package raft

// hear is what both requests of a leader begin with. It reports whether the request is
// from the leader of the present term.
func (rf *Raft) hear(term int) bool {
	rf.meet(term)
	if term < rf.hard.Term {
		return false
	}
	rf.role = follower
	rf.timer.Reset(patienceWithLeader())
	return true
}

// AppendEntries takes a batch or a heartbeat.
func (rf *Raft) AppendEntries(args AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	current := rf.hear(args.Term)
	reply.Term = rf.hard.Term
	if !current {
		return
	}
	log := &rf.hard.Log
	if args.PrevIndex >= log.Base {
		term, ok := log.Term(args.PrevIndex)
		if !ok {
			last, _ := log.Last()
			reply.Hint = last + 1
			return
		}
		if term != args.PrevTerm {
			reply.Hint = log.StartOfTerm(args.PrevIndex)
			return
		}
	}
	if log.Merge(args.PrevIndex, args.Entries) {
		rf.disk.save(&rf.hard)
	}
	reply.Success = true
	rf.commitTo(min(args.Commit, args.PrevIndex+len(args.Entries)))
}

// InstallSnapshot replaces the beginning of the log, and delivers the snapshot.
func (rf *Raft) InstallSnapshot(args InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	current := rf.hear(args.Term)
	reply.Term = rf.hard.Term
	if !current || args.LastIndex <= rf.commit {
		return
	}
	rf.hard.Log.Compact(args.LastIndex, args.LastTerm)
	rf.disk.saveWith(&rf.hard, args.Data)
	rf.commit = args.LastIndex
	rf.deliver([]ApplyMsg{{
		SnapshotValid: true,
		Snapshot:      args.Data,
		SnapshotTerm:  args.LastTerm,
		SnapshotIndex: args.LastIndex,
	}})
}

// Snapshot compacts the log, because the service has saved all up to index.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	term, ok := rf.hard.Log.Term(index)
	if !ok || index == rf.hard.Log.Base || index > rf.commit {
		return
	}
	rf.hard.Log.Compact(index, term)
	rf.disk.saveWith(&rf.hard, snapshot)
}

// CondInstallSnapshot agrees always, because only current snapshots are delivered.
func (rf *Raft) CondInstallSnapshot(int, int, []byte) bool {
	return true
}
