package raft

import "time"

type RequestVoteArgs struct {
	Term         int
	CandidateId  int
	LastLogIndex int
	LastLogTerm  int
}

type RequestVoteReply struct {
	Term        int
	VoteGranted bool
}

func (rf *Raft) startElection() {
	rf.state = Candidate
	rf.currentTerm++
	rf.votedFor = rf.me
	rf.persist()
	args := &RequestVoteArgs{
		Term:         rf.currentTerm,
		CandidateId:  rf.me,
		LastLogIndex: rf.lastEntry().Index,
		LastLogTerm:  rf.lastEntry().Term,
	}
	votes := 1
	if votes > len(rf.peers)/2 {
		rf.becomeLeader()
	}
	for i := range rf.peers {
		if i != rf.me {
			go rf.askForVote(i, args, &votes)
		}
	}
}

// askForVote adds a granted vote to votes, which the mutex guards.
func (rf *Raft) askForVote(peer int, args *RequestVoteArgs, votes *int) {
	reply := &RequestVoteReply{}
	if !rf.peers[peer].Call("Raft.RequestVote", args, reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.becomeFollower(reply.Term)
		return
	}
	if rf.state != Candidate || rf.currentTerm != args.Term || !reply.VoteGranted {
		return
	}
	*votes++
	if *votes > len(rf.peers)/2 {
		rf.becomeLeader()
	}
}

func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term > rf.currentTerm {
		rf.becomeFollower(args.Term)
	}
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	if rf.votedFor != -1 && rf.votedFor != args.CandidateId {
		return
	}
	if !rf.upToDate(args.LastLogIndex, args.LastLogTerm) {
		return
	}
	rf.votedFor = args.CandidateId
	rf.persist()
	rf.lastHeard = time.Now()
	reply.VoteGranted = true
}

// upToDate reports whether a log with this last entry is at least as up-to-date as the
// server's own (section 5.4.1).
func (rf *Raft) upToDate(lastIndex, lastTerm int) bool {
	last := rf.lastEntry()
	if lastTerm != last.Term {
		return lastTerm > last.Term
	}
	return lastIndex >= last.Index
}
