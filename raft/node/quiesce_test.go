package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// silence waits until all members of an idle group are silent.
func (c *cluster) silence() {
	c.Helper()
	c.propose("x")
	testkit.WaitFor(c, 30*time.Second, "silence", func() bool {
		for _, n := range c.nodes {
			st, err := n.Status(ctx)
			require.NoError(c, err)
			if !st.Quiescent {
				return false
			}
		}
		return true
	})
}

// The members of a silent group count no ticks. They notice a dead leader by the lost
// connection to its host, without a request.
func TestSilentGroupNoticesALostLeader(t *testing.T) {
	for _, cut := range []bool{false, true} {
		run(t, 3, node.Config{Quiesce: true}, func(c *cluster) {
			c.silence()
			old := c.leader()
			c.silence()
			if cut {
				c.network.Partition([]core.NodeID{old.ID()})
			} else {
				c.stop(old.ID())
			}
			testkit.WaitFor(c, 10*time.Second, "another leader", func() bool {
				for _, n := range c.nodes {
					if n != old && n.IsLeader() {
						return true
					}
				}
				return false
			})
			c.network.Heal()
		})
	}
}
