package node_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// A suspended leader misses ticks. A lease counted in ticks alone would outlast the
// election of another leader.
func TestLeaseRunsOutDuringASuspension(t *testing.T) {
	var suspended atomic.Uint64 // the host whose core sleeps at its next message
	const pause = 5 * time.Second
	trace := &node.Trace{Sent: func(m node.TraceMessage) {
		if suspended.CompareAndSwap(uint64(m.From), 0) {
			time.Sleep(pause)
		}
	}}
	run(t, 3, node.Config{LeaseDuration: 900 * time.Millisecond}, func(c *cluster) {
		c.host.Trace = trace
		for id := core.NodeID(1); id <= 3; id++ {
			c.restartWith(id, &journal{})
		}
		c.propose("old")
		old := c.leader()
		testkit.WaitFor(c, 5*time.Second, "a lease", func() bool {
			st, err := old.Status(ctx)
			require.NoError(c, err)
			return st.Lease
		})
		c.network.Partition([]core.NodeID{old.ID()})
		suspended.Store(uint64(old.ID()))
		testkit.WaitFor(c, 4*time.Second, "a write on another leader", func() bool {
			for _, n := range c.nodes {
				if n != old && n.IsLeader() {
					_, err := n.Propose(ctx, []byte("new"))
					return err == nil
				}
			}
			return false
		})
		short, cancel := context.WithTimeout(ctx, pause)
		defer cancel()
		_, err := old.ReadIndex(short)
		require.ErrorIs(c, err, context.DeadlineExceeded, "a stale read of %v", c.states[old.ID()].all())
		c.network.Heal()
	})
}
