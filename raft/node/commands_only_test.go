package node_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// places has the commands of a log by their index, as all members have applied them.
type places struct {
	mu      sync.Mutex
	entries map[uint64]string // term and command
	last    map[core.NodeID]uint64
}

// keepPlaces notes what all members of a cluster apply, and fails the test where
// indexes have gaps or members differ.
func keepPlaces(c *cluster) *places {
	l := &places{entries: make(map[uint64]string), last: make(map[core.NodeID]uint64)}
	for id := range c.nodes {
		c.states[id].apply = func(cmd node.Command) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.last[id]++; l.last[id] != cmd.Index {
				c.Errorf("member %d applies index %d; want %d", id, cmd.Index, l.last[id])
			}
			entry := fmt.Sprintf("%d %s", cmd.Term, cmd.Data)
			if have, ok := l.entries[cmd.Index]; ok && have != entry {
				c.Errorf("member %d applies %q at %d; another one %q", id, entry, cmd.Index, have)
			}
			l.entries[cmd.Index] = entry
		}
	}
	return l
}

func (l *places) at(index uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[index]
}

// appendTo appends a command on whichever member leads.
func appendTo(c *cluster, command string) (leader *node.Node, index, term uint64) {
	c.Helper()
	testkit.WaitFor(c, 30*time.Second, "a leader", func() bool {
		for _, leader = range c.nodes {
			var err error
			if index, term, err = leader.Append([]byte(command)); err == nil {
				return true
			}
		}
		return false
	})
	return leader, index, term
}

// A log of commands only has no other entries, whoever leads, and a handed out place
// is the place of the command.
func TestCommandsOnlyHaveConsecutiveIndexes(t *testing.T) {
	run(t, 3, node.Config{CommandsOnly: true}, func(c *cluster) {
		l := keepPlaces(c)
		last := uint64(0)
		for round := range 3 {
			leader, _, _ := appendTo(c, "first")
			last++
			for i := range 10 {
				command := fmt.Sprint("round", round, "-", i)
				index, term, err := leader.Append([]byte(command))
				require.NoError(c, err)
				last++
				require.Equal(c, last, index)
				testkit.WaitFor(c, time.Second, "the command", func() bool { return l.at(index) != "" })
				require.Equal(c, fmt.Sprintf("%d %s", term, command), l.at(index))
			}
			require.NoError(c, leader.TransferLeadership(ctx, core.None))
		}
		for id := range c.nodes {
			c.stop(id)
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.start(id)
		}
		_, index, _ := appendTo(c, "after the restart")
		require.Equal(c, last+1, index)
	})
}

// A transfer under load is one election, which the chosen member wins. The commands
// whose places were handed out meanwhile wait for the end of the transfer.
func TestTransferUnderAppends(t *testing.T) {
	run(t, 3, node.Config{CommandsOnly: true}, func(c *cluster) {
		keepPlaces(c)
		leader, _, term := appendTo(c, "first")
		stop := make(chan struct{})
		var load sync.WaitGroup
		defer load.Wait()
		defer close(stop)
		for _, n := range c.nodes {
			load.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Microsecond):
						_, _, _ = n.Append([]byte("load"))
					}
				}
			})
		}
		for range 10 {
			to := leader.ID()%3 + 1
			require.NoError(c, leader.TransferLeadership(ctx, to))
			testkit.WaitFor(c, time.Second, "the successor", func() bool { return c.nodes[to].IsLeader() })
			leader = c.nodes[to]
			st, err := leader.Status(ctx)
			require.NoError(c, err)
			term++
			require.Equal(c, term, st.CurrentTerm, "another election")
		}
	})
}

// A transfer that fails loses no command. The leader appends the commands that have
// come meanwhile at their places.
func TestFailedTransferKeepsPlaces(t *testing.T) {
	run(t, 3, node.Config{CommandsOnly: true}, func(c *cluster) {
		l := keepPlaces(c)
		leader, _, _ := appendTo(c, "first")
		c.agree(1)
		to := leader.ID()%3 + 1
		c.network.Partition([]core.NodeID{to})
		transferred := make(chan error, 1)
		go func() { transferred <- leader.TransferLeadership(ctx, to) }()
		testkit.WaitFor(c, time.Second, "the transfer", func() bool {
			st, err := leader.Status(ctx)
			require.NoError(c, err)
			return st.Transferee == to
		})
		want := make(map[uint64]string)
		for i := range 5 {
			command := fmt.Sprint("meanwhile ", i)
			index, term, err := leader.Append([]byte(command))
			require.NoError(c, err)
			want[index] = fmt.Sprintf("%d %s", term, command)
		}
		require.ErrorIs(c, <-transferred, node.ErrNotTransferred)
		for index, entry := range want {
			testkit.WaitFor(c, time.Second, "the command", func() bool { return l.at(index) == entry })
		}
		require.True(c, leader.IsLeader())
	})
}

// Commands of all kinds share the places, and pending commands are bounded.
func TestCommandsOnlyPending(t *testing.T) {
	run(t, 3, node.Config{CommandsOnly: true, MaxPending: 3}, func(c *cluster) {
		leader, _, _ := appendTo(c, "first")
		c.agree(1)
		result, err := leader.Propose(ctx, []byte("second"))
		require.NoError(c, err)
		require.Equal(c, uint64(2), result.Index)
		c.network.Partition([]core.NodeID{leader.ID()})
		future, err := leader.ProposeAsync([]byte("third"))
		require.NoError(c, err)
		for want := uint64(4); want <= 5; want++ {
			index, _, err := leader.Append([]byte("fourth and fifth"))
			require.NoError(c, err)
			require.Equal(c, want, index)
		}
		_, _, err = leader.Append([]byte("sixth"))
		require.ErrorIs(c, err, node.ErrQueueFull)
		_, err = future.Result()
		require.ErrorIs(c, err, node.ErrLeadershipLost)
		_, _, err = leader.Append([]byte("sixth"))
		require.ErrorIs(c, err, node.ErrNotLeader)
	})
}

func TestCommandsOnlyNeedsFixedMembers(t *testing.T) {
	run(t, 1, node.Config{CommandsOnly: true}, func(c *cluster) {
		leader, _, _ := appendTo(c, "first")
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.AddVoter(2, "memnet:2")), node.ErrConfig)
	})
	run(t, 1, node.Config{}, func(c *cluster) {
		c.propose("x")
		c.stop(1)
		members := c.config.Members
		for name, config := range map[string]node.Config{
			"Join":                     {CommandsOnly: true, Join: true, Members: members},
			"Members is empty":         {CommandsOnly: true},
			"not among":                {CommandsOnly: true, Members: []node.Member{{ID: 2}}},
			"a configuration at index": {CommandsOnly: true, Members: members},
		} {
			config.StateMachine = &journal{}
			c.stores[1] = c.stores[1].Reopen()
			_, err := node.Start(node.HostConfig{Storage: c.stores[1], Transport: c.network.Join(1)}, config)
			require.ErrorIs(c, err, node.ErrConfig, name)
			require.ErrorContains(c, err, name)
		}
	})
}

// calls is a transport of remote procedure calls without a network.
type calls struct {
	receiver node.Receiver
	replies  chan node.Message
}

func (t *calls) Start(_ node.Identity, r node.Receiver) error { t.receiver = r; return nil }
func (t *calls) Send(_ core.NodeID, messages []node.Message) {
	for _, m := range messages {
		if m.Call != 0 {
			t.replies <- m
		}
	}
}
func (t *calls) SetPeer(core.NodeID, string) {}
func (t *calls) RemovePeer(core.NodeID)      {}
func (t *calls) Address() string             { return "" }
func (t *calls) Close() error                { return nil }

// Each call gets one reply, which has no body if the member drops the request.
func TestCallsHaveReplies(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		transport := &calls{replies: make(chan node.Message, 10)}
		n, err := node.Start(
			node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "test", Host: 1}), Transport: transport},
			node.Config{CommandsOnly: true, Members: []node.Member{{ID: 1}, {ID: 2}}, StateMachine: &journal{}, MaxReceiveBytes: 100})
		require.NoError(t, err)
		defer n.Close()
		large := []core.Entry{{Index: 1, Term: 1, Data: make([]byte, 1000)}}
		transport.receiver.Receive(2, []node.Message{
			{Group: 1, Call: 1, Body: &core.RequestVote{Term: 1, CandidateID: 2}},
			{Group: 1, Call: 2, Body: &core.RequestVote{Term: 1, CandidateID: 3}},
			{Group: 1, Call: 3, Body: &core.AppendEntries{Term: 1, LeaderID: 2, Entries: large}},
		})
		for want := uint64(1); want <= 3; want++ {
			deadline, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			select {
			case m := <-transport.replies:
				require.Equal(t, m.Call == 1, m.Body != nil, "call %d: %v", m.Call, m.Body)
			case <-deadline.Done():
				t.Fatal("a call has no reply")
			}
		}
	})
}
