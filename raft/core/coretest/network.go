package coretest

import (
	"slices"

	"raftlab/raft/core"
)

// send puts a server's messages into the pool.
func (c *Cluster) send(s *server, messages []core.Message) {
	for _, m := range messages {
		switch b := m.Body.(type) {
		case *core.RequestVote, *core.AppendEntries, *core.Quiesce:
			c.number(&m)
		case *core.InstallSnapshot:
			c.number(&m)
			c.fill(s, b)
		case *core.TimeoutNow, *core.ReadIndex, *core.ReadIndexReply: // one way
		default:
			c.answer(m)
		}
		c.checker.sent(s, m)
		c.pool = append(c.pool, envelope{m, fingerprint(entriesOf(m))})
	}
}

// fill puts the host's saved snapshot, or a chunk of the snapshot, into a message.
func (c *Cluster) fill(s *server, b *core.InstallSnapshot) {
	snap := s.disk.Snapshot
	if b.LastIncludedIndex != snap.LastIncludedIndex {
		b.Offset = 0 // the follower has the beginning of an older snapshot
	}
	b.LastIncludedIndex, b.LastIncludedTerm, b.Configuration = snap.LastIncludedIndex, snap.LastIncludedTerm, snap.Configuration
	b.Data = snap.Data
	if b.Chunked {
		b.Size, b.Checksum = uint64(len(snap.Data)), checksum(snap.Data)
		end := min(b.Offset+uint64(c.opt.Config.SnapshotChunkBytes), b.Size)
		b.Data, b.Done = snap.Data[b.Offset:end], end == b.Size
	}
}

func (c *Cluster) number(m *core.Message) {
	c.nextNum++
	m.Call = c.nextNum
	c.calls[m.Call] = &call{from: m.From, to: m.To}
}

// answer checks that a reply belongs to a request and is the only reply to the
// request.
func (c *Cluster) answer(m core.Message) {
	call := c.calls[m.Call]
	if call == nil || call.from != m.To || call.to != m.From {
		c.checker.fail("server %d answers call %d of %d, which was not made", m.From, m.Call, m.To)
		return
	}
	if call.replied++; call.replied > call.delivered {
		c.checker.fail("server %d answers call %d %d times; it came %d times", m.From, m.Call, call.replied, call.delivered)
	}
}

func entriesOf(m core.Message) []core.Entry {
	if b, ok := m.Body.(*core.AppendEntries); ok {
		return b.Entries
	}
	return nil
}

// isRequest distinguishes requests from replies.
func isRequest(m core.Message) bool {
	switch m.Body.(type) {
	case *core.RequestVote, *core.AppendEntries, *core.InstallSnapshot, *core.Quiesce:
		return true
	}
	return false
}

// InFlight returns the messages on their way, oldest first.
func (c *Cluster) InFlight() []core.Message { return messagesOf(c.pool) }

func messagesOf(envelopes []envelope) []core.Message {
	ms := make([]core.Message, len(envelopes))
	for i, e := range envelopes {
		ms[i] = e.msg
	}
	return ms
}

// Deliver hands the i-th message on its way to the receiver. On a cut link, or to a
// stopped receiver, the message is lost.
func (c *Cluster) Deliver(i int) {
	m, s := c.pool[i].msg, c.servers[c.pool[i].msg.To]
	if s.core == nil || c.blocked[link{m.From, m.To}] {
		c.Drop(i)
		return
	}
	if fingerprint(entriesOf(m)) != c.pool[i].print {
		c.checker.fail("entries changed on their way: %v", m)
	}
	c.pool = slices.Delete(c.pool, i, i+1)
	if call := c.calls[m.Call]; call != nil && isRequest(m) {
		call.delivered++
	}
	if c.tracing() {
		c.trace("%v", m)
	}
	defer c.catch(s)
	before := c.checker.views[s.id]
	c.checker.hears(s, m)
	if err := s.core.Step(m); err != nil {
		c.checker.fail("server %d drops %v: %v", s.id, m, err)
	}
	c.checker.observe(s)
	c.checker.heard(s, m)
	c.checker.checkCampaign(before, s, m)
	if c.opt.Stepped != nil {
		c.opt.Stepped(m, before.status, s.core.Status())
	}
	c.traceChange(before, c.checker.views[s.id])
}

// Drop loses the i-th message on its way. Unless the transport is silent, the
// request's sender gets a report.
func (c *Cluster) Drop(i int) {
	m := c.pool[i].msg
	c.pool = slices.Delete(c.pool, i, i+1)
	if c.tracing() {
		c.trace("lost: %v", m)
	}
	if c.opt.Silent {
		return
	}
	caller, other := m.From, m.To
	if m.Call == 0 {
		return // nobody waits for a one-way message
	}
	if !isRequest(m) {
		caller, other = m.To, m.From
	}
	if s := c.servers[caller]; s.core != nil {
		defer c.catch(s)
		s.core.Unreachable(other)
		c.checker.observe(s)
	}
}

// Duplicate puts a copy of the i-th message at the end of the pool.
func (c *Cluster) Duplicate(i int) { c.pool = append(c.pool, c.pool[i]) }

// Requeue puts the i-th message behind all others.
func (c *Cluster) Requeue(i int) {
	e := c.pool[i]
	c.pool = append(slices.Delete(c.pool, i, i+1), e)
}

// Delay holds the i-th message back until Resend or Release.
func (c *Cluster) Delay(i int) {
	c.held = append(c.held, c.pool[i])
	c.pool = slices.Delete(c.pool, i, i+1)
}

// Delayed returns the messages that Delay and Hold have held back, oldest first.
func (c *Cluster) Delayed() []core.Message { return messagesOf(c.held) }

// Resend puts the i-th delayed message behind the messages on their way.
func (c *Cluster) Resend(i int) {
	c.pool = append(c.pool, c.held[i])
	c.held = slices.Delete(c.held, i, i+1)
}

// Hold delays the messages on their way to a server until Release.
func (c *Cluster) Hold(to core.NodeID) {
	c.pool = slices.DeleteFunc(c.pool, func(e envelope) bool {
		late := e.msg.To == to && len(c.held) < maxHeld
		if late {
			c.held = append(c.held, e)
		}
		return late
	})
}

// maxHeld bounds the held messages.
const maxHeld = 200

// Release puts the held messages before those on their way.
func (c *Cluster) Release() {
	c.pool = append(c.held, c.pool...)
	c.held = nil
}

// Partition cuts every link between servers of different groups, both ways, in
// place of earlier cuts. A server in no group is alone.
func (c *Cluster) Partition(groups ...[]core.NodeID) {
	c.Heal()
	for _, a := range c.ids {
		for _, b := range c.ids {
			together := slices.ContainsFunc(groups, func(g []core.NodeID) bool {
				return slices.Contains(g, a) && slices.Contains(g, b)
			})
			if a != b && !together {
				c.Cut(a, b)
			}
		}
	}
}

// Cut cuts the link from one server to another, in one direction.
func (c *Cluster) Cut(from, to core.NodeID) { c.blocked[link{from, to}] = true }

// Heal restores all links.
func (c *Cluster) Heal() { clear(c.blocked) }

// Blocked reports whether the link from one server to another is cut.
func (c *Cluster) Blocked(from, to core.NodeID) bool { return c.blocked[link{from, to}] }

// DeliverAll delivers the present messages in order, and none of the messages that
// they cause.
func (c *Cluster) DeliverAll() {
	for range len(c.pool) {
		if c.Err() != nil {
			return
		}
		c.Deliver(0)
	}
}

// Settle does all duties and delivers all messages until nothing is left. Without
// time every exchange ends, so 1,000 rounds, or 100,000 messages, without an end are a
// violation.
func (c *Cluster) Settle() {
	delivered := 0
	for range 1000 {
		c.FinishAll()
		if len(c.pool) == 0 || c.Err() != nil {
			return
		}
		if delivered += len(c.pool); delivered > 100_000 {
			break
		}
		c.DeliverAll()
	}
	c.checker.fail("messages without end, for example %v", c.pool[0].msg)
}
