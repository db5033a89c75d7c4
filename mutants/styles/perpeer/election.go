package raft

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

func (rf *Raft) beginElection() {
	rf.role = RoleCandidate
	rf.term++
	rf.vote = rf.me
	rf.save()
	rf.pushDeadline()
	go rf.runElection(RequestVoteArgs{
		Term:         rf.term,
		CandidateId:  rf.me,
		LastLogIndex: rf.log.Last(),
		LastLogTerm:  rf.log.Term(rf.log.Last()),
	})
}

// runElection requests all votes concurrently, and counts the answers in turn.
func (rf *Raft) runElection(args RequestVoteArgs) {
	replies := make(chan RequestVoteReply, len(rf.peers))
	for id := range rf.peers {
		if id == rf.me {
			replies <- RequestVoteReply{Term: args.Term, VoteGranted: true}
			continue
		}
		go func() {
			var reply RequestVoteReply
			rf.peers[id].Call("Raft.RequestVote", &args, &reply)
			replies <- reply
		}()
	}
	granted := 0
	for range rf.peers {
		reply := <-replies
		if reply.VoteGranted {
			granted++
		}
		rf.mu.Lock()
		if reply.Term > rf.term {
			rf.stepDown(reply.Term)
		}
		over := rf.killed || rf.role != RoleCandidate || rf.term != args.Term
		if !over && granted > len(rf.peers)/2 {
			rf.takeOver()
			over = true
		}
		rf.mu.Unlock()
		if over {
			return
		}
	}
}

func (rf *Raft) takeOver() {
	rf.role = RoleLeader
	for _, r := range rf.remotes {
		r.next = rf.log.Last() + 1
		r.match = 0
		if r.id != rf.me {
			go rf.heart(r, rf.term)
		}
	}
}

func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	defer func() { reply.Term = rf.term }()
	if args.Term < rf.term {
		return
	}
	if args.Term > rf.term {
		rf.stepDown(args.Term)
	}
	if rf.vote != -1 {
		reply.VoteGranted = rf.vote == args.CandidateId
		return
	}
	last := rf.log.Last()
	if rf.log.Term(last) > args.LastLogTerm {
		return
	}
	if rf.log.Term(last) == args.LastLogTerm && last > args.LastLogIndex {
		return
	}
	rf.vote = args.CandidateId
	rf.save()
	rf.pushDeadline()
	reply.VoteGranted = true
}
