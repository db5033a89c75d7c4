package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// untilDeposed has the saves of some hosts hang, and returns how long the leader still
// leads after a proposal. It returns 0 for a leader that leads a minute later.
func (c *cluster) untilDeposed(leader *node.Node, hung []core.NodeID, command []byte) time.Duration {
	c.Helper()
	release := make(chan struct{})
	defer close(release)
	for _, id := range hung {
		c.stores[id].BeforeSave(func([]node.Update) error { <-release; return nil })
	}
	begun := time.Now()
	_, err := leader.ProposeAsync(command)
	require.NoError(c, err)
	for time.Since(begun) < time.Minute {
		time.Sleep(10 * time.Millisecond)
		if !leader.IsLeader() {
			return time.Since(begun)
		}
	}
	return 0
}

// The patience with a save depends on its size, and on whether the others have saved
// the same entries.
func TestStorageTimeout(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes int
		all   bool // disks hang, and not the leader's alone
		want  time.Duration
	}{
		{"small", 1, false, 300 * time.Millisecond},
		{"4 MiB", 4 << 20, false, 800 * time.Millisecond},
		{"small, on all disks", 1, true, 1200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, 3, node.Config{ElectionTimeout: 2 * time.Second, MaxBatchBytes: 8 << 20}, func(c *cluster) {
				for id := range c.nodes {
					c.stop(id)
				}
				c.host.StorageTimeout = 300 * time.Millisecond
				for _, m := range c.config.Members {
					c.start(m.ID)
				}
				leader := c.leader()
				hung := []core.NodeID{leader.ID()}
				if tt.all {
					hung = []core.NodeID{1, 2, 3}
				}
				require.InDelta(c, tt.want, c.untilDeposed(leader, hung, make([]byte, tt.bytes)), float64(50*time.Millisecond))
			})
		})
	}
}
