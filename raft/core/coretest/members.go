package coretest

import (
	"slices"

	"raftlab/raft/core"
)

// wholeLog returns a server's log behind the compacted part, from memory and
// storage.
func (s *server) wholeLog() []core.Entry {
	st := s.core.Status()
	cached := s.core.Entries()
	if st.CachedIndex == st.SnapshotIndex+1 {
		return cached
	}
	return append(s.stored(core.Range{First: st.SnapshotIndex + 1, Last: st.CachedIndex - 1}, 1<<30), cached...)
}

// checkConfiguration checks that the newest configuration of the log is in force,
// and that a leader has at most one uncommitted configuration (thesis 4.1).
func (k *checker) checkConfiguration(v view) {
	pending, newest := 0, uint64(0)
	for _, e := range v.entries {
		if e.Type != core.ConfigurationEntry {
			continue
		}
		newest = e.Index
		if e.Index > uint64(len(k.committed)) {
			pending++
		}
		if cfg, err := core.DecodeConfiguration(e.Data); err != nil {
			k.fail("server %d: entry %d/%d: %v", v.status.ID, e.Index, e.Term, err)
		} else if e.Index == lastConfiguration(v.entries) && !cfg.Equal(v.config) {
			k.fail("server %d is in configuration %v; its log ends with %v at %d", v.status.ID, v.config, cfg, e.Index)
		}
	}
	if v.status.ConfigurationIndex < newest {
		k.fail("server %d is in configuration %d; its log ends with %d", v.status.ID, v.status.ConfigurationIndex, newest)
	}
	if pending > 1 && v.status.State == core.Leader {
		k.fail("leader %d of term %d has %d uncommitted configurations", v.status.ID, v.status.CurrentTerm, pending)
	}
	if v.status.Removed && !k.excluded[v.status.ID] {
		k.fail("server %d believes that it is removed; no committed configuration is without it", v.status.ID)
	}
}

func lastConfiguration(entries []core.Entry) uint64 {
	for _, e := range slices.Backward(entries) {
		if e.Type == core.ConfigurationEntry {
			return e.Index
		}
	}
	return 0
}

// exclude records a committed configuration, and the servers outside of it.
func (k *checker) exclude(e core.Entry) {
	if e.Type != core.ConfigurationEntry {
		return
	}
	cfg, err := core.DecodeConfiguration(e.Data)
	if err != nil {
		k.fail("entry %d/%d is committed: %v", e.Index, e.Term, err)
	}
	k.configs = append(k.configs, committedConfiguration{e.Index, cfg})
	for _, id := range k.cluster.ids {
		if !cfg.Contains(id) {
			k.excluded[id] = true
		}
	}
}

// committedConfiguration is a committed configuration and the index of its entry.
type committedConfiguration struct {
	index uint64
	core.Configuration
}

// checkCompacted checks that a server without a configuration in its log has the
// one from before the log (§7), and that a leader has a vote in its committed
// configuration (thesis 4.2.2).
func (k *checker) checkCompacted(v view) {
	st := v.status
	if st.State == core.Leader && st.ConfigurationIndex <= st.CommitIndex && !v.config.IsVoter(st.ID) {
		k.fail("server %d leads on without a vote in %v", st.ID, v.config)
	}
	if lastConfiguration(v.entries) > 0 {
		return
	}
	for _, c := range slices.Backward(k.configs) {
		if c.index > st.SnapshotIndex {
			continue
		}
		if !c.Configuration.Equal(v.config) {
			k.fail("server %d is in configuration %v behind %d; that of %d is %v", st.ID, v.config, st.SnapshotIndex, c.index, c.Configuration)
		}
		return
	}
}

// checkVotes checks that a leader has the votes of a majority of its voters, and in
// a joint configuration of the outgoing voters too. Other servers' votes do not
// count, learners' among them (§5.2, thesis 4.3).
func (k *checker) checkVotes(s *server, v view) {
	term := v.status.CurrentTerm
	own := s.disk.HardState
	for _, voters := range [][]core.NodeID{v.config.Voters, v.config.Outgoing} {
		votes := 0
		for _, id := range voters {
			if id == s.id && own.CurrentTerm == term && own.VotedFor == id || k.votes[voteKey{id, term}] == s.id {
				votes++
			}
		}
		if len(voters) > 0 && votes <= len(voters)/2 {
			k.fail("server %d leads term %d with %d votes of the voters %v", s.id, term, votes, voters)
		}
	}
	if !v.config.IsVoter(s.id) && v.status.ConfigurationIndex <= v.status.CommitIndex {
		k.fail("server %d leads term %d and is no voter of %v", s.id, term, v.config)
	}
}

// read checks that the index of a read covers all entries committed by any server
// before the read began (thesis 6.4).
func (k *checker) read(s *server, r core.ReadState) {
	committed, ok := s.reads[r.ID]
	delete(s.reads, r.ID)
	switch {
	case !ok:
		k.fail("server %d gets an index for read %d, which it has not begun", s.id, r.ID)
	case r.Failed:
		k.failed++
		k.cluster.trace("%d fails read %d", s.id, r.ID)
		return
	case r.Index < uint64(committed):
		k.fail("stale read: server %d reads at %d; %d was committed when the read began", s.id, r.Index, committed)
	case r.Index > uint64(len(k.committed)):
		k.fail("server %d reads at %d, which no server has committed", s.id, r.Index)
	}
	k.answered++
	k.cluster.trace("%d may serve read %d at %d", s.id, r.ID, r.Index)
}

// tick notes a tick that a server's core has counted. A leader's first length is the one
// at its election.
func (k *checker) tick(s *server) {
	st := k.views[s.id].status
	s.silence++
	if st.State != core.Leader {
		s.lengths, s.transfers = nil, 0
		return
	}
	if s.leads != st.CurrentTerm {
		elected := k.leaders[st.CurrentTerm]
		s.leads, s.lengths = st.CurrentTerm, []uint64{elected.snapshotIndex + uint64(len(elected.entries))}
	}
	if s.transfers++; st.Transferee == core.None {
		s.transfers = 0
	}
	if s.transfers > k.cluster.opt.Config.ElectionTicks {
		k.fail("leader %d waits for its successor %d for %d ticks", s.id, st.Transferee, s.transfers)
	}
	s.lengths = append(s.lengths, st.LastIndex)
	if window := 2*k.cluster.opt.Config.ElectionTicks + 1; len(s.lengths) > window {
		s.lengths = s.lengths[1:]
	}
}

// heard notes word from the leader.
func (k *checker) heard(s *server, m core.Message) {
	term := uint64(0)
	switch b := m.Body.(type) {
	case *core.AppendEntries:
		term = b.Term
	case *core.InstallSnapshot:
		term = b.Term
	case *core.Quiesce:
		term = b.Term
	}
	if st := k.views[s.id].status; st.State == core.Follower && st.Leader == m.From && st.CurrentTerm == term {
		s.silence = 0
	}
}

// hears notes the delivery of a request for a vote to a server that has heard its leader
// within the minimum election timeout. The server must refuse (thesis 4.2.3), unless the
// leader itself has asked the candidate to take over (thesis 3.10).
func (k *checker) hears(s *server, m core.Message) {
	req, ok := m.Body.(*core.RequestVote)
	call := k.cluster.calls[m.Call]
	st := k.views[s.id].status
	if ok && call != nil && !req.Transfer && st.State == core.Follower && st.Leader != core.None &&
		s.silence < k.cluster.opt.Config.ElectionTicks {
		call.refused++
	}
}

// granted checks an answer to a request for a vote. A request may have been delivered
// more than once.
func (k *checker) granted(s *server, m core.Message, granted bool) {
	call := k.cluster.calls[m.Call]
	if call == nil || !granted {
		return
	}
	if call.granted++; call.granted > call.delivered-call.refused {
		k.fail("server %d votes for %d beside a leader that it hears (thesis 4.2.3)", s.id, m.To)
	}
}

// checkProposal checks a leader's change of membership. The leader has committed an entry
// of its term (thesis 4.1, as corrected in 2015). Each new voter has what the leader's log
// had two election timeouts ago, so that commitment need not wait (thesis 4.2.1).
func (k *checker) checkProposal(s *server, before view, next core.Configuration) {
	st := before.status
	if st.CommitIndex == 0 || k.committed[st.CommitIndex-1].term != st.CurrentTerm {
		k.fail("leader %d of term %d changes the membership before a commit in its term", s.id, st.CurrentTerm)
	}
	if s.leads != st.CurrentTerm || len(s.lengths) == 0 {
		return // the term has just begun
	}
	for _, id := range next.Voters {
		d := &k.cluster.servers[id].disk
		if id == s.id || before.config.IsVoter(id) || d.HardState.CurrentTerm != st.CurrentTerm {
			continue
		}
		if last := lastOnDisk(d); last < s.lengths[0] {
			k.fail("leader %d makes %d a voter with %d entries; the leader's log had %d long ago", s.id, id, last, s.lengths[0])
		}
	}
}
