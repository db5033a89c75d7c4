package core

import "fmt"

// appendOwn appends an entry of the leader's own term (§5.3). The next Ready sends all
// entries appended by then.
func (c *Core) appendOwn(t EntryType, data []byte) uint64 {
	index := c.log.lastIndex() + 1
	c.log.append(Entry{Index: index, Term: c.currentTerm, Type: t, Data: data})
	c.uncommitted.add(index, len(data))
	c.busy = c.now
	return index
}

func (c *Core) tickLeader() {
	c.dropRemoved()
	for _, p := range c.progress {
		p.snapshotTicks++
	}
	if c.heartbeatElapsed < c.cfg.HeartbeatTicks {
		c.SendCommits()
	} else if !c.tryQuiesce() {
		c.broadcastHeartbeat()
	}
	if c.electionElapsed >= c.cfg.ElectionTicks {
		c.checkQuorum() // after the heartbeats, because an idle leader wants to know who is active
	}
	c.tickTransfer()
}

// SendCommits tells the followers of a commit, if they have the entries. The host may call
// SendCommits at any time. Each tick of a leader does, so followers learn of a commit within
// a tick, not only with the next heartbeat, and a burst of commits costs one request.
func (c *Core) SendCommits() {
	for _, p := range c.progress {
		if c.owesCommit(p) {
			c.sendAppend(p, nil)
		}
	}
}

// owesCommit reports whether the follower has entries and does not know of their commit.
func (c *Core) owesCommit(p *progress) bool {
	return p.state == Replicate && p.sentCommit < min(c.commitIndex, p.matchIndex)
}

// checkQuorum makes a leader step down after an election timeout without word from a
// quorum. Clients then look elsewhere (thesis 6.2).
func (c *Core) checkQuorum() {
	if !c.electorate.won(func(id NodeID) bool { return id == c.id || c.peer(id).active }) {
		c.becomeFollower(c.currentTerm, None)
		return
	}
	c.electionElapsed = 0
	c.preferSuccessor()
	for _, p := range c.progress {
		p.active = false
	}
}

// broadcastHeartbeat sends to every follower, also while requests are on their way. A
// heartbeat asserts leadership (§5.2), carries the commitIndex, and reveals losses, because
// the follower checks a heartbeat like any AppendEntries. The leader therefore repeats no
// entries before an answer has come.
func (c *Core) broadcastHeartbeat() {
	c.heartbeatElapsed = 0
	if c.cfg.LeaseTicks > 0 {
		c.beginRound()
	}
	for _, p := range c.progress {
		if p.state == SendSnapshot && p.snapshotTicks >= 2*c.cfg.ElectionTicks {
			p.become(Probe) // the snapshot got no answer
		}
		if !c.sendNext(p) {
			c.sendAppend(p, nil)
		}
	}
}

// sendEntries sends each follower its missing entries, as far as the follower's progress
// allows.
func (c *Core) sendEntries() {
	last := c.log.lastIndex()
	for _, p := range c.progress {
		for p.nextIndex <= last && c.sendNext(p) {
		}
	}
	c.uncommitted.sealed = true
}

// sendNext sends the follower the next entries, or a snapshot in their place, and returns
// false if nothing may be sent now.
func (c *Core) sendNext(p *progress) bool {
	if p.waiting || p.loading > 0 || p.state == Replicate && p.inflight.full() {
		return false
	}
	if p.nextIndex <= c.log.snapshotIndex {
		c.sendSnapshot(p)
		return true
	}
	if p.nextIndex < c.log.first {
		c.load(p)
		return false
	}
	c.sendEntriesTo(p, c.log.slice(p.nextIndex, c.log.lastIndex(), c.cfg.MaxRequestBytes))
	return true
}

// sendEntriesTo sends entries that begin at the follower's nextIndex.
func (c *Core) sendEntriesTo(p *progress, entries []Entry) {
	c.sendAppend(p, entries)
	switch {
	case p.state == Probe:
		p.waiting = true
	case len(entries) > 0:
		p.nextIndex += uint64(len(entries)) // optimistic: the next request continues here
		p.inflight.add(p.nextIndex-1, sizeOf(entries))
	}
}

// prevLogIndex is the index before the next request to the follower, nextIndex-1 or the
// last compacted index if the log begins later. A follower without that entry refuses, and
// then gets the snapshot.
func (c *Core) prevLogIndex(p *progress) uint64 { return max(p.nextIndex-1, c.log.snapshotIndex) }

// sendAppend sends one AppendEntries.
func (c *Core) sendAppend(p *progress, entries []Entry) {
	prev := c.prevLogIndex(p)
	prevTerm, _ := c.log.term(prev)
	commit := c.commitIndex
	if p.removedIn > 0 {
		commit = min(commit, prev+uint64(len(entries))) // so that the server is up to date, see isRemoved
	}
	p.sentCommit, p.sentRound = commit, c.round
	c.send(p.id, &AppendEntries{
		Term: c.currentTerm, LeaderID: c.id, PrevLogIndex: prev, PrevLogTerm: prevTerm,
		Entries: entries, LeaderCommit: commit, Round: c.round,
	})
}

// checkAppend refuses requests of incorrect leaders.
func (c *Core) checkAppend(from NodeID, req *AppendEntries) error {
	if err := c.checkLeader(from, req.Term, req.LeaderID); err != nil {
		return err
	}
	if req.PrevLogIndex >= maxNumber {
		return fmt.Errorf("%w: AppendEntries behind index %d", ErrMalformed, req.PrevLogIndex)
	}
	term := max(req.PrevLogTerm, 1)
	for i := range req.Entries {
		e := &req.Entries[i]
		if e.Index != req.PrevLogIndex+uint64(i)+1 || e.Term < term || e.Term > req.Term {
			return fmt.Errorf("%w: entry %d/%d follows %d/%d in AppendEntries of term %d",
				ErrMalformed, e.Index, e.Term, req.PrevLogIndex+uint64(i), term, req.Term)
		}
		if req.Term >= c.currentTerm && e.Index <= c.commitIndex && c.log.conflicts(*e) {
			return fmt.Errorf("%w: entry %d/%d of leader %d differs from the committed one",
				ErrUnsafe, e.Index, e.Term, req.LeaderID)
		}
		if e.Type == ConfigurationEntry {
			if _, err := DecodeConfiguration(e.Data); err != nil {
				return fmt.Errorf("%w: entry %d/%d: %w", ErrMalformed, e.Index, e.Term, err)
			}
		}
		term = e.Term
	}
	return nil
}

// checkLeader refuses requests on behalf of another leader, and a second leader in a term
// with a known first one.
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
	rep := &AppendEntriesReply{RequestTerm: req.Term, PrevLogIndex: req.PrevLogIndex, Round: req.Round}
	if c.followLeader(req.Term, req.LeaderID) {
		c.appendFromLeader(req, rep)
	}
	rep.Term = c.currentTerm
	return rep
}

// followLeader follows the leader of the term and restarts the election timer. The result
// is false for a leader of an older term.
func (c *Core) followLeader(term uint64, leader NodeID) bool {
	if term < c.currentTerm {
		return false
	}
	c.becomeFollower(term, leader)
	c.resetElectionTimer()
	c.sinceLeader = 0
	return true
}

// appendFromLeader checks that the logs agree before the request's entries, appends them
// and moves commitIndex (Figure 2, AppendEntries 2 to 5).
func (c *Core) appendFromLeader(req *AppendEntries, rep *AppendEntriesReply) {
	prev, entries := req.PrevLogIndex, req.Entries
	last := prev + uint64(len(entries))
	if base := c.log.snapshotIndex; prev < base {
		// Compacted entries are committed, so the leader's log agrees with them (Leader
		// Completeness, §5.4). Only the entries behind are compared.
		entries = entries[min(base-prev, uint64(len(entries))):]
		last = max(last, base)
	} else if !c.log.matches(prev, req.PrevLogTerm) {
		rep.HintIndex = c.log.lastAtOrBelow(prev, req.PrevLogTerm)
		rep.HintTerm, _ = c.log.term(rep.HintIndex)
		return
	}
	if news := c.log.merge(entries); len(news) > 0 {
		c.followConfigurations(news)
	}
	rep.Success, rep.MatchIndex = true, last
	c.heardCommit = max(c.heardCommit, req.LeaderCommit)
	c.commitTo(min(req.LeaderCommit, last))
}

// handleAppendEntriesReply updates the leader's knowledge of a follower (§5.3).
func (c *Core) handleAppendEntriesReply(from NodeID, rep *AppendEntriesReply) {
	c.observeTerm(rep.Term)
	if c.state != Leader || rep.RequestTerm != c.currentTerm {
		return // an answer to an earlier leadership says nothing of this one
	}
	p := c.peer(from)
	if p == nil {
		return // no longer a member
	}
	p.answered()
	if rep.Round > p.ackedRound {
		p.ackedRound = min(rep.Round, c.round)
		c.confirmRounds()
	}
	if !rep.Success {
		expected := rep.PrevLogIndex == c.prevLogIndex(p)
		next := c.log.lastAtOrBelow(rep.HintIndex, rep.HintTerm) + 1
		// The leader never repeats the refused index. If that was the last compacted one,
		// the snapshot has to go.
		p.refused(rep.PrevLogIndex, min(next, rep.PrevLogIndex), expected)
		return
	}
	c.acceptedBy(p, rep.MatchIndex)
}

// acceptedBy records that a follower agrees up to index.
func (c *Core) acceptedBy(p *progress, index uint64) {
	last := c.log.lastIndex()
	news := p.accepted(min(index, last))
	if c.isLearner(p.id) {
		p.round.observe(p.matchIndex, last, c.now, c.cfg.ElectionTicks)
	}
	if p.removedIn > 0 && min(p.matchIndex, p.sentCommit) >= p.removedIn {
		p.removedAnswers++
	}
	if news {
		c.maybeCommit()
	}
	if c.transferee == p.id {
		c.sendTimeoutNow(p)
	}
}

// maybeCommit moves commitIndex to the highest index saved by a quorum, but only to an
// entry of this term. An older entry, though widely replicated, can still be overwritten
// (§5.4.2, Figure 8). A commit covers all entries before.
func (c *Core) maybeCommit() {
	if c.state != Leader {
		return
	}
	n := c.electorate.agreed(func(id NodeID) uint64 {
		if id == c.id {
			return c.log.stableIndex
		}
		return c.peer(id).matchIndex
	})
	if n > c.commitIndex && c.log.matches(n, c.currentTerm) {
		c.commitTo(n)
		c.uncommitted.ackTo(n)
		c.configurationCommitted()
	}
}

// committedInTerm reports whether the leader has committed an entry of its own term.
// Before, the leader does not know all committed entries (§8).
func (c *Core) committedInTerm() bool { return c.log.matches(c.commitIndex, c.currentTerm) }

// uncommitted counts the bytes of a leader's own uncommitted entries. The requests of the
// window are batches of entries. The last batch grows until it is sealed.
type uncommitted struct {
	window
	sealed bool
}

func (u *uncommitted) add(index uint64, bytes int) {
	n := len(u.sent)
	if n == 0 || u.sealed {
		u.window.add(index, bytes)
		u.sealed = false
		return
	}
	u.sent[n-1].last = index
	u.sent[n-1].bytes += bytes
	u.bytes += bytes
}

// refuses reports whether another command of this size is too much. The first command and
// empty ones never are.
func (u *uncommitted) refuses(bytes, limit int) bool {
	return limit > 0 && bytes > 0 && u.bytes > 0 && u.bytes+bytes > limit
}
