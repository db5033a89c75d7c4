package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// narrow is a transport that drops messages above a limit, as raft/tcp does.
type narrow struct{ node.Transport }

const narrowBytes = 2 << 10

func (narrow) MaxMessageBytes(core.NodeID) int { return narrowBytes }

func (t narrow) Send(to core.NodeID, messages []node.Message) {
	for _, m := range messages {
		if m.Size() <= narrowBytes+128 {
			t.Transport.Send(to, []node.Message{m})
		}
	}
}

// narrowCluster starts the hosts of a cluster again, on narrow transports.
func (c *cluster) narrow() {
	for id := range c.nodes {
		c.stop(id)
		config := c.config
		c.states[id] = &journal{}
		config.StateMachine = c.states[id]
		c.stores[id] = c.stores[id].Reopen()
		n, err := node.Start(node.HostConfig{Storage: c.stores[id], Transport: narrow{c.network.Join(id)}}, config)
		require.NoError(c, err)
		c.nodes[id] = n
	}
}

// The chunks of a snapshot fit the peer's limit, whatever SnapshotChunkBytes is.
func TestChunksFitTheTransport(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: -1, MaxCommandBytes: 1000}, func(c *cluster) {
		c.narrow()
		c.network.Partition([]core.NodeID{c.follower().ID()})
		for i := range 40 {
			c.propose(fmt.Sprint(i, strings.Repeat("x", 300)))
		}
		c.network.Heal()
		c.agree(40)
	})
}

// The batches of entries fit the peer's limit, whatever MaxBatchBytes is. The follower
// gets entries of the leader's memory, and after a restart of all hosts entries of the
// leader's disk.
func TestBatchesFitTheTransport(t *testing.T) {
	run(t, 3, node.Config{MaxCommandBytes: 1000, MaxCacheBytes: 4000}, func(c *cluster) {
		c.narrow()
		follower := c.follower()
		c.network.Partition([]core.NodeID{follower.ID()})
		for i := range 40 {
			c.propose(fmt.Sprint(i, strings.Repeat("x", 100+100*(i%9))))
		}
		c.network.Heal()
		c.agree(40)
	})
}

// A command that no message has room for would never commit.
func TestCommandsHaveToFitTheTransport(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		c.stop(1)
		config := c.config
		config.StateMachine = &journal{}
		for size, want := range map[int]error{narrowBytes: node.ErrConfig, narrowBytes - 176: nil} {
			config.MaxCommandBytes = size
			n, err := node.Start(node.HostConfig{Storage: c.stores[1].Reopen(), Transport: narrow{c.network.Join(1)}}, config)
			require.ErrorIs(c, err, want, "MaxCommandBytes %d", size)
			if n != nil {
				require.NoError(c, n.Close())
			}
		}
	})
}

// A follower that is down costs the leader nothing in memory, however long: the log goes
// to the disk, and nothing waits for the follower.
func TestFollowerThatIsDownCostsNoMemory(t *testing.T) {
	const cache = 20_000
	config := node.Config{MaxCacheBytes: cache, MaxBatchBytes: 5000, MaxInflightBytes: 10_000, SnapshotEntries: -1, SnapshotBytes: -1}
	run(t, 3, config, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		down := follower.ID()
		c.stop(down)
		command := strings.Repeat("x", 1000)
		const count = 120
		for i := range count {
			c.propose(fmt.Sprint(i, command))
			time.Sleep(time.Second)
		}
		st, err := leader.Status(ctx)
		require.NoError(c, err)
		require.Equal(c, leader.ID(), st.Leader, "the leader all the time")
		require.LessOrEqual(c, st.LastIndex-st.CachedIndex, uint64(cache/1000), "entries in memory")
		for _, m := range st.Members {
			if m.ID == down {
				require.GreaterOrEqual(c, m.Lag, uint64(count))
				require.LessOrEqual(c, m.InflightBytes, 10_000)
				require.False(c, m.Active)
			}
		}
		c.start(down)
		c.agree(count)
	})
}
