package raft

import "slices"

// sendToAll sends each follower the next entries, a heartbeat or the snapshot.
func (rf *Raft) sendToAll() {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if !rf.isLeader {
		return
	}
	for server := range rf.peers {
		if server != rf.me {
			rf.sendTo(server)
		}
	}
}

// sendTo is called with the lock held, and does not wait for the reply.
func (rf *Raft) sendTo(server int) {
	next := rf.followers[server].nextIndex
	if next <= rf.log.Base {
		args := InstallSnapshotArgs{
			Term:              rf.hard.Term,
			LeaderId:          rf.me,
			LastIncludedIndex: rf.log.Base,
			LastIncludedTerm:  rf.log.BaseTerm,
			Data:              rf.persister.ReadSnapshot(),
		}
		go func() {
			var reply InstallSnapshotReply
			if rf.peers[server].Call("Raft.InstallSnapshot", &args, &reply) {
				rf.handleInstalled(server, args, reply)
			}
		}()
		return
	}
	args := AppendEntriesArgs{
		Term:         rf.hard.Term,
		LeaderId:     rf.me,
		PrevLogIndex: next - 1,
		PrevLogTerm:  rf.log.term(next - 1),
		Entries:      rf.log.after(next - 1),
		LeaderCommit: rf.commitIndex,
	}
	go func() {
		var reply AppendEntriesReply
		if rf.peers[server].Call("Raft.AppendEntries", &args, &reply) {
			rf.handleAppended(server, args, reply)
		}
	}()
}

func (rf *Raft) handleAppended(server int, args AppendEntriesArgs, reply AppendEntriesReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if rf.sawTerm(reply.Term) || !rf.isLeader || rf.hard.Term != args.Term {
		return
	}
	f := &rf.followers[server]
	if reply.Success {
		rf.matched(server, args.PrevLogIndex+len(args.Entries))
		return
	}
	// A late refusal may concern an index that the follower has accepted since.
	if args.PrevLogIndex > f.matchIndex && reply.Hint+1 < f.nextIndex {
		f.nextIndex = max(reply.Hint, f.matchIndex) + 1
		rf.sendTo(server)
	}
}

func (rf *Raft) handleInstalled(server int, args InstallSnapshotArgs, reply InstallSnapshotReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if rf.sawTerm(reply.Term) || !rf.isLeader || rf.hard.Term != args.Term {
		return
	}
	rf.matched(server, args.LastIncludedIndex)
}

func (rf *Raft) matched(server, index int) {
	f := &rf.followers[server]
	f.matchIndex = max(f.matchIndex, index)
	f.nextIndex = max(f.nextIndex, index+1)
	rf.advanceCommit()
}

// advanceCommit commits the newest entry of the current term on a majority.
func (rf *Raft) advanceCommit() {
	var matched []int
	for _, f := range rf.followers {
		matched = append(matched, f.matchIndex)
	}
	slices.Sort(matched)
	slices.Reverse(matched)
	index := matched[len(matched)/2]
	if index > rf.commitIndex && rf.log.term(index) == rf.hard.Term {
		rf.commitTo(index)
	}
}

// commitTo puts the newly committed entries into the queue.
func (rf *Raft) commitTo(index int) {
	for rf.commitIndex < index {
		rf.commitIndex++
		rf.queue.push(ApplyMsg{
			CommandValid: true,
			Command:      rf.log.at(rf.commitIndex).Command,
			CommandIndex: rf.commitIndex,
		})
	}
}
