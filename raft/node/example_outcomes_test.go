package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// proposeOnce, proposeAsync and replace are excerpts of the pages in docs/library.
func proposeOnce(ctx context.Context, n *node.Node, command []byte) string {
	_, err := n.Propose(ctx, command)
	var elsewhere *node.NotLeaderError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &elsewhere):
		return "ask " + elsewhere.Address
	case errors.Is(err, node.ErrRefused):
		return "no effect, try again"
	}
	return "perhaps" // ErrUnknown: only a client session makes another try safe
}

func proposeAsync(n *node.Node, command []byte) string {
	f, err := n.ProposeAsync(command)
	if errors.Is(err, node.ErrQueueFull) {
		return "busy"
	}
	if err != nil {
		return err.Error()
	}
	result, err := f.Result()
	if err != nil {
		return err.Error()
	}
	return string(result.Data)
}

func replace(ctx context.Context, leader *node.Node) error {
	return leader.ChangeMembers(ctx, node.AddVoter(5, "10.0.0.5:7001"), node.Remove(2))
}

// The code in the pages does what the pages say.
func TestExcerptsOfThePages(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		if old := c.leader(); old.ID() == 2 { // which will be removed
			require.NoError(c, old.TransferLeadership(ctx, 1))
		}
		leader, follower := c.leader(), c.follower()
		require.Equal(c, "done", proposeOnce(ctx, leader, []byte("x")))
		require.Equal(c, "ask "+address(leader.ID()), proposeOnce(ctx, follower, []byte("x")))
		require.Equal(c, "2", proposeAsync(leader, []byte("x")))
		c.join(5)
		require.NoError(c, replace(ctx, leader))
		c.network.Partition([]core.NodeID{leader.ID()})
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		require.Equal(c, "perhaps", proposeOnce(short, leader, []byte("x")))
		require.Equal(c, "no effect, try again", proposeOnce(short, leader, []byte("x")), "short has ended")
		c.network.Heal()
		require.NoError(c, leader.Close())
		delete(c.nodes, leader.ID())
		require.Equal(c, "no effect, try again", proposeOnce(ctx, leader, []byte("x")))
	})
}
