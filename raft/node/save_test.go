package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// A leader replicates beside its own disk. Commands that come during a long save
// commit through the followers, a tick later at most. The leader applies them after
// the save.
func TestCommandsCommitDuringASave(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		c.propose("before")
		release := make(chan struct{})
		c.stores[leader.ID()].BeforeSave(func([]node.Update) error { <-release; return nil })
		begun := time.Now()
		var futures []*node.Future
		for range 10 {
			f, err := leader.ProposeAsync([]byte("during the save"))
			require.NoError(c, err)
			futures = append(futures, f)
			time.Sleep(3 * time.Millisecond)
		}
		for len(c.states[follower.ID()].all()) < 11 {
			require.Less(c, time.Since(begun), 500*time.Millisecond, "the storage soon counts as stalled")
			time.Sleep(time.Millisecond)
		}
		close(release)
		for _, f := range futures {
			_, err := f.Result()
			require.NoError(c, err)
		}
	})
}

// The requests of a group wait for another group's save on the same host, but not
// longer than a tick.
func TestRequestsDoNotWaitForAnotherGroupsLongSave(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		c.propose("before")
		second := make(map[core.NodeID]*node.Node)
		machines := make(map[core.NodeID]*journal)
		for id, n := range c.nodes {
			config := c.config
			machines[id] = &journal{}
			config.Group, config.StateMachine = 2, machines[id]
			var err error
			second[id], err = n.Host().Start(config)
			require.NoError(c, err)
		}
		other := second[leader.ID()]
		testkit.WaitFor(c, 20*time.Second, "one leader for both groups", func() bool {
			for _, n := range second {
				if n != other && n.IsLeader() {
					_ = n.TransferLeadership(ctx, leader.ID())
				}
			}
			return other.IsLeader()
		})
		_, err := other.Propose(ctx, []byte("before"))
		require.NoError(c, err)

		for i := range 8 {
			release := make(chan struct{})
			c.stores[leader.ID()].BeforeSave(func([]node.Update) error { <-release; return nil })
			first, err := leader.ProposeAsync([]byte("during the save"))
			require.NoError(c, err)
			time.Sleep(latency)
			begun := time.Now()
			waiting, err := other.ProposeAsync([]byte("behind the save"))
			require.NoError(c, err)
			for len(machines[follower.ID()].all()) < i+2 {
				time.Sleep(time.Millisecond)
			}
			require.LessOrEqual(c, time.Since(begun), 25*time.Millisecond, "one tick to the followers, and one for the commit")
			close(release)
			for _, f := range []*node.Future{first, waiting} {
				_, err := f.Result()
				require.NoError(c, err)
			}
		}
	})
}
