package raft

// BallotArgs are the arguments of RequestVote in Figure 2.
type BallotArgs struct {
	Term      int
	Candidate int
	LastIndex int
	LastTerm  int
}

// BallotReply is the result of RequestVote in Figure 2.
type BallotReply struct {
	Term int
	Yes  bool
}

// follower waits for messages. Its alarm starts an election.
func (rf *Raft) follower() stateFn {
	rf.following = true
	defer func() { rf.following = false }()
	rf.arm(patience(), func() { rf.become(rf.candidate) })
	return rf.serve()
}

// candidate holds one election. The alarm starts the next one.
func (rf *Raft) candidate() stateFn {
	rf.term++
	rf.votedFor = rf.me
	rf.save()
	rf.arm(patience(), func() { rf.become(rf.candidate) })
	yes := 1
	if yes > len(rf.peers)/2 {
		return rf.leader
	}
	args := BallotArgs{rf.term, rf.me, rf.log.end(), rf.log.termOf(rf.log.end())}
	for i, end := range rf.peers {
		if i == rf.me {
			continue
		}
		go func() {
			var reply BallotReply
			if !end.Call("Raft.Ballot", &args, &reply) {
				return
			}
			rf.tell(func() {
				if rf.outdated(reply.Term) || rf.term != args.Term || !reply.Yes {
					return
				}
				if yes++; yes == len(rf.peers)/2+1 {
					rf.become(rf.leader)
				}
			})
		}()
	}
	return rf.serve()
}

// leader reigns until a newer term appears. The alarm beats the heart.
func (rf *Raft) leader() stateFn {
	r := newReign(rf)
	rf.reign = r
	defer func() { rf.reign = nil }()
	r.beat()
	return rf.serve()
}

// outdated enters a newer term, if term is one. A follower's alarm stays as it is,
// because the sender may have an old log.
func (rf *Raft) outdated(term int) bool {
	if term <= rf.term {
		return false
	}
	rf.term = term
	rf.votedFor = -1
	rf.reign = nil
	rf.save()
	if !rf.following {
		rf.become(rf.follower)
	}
	return true
}

// Ballot answers a candidate.
func (rf *Raft) Ballot(args *BallotArgs, reply *BallotReply) {
	rf.ask(func() {
		rf.outdated(args.Term)
		reply.Term = rf.term
		if args.Term < rf.term || !rf.log.accepts(args.LastIndex, args.LastTerm) {
			return
		}
		if rf.votedFor != -1 && rf.votedFor != args.Candidate {
			return
		}
		rf.votedFor = args.Candidate
		rf.save()
		rf.become(rf.follower) // a new follower's alarm is new, too
		reply.Yes = true
	})
}

// obey is the beginning of each message from a leader. It reports whether the sender
// leads the present term.
func (rf *Raft) obey(term int) bool {
	rf.outdated(term)
	if term < rf.term {
		return false
	}
	rf.become(rf.follower)
	return true
}
