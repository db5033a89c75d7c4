package node_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/node"
)

// With PromptCommits the other members apply a command long before the next tick.
func TestPromptCommits(t *testing.T) {
	const tick = 50 * time.Millisecond
	config := node.Config{PromptCommits: true, HeartbeatInterval: 10 * tick, ElectionTimeout: 100 * tick}
	slow := func(c *cluster) { c.host.TickInterval = tick }
	runWith(t, 3, config, slow, func(c *cluster) {
		leader := c.leader()
		for i := range 20 {
			command := strconv.Itoa(i)
			_, err := leader.Propose(ctx, []byte(command))
			require.NoError(c, err)
			time.Sleep(tick / 10)
			for id, s := range c.states {
				require.Contains(c, s.all(), command, "host %d", id)
			}
		}
	})
}
