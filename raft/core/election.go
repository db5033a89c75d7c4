package core

import "fmt"

// becomeFollower moves to term, if it is newer, and follows (§5.1). The vote is
// kept within a term: a server votes at most once in it.
func (c *Core) becomeFollower(term uint64, leader NodeID) {
	if term > c.currentTerm {
		c.currentTerm, c.votedFor = term, None
	}
	if c.state != Follower {
		// A leader's timer counted something else; a candidate's has run long.
		c.resetElectionTimer()
	}
	c.state, c.leader = Follower, leader
	c.votes, c.progress = nil, nil
}

// StepDown makes a leader a follower in its own term. The host calls StepDown
// when the server can no longer do a leader's work, for example because its
// storage does not answer. The silence then lets the others elect a leader.
func (c *Core) StepDown() {
	if c.state == Leader {
		c.becomeFollower(c.currentTerm, None)
	}
}

// observeTerm applies Figure 2's rule for all servers: a request or reply of a
// newer term makes this server a follower in that term.
func (c *Core) observeTerm(term uint64) {
	if term > c.currentTerm {
		c.becomeFollower(term, None)
	}
}

// resetElectionTimer starts to wait anew, for a time of its own so that split
// votes are rare (§5.2).
func (c *Core) resetElectionTimer() {
	c.electionElapsed = 0
	c.electionTimeout = c.cfg.ElectionTicks + c.cfg.Rand.IntN(c.cfg.ElectionTicks)
}

// preCampaign asks the others whether they would vote, in the term to come,
// without beginning it: a server that was cut off does not push a working
// cluster into a new term when it returns (thesis 9.6).
func (c *Core) preCampaign() {
	c.leader = None
	c.startPoll(PreCandidate)
	if c.pollWon() {
		c.campaign()
	}
}

// campaign begins a term and asks for votes (§5.2).
func (c *Core) campaign() {
	c.currentTerm++
	c.votedFor = c.id
	c.startPoll(Candidate)
}

// voteSaved takes in that this server's own vote in its term is on disk. Until
// then it counts for nothing: alone in its cluster, a server would otherwise lead
// a term that a crash makes it forget, and lead it again with other entries.
func (c *Core) voteSaved() {
	if c.state == Candidate && c.pollWon() {
		c.becomeLeader()
	}
}

// startPoll becomes a candidate of either kind, with its own vote, and asks the others.
func (c *Core) startPoll(as State) {
	c.state = as
	c.votes = map[NodeID]bool{c.id: true}
	c.heartbeatElapsed = 0
	c.resetElectionTimer()
	c.requestVotes()
}

// requestVotes asks those who have not answered yet (§5.1: servers retry).
func (c *Core) requestVotes() {
	term := c.currentTerm
	if c.state == PreCandidate {
		term++
	}
	c.others(func(id NodeID) {
		if _, answered := c.votes[id]; answered {
			return
		}
		// Not before the candidate's own vote is saved: it must not vote for
		// another in this term after a crash.
		c.afterSave = append(c.afterSave, Message{From: c.id, To: id, Body: &RequestVote{
			Term:         term,
			CandidateID:  c.id,
			LastLogIndex: c.log.lastIndex(),
			LastLogTerm:  c.log.lastTerm(),
			PreVote:      c.state == PreCandidate,
		}})
	})
}

func (c *Core) tickCandidate() {
	if c.heartbeatElapsed >= c.cfg.HeartbeatTicks {
		c.heartbeatElapsed = 0
		c.requestVotes()
	}
}

func (c *Core) pollWon() bool {
	return c.voters.count(func(id NodeID) bool { return c.votes[id] }) >= c.voters.quorum()
}

// hearsLeader says that there was word from the leader within the minimum
// election timeout. Such a server gives no votes: whoever asks has merely lost
// the leader itself (thesis 4.2.3).
func (c *Core) hearsLeader() bool {
	return c.state == Follower && c.leader != None && c.electionElapsed < c.cfg.ElectionTicks
}

// checkVote refuses requests that no correct candidate sends.
func checkVote(from NodeID, req *RequestVote) error {
	if req.Term == 0 || req.CandidateID != from {
		return fmt.Errorf("%w: request of candidate %d in term %d, sent by %d", ErrMalformed, req.CandidateID, req.Term, from)
	}
	return nil
}

// handleRequestVote answers a request for a vote or a pre-vote (Figure 2).
func (c *Core) handleRequestVote(req *RequestVote) *RequestVoteReply {
	granted := false
	switch {
	case c.hearsLeader():
	case req.PreVote:
		granted = c.wouldVote(req)
	default:
		c.observeTerm(req.Term)
		granted = c.vote(req)
	}
	return &RequestVoteReply{
		Term:        c.currentTerm,
		VoteGranted: granted,
		RequestTerm: req.Term,
		PreVote:     req.PreVote,
	}
}

// wouldVote answers a pre-vote. It promises nothing and changes nothing. A
// leader refuses: while it has a quorum there is nothing to elect.
func (c *Core) wouldVote(req *RequestVote) bool {
	return c.state != Leader && req.Term > c.currentTerm &&
		c.log.upToDate(req.LastLogIndex, req.LastLogTerm)
}

// vote grants the vote of the current term, once, and only to a candidate whose
// log holds all that may be committed (§5.2, §5.4.1). Granting it restarts the
// election timer (Figure 2, rules for followers).
func (c *Core) vote(req *RequestVote) bool {
	if req.Term < c.currentTerm || c.votedFor != None && c.votedFor != req.CandidateID {
		return false
	}
	if !c.log.upToDate(req.LastLogIndex, req.LastLogTerm) {
		return false
	}
	if c.state == PreCandidate {
		c.becomeFollower(c.currentTerm, None) // it has found another to vote for
	}
	c.votedFor = req.CandidateID
	c.resetElectionTimer()
	return true
}

// handleRequestVoteReply counts a vote, if it is for the poll that is on.
func (c *Core) handleRequestVoteReply(from NodeID, rep *RequestVoteReply) {
	c.observeTerm(rep.Term)
	switch {
	case c.state == PreCandidate && rep.PreVote && rep.RequestTerm == c.currentTerm+1:
	case c.state == Candidate && !rep.PreVote && rep.RequestTerm == c.currentTerm:
	default:
		return // an answer to an older poll
	}
	if c.state == Candidate || rep.VoteGranted {
		// A refused pre-vote is asked for again: the voter may merely have heard
		// its old leader a moment ago. A refused vote is refused for the term.
		c.votes[from] = c.votes[from] || rep.VoteGranted
	}
	if !c.pollWon() {
		return
	}
	if c.state == PreCandidate {
		c.campaign()
	} else {
		c.becomeLeader()
	}
}

// becomeLeader takes up the term that was won (§5.2, §5.3).
func (c *Core) becomeLeader() {
	c.state, c.leader = Leader, c.id
	c.votes = nil
	c.electionElapsed = 0
	c.progress = make(map[NodeID]*progress, len(c.voters))
	c.others(func(id NodeID) {
		c.progress[id] = &progress{
			nextIndex: c.log.lastIndex() + 1,
			inflight:  window{maxCount: c.cfg.MaxInflight, maxBytes: c.cfg.MaxInflightBytes},
		}
	})
	if c.cfg.LeaderNoOp {
		c.appendOwn(NoOp, nil)
	}
	c.broadcastHeartbeat()
}
