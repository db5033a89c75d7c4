package raft

import (
	"sort"
	"time"
)

// replicator sends entries to a peer while the server leads and the peer lacks entries.
// replicator waits for at most one RPC at a time, and at most resendAfter.
func (rf *Raft) replicator(r *Remote) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	for !rf.killed {
		if rf.role != RoleLeader || r.next > rf.log.Last() {
			r.cond.Wait()
			continue
		}
		call := rf.prepare(r, maxBatch)
		rf.mu.Unlock()
		result := make(chan bool, 1)
		go func() { result <- call() }()
		select {
		case ok := <-result:
			if !ok {
				time.Sleep(failurePause)
			}
		case <-time.After(resendAfter):
		}
		rf.mu.Lock()
	}
}

// heart sends heartbeats to a peer until the leadership ends.
func (rf *Raft) heart(r *Remote, term int) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	for !rf.killed && rf.role == RoleLeader && rf.term == term {
		if r.next > rf.log.Base {
			go rf.prepare(r, 0)()
		}
		rf.mu.Unlock()
		time.Sleep(beatPause)
		rf.mu.Lock()
	}
}

// prepare returns the next RPC for the peer, with at most limit entries. The caller of
// prepare holds the lock, and releases the lock before calling the result.
func (rf *Raft) prepare(r *Remote, limit int) func() bool {
	if r.next <= rf.log.Base {
		args := &InstallSnapshotArgs{
			Term:              rf.term,
			LeaderId:          rf.me,
			LastIncludedIndex: rf.log.Base,
			LastIncludedTerm:  rf.log.Term(rf.log.Base),
			Data:              rf.snapshot,
		}
		return func() bool {
			var reply InstallSnapshotReply
			ok := rf.peers[r.id].Call("Raft.InstallSnapshot", args, &reply)
			if ok {
				rf.onInstalled(r, args, &reply)
			}
			return ok
		}
	}
	terms, commands := rf.log.Slice(r.next, limit)
	args := &AppendEntriesArgs{
		Term:         rf.term,
		LeaderId:     rf.me,
		PrevLogIndex: r.next - 1,
		PrevLogTerm:  rf.log.Term(r.next - 1),
		Terms:        terms,
		Commands:     commands,
		LeaderCommit: rf.commitIndex,
	}
	return func() bool {
		var reply AppendEntriesReply
		ok := rf.peers[r.id].Call("Raft.AppendEntries", args, &reply)
		if ok {
			rf.onAppended(r, args, &reply)
		}
		return ok
	}
}

// current handles the term of a reply, and reports whether the leadership of the request
// goes on.
func (rf *Raft) current(sent, replied int) bool {
	if replied > rf.term {
		rf.stepDown(replied)
	}
	return rf.role == RoleLeader && rf.term == sent
}

func (rf *Raft) onAppended(r *Remote, args *AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if !rf.current(args.Term, reply.Term) {
		return
	}
	if reply.Success {
		rf.onMatch(r, args.PrevLogIndex+len(args.Terms))
		return
	}
	next := reply.ConflictIndex
	if reply.ConflictTerm > 0 {
		if last := rf.log.LastOfTerm(reply.ConflictTerm); last > 0 {
			next = min(last+1, args.PrevLogIndex)
		}
	}
	if next < r.next && next > r.match {
		r.next = next
		r.cond.Signal()
	}
}

func (rf *Raft) onInstalled(r *Remote, args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.current(args.Term, reply.Term) {
		rf.onMatch(r, args.LastIncludedIndex)
	}
}

func (rf *Raft) onMatch(r *Remote, index int) {
	if index <= r.match {
		return
	}
	r.match = index
	r.next = max(r.next, index+1)
	rf.updateCommit()
}

// updateCommit commits the largest index of the current term on a majority.
func (rf *Raft) updateCommit() {
	match := []int{rf.log.Last()}
	for _, r := range rf.remotes {
		if r.id != rf.me {
			match = append(match, r.match)
		}
	}
	sort.Sort(sort.Reverse(sort.IntSlice(match)))
	majority := match[len(match)/2]
	if majority > rf.commitIndex && rf.log.Term(majority) == rf.term {
		rf.commitIndex = majority
		rf.applyCond.Signal()
	}
}
