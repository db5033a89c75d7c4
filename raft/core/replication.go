package core

import "fmt"

// appendOwn appends an entry of the leader's own term (§5.3). It goes out with
// the next Ready, together with whatever else has come by then.
func (c *Core) appendOwn(t EntryType, data []byte) uint64 {
	index := c.log.lastIndex() + 1
	c.log.append(Entry{Index: index, Term: c.currentTerm, Type: t, Data: data})
	return index
}

func (c *Core) tickLeader() {
	if c.electionElapsed >= c.cfg.ElectionTicks && !c.checkQuorum() {
		return
	}
	c.others(func(id NodeID) { c.progress[id].snapshotTicks++ })
	if c.heartbeatElapsed >= c.cfg.HeartbeatTicks {
		c.broadcastHeartbeat()
		return
	}
	// Followers learn of a commit within a tick, not only with the next
	// heartbeat, and a burst of commits costs one request.
	c.others(func(id NodeID) {
		p := c.progress[id]
		if p.state == replicate && p.sentCommit < min(c.commitIndex, p.matchIndex) {
			c.sendAppend(id, p, nil)
		}
	})
}

// checkQuorum makes a leader step down that has not heard from a quorum for an
// election timeout: clients then look elsewhere (thesis 6.2).
func (c *Core) checkQuorum() bool {
	active := c.voters.count(func(id NodeID) bool { return id == c.id || c.progress[id].active })
	if active < c.voters.quorum() {
		c.becomeFollower(c.currentTerm, None)
		return false
	}
	c.electionElapsed = 0
	c.others(func(id NodeID) { c.progress[id].active = false })
	return true
}

// broadcastHeartbeat speaks to every follower whatever is on its way already:
// it asserts leadership (§5.2), carries the commitIndex, and finds out what was
// lost, since it is checked against the follower's log like any AppendEntries. So
// entries that got no answer are not sent again before there is one.
func (c *Core) broadcastHeartbeat() {
	c.heartbeatElapsed = 0
	c.others(func(id NodeID) {
		p := c.progress[id]
		if p.state == snapshot && p.snapshotTicks >= 2*c.cfg.ElectionTicks {
			p.become(probe) // the snapshot got no answer
		}
		if !c.sendNext(id, p) {
			c.sendAppend(id, p, nil)
		}
	})
}

// sendEntries sends each follower what it lacks and its way of sending allows.
func (c *Core) sendEntries() {
	if c.state != Leader {
		return
	}
	c.others(func(id NodeID) {
		p := c.progress[id]
		for p.nextIndex <= c.log.lastIndex() && c.sendNext(id, p) {
		}
	})
}

// sendNext sends the follower the next entries, or the snapshot that replaces
// them; it says false if nothing may be sent now.
func (c *Core) sendNext(id NodeID, p *progress) bool {
	if p.waiting || p.state == replicate && p.inflight.full() {
		return false
	}
	if p.nextIndex <= c.log.snapshotIndex {
		c.sendSnapshot(id, p)
		return true
	}
	entries := c.log.slice(p.nextIndex, c.log.lastIndex(), c.cfg.MaxRequestBytes)
	c.sendAppend(id, p, entries)
	switch {
	case p.state == probe:
		p.waiting = true
	case len(entries) > 0:
		bytes := 0
		for _, e := range entries {
			bytes += e.size()
		}
		p.nextIndex += uint64(len(entries)) // optimistic: the next request continues here
		p.inflight.add(p.nextIndex-1, bytes)
	}
	return true
}

// prevLogIndex is the place that the next request to the follower follows on:
// nextIndex-1, or where the log no longer reaches back so far, the snapshot's end.
// A follower that is not there yet refuses that, and will get the snapshot.
func (c *Core) prevLogIndex(p *progress) uint64 {
	return max(p.nextIndex-1, c.log.snapshotIndex)
}

// sendAppend sends one AppendEntries.
func (c *Core) sendAppend(id NodeID, p *progress, entries []Entry) {
	prev := c.prevLogIndex(p)
	prevTerm, _ := c.log.term(prev)
	p.sentCommit = c.commitIndex
	c.send(id, &AppendEntries{
		Term:         c.currentTerm,
		LeaderID:     c.id,
		PrevLogIndex: prev,
		PrevLogTerm:  prevTerm,
		Entries:      entries,
		LeaderCommit: c.commitIndex,
	})
}

// checkAppend refuses requests that no correct leader sends.
func (c *Core) checkAppend(from NodeID, req *AppendEntries) error {
	if err := c.checkLeader(from, req.Term, req.LeaderID); err != nil {
		return err
	}
	if req.PrevLogIndex >= maxNumber {
		return fmt.Errorf("%w: AppendEntries behind index %d", ErrMalformed, req.PrevLogIndex)
	}
	term := max(req.PrevLogTerm, 1)
	for i, e := range req.Entries {
		if e.Index != req.PrevLogIndex+uint64(i)+1 || e.Term < term || e.Term > req.Term {
			return fmt.Errorf("%w: entry %d/%d follows %d/%d in AppendEntries of term %d",
				ErrMalformed, e.Index, e.Term, req.PrevLogIndex+uint64(i), term, req.Term)
		}
		if req.Term >= c.currentTerm && e.Index <= c.commitIndex && c.log.conflicts(e) {
			return fmt.Errorf("%w: entry %d/%d of leader %d differs from the committed one",
				ErrUnsafe, e.Index, e.Term, req.LeaderID)
		}
		term = e.Term
	}
	return nil
}

// checkLeader refuses a request that is not the leader's own, and a second
// leader in a term of which this server knows, or is, the first.
func (c *Core) checkLeader(from NodeID, term uint64, leader NodeID) error {
	if term == 0 || leader != from {
		return fmt.Errorf("%w: request of leader %d in term %d, sent by %d", ErrMalformed, leader, term, from)
	}
	if term == c.currentTerm && c.leader != None && c.leader != leader {
		return fmt.Errorf("%w: servers %d and %d both lead term %d", ErrUnsafe, c.leader, leader, term)
	}
	return nil
}

// handleAppendEntries answers a leader (Figure 2, receiver implementation).
func (c *Core) handleAppendEntries(req *AppendEntries) *AppendEntriesReply {
	rep := &AppendEntriesReply{RequestTerm: req.Term, PrevLogIndex: req.PrevLogIndex}
	if c.followLeader(req.Term, req.LeaderID) {
		c.appendFromLeader(req, rep)
	}
	rep.Term = c.currentTerm
	return rep
}

// followLeader recognizes the sender of a leader's request as the leader of its
// term and restarts the election timer; it says false for one of an older term.
func (c *Core) followLeader(term uint64, leader NodeID) bool {
	if term < c.currentTerm {
		return false
	}
	c.becomeFollower(term, leader)
	c.resetElectionTimer()
	return true
}

// appendFromLeader checks that the logs agree where the request begins, takes
// its entries in and moves commitIndex (Figure 2, AppendEntries 2 to 5).
func (c *Core) appendFromLeader(req *AppendEntries, rep *AppendEntriesReply) {
	prev, entries := req.PrevLogIndex, req.Entries
	last := prev + uint64(len(entries))
	if base := c.log.snapshotIndex; prev < base {
		// What the snapshot stands for is committed, so the leader's log agrees
		// with it (Leader Completeness, §5.4); only what follows is looked at.
		entries = entries[min(base-prev, uint64(len(entries))):]
		last = max(last, base)
	} else if !c.log.matches(prev, req.PrevLogTerm) {
		rep.HintIndex = c.log.lastAtOrBelow(prev, req.PrevLogTerm)
		rep.HintTerm, _ = c.log.term(rep.HintIndex)
		return
	}
	c.log.merge(entries)
	rep.Success, rep.MatchIndex = true, last
	c.commitTo(min(req.LeaderCommit, last))
}

// handleAppendEntriesReply updates what the leader knows of a follower (§5.3).
func (c *Core) handleAppendEntriesReply(from NodeID, rep *AppendEntriesReply) {
	c.observeTerm(rep.Term)
	if c.state != Leader || rep.RequestTerm != c.currentTerm {
		return // an answer to an earlier leadership says nothing of this one
	}
	p := c.progress[from]
	p.answered()
	if !rep.Success {
		expected := rep.PrevLogIndex == c.prevLogIndex(p)
		next := c.log.lastAtOrBelow(rep.HintIndex, rep.HintTerm) + 1
		// Never the refused place again: if that was the snapshot's end, the
		// snapshot itself has to go.
		p.refused(rep.PrevLogIndex, min(next, rep.PrevLogIndex), expected)
		return
	}
	if p.accepted(min(rep.MatchIndex, c.log.lastIndex())) {
		c.maybeCommit()
	}
}

// maybeCommit moves commitIndex to the highest index that a quorum has saved,
// but only to an entry of this term: an older one, though widely replicated,
// can still be overwritten (§5.4.2, Figure 8). It is then committed with it.
func (c *Core) maybeCommit() {
	if c.state != Leader {
		return
	}
	n := c.voters.agreed(func(id NodeID) uint64 {
		if id == c.id {
			return c.log.stableIndex
		}
		return c.progress[id].matchIndex
	})
	if n > c.commitIndex && c.log.matches(n, c.currentTerm) {
		c.commitTo(n)
	}
}
