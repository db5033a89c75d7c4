package raft

// AppendEntriesArgs is the heartbeat, with or without entries.
type AppendEntriesArgs struct {
	Term         int
	LeaderID     int
	PrevLogIndex int
	PrevLogTerm  int
	Entries      []Entry
	LeaderCommit int
}

// AppendEntriesReply is the answer to AppendEntries. After a conflict ConflictIndex is
// the index from which the leader should send, and ConflictTerm the follower's term there.
type AppendEntriesReply struct {
	Term          int
	Success       bool
	ConflictIndex int
	ConflictTerm  int
}

// broadcast starts one RPC to each peer. It returns false if the server does not lead
// the term any more.
func (rf *Raft) broadcast(term int) bool {
	rf.mu.RLock()
	defer rf.mu.RUnlock()
	if rf.state != StateLeader || rf.currentTerm != term || rf.killed() {
		return false
	}
	for peer := range rf.peers {
		if peer != rf.me {
			rf.send(peer)
		}
	}
	return true
}

// send builds the RPC that the peer needs. The lock is held, for reading at least.
func (rf *Raft) send(peer int) {
	next := rf.nextIndex[peer]
	if next <= rf.first().Index {
		go rf.installSnapshot(peer, InstallSnapshotArgs{
			Term:              rf.currentTerm,
			LeaderID:          rf.me,
			LastIncludedIndex: rf.first().Index,
			LastIncludedTerm:  rf.first().Term,
			Data:              rf.snapshot,
		})
		return
	}
	entries := make([]Entry, rf.last().Index-next+1)
	copy(entries, rf.log[next-rf.first().Index:])
	go rf.appendEntries(peer, AppendEntriesArgs{
		Term:         rf.currentTerm,
		LeaderID:     rf.me,
		PrevLogIndex: next - 1,
		PrevLogTerm:  rf.at(next - 1).Term,
		Entries:      entries,
		LeaderCommit: rf.commitIndex,
	})
}

func (rf *Raft) appendEntries(peer int, args AppendEntriesArgs) {
	var reply AppendEntriesReply
	if !rf.peers[peer].Call("Raft.AppendEntries", &args, &reply) {
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
	if reply.Success {
		if match := args.PrevLogIndex + len(args.Entries); match > rf.matchIndex[peer] {
			rf.matchIndex[peer] = match
			rf.nextIndex[peer] = match + 1
			rf.advanceCommit()
		}
		return
	}
	if args.PrevLogIndex != rf.nextIndex[peer]-1 || args.PrevLogIndex <= rf.matchIndex[peer] {
		return // a late reply
	}
	rf.nextIndex[peer] = rf.afterConflict(reply)
	if rf.nextIndex[peer] <= rf.matchIndex[peer] {
		rf.nextIndex[peer] = rf.matchIndex[peer] + 1
	}
	rf.send(peer)
}

// afterConflict looks for the follower's conflicting term in the leader's log.
func (rf *Raft) afterConflict(reply AppendEntriesReply) int {
	if reply.ConflictTerm >= 0 {
		for i := len(rf.log) - 1; i > 0; i-- {
			if rf.log[i].Term == reply.ConflictTerm {
				return rf.log[i].Index + 1
			}
			if rf.log[i].Term < reply.ConflictTerm {
				break
			}
		}
	}
	return reply.ConflictIndex
}

// advanceCommit looks for the highest index of currentTerm on a majority.
func (rf *Raft) advanceCommit() {
	for index := rf.last().Index; index > rf.commitIndex; index-- {
		if rf.at(index).Term != rf.currentTerm {
			break
		}
		copies := 1
		for peer, match := range rf.matchIndex {
			if peer != rf.me && match >= index {
				copies++
			}
		}
		if copies > len(rf.peers)/2 {
			rf.commitIndex = index
			rf.applyCond.Signal()
			break
		}
	}
}

// AppendEntries takes entries from the leader.
func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
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

	if args.PrevLogIndex < rf.first().Index {
		// The snapshot covers the beginning of the request.
		skip := rf.first().Index - args.PrevLogIndex
		if skip > len(args.Entries) {
			reply.Success = true
			return
		}
		args.PrevLogIndex = rf.first().Index
		args.PrevLogTerm = rf.first().Term
		args.Entries = args.Entries[skip:]
	}
	if !rf.consistent(args, reply) {
		return
	}
	for i, e := range args.Entries {
		if e.Index > rf.last().Index || rf.at(e.Index).Term != e.Term {
			keep := rf.log[:e.Index-rf.first().Index]
			rf.log = append(append([]Entry(nil), keep...), args.Entries[i:]...)
			rf.persist()
			break
		}
	}
	reply.Success = true
	if commit := min(args.LeaderCommit, args.PrevLogIndex+len(args.Entries)); commit > rf.commitIndex {
		rf.commitIndex = commit
		rf.applyCond.Signal()
	}
}

// consistent is the check of the entry before the new ones.
func (rf *Raft) consistent(args *AppendEntriesArgs, reply *AppendEntriesReply) bool {
	if args.PrevLogIndex > rf.last().Index {
		reply.ConflictTerm = -1
		reply.ConflictIndex = rf.last().Index + 1
		return false
	}
	have := rf.at(args.PrevLogIndex).Term
	if have == args.PrevLogTerm {
		return true
	}
	index := args.PrevLogIndex
	for index > rf.first().Index+1 && rf.at(index-1).Term == have {
		index--
	}
	reply.ConflictTerm = have
	reply.ConflictIndex = index
	return false
}
