package memnet_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/node"
)

// peers is a Receiver that counts peers.
type peers struct {
	mu       sync.Mutex
	up       map[core.NodeID]bool
	messages int
}

func (p *peers) Receive(_ core.NodeID, messages []node.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages += len(messages)
}

func (p *peers) PeerUp(id core.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up[id] = true
}

func (p *peers) PeerDown(id core.NodeID, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.up, id)
}

func (p *peers) count() (up, messages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.up), p.messages
}

// A cut link is noticed after the PeerTimeout, and a healed one at once.
func TestCutLinkIsNoticed(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{PeerTimeout: time.Second})
		var all []*peers
		for id := core.NodeID(1); id <= 3; id++ {
			p := &peers{up: make(map[core.NodeID]bool)}
			transport := network.Join(id)
			require.NoError(t, transport.Start(node.Identity{Cluster: "test", Host: id}, p))
			defer transport.Close()
			all = append(all, p)
		}
		want := func(counts ...int) {
			t.Helper()
			for i, p := range all {
				up, _ := p.count()
				require.Equal(t, counts[i], up, "peers of host %d", i+1)
			}
		}
		want(2, 2, 2)
		network.SetLink(1, 2, memnet.Faults{Cut: true}) // one direction is enough, as for TCP
		time.Sleep(900 * time.Millisecond)
		want(2, 2, 2)
		time.Sleep(200 * time.Millisecond)
		want(1, 1, 2)
		network.Heal()
		want(2, 2, 2)
		network.Partition([]core.NodeID{1})
		time.Sleep(900 * time.Millisecond)
		network.Heal() // in time
		network.Partition([]core.NodeID{1})
		time.Sleep(900 * time.Millisecond)
		want(2, 2, 2)
		time.Sleep(200 * time.Millisecond)
		want(0, 1, 1)
	})
}

// Faults lose, repeat and delay messages in the stated shares.
func TestFaults(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{Seed: 1, Faults: memnet.Faults{Latency: time.Second, Jitter: time.Second, Drop: 0.2, Duplicate: 0.1}})
		p := &peers{up: make(map[core.NodeID]bool)}
		from, to := network.Join(1), network.Join(2)
		require.NoError(t, from.Start(node.Identity{Cluster: "test", Host: 1}, &peers{up: make(map[core.NodeID]bool)}))
		require.NoError(t, to.Start(node.Identity{Cluster: "test", Host: 2}, p))
		defer from.Close()
		defer to.Close()
		begun := time.Now()
		for range 10_000 { // which take time in a simulated world
			from.Send(2, []node.Message{{Group: 1, Body: &core.TimeoutNow{Term: 1, LeaderID: 1}}})
		}
		time.Sleep(time.Until(begun.Add(time.Second - time.Millisecond)))
		_, messages := p.count()
		require.Zero(t, messages, "faster than the latency")
		time.Sleep(1100 * time.Millisecond)
		_, messages = p.count()
		require.InDelta(t, 9000, messages, 200)
	})
}
