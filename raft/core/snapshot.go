package core

import "fmt"

// sendSnapshot sends a follower the leader's snapshot in place of entries that
// the leader no longer has (§7). Until it is answered, the follower gets
// nothing but heartbeats.
func (c *Core) sendSnapshot(id NodeID, p *progress) {
	p.become(snapshot)
	p.waiting = true
	c.send(id, &InstallSnapshot{
		Term:              c.currentTerm,
		LeaderID:          c.id,
		LastIncludedIndex: c.log.snapshotIndex,
		LastIncludedTerm:  c.log.snapshotTerm,
	})
}

// checkSnapshot refuses requests that no correct leader sends.
func (c *Core) checkSnapshot(from NodeID, req *InstallSnapshot) error {
	if req.LastIncludedIndex == 0 || req.LastIncludedIndex >= maxNumber ||
		req.LastIncludedTerm == 0 || req.LastIncludedTerm > req.Term {
		return fmt.Errorf("%w: snapshot that ends at %d/%d in InstallSnapshot of term %d",
			ErrMalformed, req.LastIncludedIndex, req.LastIncludedTerm, req.Term)
	}
	return c.checkLeader(from, req.Term, req.LeaderID)
}

// handleInstallSnapshot takes in a leader's snapshot (Figure 13).
func (c *Core) handleInstallSnapshot(req *InstallSnapshot) *InstallSnapshotReply {
	rep := &InstallSnapshotReply{RequestTerm: req.Term}
	if c.followLeader(req.Term, req.LeaderID) {
		c.restoreFromLeader(req)
		rep.MatchIndex = req.LastIncludedIndex
	}
	rep.Term = c.currentTerm
	return rep
}

// restoreFromLeader puts the snapshot in the place of the log, unless this
// server has what it stands for: then the state machine gets there, or has got
// there, by applying entries, and must not be set back.
func (c *Core) restoreFromLeader(req *InstallSnapshot) {
	if req.LastIncludedIndex <= c.commitIndex {
		return
	}
	if c.log.matches(req.LastIncludedIndex, req.LastIncludedTerm) {
		c.commitTo(req.LastIncludedIndex) // Figure 13, step 6: the log is retained
		return
	}
	c.restoring = &Snapshot{
		LastIncludedIndex: req.LastIncludedIndex,
		LastIncludedTerm:  req.LastIncludedTerm,
		Data:              req.Data,
	}
	c.restoringSaved = false
	c.log.restore(c.restoring)
	c.commitIndex = req.LastIncludedIndex
}

// handleInstallSnapshotReply goes on from the snapshot that a follower now has.
func (c *Core) handleInstallSnapshotReply(from NodeID, rep *InstallSnapshotReply) {
	c.observeTerm(rep.Term)
	if c.state != Leader || rep.RequestTerm != c.currentTerm {
		return
	}
	p := c.progress[from]
	p.answered()
	if p.accepted(min(rep.MatchIndex, c.log.lastIndex())) {
		c.maybeCommit()
	}
}
