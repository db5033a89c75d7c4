package memnet_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/node"
	"raftlab/raft/transporttest"
)

func TestTransport(t *testing.T) {
	for name, faults := range map[string]memnet.Faults{
		"direct":  {},
		"latency": {Latency: 100 * time.Microsecond},
		"faulty":  {Latency: 100 * time.Microsecond, Jitter: time.Millisecond, Drop: 0.2, Duplicate: 0.2},
	} {
		t.Run(name, func(t *testing.T) {
			network := memnet.New(memnet.Options{Seed: 1, Faults: faults})
			transporttest.Run(t, transporttest.Options{
				Addressless: true,
				Unordered:   faults.Jitter > 0,
				New:         func(id node.Identity) (node.Transport, error) { return network.Join(id.Host), nil },
			})
		})
	}
}

// counter counts the messages that arrive.
type counter struct{ arrived atomic.Int64 }

func (c *counter) Receive(_ core.NodeID, messages []node.Message) {
	c.arrived.Add(int64(len(messages)))
}
func (c *counter) PeerUp(core.NodeID)          {}
func (c *counter) PeerDown(core.NodeID, error) {}

// A slow link drops what its queue has no room for, and carries messages again once the
// queue is shorter. A large message passes an empty queue.
func TestQueuesAreBounded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{Faults: memnet.Faults{Latency: time.Second}, MaxQueueBytes: 10_000})
		var receiver counter
		from, to := network.Join(1), network.Join(2)
		require.NoError(t, from.Start(node.Identity{Cluster: "test", Host: 1}, new(counter)))
		require.NoError(t, to.Start(node.Identity{Cluster: "test", Host: 2}, &receiver))
		send := func(bytes int) {
			entry := core.Entry{Index: 1, Term: 1, Data: make([]byte, bytes)}
			from.Send(2, []node.Message{{Group: 1, Body: &core.AppendEntries{Term: 1, LeaderID: 1, Entries: []core.Entry{entry}}}})
		}
		for range 2 {
			for range 100 {
				send(1000)
			}
			time.Sleep(2 * time.Second)
			arrived := receiver.arrived.Swap(0)
			require.Greater(t, arrived, int64(5))
			require.LessOrEqual(t, arrived, int64(10))
		}
		send(1_000_000)
		time.Sleep(2 * time.Second)
		require.Equal(t, int64(1), receiver.arrived.Load())
		require.NoError(t, from.Close())
		require.NoError(t, to.Close())
	})
}

// A message on its way to a host that has left does not reach the host that has joined
// in its place, as a message on a connection would not.
func TestMessagesEndWithTheirReceiver(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{Faults: memnet.Faults{Latency: time.Second}})
		from, to := network.Join(1), network.Join(2)
		require.NoError(t, from.Start(node.Identity{Cluster: "test", Host: 1}, new(counter)))
		require.NoError(t, to.Start(node.Identity{Cluster: "test", Host: 2}, new(counter)))
		vote := []node.Message{{Group: 1, Body: &core.RequestVote{Term: 1, CandidateID: 1}}}
		from.Send(2, vote)
		require.NoError(t, to.Close())
		var receiver counter
		again := network.Join(2)
		require.NoError(t, again.Start(node.Identity{Cluster: "test", Host: 2}, &receiver))
		from.Send(2, vote)
		time.Sleep(time.Minute)
		require.Equal(t, int64(1), receiver.arrived.Load())
		require.NoError(t, again.Close())
		require.NoError(t, from.Close())
	})
}
