package node_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Members on a storage with a state begin no group. Every list goes on, and a list that
// is not the stored membership is a warning.
func TestMembersOnAStorageWithAState(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		first := c.config.Members
		require.False(c, c.nodes[1].Resumed())
		c.propose("before")
		c.agree(1)
		moved := []node.Member{first[0], first[1], {ID: 3, Address: "elsewhere", Priority: 1}}
		for _, tt := range []struct {
			name    string
			members []node.Member
			join    bool
			level   string
			says    string
		}{
			{"none", nil, false, "INFO", ""},
			{"the same", first, false, "INFO", ""},
			{"other addresses", moved, false, "INFO", ""},
			{"of a joining host", first[:1], true, "INFO", ""},
			{"outdated", first[:2], false, "WARN", "voters=[1 2]"},
			{"of another group", []node.Member{{ID: 3, Address: "memnet:3"}}, false, "WARN", "voters=[3]"},
			{"with a learner", []node.Member{first[0], first[1], first[2], {ID: 4, Learner: true}}, false, "WARN", "learners=[4]"},
		} {
			c.stop(3)
			var log bytes.Buffer
			again := *c
			again.host.Logger = slog.New(slog.NewTextHandler(&log, nil))
			again.config.Members, again.config.Join = tt.members, tt.join
			n := again.start(3)
			require.True(c, n.Resumed(), tt.name)
			testkit.WaitFor(c, time.Second, "the stored membership", func() bool { return slices.Equal(ids(n.Members()), []core.NodeID{1, 2, 3}) })
			require.NoError(c, n.Close())
			var line string
			for l := range strings.Lines(log.String()) {
				if strings.Contains(l, "continues from its storage") {
					require.Empty(c, line, "one line for a start")
					line = l
				}
			}
			require.Contains(c, line, "level="+tt.level, tt.name)
			require.Contains(c, line, tt.says, tt.name)
			require.Contains(c, line, "term=", tt.name)
			c.start(3)
		}
		c.propose("after")
		require.Equal(c, []string{"before", "after"}, c.agree(2))
		c.stop(3)
		require.ErrorIs(c, node.Bootstrap(c.stores[3].Reopen(), 1, first), node.ErrBootstrapped)
	})
}

func ids(members []node.Member) (all []core.NodeID) {
	for _, m := range members {
		all = append(all, m.ID)
	}
	return all
}

// The members of a log of commands are not in the log, and cannot be compared.
func TestResumedLogOfCommands(t *testing.T) {
	run(t, 1, node.Config{CommandsOnly: true}, func(c *cluster) {
		require.False(c, c.nodes[1].Resumed())
		testkit.WaitFor(c, 30*time.Second, "an acknowledgement", func() bool {
			_, err := c.nodes[1].Propose(ctx, []byte("before"))
			return err == nil
		})
		c.stop(1)
		var log bytes.Buffer
		c.host.Logger = slog.New(slog.NewTextHandler(&log, nil))
		n := c.start(1)
		require.True(c, n.Resumed())
		c.stop(1)
		require.Contains(c, log.String(), `level=INFO msg="the group continues from its storage"`)
		require.NotContains(c, log.String(), `membership=`)
	})
}

// A slow observer loses what comes beyond MaxEvents, and the host counts the losses.
func TestEventsAreBounded(t *testing.T) {
	for _, bound := range []int{1, 1000} {
		run(t, 1, node.Config{}, func(c *cluster) {
			c.leader()
			c.stop(1)
			release := make(chan struct{})
			c.host.Observe = func(node.Event) { <-release }
			c.host.MaxEvents = bound
			n := c.start(1)
			leader := c.leader()
			for range 5 {
				require.NoError(c, leader.ChangeMembers(ctx, node.SetAddress(1, "memnet:1b")))
				require.NoError(c, leader.ChangeMembers(ctx, node.SetAddress(1, "memnet:1")))
			}
			require.Equal(c, bound == 1, n.Host().Stats().DroppedEvents > 0)
			close(release)
		})
	}
}
