package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
