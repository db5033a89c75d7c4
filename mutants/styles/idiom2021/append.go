package raft

import "time"

// replicationLoop looks every 10 ms which peers need an RPC: those with new entries,
// and those whose last RPC was a heartbeat interval ago.
func (rf *Raft) replicationLoop() {
	for !rf.killed() {
		time.Sleep(pollInterval)
		rf.mu.Lock()
		if rf.role == Leader {
			for server := range rf.peers {
				if server != rf.me && rf.needsRPC(server) {
					rf.replicateTo(server)
				}
			}
			rf.advanceCommit()
		}
		rf.mu.Unlock()
	}
}

func (rf *Raft) needsRPC(server int) bool {
	return rf.sentIndex[server] < rf.lastLogIndex() ||
		time.Since(rf.lastSend[server]) >= heartbeatInterval
}

// replicateTo expects rf.mu to be held.
func (rf *Raft) replicateTo(server int) {
	rf.lastSend[server] = time.Now()
	rf.sentIndex[server] = rf.lastLogIndex()
	if rf.nextIndex[server] <= rf.lastIncludedIndex {
		go rf.snapshotTo(server, InstallSnapshotArgs{
			Term:              rf.currentTerm,
			LeaderId:          rf.me,
			LastIncludedIndex: rf.lastIncludedIndex,
			LastIncludedTerm:  rf.lastIncludedTerm,
			Data:              rf.persister.ReadSnapshot(),
		})
		return
	}
	prev := rf.nextIndex[server] - 1
	go rf.appendTo(server, AppendEntriesArgs{
		Term:         rf.currentTerm,
		LeaderId:     rf.me,
		PrevLogIndex: prev,
		PrevLogTerm:  rf.termAt(prev),
		Entries:      rf.entriesFrom(prev + 1),
		LeaderCommit: rf.commitIndex,
	})
}

func (rf *Raft) appendTo(server int, args AppendEntriesArgs) {
	reply := AppendEntriesReply{}
	if rf.killed() || !rf.sendAppendEntries(server, &args, &reply) {
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
	if reply.Success {
		match := args.PrevLogIndex + len(args.Entries)
		rf.matchIndex[server] = max(rf.matchIndex[server], match)
		rf.nextIndex[server] = max(rf.nextIndex[server], match+1)
		rf.advanceCommit()
		return
	}
	if rf.nextIndex[server] != args.PrevLogIndex+1 {
		return // an old reply
	}
	rf.nextIndex[server] = max(rf.matchIndex[server]+1, rf.backup(&reply))
	rf.replicateTo(server)
}

// backup finds the next nextIndex after a rejection.
func (rf *Raft) backup(reply *AppendEntriesReply) int {
	if reply.XTerm == -1 {
		return reply.XLen
	}
	if last := rf.lastIndexOfTerm(reply.XTerm); last != -1 {
		return last + 1
	}
	return reply.XIndex
}

// advanceCommit commits the highest index of this term that a majority has.
func (rf *Raft) advanceCommit() {
	for n := rf.lastLogIndex(); n > rf.commitIndex; n-- {
		if rf.termAt(n) != rf.currentTerm {
			return
		}
		count := 1
		for server := range rf.peers {
			if server != rf.me && rf.matchIndex[server] >= n {
				count++
			}
		}
		if rf.hasMajority(count) {
			rf.commitIndex = n
			return
		}
	}
}

// AppendEntries handles entries and heartbeats of a leader.
func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	reply.Success = false
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

	if !rf.matchesPrev(args, reply) {
		return
	}
	rf.mergeEntries(args)
	reply.Success = true
	lastNew := args.PrevLogIndex + len(args.Entries)
	if args.LeaderCommit > rf.commitIndex {
		rf.commitIndex = max(rf.commitIndex, min(args.LeaderCommit, lastNew))
	}
}

// matchesPrev is the consistency check. A prefix below the snapshot is committed, so
// it matches.
func (rf *Raft) matchesPrev(args *AppendEntriesArgs, reply *AppendEntriesReply) bool {
	if args.PrevLogIndex < rf.lastIncludedIndex {
		return true
	}
	if args.PrevLogIndex > rf.lastLogIndex() {
		reply.XTerm = -1
		reply.XLen = rf.lastLogIndex() + 1
		return false
	}
	if term := rf.termAt(args.PrevLogIndex); term != args.PrevLogTerm {
		reply.XTerm = term
		reply.XIndex = rf.firstIndexOfTerm(args.PrevLogIndex)
		return false
	}
	return true
}

// mergeEntries truncates at the first conflict, and appends what is missing.
func (rf *Raft) mergeEntries(args *AppendEntriesArgs) {
	for i, entry := range args.Entries {
		index := args.PrevLogIndex + 1 + i
		if index <= rf.lastIncludedIndex {
			continue
		}
		if index <= rf.lastLogIndex() {
			if rf.termAt(index) == entry.Term {
				continue
			}
			rf.truncateFrom(index)
		}
		rf.log = append(rf.log, args.Entries[i:]...)
		rf.persist()
		return
	}
}
