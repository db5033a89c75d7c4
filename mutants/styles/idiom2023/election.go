package raft

import (
	"sync/atomic"
	"time"
)

// RequestVoteArgs is the request of a candidate.
type RequestVoteArgs struct {
	Term         int
	CandidateID  int
	LastLogIndex int
	LastLogTerm  int
}

// RequestVoteReply is the answer to a candidate.
type RequestVoteReply struct {
	Term        int
	VoteGranted bool
}

// campaign begins an election. The lock is held.
func (rf *Raft) campaign() {
	rf.state = StateCandidate
	rf.currentTerm++
	rf.votedFor = rf.me
	rf.persist()
	args := RequestVoteArgs{rf.currentTerm, rf.me, rf.last().Index, rf.last().Term}
	votes := new(atomic.Int32)
	votes.Store(1)
	if len(rf.peers) == 1 {
		rf.lead()
		return
	}
	for peer := range rf.peers {
		if peer != rf.me {
			go rf.requestVote(peer, args, votes)
		}
	}
}

func (rf *Raft) requestVote(peer int, args RequestVoteArgs, votes *atomic.Int32) {
	var reply RequestVoteReply
	if !rf.peers[peer].Call("Raft.RequestVote", &args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.stepDown(reply.Term)
		return
	}
	if !reply.VoteGranted {
		return
	}
	if int(votes.Add(1)) != len(rf.peers)/2+1 {
		return
	}
	if rf.state == StateCandidate && rf.currentTerm == args.Term {
		rf.lead()
	}
}

// lead takes the leadership of currentTerm. The lock is held.
func (rf *Raft) lead() {
	rf.state = StateLeader
	for peer := range rf.peers {
		rf.nextIndex[peer] = rf.last().Index + 1
		rf.matchIndex[peer] = 0
	}
	go rf.heartbeats(rf.currentTerm)
}

// heartbeats runs as long as this server leads the term.
func (rf *Raft) heartbeats(term int) {
	for !rf.killed() && rf.broadcast(term) {
		time.Sleep(heartbeatPeriod)
	}
}

// RequestVote answers a candidate.
func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if args.Term > rf.currentTerm {
		rf.stepDown(args.Term)
	}
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	last := rf.last()
	upToDate := args.LastLogTerm > last.Term ||
		(args.LastLogTerm == last.Term && args.LastLogIndex >= last.Index)
	if (rf.votedFor == -1 || rf.votedFor == args.CandidateID) && upToDate {
		rf.votedFor = args.CandidateID
		rf.persist()
		rf.heard.Store(true)
		reply.VoteGranted = true
	}
}
