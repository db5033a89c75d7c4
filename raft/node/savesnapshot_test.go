package node_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// own is a configuration whose snapshots the service saves itself.
var own = node.Config{SnapshotEntries: -1, SnapshotBytes: -1, TrailingEntries: -1}

// A snapshot of the service replaces the log up to its index, whatever was applied
// since, and a restarted member begins with the snapshot.
func TestSaveSnapshotReplacesTheLog(t *testing.T) {
	run(t, 1, own, func(c *cluster) {
		leader := c.leader()
		places := make(map[int]uint64)
		for i := range 10 {
			places[i] = c.propose(fmt.Sprint(i)).Index
		}
		state := journalView{commands: c.states[1].all()[:7]}
		require.NoError(c, leader.SaveSnapshot(ctx, places[6], state))
		st, err := leader.Status(ctx)
		require.NoError(c, err)
		require.Equal(c, places[6], st.SnapshotIndex)
		saved, err := c.stores[1].Load(1)
		require.NoError(c, err)
		require.Equal(c, places[6], saved.CompactedIndex, "with no trailing entries")

		require.ErrorIs(c, leader.SaveSnapshot(ctx, places[3], state), core.ErrCompacted)
		require.ErrorIs(c, leader.SaveSnapshot(ctx, places[9]+1, state), core.ErrNotApplied)
		c.stop(1)
		require.ErrorIs(c, leader.SaveSnapshot(ctx, places[9], state), node.ErrStopped)
		c.start(1)
		require.Equal(c, 1, c.states[1].restores)
		require.Len(c, c.agree(10), 10)
	})
}

// A follower far behind gets the snapshot that the leader's service has saved.
func TestSavedSnapshotReachesAFollower(t *testing.T) {
	run(t, 3, own, func(c *cluster) {
		leader, behind := c.leader(), c.follower()
		c.network.Partition([]core.NodeID{behind.ID()})
		var last uint64
		for i := range 10 {
			last = c.propose(fmt.Sprint(i)).Index
		}
		require.NoError(c, leader.SaveSnapshot(ctx, last, journalView{commands: c.states[leader.ID()].all()}))
		c.network.Heal()
		c.agree(10)
		require.Equal(c, 1, c.states[behind.ID()].restores)
	})
}

func TestSaveSnapshotBesideAPolicyIsRefused(t *testing.T) {
	run(t, 1, node.Config{SnapshotBytes: -1}, func(c *cluster) {
		index := c.propose("x").Index
		require.ErrorIs(c, c.leader().SaveSnapshot(context.Background(), index, journalView{}), node.ErrConfig)
	})
}

// A snapshot within the newest one is not written, also after a restart and with
// trailing entries that the log still has.
func TestSaveSnapshotWithinTheNewest(t *testing.T) {
	cfg := own
	cfg.TrailingEntries = 100
	run(t, 1, cfg, func(c *cluster) {
		leader := c.leader()
		var places []uint64
		for i := range 10 {
			places = append(places, c.propose(fmt.Sprint(i)).Index)
		}
		commands := c.states[1].all()
		require.NoError(c, leader.SaveSnapshot(ctx, places[6], journalView{commands: commands[:7]}))
		before := c.stores[1].Usage()
		require.NoError(c, leader.SaveSnapshot(ctx, places[6], journalView{commands: commands[:7]}))
		require.NoError(c, leader.SaveSnapshot(ctx, places[3], journalView{commands: commands[:4]}))
		require.Equal(c, before, c.stores[1].Usage())
		c.stop(1)
		c.start(1)
		leader = c.leader()
		require.NoError(c, leader.SaveSnapshot(ctx, places[3], journalView{commands: commands[:4]}))
		require.NoError(c, leader.Err())
		saved, err := c.stores[1].Load(1)
		require.NoError(c, err)
		require.Equal(c, places[6], saved.Snapshot.Index)
	})
}
