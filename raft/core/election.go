package core

import "fmt"

// becomeFollower moves to term, if it is newer, and follows (§5.1). The vote is kept within
// a term: a server votes at most once in a term.
func (c *Core) becomeFollower(term uint64, leader NodeID) {
	if term > c.currentTerm {
		c.currentTerm, c.votedFor = term, None
		c.quiescent = false
	}
	if c.state != Follower { // the timers of leaders and candidates count other things
		c.resetElectionTimer()
		c.quiescent = false
	}
	changed := c.state != Follower || c.leader != leader
	c.state, c.leader = Follower, leader
	c.votes, c.progress, c.loads = nil, nil, nil
	c.transferee = None
	if changed {
		c.failReads()
		c.uncommitted = uncommitted{}
	}
}

// observeTerm applies Figure 2's rule for all servers: a request or reply of a newer term
// makes this server a follower in that term.
func (c *Core) observeTerm(term uint64) {
	if term > c.currentTerm {
		c.becomeFollower(term, None)
	}
}

// resetElectionTimer starts a new election timeout. A random length makes split votes rare
// (§5.2). A voter of lower priority waits longer.
func (c *Core) resetElectionTimer() {
	c.electionElapsed = 0
	c.electionTimeout = c.cfg.ElectionTicks + c.cfg.Rand.IntN(c.cfg.ElectionTicks)
	if cfg := c.newest(); len(cfg.Members) > 0 && cfg.Member(c.id).Priority < cfg.topPriority() {
		c.electionTimeout += c.cfg.ElectionTicks
	}
}

// preCampaign asks for votes in the term to come without beginning the term. So the end of
// a partition does not push a working cluster into a new term (thesis 9.6).
func (c *Core) preCampaign() {
	c.leader = None
	c.failReads()
	if !c.mayCampaign() {
		c.resetElectionTimer()
		if !c.isRemoved() && c.firstWithSelf() >= 0 {
			c.requestVotes() // in vain, but the answers name a removal
		}
		return
	}
	if c.cfg.NoPreVote || c.startPoll(PreCandidate) {
		c.campaign(false)
	}
}

// mayCampaign reports whether the server may call elections. Voters of the newest
// configuration may. While the newest configuration is not committed, voters of the one
// before may, too. The only server with the newest configuration may have no vote in it,
// and yet no other server can win (thesis 4.2.2).
func (c *Core) mayCampaign() bool {
	n := len(c.configs)
	pending := n > 1 && c.configs[n-1].index > c.commitIndex && c.configs[n-2].IsVoter(c.id)
	return (c.isVoter() || pending) && !c.isRemoved()
}

// campaign begins a term and asks for votes (§5.2).
func (c *Core) campaign(transfer bool) {
	c.currentTerm++
	c.votedFor = c.id
	c.transfer = transfer
	c.startPoll(Candidate)
}

// voteSaved records that this server's own vote in its term is on disk. The vote does not
// count before. The only voter of a cluster would otherwise lead a term, forget the term in
// a crash, and lead the term again with other entries.
func (c *Core) voteSaved() {
	if c.state == Candidate && c.pollWon() {
		c.becomeLeader()
	}
}

// startPoll becomes a candidate of either kind with its own vote, which may win the poll.
func (c *Core) startPoll(as State) bool {
	c.state = as
	c.votes = map[NodeID]bool{c.id: true}
	c.heartbeatElapsed = 0
	c.resetElectionTimer()
	c.requestVotes()
	return c.pollWon()
}

// requestVotes asks the voters without an answer so far, again and again (§5.1). The requests
// leave after the candidate's own vote is saved, so that it votes for nobody else after a
// crash. A follower asks for pre-votes in vain. If its addition may not be committed, it names
// the entry. A later configuration proves the commit, since changes come one at a time (§6).
func (c *Core) requestVotes() {
	req := RequestVote{Term: c.currentTerm, CandidateID: c.id, LastLogIndex: c.log.lastIndex(), LastLogTerm: c.log.lastTerm()}
	if req.PreVote = c.state != Candidate; req.PreVote {
		req.Term++
	}
	req.Transfer = c.transfer && !req.PreVote
	if own := c.firstWithSelf(); c.state == Follower && own > 0 && own == len(c.configs)-1 {
		req.Transfer, req.LastLogIndex = true, c.configs[own].index
		req.LastLogTerm, _ = c.log.term(req.LastLogIndex)
	}
	for _, id := range c.members {
		if _, answered := c.votes[id]; (!answered || c.state == Follower) && !c.isLearner(id) {
			body := req
			c.afterSave = append(c.afterSave, Message{From: c.id, To: id, Body: &body})
		}
	}
}

func (c *Core) pollWon() bool { return c.electorate.won(func(id NodeID) bool { return c.votes[id] }) }

// hearsLeader reports whether the leader was heard within the minimum election timeout.
// Such a server gives no votes. The candidate alone has lost the leader (thesis 4.2.3).
//
// A lease counts on the refusal. With leases the refusal therefore outlasts a change of
// term or role, and a restart (thesis 6.4.1).
func (c *Core) hearsLeader() bool {
	if c.cfg.LeaseTicks > 0 && c.state != Leader && c.sinceLeader < c.cfg.ElectionTicks {
		return true
	}
	return c.state == Follower && c.leader != None && c.electionElapsed < c.cfg.ElectionTicks
}

// checkVote refuses requests that no correct candidate sends.
func checkVote(from NodeID, req *RequestVote) error {
	if req.Term == 0 || req.CandidateID != from {
		return fmt.Errorf("%w: request of candidate %d in term %d, sent by %d", ErrMalformed, req.CandidateID, req.Term, from)
	}
	return nil
}

// handleRequestVote answers a request for a vote or a pre-vote (Figure 2). Strangers get
// votes, too. They may know a newer configuration (thesis 4.1), with this learner as a voter.
func (c *Core) handleRequestVote(req *RequestVote) *RequestVoteReply {
	granted := false
	c.busy = c.now // the candidate may have woken followers that had agreed to be silent
	switch {
	case c.hearsLeader() && !req.Transfer:
	case req.PreVote:
		granted = c.wouldVote(req)
	default:
		c.observeTerm(req.Term)
		granted = c.vote(req)
	}
	rep := &RequestVoteReply{Term: c.currentTerm, VoteGranted: granted, RequestTerm: req.Term, PreVote: req.PreVote}
	joining := req.PreVote && req.Transfer && !c.log.matches(req.LastLogIndex, req.LastLogTerm)
	if cfg := c.configurationAt(c.commitIndex); !joining && cfg.index > 0 && !cfg.IsZero() && !cfg.Contains(req.CandidateID) {
		rep.RemovedAt = cfg.index
	}
	return rep
}

// wouldVote answers a pre-vote. The answer promises and changes nothing. A leader refuses.
func (c *Core) wouldVote(req *RequestVote) bool {
	return c.state != Leader && req.Term > c.currentTerm &&
		c.log.upToDate(req.LastLogIndex, req.LastLogTerm)
}

// vote grants the vote of the current term, once, and only to a candidate with all entries
// that may be committed (§5.2, §5.4.1). A granted vote restarts the election timer (Figure 2).
func (c *Core) vote(req *RequestVote) bool {
	voted := c.votedFor != None && c.votedFor != req.CandidateID
	if req.Term < c.currentTerm || voted || !c.log.upToDate(req.LastLogIndex, req.LastLogTerm) {
		return false
	}
	if c.state == PreCandidate {
		c.becomeFollower(c.currentTerm, None)
	}
	c.votedFor = req.CandidateID
	c.resetElectionTimer()
	return true
}

// handleRequestVoteReply counts a vote, if it belongs to the present poll.
func (c *Core) handleRequestVoteReply(from NodeID, rep *RequestVoteReply) {
	c.observeTerm(rep.Term)
	if c.learnRemoval(rep.RemovedAt) {
		return
	}
	switch {
	case c.state == PreCandidate && rep.PreVote && rep.RequestTerm == c.currentTerm+1:
	case c.state == Candidate && !rep.PreVote && rep.RequestTerm == c.currentTerm:
	default:
		return // an answer to an older poll
	}
	if c.state == Candidate || rep.VoteGranted {
		// A refused pre-vote is requested again, because the voter may merely have heard
		// its old leader a moment ago. A refused vote is refused for the term.
		c.votes[from] = c.votes[from] || rep.VoteGranted
	}
	if !c.pollWon() {
		return
	}
	if c.state == PreCandidate {
		c.campaign(false)
	} else {
		c.becomeLeader()
	}
}

// learnRemoval ends the campaign of a former member. The committed configuration at index,
// without this server, is as new as its own. If it was added since, the leader contacts it.
func (c *Core) learnRemoval(index uint64) bool {
	if index == 0 || index < c.newest().index || c.state == Leader {
		return false
	}
	c.removedAt = max(c.removedAt, index)
	if c.state != Follower {
		c.becomeFollower(c.currentTerm, None)
	}
	return true
}

// becomeLeader begins the leadership of the current term (§5.2, §5.3).
func (c *Core) becomeLeader() {
	c.state, c.leader = Leader, c.id
	c.votes = nil
	c.electionElapsed = 0
	c.round, c.rounds, c.leased, c.leaseBroken = 0, nil, false, false
	c.uncommitted = uncommitted{}
	c.busy = c.now
	c.progress = make([]*progress, 0, len(c.members))
	for _, id := range c.members {
		c.progress = append(c.progress, c.newProgress(id))
	}
	if c.cfg.LeaderNoOp {
		c.appendOwn(NoOp, nil)
	}
	c.broadcastHeartbeat()
}

func (c *Core) newProgress(id NodeID) *progress {
	w := window{maxCount: c.cfg.MaxInflight, maxBytes: c.cfg.MaxInflightBytes, adaptive: c.cfg.AdaptiveWindow}
	return &progress{id: id, nextIndex: c.log.lastIndex() + 1, inflight: w}
}
