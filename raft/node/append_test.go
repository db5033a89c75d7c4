package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Append returns the places at which the state machine then gets the commands.
func TestAppendReturnsThePlace(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		var applied []node.Command
		c.states[leader.ID()].apply = func(cmd node.Command) { applied = append(applied, cmd) }
		type place struct{ index, term uint64 }
		var places []place
		for i := range 10 {
			index, term, err := leader.Append(fmt.Append(nil, i))
			require.NoError(c, err)
			places = append(places, place{index, term})
		}
		c.agree(10)
		for i, cmd := range applied {
			require.Equal(c, places[i], place{cmd.Index, cmd.Term})
			require.Equal(c, fmt.Sprint(i), string(cmd.Data))
		}
		require.Len(c, applied, 10)
	})
}

// awaitChange waits for a member's announcement of a change.
func awaitChange(c *cluster, changed <-chan struct{}) {
	c.Helper()
	select {
	case <-changed:
	case <-time.After(30 * time.Second):
		c.Fatal("no change was announced")
	}
}

// Append waits for no commit, and refuses where no entry comes into being.
func TestAppendRefuses(t *testing.T) {
	run(t, 3, node.Config{MaxCommandBytes: 600, MaxPendingBytes: 1000}, func(c *cluster) {
		_, _, err := c.follower().Append([]byte("x"))
		require.ErrorIs(c, err, node.ErrNotLeader)
		leader := c.leader()
		_, _, err = leader.Append(make([]byte, 601))
		require.ErrorIs(c, err, node.ErrTooLarge)
		c.network.Partition([]core.NodeID{leader.ID()})
		_, _, err = leader.Append(make([]byte, 600))
		require.NoError(c, err)
		_, _, err = leader.Append(make([]byte, 600))
		require.ErrorIs(c, err, node.ErrQueueFull)
		require.ErrorIs(c, err, node.ErrRefused)
		changed := leader.Changed()
		_, leads := leader.Leadership()
		require.True(c, leads)
		awaitChange(c, changed) // a leader without a majority steps down
		require.False(c, leader.IsLeader())
		changed = leader.Changed()
		c.stop(leader.ID())
		awaitChange(c, changed)
		_, _, err = leader.Append([]byte("x"))
		require.ErrorIs(c, err, node.ErrStopped)
		require.ErrorIs(c, err, node.ErrRefused)
	})
}

// Changed announces a new leader to the followers.
func TestChangedAnnouncesALeader(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		follower := c.follower()
		changed := follower.Changed()
		old, _ := follower.Leader()
		c.stop(old)
		for {
			awaitChange(c, changed)
			changed = follower.Changed()
			if id, _ := follower.Leader(); id != core.None && id != old {
				break
			}
		}
	})
}
