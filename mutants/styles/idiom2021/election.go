package raft

import "time"

// electionLoop looks every 10 ms whether the election timeout has passed.
func (rf *Raft) electionLoop() {
	for !rf.killed() {
		time.Sleep(pollInterval)
		rf.mu.Lock()
		if rf.role != Leader && time.Since(rf.lastReset) >= rf.timeout {
			rf.startElection()
		}
		rf.mu.Unlock()
	}
}

// startElection expects rf.mu to be held.
func (rf *Raft) startElection() {
	rf.role = Candidate
	rf.currentTerm++
	rf.votedFor = rf.me
	rf.voteCount = 1
	rf.persist()
	rf.resetElectionTimer()
	DPrintf("[%d] is a candidate in term %d", rf.me, rf.currentTerm)
	args := RequestVoteArgs{
		Term:         rf.currentTerm,
		CandidateId:  rf.me,
		LastLogIndex: rf.lastLogIndex(),
		LastLogTerm:  rf.lastLogTerm(),
	}
	if rf.hasMajority(rf.voteCount) {
		rf.becomeLeader()
		return
	}
	for server := range rf.peers {
		if server != rf.me {
			go rf.askForVote(server, args)
		}
	}
}

func (rf *Raft) hasMajority(count int) bool {
	return count > len(rf.peers)/2
}

func (rf *Raft) askForVote(server int, args RequestVoteArgs) {
	reply := RequestVoteReply{}
	if rf.killed() || !rf.sendRequestVote(server, &args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.becomeFollower(reply.Term)
		rf.persist()
		return
	}
	if rf.role != Candidate || rf.currentTerm != args.Term {
		return
	}
	if reply.VoteGranted {
		rf.voteCount++
		if rf.hasMajority(rf.voteCount) {
			rf.becomeLeader()
		}
	}
}

// becomeLeader expects rf.mu to be held. The replication loop sends the first
// heartbeats, because lastSend is zero.
func (rf *Raft) becomeLeader() {
	DPrintf("[%d] is the leader of term %d", rf.me, rf.currentTerm)
	rf.role = Leader
	for i := range rf.peers {
		rf.nextIndex[i] = rf.lastLogIndex() + 1
		rf.matchIndex[i] = 0
		rf.sentIndex[i] = rf.lastLogIndex()
		rf.lastSend[i] = time.Time{}
	}
}

// RequestVote handles the request of a candidate.
func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	reply.VoteGranted = false
	if args.Term < rf.currentTerm {
		reply.Term = rf.currentTerm
		return
	}
	if args.Term > rf.currentTerm {
		rf.becomeFollower(args.Term)
		rf.persist()
	}
	reply.Term = rf.currentTerm
	if rf.votedFor != -1 && rf.votedFor != args.CandidateId {
		return
	}
	if !rf.candidateIsUpToDate(args.LastLogIndex, args.LastLogTerm) {
		return
	}
	rf.votedFor = args.CandidateId
	rf.persist()
	rf.resetElectionTimer()
	reply.VoteGranted = true
}
