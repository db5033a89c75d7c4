package core

// Wake ends the silence of a quiescent server. The server counts ticks again, and a leader
// sends heartbeats. When the leader's host may be down, the other hosts call Wake. On a
// server that is not quiescent, Wake does nothing.
func (c *Core) Wake() {
	if !c.quiescent {
		return
	}
	c.quiescent, c.busy = false, c.now
	if c.state == Leader {
		c.electionElapsed = 0
		c.broadcastHeartbeat()
		return
	}
	c.resetElectionTimer()
}

// Quiescent reports whether the server counts no ticks. A host need not call Tick until the
// server has handled a message or a request, or Wake.
func (c *Core) Quiescent() bool { return c.quiescent }

// idle reports whether the leader has had no request for an election timeout, and every
// member has the whole log and the commitIndex.
func (c *Core) idle() bool {
	last := c.log.lastIndex()
	if !c.cfg.Quiesce || c.now-c.busy < uint64(c.cfg.ElectionTicks) || c.commitIndex < last || !c.committedInTerm() ||
		c.transferee != None || c.reads.pending > 0 {
		return false
	}
	for _, p := range c.progress {
		if !p.active || p.removedIn > 0 || p.state != Replicate || p.matchIndex < last || p.sentCommit < last {
			return false
		}
	}
	return true
}

// tryQuiesce asks the followers of an idle cluster to fall silent, in place of a heartbeat.
// When all have agreed, the leader falls silent too and tryQuiesce returns true. A silent
// leader has no lease, because its clock stands still.
func (c *Core) tryQuiesce() bool {
	idle := c.idle()
	silent := idle
	for _, p := range c.progress {
		p.quiescent = p.quiescent && idle
		silent = silent && p.quiescent
	}
	switch {
	case !idle:
		return false
	case silent:
		c.quiescent, c.leased, c.rounds = true, false, nil
		for _, p := range c.progress {
			p.quiescent = false
		}
		return true
	}
	c.heartbeatElapsed = 0
	for _, p := range c.progress {
		c.send(p.id, &Quiesce{Term: c.currentTerm, LeaderID: c.id, CommitIndex: c.commitIndex})
	}
	return true
}

// handleQuiesce stops the election timer if this server has the leader's log and
// commitIndex. The message counts as word from the leader in any case.
func (c *Core) handleQuiesce(req *Quiesce) *QuiesceReply {
	rep := &QuiesceReply{RequestTerm: req.Term}
	if c.followLeader(req.Term, req.LeaderID) && c.cfg.Quiesce &&
		c.commitIndex == req.CommitIndex && c.log.lastIndex() == req.CommitIndex && c.reads.pending == 0 {
		c.quiescent, rep.Quiescent = true, true
	}
	rep.Term = c.currentTerm
	return rep
}

func (c *Core) handleQuiesceReply(from NodeID, rep *QuiesceReply) {
	c.observeTerm(rep.Term)
	p := c.peer(from)
	if c.state != Leader || rep.RequestTerm != c.currentTerm || p == nil {
		return
	}
	p.answered()
	if p.quiescent = rep.Quiescent; p.quiescent {
		c.acceptedBy(p, p.matchIndex) // or else a learner in silence would seem to fall behind
	} else {
		p.sentCommit = 0 // the follower has not heard of the last commit
	}
}

// stepQuiescent wakes a quiescent server for a message. Repeated requests to be silent, and
// late answers without news, wake nobody.
func (c *Core) stepQuiescent(m Message) {
	switch b := m.Body.(type) {
	case *Quiesce:
		return
	case *QuiesceReply:
		if b.Quiescent && b.Term <= c.currentTerm {
			return
		}
	case *AppendEntriesReply:
		if b.Success && b.Term <= c.currentTerm {
			return
		}
	}
	c.Wake()
}
