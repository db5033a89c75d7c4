package raft

// VoteArgs are Figure 2's.
type VoteArgs struct {
	Term, Candidate, LastIndex, LastTerm int
}

// VoteReply is Figure 2's.
type VoteReply struct {
	Term    int
	Granted bool
}

// stand makes this server a candidate of a new term.
func (rf *Raft) stand() {
	rf.role = roleCandidate
	rf.term++
	rf.vote = rf.me + 1
	rf.save()
	rf.ballots = 0
	rf.postpone()
	rf.elect()
	args := VoteArgs{rf.term, rf.me, rf.log.last(), rf.log.lastTerm()}
	for i, end := range rf.ends {
		if i == rf.me {
			continue
		}
		go func() {
			reply := VoteReply{}
			if !end.Call("Raft.Vote", args, &reply) {
				return
			}
			rf.mu.Lock()
			defer rf.mu.Unlock()
			if rf.newer(reply.Term) {
				return
			}
			if reply.Granted && rf.role == roleCandidate && rf.term == args.Term {
				rf.elect()
			}
		}()
	}
}

// elect counts one vote more. A majority begins the streams.
func (rf *Raft) elect() {
	rf.ballots++
	if 2*rf.ballots <= len(rf.ends) {
		return
	}
	rf.role = roleLeader
	rf.streams = make([]*stream, len(rf.ends))
	for i := range rf.streams {
		rf.streams[i] = &stream{peer: i, next: rf.log.last() + 1}
	}
	rf.beat()
}

// Vote answers a candidate.
func (rf *Raft) Vote(args VoteArgs, reply *VoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.newer(args.Term)
	reply.Term = rf.term
	if args.Term < rf.term {
		return
	}
	if rf.vote != 0 && rf.vote != args.Candidate+1 {
		return
	}
	if args.LastTerm < rf.log.lastTerm() {
		return
	}
	if args.LastTerm == rf.log.lastTerm() && args.LastIndex < rf.log.last() {
		return
	}
	rf.vote = args.Candidate + 1
	rf.save()
	rf.postpone()
	reply.Granted = true
}
