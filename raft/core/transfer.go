package core

import "fmt"

// TransferLeadership makes the voter to the leader's successor (thesis 3.10). None stands
// for the voter with the highest priority and the longest log. The leader stops accepting
// commands, brings the successor up to date and tells the successor to call an election at
// once. A leader that still leads after an election timeout gives up and accepts commands
// again.
//
// TransferLeadership returns ErrNotLeader, ErrTransferring while another transfer goes on,
// or ErrNoSuccessor. A transfer to the leader itself does nothing.
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

// StepDown makes a leader a follower in its own term. The host calls StepDown when the
// server can no longer do a leader's work, for example because its storage does not answer.
// The silence then lets the others elect a leader.
func (c *Core) StepDown() {
	if c.state == Leader {
		c.becomeFollower(c.currentTerm, None)
	}
}

// bestSuccessor returns the active voter with the highest priority, at least lowest, and
// among those with the longest log.
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

// preferSuccessor begins a transfer to a voter of higher priority that keeps up, so that all
// entries are at least on their way. The leader tries once in an election timeout.
func (c *Core) preferSuccessor() {
	cfg := c.newest()
	mine := cfg.Member(c.id).Priority
	if mine >= cfg.topPriority() || c.transferee != None || cfg.Joint() || !c.committedInTerm() {
		return
	}
	p := c.peer(c.bestSuccessor(mine + 1))
	if p != nil && p.state == Replicate && p.nextIndex > c.log.lastIndex() {
		_ = c.TransferLeadership(p.id)
	}
}

// sendTimeoutNow tells a successor with the whole log to call an election. The leader has
// no lease for the rest of its term, because the message may arrive long after the end of
// the transfer.
func (c *Core) sendTimeoutNow(p *progress) {
	if p.matchIndex < c.log.lastIndex() {
		return
	}
	c.leaseBroken = true
	c.send(p.id, &TimeoutNow{Term: c.currentTerm, LeaderID: c.id})
}

// tickTransfer gives up a transfer after an election timeout.
func (c *Core) tickTransfer() {
	if c.transferElapsed++; c.transferElapsed >= c.cfg.ElectionTicks {
		c.transferee = None
	}
}

// handleTimeoutNow calls an election at once, without a pre-vote, on the leader's own wish.
func (c *Core) handleTimeoutNow(req *TimeoutNow) {
	if !c.followLeader(req.Term, req.LeaderID) || !c.mayCampaign() {
		return
	}
	c.leader = None
	c.failReads()
	c.campaign(true)
}
