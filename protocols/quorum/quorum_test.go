package quorum_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/protocols/harness"
	"raftlab/protocols/quorum"
)

// A Node answers with its number.
type Node struct{ number int }

func (n *Node) Ask(_ int, reply *int) { *reply = n.number }

func start(c *harness.Cluster) {
	for i := range c.Size() {
		c.Serve(i, &Node{i})
	}
}

// Any two majorities share a node, and no larger number is necessary.
func TestMajority(t *testing.T) {
	for n := 1; n <= 9; n++ {
		require.Greater(t, 2*quorum.Majority(n), n)
		require.LessOrEqual(t, 2*(quorum.Majority(n)-1), n)
	}
}

// Call returns with the first majority and does not wait for slow nodes. Without a
// majority, Call returns when the calls have failed.
func TestCall(t *testing.T) {
	for _, tt := range []struct {
		nodes, down int
		ok          bool
		replies     int
	}{
		{5, 0, true, 3},
		{5, 2, true, 3},
		{5, 3, false, 2},
		{4, 1, true, 3},
		{4, 2, false, 2},
	} {
		harness.Run(t, tt.nodes, func(t *testing.T, c *harness.Cluster) {
			start(c)
			for i := range tt.down {
				c.Crash(i)
			}
			replies, ok := quorum.Call[int](c.Client("client"), "Node.Ask", 0)
			require.Equal(t, tt.ok, ok)
			require.Len(t, replies, tt.replies)
			for _, number := range replies {
				require.GreaterOrEqual(t, number, tt.down)
			}
		})
	}
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		start(c)
		c.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			if m.Server == 1 && !m.Reply {
				return labrpc.After(time.Minute)
			}
			return labrpc.Usual()
		})
		begin := time.Now()
		replies, ok := quorum.Call[int](c.Client("client"), "Node.Ask", 0)
		require.True(t, ok)
		require.ElementsMatch(t, []int{0, 2}, replies)
		require.Less(t, time.Since(begin), time.Second)
	})
}
