package raft

// led begins each message of a leader. It reports whether the message is of this term.
func (rf *Raft) led(term int) bool {
	rf.newer(term)
	if term < rf.term {
		return false
	}
	rf.role = roleFollower
	rf.postpone()
	return true
}

// Replicate is AppendEntries.
func (rf *Raft) Replicate(args EntriesArgs, reply *EntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	ok := rf.led(args.Term)
	reply.Term = rf.term
	if !ok {
		return
	}
	if args.PrevIndex > rf.log.last() {
		reply.Retry = rf.log.last() + 1
		return
	}
	if args.PrevIndex >= rf.log.offset && rf.log.term(args.PrevIndex) != args.PrevTerm {
		bad := rf.log.term(args.PrevIndex)
		reply.Retry = args.PrevIndex
		for reply.Retry > rf.log.offset+1 && rf.log.term(reply.Retry-1) == bad {
			reply.Retry--
		}
		return
	}
	changed := false
	for i, term := range args.Terms {
		index := args.PrevIndex + 1 + i
		if index <= rf.log.offset {
			continue
		}
		if index <= rf.log.last() {
			if rf.log.term(index) == term {
				continue
			}
			rf.log.keep(index - 1)
		}
		rf.log.push(term, args.Commands[i])
		changed = true
	}
	if changed {
		rf.save()
	}
	reply.Success = true
	if known := min(args.Commit, args.PrevIndex+len(args.Terms)); known > rf.commit {
		rf.commit = known
		rf.news.Signal()
	}
}

// Transfer is InstallSnapshot.
func (rf *Raft) Transfer(args SnapshotArgs, reply *SnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	ok := rf.led(args.Term)
	reply.Term = rf.term
	if !ok || args.LastIndex <= rf.commit {
		return
	}
	rf.log.rebase(args.LastIndex, args.LastTerm)
	rf.snap = args.Data
	rf.save()
	rf.commit = args.LastIndex
	rf.applied = args.LastIndex
	rf.handover = true
	rf.news.Signal()
}

// Snapshot moves the offset of the log.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.log.offset || index > rf.applied {
		return
	}
	rf.log.rebase(index, rf.log.term(index))
	rf.snap = snapshot
	rf.save()
}

// CondInstallSnapshot agrees: a snapshot is installed before it goes to the service.
func (rf *Raft) CondInstallSnapshot(_, _ int, _ []byte) bool {
	return true
}
