package raft

// RequestVoteArgs follows Figure 2.
type RequestVoteArgs struct {
	Term      int
	Candidate int
	LastIndex int
	LastTerm  int
}

// RequestVoteReply follows Figure 2.
type RequestVoteReply struct {
	Term    int
	Granted bool
}

// watch starts an election whenever the timer fires.
func (rf *Raft) watch() {
	for {
		select {
		case <-rf.stop:
			rf.timer.Stop()
			return
		case <-rf.timer.C:
		}
		rf.mu.Lock()
		if rf.role != leader {
			rf.elect()
		}
		rf.mu.Unlock()
	}
}

func (rf *Raft) elect() {
	rf.hard.Term++
	rf.hard.Vote = rf.me
	rf.disk.save(&rf.hard)
	rf.role = candidate
	rf.votes = map[int]bool{rf.me: true}
	rf.timer.Reset(patienceWithLeader())
	rf.countVotes()
	lastIndex, lastTerm := rf.hard.Log.Last()
	for i := range rf.peers {
		if i == rf.me {
			continue
		}
		go func(i int, args RequestVoteArgs) {
			var reply RequestVoteReply
			if rf.peers[i].Call("Raft.RequestVote", args, &reply) {
				rf.onVote(i, args, reply)
			}
		}(i, RequestVoteArgs{rf.hard.Term, rf.me, lastIndex, lastTerm})
	}
}

func (rf *Raft) onVote(from int, args RequestVoteArgs, reply RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.meet(reply.Term)
	if rf.role != candidate || rf.hard.Term != args.Term || !reply.Granted {
		return
	}
	rf.votes[from] = true
	rf.countVotes()
}

func (rf *Raft) countVotes() {
	if len(rf.votes) <= len(rf.peers)/2 {
		return
	}
	rf.role = leader
	last, _ := rf.hard.Log.Last()
	for i := range rf.others {
		rf.others[i] = peerState{next: last + 1}
	}
	rf.wakeSender()
}

// RequestVote answers candidates.
func (rf *Raft) RequestVote(args RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.meet(args.Term)
	reply.Term = rf.hard.Term
	switch {
	case args.Term < rf.hard.Term:
	case rf.hard.Vote != nobody && rf.hard.Vote != args.Candidate:
	case rf.hard.Log.NewerThan(args.LastIndex, args.LastTerm):
	default:
		rf.hard.Vote = args.Candidate
		rf.disk.save(&rf.hard)
		rf.timer.Reset(patienceWithLeader())
		reply.Granted = true
	}
}
