package node_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// diagram is a space-time diagram of a cluster, as drawn from the hooks.
type diagram struct {
	mu      sync.Mutex
	sent    map[link][]node.TraceMessage // on their way, in order
	arrived []arrow
	events  map[core.NodeID][]node.Event
	orphans []node.TraceMessage // received, and never sent
}

type link struct{ from, to core.NodeID }

// arrow is a message with both ends.
type arrow struct {
	sent, received time.Time
	message        node.TraceMessage
}

func (d *diagram) send(m node.TraceMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := link{m.From, m.To}
	d.sent[l] = append(d.sent[l], m)
}

// receive finds the beginning of the arrow.
func (d *diagram) receive(m node.TraceMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := link{m.From, m.To}
	for i, s := range d.sent[l] {
		if s.Group == m.Group && fmt.Sprintf("%T%+v", s.Body, s.Body) == fmt.Sprintf("%T%+v", m.Body, m.Body) {
			d.arrived = append(d.arrived, arrow{s.Time, m.Time, m})
			d.sent[l] = d.sent[l][i+1:] // those before are lost
			return
		}
	}
	d.orphans = append(d.orphans, m)
}

// Hooks and events of all hosts make a space-time diagram. Each message that arrives has
// a beginning, and each leader is known before its first request leaves.
func TestTraceDrawsASpaceTimeDiagram(t *testing.T) {
	d := &diagram{sent: make(map[link][]node.TraceMessage), events: make(map[core.NodeID][]node.Event)}
	var begun time.Time
	var end core.NodeID
	run(t, 3, node.Config{}, func(c *cluster) {
		begun = time.Now()
		c.host.Trace = &node.Trace{Sent: d.send, Received: d.receive}
		for id := core.NodeID(1); id <= 3; id++ {
			c.host.Observe = func(e node.Event) {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.events[id] = append(d.events[id], e)
			}
			c.restartWith(id, &journal{})
		}
		for i := range 10 {
			c.propose(fmt.Sprint(i))
		}
		old := c.leader().ID()
		c.network.Partition([]core.NodeID{old})
		testkit.WaitFor(c, time.Minute, "another leader", func() bool {
			for id, n := range c.nodes {
				if id != old && n.IsLeader() {
					end = id
				}
			}
			return end != core.None
		})
		c.network.Heal()
		c.propose("after")
		c.agree(11)
	})
	require.Empty(t, d.orphans, "messages without a beginning")
	require.Greater(t, len(d.arrived), 20)
	leaders := make(map[uint64]time.Time) // by term, when its leader stood
	for id, events := range d.events {
		for i, e := range events {
			require.False(t, e.Time.Before(begun), "host %d: %+v", id, e)
			if i > 0 {
				require.False(t, e.Time.Before(events[i-1].Time), "host %d: %+v", id, e)
			}
			if e.Kind == node.RoleChanged && e.State == core.Leader {
				leaders[e.Term] = e.Time
			}
		}
	}
	require.GreaterOrEqual(t, len(leaders), 2)
	committed := false
	for _, a := range d.arrived {
		require.GreaterOrEqual(t, a.received.Sub(a.sent), latency, "%+v", a.message)
		req, ok := a.message.Body.(*core.AppendEntries)
		if !ok {
			continue
		}
		stood, known := leaders[req.Term]
		require.True(t, known, "nobody became the leader of term %d", req.Term)
		require.False(t, a.sent.Before(stood), "leader %d of term %d", req.LeaderID, req.Term)
		committed = committed || req.LeaderID == end && req.LeaderCommit > 10
	}
	require.True(t, committed, "the commits of the last leader")
}
