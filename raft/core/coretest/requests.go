package coretest

import (
	"errors"
	"fmt"

	"raftlab/raft/core"
)

// Read begins a linearizable read on a server. The checker sees the outcome when
// the server's host takes the outcome.
func (c *Cluster) Read(id core.NodeID) error {
	s := c.servers[id]
	if s.core == nil {
		return fmt.Errorf("server %d is down", id)
	}
	defer c.catch(s)
	s.lastID++
	err := s.core.ReadIndex(s.lastID)
	if err == nil {
		s.reads[s.lastID] = len(c.checker.committed)
		c.trace("%d begins read %d", id, s.lastID)
	}
	c.checker.observe(s)
	return err
}

// Reconfigure hands a configuration to a server. The error is the core's.
func (c *Cluster) Reconfigure(id core.NodeID, next core.Configuration) error {
	s := c.servers[id]
	if s.core == nil {
		return fmt.Errorf("server %d is down", id)
	}
	defer c.catch(s)
	before := c.checker.views[id]
	_, _, err := s.core.ProposeConfiguration(next)
	if err == nil {
		c.checker.checkProposal(s, before, next)
	}
	c.checker.observe(s)
	c.traceChange(before, c.checker.views[id])
	return err
}

// Transfer asks a server to transfer its leadership. The error is the core's.
func (c *Cluster) Transfer(from, to core.NodeID) error {
	s := c.servers[from]
	if s.core == nil {
		return fmt.Errorf("server %d is down", from)
	}
	defer c.catch(s)
	err := s.core.TransferLeadership(to)
	if err == nil {
		c.trace("%d transfers leadership to %d", from, s.core.Status().Transferee)
	}
	c.checker.observe(s)
	return err
}

// checkCommand checks that a leader refuses commands during a transfer (thesis 3.10),
// and takes a command of any size when no other waits.
func (k *checker) checkCommand(before core.Status, err error) {
	switch {
	case err == nil && before.Transferee != core.None:
		k.fail("leader %d takes a command while it transfers its leadership to %d", before.ID, before.Transferee)
	case errors.Is(err, core.ErrTooMuchUncommitted) && before.UncommittedBytes == 0:
		k.fail("leader %d refuses a command although no other waits: %v", before.ID, err)
	}
}

// succeeds checks that a successor has the leader's log before the TimeoutNow. Only the
// configuration that ends a change may be missing.
func (k *checker) succeeds(leader *server, to core.NodeID) {
	st, d := leader.core.Status(), &k.cluster.servers[to].disk
	if st.Transferee == to && d.HardState.CurrentTerm == st.CurrentTerm && lastOnDisk(d)+1 < st.LastIndex {
		k.fail("leader %d tells %d to campaign with %d of %d entries", st.ID, to, lastOnDisk(d), st.LastIndex)
	}
}

// checkCampaign checks that a TimeoutNow of the present term begins an election at a voter
// (thesis 3.10), and that one of an older term begins none.
func (k *checker) checkCampaign(before view, s *server, m core.Message) {
	b, ok := m.Body.(*core.TimeoutNow)
	if !ok {
		return
	}
	was, now := before.status, k.views[s.id].status
	switch campaigns := now.CurrentTerm > was.CurrentTerm; {
	case b.Term < was.CurrentTerm && campaigns:
		k.fail("server %d of term %d begins an election for a leader of term %d", s.id, was.CurrentTerm, b.Term)
	case b.Term == was.CurrentTerm && was.State == core.Follower && before.config.IsVoter(s.id) && !was.Removed && !campaigns:
		k.fail("server %d of term %d begins no election although the leader asks for one", s.id, was.CurrentTerm)
	}
}

// StepDown ends the leadership of a server.
func (c *Cluster) StepDown(id core.NodeID) {
	if s := c.servers[id]; s.core != nil {
		defer c.catch(s)
		s.core.StepDown()
		c.checker.observe(s)
	}
}

// Wake ends a server's silence, in place of a host without contact to a peer.
func (c *Cluster) Wake(id core.NodeID) {
	if s := c.servers[id]; s.core != nil {
		defer c.catch(s)
		s.core.Wake()
		c.checker.observe(s)
	}
}

// SendCommits has a server tell the others of its commits before the next tick.
func (c *Cluster) SendCommits(id core.NodeID) {
	if s := c.servers[id]; s.core != nil {
		defer c.catch(s)
		s.core.SendCommits()
		c.checker.observe(s)
	}
}

// Corrupt damages the next chunk of a snapshot on its way to the disk.
func (c *Cluster) Corrupt(id core.NodeID) { c.servers[id].corrupt = true }

// Reads counts the answered and the failed reads.
func (c *Cluster) Reads() (answered, failed int) { return c.checker.answered, c.checker.failed }

// Pass lets time pass. Each server gets the ticks of its own clock, in the order of
// time.
func (c *Cluster) Pass(units int) {
	for range units {
		c.time++
		for i, length := range c.opt.Clocks {
			if c.time%length == 0 {
				c.Tick(c.ids[i])
			}
		}
	}
}
