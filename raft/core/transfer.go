package core

import "fmt"

// TransferLeadership makes the leader hand its leadership to the voter to, or
// with None to the voter with the highest priority and the longest log (thesis
// 3.10). The leader stops accepting commands, brings the successor up to date and
// tells it to call an election at once. If the leader still leads after an
// election timeout, it gives up and accepts commands again.
//
// TransferLeadership returns ErrNotLeader, ErrTransferring while another transfer
// goes on, or ErrNoSuccessor. A transfer to the leader itself does nothing.
func (c *Core) TransferLeadership(to NodeID) error {
	if c.state != Leader {
		return ErrNotLeader
	}
	if to == None {
		if to = c.bestSuccessor(0); to == None {
			return ErrNoSuccessor
		}
	}
	switch {
	case to == c.id:
		return nil
	case !c.electorate.voters.has(to):
		return fmt.Errorf("%w: server %d is not one of the voters %v", ErrNoSuccessor, to, c.electorate.voters)
	case c.transferee == to:
		return nil
	case c.transferee != None:
		return fmt.Errorf("%w to server %d", ErrTransferring, c.transferee)
	}
	c.Wake()
	c.transferee, c.transferElapsed = to, 0
	c.sendTimeoutNow(c.peer(to))
	return nil
}

// StepDown makes a leader a follower in its own term. The host calls StepDown
// when the server can no longer do a leader's work, for example because its
// storage does not answer. The silence then lets the others elect a leader.
func (c *Core) StepDown() {
	if c.state == Leader {
		c.becomeFollower(c.currentTerm, None)
	}
}

// bestSuccessor returns the voter that has answered lately and has the highest
// priority, at least lowest, and then the longest log.
func (c *Core) bestSuccessor(lowest uint8) NodeID {
	best, bestPriority, bestMatch := None, lowest, uint64(0)
	cfg := c.newest()
	for _, p := range c.progress {
		if !p.active || !c.electorate.voters.has(p.id) {
			continue
		}
		priority := cfg.Member(p.id).Priority
		if priority > bestPriority || priority == bestPriority && p.matchIndex >= bestMatch {
			best, bestPriority, bestMatch = p.id, priority, p.matchIndex
		}
	}
	return best
}

// preferSuccessor begins a transfer to a voter of higher priority that has the
// whole log. It is called once in an election timeout.
func (c *Core) preferSuccessor() {
	cfg := c.newest()
	mine := cfg.Member(c.id).Priority
	if mine >= cfg.topPriority() || c.transferee != None || cfg.Joint() || !c.committedInTerm() {
		return
	}
	if to := c.bestSuccessor(mine + 1); to != None && c.peer(to).matchIndex == c.log.lastIndex() {
		_ = c.TransferLeadership(to)
	}
}

// sendTimeoutNow tells the successor to call an election, once it has the whole
// log. From then on the leader has no lease for the rest of its term: the message
// may arrive after the transfer was given up.
func (c *Core) sendTimeoutNow(p *progress) {
	if p.matchIndex < c.log.lastIndex() {
		return
	}
	c.leaseBroken = true
	c.send(p.id, &TimeoutNow{Term: c.currentTerm, LeaderID: c.id})
}

// tickTransfer gives up a transfer that has not ended the leader's term within
// an election timeout.
func (c *Core) tickTransfer() {
	if c.transferee == None {
		return
	}
	if c.transferElapsed++; c.transferElapsed >= c.cfg.ElectionTicks {
		c.transferee = None
	}
}

// handleTimeoutNow calls an election at once, without a pre-vote: the leader
// itself has asked for it.
func (c *Core) handleTimeoutNow(req *TimeoutNow) {
	if !c.followLeader(req.Term, req.LeaderID) || !c.mayCampaign() {
		return
	}
	c.leader = None
	c.failReads()
	c.campaign(true)
}
