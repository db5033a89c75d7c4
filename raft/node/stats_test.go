package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

func TestStatsCountOutcomes(t *testing.T) {
	run(t, 3, node.Config{TrailingEntries: -1, SnapshotEntries: 1000}, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		_, err := follower.Propose(ctx, []byte("x"))
		require.ErrorIs(c, err, node.ErrRefused)
		_, err = follower.ProposeAsync([]byte("x"))
		require.ErrorIs(c, err, node.ErrRefused)
		_, _, err = follower.Append([]byte("x"))
		require.ErrorIs(c, err, node.ErrRefused)
		before := follower.Stats()
		_, err = follower.ReadIndex(ctx)
		require.NoError(c, err)
		stats := follower.Stats()
		require.Equal(c, int64(3), stats.Refused)
		require.Zero(c, stats.Unknown)
		require.Equal(c, before.Reads.Count()+1, stats.Reads.Count())
		require.Equal(c, int64(1), stats.Leaders)

		c.network.Partition([]core.NodeID{leader.ID()})
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err = leader.Propose(short, []byte("lost"))
		require.ErrorIs(c, err, node.ErrUnknown)
		f, err := leader.ProposeAsync([]byte("lost, too"))
		require.NoError(c, err)
		_, err = f.Result()
		require.ErrorIs(c, err, node.ErrUnknown)
		stats = leader.Stats()
		require.Equal(c, int64(2), stats.Unknown)
		require.Zero(c, stats.Refused)

		var second *node.Node
		testkit.WaitFor(c, time.Minute, "another leader", func() bool {
			for _, n := range c.nodes {
				if n != leader && n.IsLeader() {
					second = n
				}
			}
			return second != nil
		})
		for i := range 5 {
			_, err := second.Propose(ctx, fmt.Append(nil, i))
			require.NoError(c, err)
		}
		require.NoError(c, second.Snapshot(ctx))
		c.network.Heal()
		c.agree(5)
		require.Equal(c, int64(1), leader.Stats().SnapshotsInstalled)
		require.Equal(c, int64(1), second.Stats().SnapshotsSaved)
		require.Positive(c, second.Stats().SnapshotBytesSent)
	})
}
