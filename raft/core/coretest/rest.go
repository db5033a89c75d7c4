package coretest

import (
	"errors"
	"fmt"
	"slices"

	"raftlab/raft/core"
)

// settleTimeouts and watchTimeouts are election timeouts of the slowest clock. A cluster
// without faults and requests is at rest after the first. A leader tells a former member of
// the removal for ten of them. The second is a time at rest.
const (
	settleTimeouts = 30
	watchTimeouts  = 6
)

// comeToRest lets a cluster without faults and requests settle, and watches it at rest. Of
// the messages meanwhile, the one with the number lost is lost, none if lost is negative.
func (x *explorer) comeToRest(lost int) error {
	for i := range x.timeouts(settleTimeouts) {
		x.FinishAll()
		if n := len(x.pool); lost >= 0 && lost < n {
			x.Drop(lost)
			lost = -1
		} else {
			lost -= n
		}
		x.DeliverAll()
		x.FinishAll()
		x.tickSlowly()
		if i > 0 && i%x.timeouts(settleTimeouts/3) == 0 && !x.opt.Config.LeaderNoOp {
			x.propose() // an entry of an older term does not commit alone (§5.4.2)
		}
		if x.Err() != nil {
			return x.Err()
		}
	}
	x.FinishAll()
	if err := x.Rested(); err != nil {
		return err
	}
	before := x.Core(x.Leader()).Status()
	for range x.timeouts(watchTimeouts) {
		x.FinishAll()
		for _, e := range x.pool {
			if err := x.atRest(before.ID, e.msg); err != nil {
				return err
			}
		}
		x.DeliverAll()
		x.FinishAll()
		x.tickSlowly()
		if x.Err() != nil {
			return x.Err()
		}
		now := x.Leader()
		if now == core.None || now != before.ID || x.Core(now).Status().CurrentTerm != before.CurrentTerm {
			return fmt.Errorf("leader %d of term %d loses its leadership at rest", before.ID, before.CurrentTerm)
		}
	}
	x.FinishAll()
	return x.Rested()
}

// timeouts returns the ticks of the fastest clock in n election timeouts of the slowest.
func (x *explorer) timeouts(n int) int {
	n *= x.opt.Config.ElectionTicks
	if len(x.opt.Clocks) > 0 {
		n = n * slices.Max(x.opt.Clocks) / slices.Min(x.opt.Clocks)
	}
	return n
}

// loneFault makes one fault in a cluster at rest, and returns the number of a message to
// lose, or -1.
func (x *explorer) loneFault() int {
	leader, one := x.Leader(), x.ids[x.rand.IntN(len(x.ids))]
	switch x.rand.IntN(6) {
	case 0:
		x.trace("lone fault: %d starts again", one)
		x.Crash(one)
		x.Restart(one)
	case 1:
		x.trace("lone fault: leader %d starts again", leader)
		x.Crash(leader)
		x.Restart(leader)
	case 2: // the hosts notice that the leader's host is away
		x.trace("lone fault: leader %d is away for a while", leader)
		x.Crash(leader)
		for _, id := range x.ids {
			x.Wake(id)
		}
		for range x.timeouts(6) {
			x.settleOnce()
			x.tickSlowly()
		}
		x.Restart(leader)
	case 3:
		_ = x.Transfer(leader, one)
		return x.lose(8)
	case 4:
		x.propose()
		return x.lose(16)
	case 5:
		x.read(one)
		x.read(leader)
		return x.lose(16)
	}
	return -1
}

func (x *explorer) lose(of int) int {
	n := x.rand.IntN(of)
	x.trace("lone fault: message %d is lost", n)
	return n
}

// Rested returns nil if nothing is left to be done. One server leads, every member has the
// whole committed log, and nothing waits for an outcome. Former members know of their
// removal, with the exceptions of Outsiders.
func (c *Cluster) Rested() error {
	if err := c.Converged(); err != nil {
		return err
	}
	leader := c.Leader()
	if leader == core.None {
		return fmt.Errorf("no server leads")
	}
	st := c.Core(leader).Status()
	cfg, _ := c.Core(leader).Configuration()
	members := cfg.IDs()
	if cfg.IsZero() {
		members = c.ids
	}
	var errs []error
	for _, id := range c.ids {
		s := c.servers[id]
		if s.core == nil {
			continue
		}
		errs = append(errs, s.withoutWork())
		if slices.Contains(members, id) {
			errs = append(errs, c.follows(s, st), c.silent(s))
		}
	}
	for _, m := range c.Core(leader).Members() {
		errs = append(errs, c.upToDate(leader, m))
	}
	return errors.Join(append(errs, c.Outsiders())...)
}

// withoutWork returns nil if nothing waits for an outcome on a server.
func (s *server) withoutWork() error {
	st := s.core.Status()
	switch {
	case len(s.reads) > 0 || st.PendingReads > 0:
		return fmt.Errorf("server %d: %d reads without an outcome; the core counts %d", s.id, len(s.reads), st.PendingReads)
	case st.Transferee != core.None:
		return fmt.Errorf("server %d still transfers its leadership to %d", s.id, st.Transferee)
	case st.UncommittedBytes > 0:
		return fmt.Errorf("server %d still counts %d uncommitted bytes", s.id, st.UncommittedBytes)
	case len(s.loads)+len(s.late) > 0:
		return fmt.Errorf("server %d: loads without an end", s.id)
	}
	return nil
}

// follows returns nil if a member has the leader's state, and has applied all of it.
func (c *Cluster) follows(s *server, leader core.Status) error {
	st, all := s.core.Status(), uint64(len(c.checker.committed))
	switch {
	case st.CurrentTerm != leader.CurrentTerm || st.Leader != leader.ID || st.State == core.Leader && st.ID != leader.ID:
		return fmt.Errorf("server %d is a %s of leader %d in term %d; server %d leads term %d", s.id, st.State, st.Leader, st.CurrentTerm, leader.ID, leader.CurrentTerm)
	case st.LastIndex != all || st.CommitIndex != all || st.LastApplied != all || s.service.index != all:
		return fmt.Errorf("server %d: log to %d, commitIndex %d, lastApplied %d, service at %d; %d entries are committed",
			s.id, st.LastIndex, st.CommitIndex, st.LastApplied, s.service.index, all)
	case st.Removed:
		return fmt.Errorf("member %d believes that it is removed", s.id)
	case !c.checker.views[s.id].config.Equal(c.checker.views[leader.ID].config):
		return fmt.Errorf("member %d is in configuration %v; the leader is in %v", s.id, c.checker.views[s.id].config, c.checker.views[leader.ID].config)
	}
	if limit := c.opt.Config.MaxCachedBytes; limit > 0 {
		size, largest := 0, 0
		for _, e := range s.core.Entries() {
			size += len(e.Data) + 16
			largest = max(largest, len(e.Data)+16)
		}
		if size > limit+largest {
			return fmt.Errorf("server %d has entries of %d bytes in memory; the bound is %d and the largest one has %d", s.id, size, limit, largest)
		}
	}
	return nil
}

// silent returns nil if a member of an idle group is quiescent. A former member without
// knowledge of the removal keeps the group awake.
func (c *Cluster) silent(s *server) error {
	if !c.opt.Config.Quiesce || s.core.Quiescent() {
		return nil
	}
	for _, id := range c.ids {
		if c.Up(id) && c.asks(id) {
			return nil
		}
	}
	return fmt.Errorf("server %d is idle and not quiescent", s.id)
}

// asks reports whether a server outside of the leader's configuration keeps asking the
// others, since its log has a configuration with the server.
func (c *Cluster) asks(id core.NodeID) bool {
	cfg, _ := c.Core(c.Leader()).Configuration()
	own := c.ownConfigurations(id)
	return !cfg.IsZero() && !cfg.Contains(id) && len(own) > 0 && !c.Core(id).Status().Removed
}

// upToDate returns nil if the leader's picture of a member is one at rest.
func (c *Cluster) upToDate(leader core.NodeID, m core.MemberStatus) error {
	st := c.Core(leader).Status()
	switch {
	case m.ID == leader || !c.Up(m.ID):
		return nil
	case m.State != core.Replicate || m.MatchIndex != st.LastIndex || m.NextIndex != st.LastIndex+1 || m.Lag != 0:
		return fmt.Errorf("leader %d with %d entries: %s to %d, match %d, next %d, lag %d", leader, st.LastIndex, m.State, m.ID, m.MatchIndex, m.NextIndex, m.Lag)
	case m.Learner && !m.CaughtUp:
		return fmt.Errorf("leader %d: learner %d with the whole log has not caught up", leader, m.ID)
	case m.InflightBytes != 0 || m.SnapshotIndex != 0 || m.SnapshotOffset != 0:
		return fmt.Errorf("leader %d: %d bytes and snapshot %d up to %d are on their way to %d", leader, m.InflightBytes, m.SnapshotIndex, m.SnapshotOffset, m.ID)
	}
	return nil
}

// atRest returns nil for a message of a cluster at rest. Such a cluster sends heartbeats,
// their answers, and the pre-votes of former members with the answers.
func (c *Cluster) atRest(leader core.NodeID, m core.Message) error {
	outside := func(id core.NodeID) bool {
		cfg, _ := c.Core(leader).Configuration()
		return !cfg.IsZero() && !cfg.Contains(id)
	}
	ok := false
	switch b := m.Body.(type) {
	case *core.RequestVote:
		ok = b.PreVote && outside(m.From)
	case *core.RequestVoteReply:
		ok = b.PreVote && outside(m.To)
	case *core.AppendEntries:
		ok = m.From == leader && !outside(m.To) && len(b.Entries) == 0
	case *core.AppendEntriesReply:
		ok = b.Success
	case *core.Quiesce, *core.QuiesceReply:
		ok = true
	}
	if !ok {
		return fmt.Errorf("at rest, a server sends %v", m)
	}
	return nil
}

// ownConfigurations returns the indices of the configurations in a server's log with the
// server, from the snapshot on. Index 0 stands for the configuration before these entries.
func (c *Cluster) ownConfigurations(id core.NodeID) []uint64 {
	var own []uint64
	s, v := c.servers[id], c.checker.views[id]
	first := s.disk.Snapshot.Configuration
	if first.IsZero() && int(id) <= c.opt.Voters {
		first.Voters = c.ids[:c.opt.Voters]
	}
	if first.Contains(id) {
		own = append(own, 0)
	}
	for _, e := range v.entries {
		if e.Type != core.ConfigurationEntry || e.Index <= s.disk.Snapshot.LastIncludedIndex {
			continue
		}
		if cfg, err := core.DecodeConfiguration(e.Data); err == nil && cfg.Contains(id) {
			own = append(own, e.Index)
		}
	}
	return own
}

// Outsiders returns nil if every former member knows of the removal. These are the
// exceptions (docs/library/membership.md).
//   - The addition was lost, so the server's configuration is newer than the committed one.
//   - The only configuration with the server is the last one of the server's log, and no
//     asked server has the entry. The addition may be lost, or compacted.
//   - No asked server knows of the removal. Such a group has replaced all of them.
func (c *Cluster) Outsiders() error {
	leader := c.Leader()
	if leader == core.None {
		return nil
	}
	cfg, index := c.Core(leader).CommittedConfiguration()
	if cfg.IsZero() || index == 0 {
		return nil
	}
	for _, id := range c.ids {
		v, own := c.checker.views[id], c.ownConfigurations(id)
		if !c.Up(id) || cfg.Contains(id) || len(own) == 0 || v.status.Removed || v.status.ConfigurationIndex > index {
			continue
		}
		if c.canKnow(v, own) {
			return fmt.Errorf("server %d does not know that it is removed at %d; its configuration at %d is %v", id, index, v.status.ConfigurationIndex, v.config)
		}
	}
	return nil
}

// canKnow reports whether a server can tell a former member of the removal.
func (c *Cluster) canKnow(v view, own []uint64) bool {
	addition := own[0]
	joining := len(own) == 1 && addition > 0 && addition == v.status.ConfigurationIndex
	for _, id := range v.config.IDs() {
		if !c.Up(id) || id == v.status.ID || slices.Contains(v.config.Learners, id) && !v.config.IsVoter(id) {
			continue
		}
		if _, known := c.Core(id).CommittedConfiguration(); known < v.status.ConfigurationIndex {
			continue // no news
		} else if cfg, _ := c.Core(id).CommittedConfiguration(); cfg.Contains(v.status.ID) {
			continue
		}
		if !joining || hasAt(c.checker.views[id], addition, v) {
			return true
		}
	}
	return false
}

// hasAt reports whether a log has the entry of another log at an index.
func hasAt(v view, index uint64, of view) bool {
	term := func(v view) uint64 {
		if v.status.SnapshotIndex >= index || v.status.LastIndex < index {
			return 0
		}
		return v.entries[index-v.status.SnapshotIndex-1].Term
	}
	return term(v) > 0 && term(v) == term(of)
}

// staysAtRest wants rest after the faults, after another start of all former members, and
// after each of two lone faults.
func (x *explorer) staysAtRest() error {
	if err := x.comeToRest(-1); err != nil {
		return fmt.Errorf("%d election timeouts after the faults: %w", settleTimeouts, err)
	}
	cfg, _ := x.Core(x.Leader()).Configuration()
	for _, id := range x.ids {
		if !cfg.IsZero() && !cfg.Contains(id) {
			x.Crash(id)
			x.Restart(id)
		}
	}
	if err := x.comeToRest(-1); err != nil {
		return fmt.Errorf("%d election timeouts after the former members have started again: %w", settleTimeouts, err)
	}
	for range 2 {
		if err := x.comeToRest(x.loneFault()); err != nil {
			return fmt.Errorf("%d election timeouts after a lone fault: %w", settleTimeouts, err)
		}
	}
	return nil
}
