package node_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// crowd is three hosts with the members of many groups.
type crowd struct {
	*testing.T
	network *memnet.Network
	stores  map[core.NodeID]*memstore.Store
	hosts   map[core.NodeID]*node.Host
	states  map[core.NodeID][]*journal // by group-1
	groups  int
	members []node.Member
	save    func()       // called by each save
	appends atomic.Int64 // messages with entries
}

func runCrowd(t *testing.T, groups int, save func(), body func(c *crowd)) {
	testkit.Run(t, func(t *testing.T) {
		c := &crowd{
			T: t, groups: groups, save: save,
			network: memnet.New(memnet.Options{Seed: uint64(testkit.Seed(t)), Faults: memnet.Faults{Latency: latency}}),
			stores:  make(map[core.NodeID]*memstore.Store),
			hosts:   make(map[core.NodeID]*node.Host),
			states:  make(map[core.NodeID][]*journal),
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.members = append(c.members, node.Member{ID: id, Address: fmt.Sprint(id)})
			c.stores[id] = memstore.New(node.Identity{Cluster: "test", Host: id})
		}
		for id := range c.stores {
			c.start(id)
		}
		defer func() {
			for _, h := range c.hosts {
				require.NoError(t, h.Close())
			}
		}()
		body(c)
	})
}

func (c *crowd) start(id core.NodeID) {
	c.Helper()
	c.stores[id] = c.stores[id].Reopen()
	c.stores[id].BeforeSave(func([]node.Update) error { c.save(); return nil })
	trace := &node.Trace{Sent: func(m node.TraceMessage) {
		if b, ok := m.Body.(*core.AppendEntries); ok && len(b.Entries) > 0 {
			c.appends.Add(1)
		}
	}}
	h, err := node.NewHost(node.HostConfig{Storage: c.stores[id], Transport: c.network.Join(id), Trace: trace})
	require.NoError(c, err)
	c.hosts[id], c.states[id] = h, make([]*journal, c.groups)
	for g := range c.groups {
		c.states[id][g] = &journal{}
		_, err := h.Start(node.Config{Group: node.GroupID(g + 1), StateMachine: c.states[id][g], Members: c.members})
		require.NoError(c, err)
	}
}

// propose proposes a command until it is acknowledged. It is called on goroutines of
// its own.
func (c *crowd) propose(group int, command string) {
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(5 * time.Millisecond) {
		for id := core.NodeID(1); id <= 3; id++ {
			if n := c.hosts[id].Group(node.GroupID(group + 1)); n.IsLeader() {
				ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
				_, err := n.Propose(ctx, []byte(command))
				cancel()
				if err == nil {
					return
				}
			}
		}
	}
	c.Errorf("%s is not acknowledged after a minute", command)
}

// load has clients propose commands to all groups, each command once, and returns
// when all are acknowledged.
func (c *crowd) load(clients, commands int, meanwhile func()) {
	var running sync.WaitGroup
	for g := range c.groups {
		for client := range clients {
			running.Go(func() {
				for i := range commands {
					c.propose(g, fmt.Sprintf("%d/%d", client, i))
				}
			})
		}
	}
	meanwhile()
	running.Wait()
}

// verify waits until all hosts have the same commands of each group, and checks that
// each acknowledged command is among them, in the order of each client.
func (c *crowd) verify(clients, commands int) {
	c.Helper()
	for g := range c.groups {
		testkit.WaitFor(c, 30*time.Second, "the same commands on all hosts", func() bool {
			first := c.states[1][g].all()
			return len(first) >= clients*commands && slices.Equal(first, c.states[2][g].all()) && slices.Equal(first, c.states[3][g].all())
		})
		all := c.states[1][g].all()
		for client := range clients {
			last := -1
			for i := range commands {
				at := slices.Index(all, fmt.Sprintf("%d/%d", client, i))
				require.Greater(c, at, last, "group %d, command %d of client %d in %v", g, i, client, all)
				last = at
			}
		}
	}
}

// Commands that come during a save of many groups share one message to each follower,
// also those of groups that are not part of the save.
func TestCommandsGatherForTheNextSave(t *testing.T) {
	const groups, busy, commands = 9, 7, 5
	var gate atomic.Pointer[chan struct{}] // saves of host 1 wait for it
	runCrowd(t, groups, func() {}, func(c *crowd) {
		for g := range groups {
			testkit.WaitFor(c, 30*time.Second, "host 1 to lead all groups", func() bool {
				for _, h := range c.hosts {
					_ = h.Group(node.GroupID(g+1)).TransferLeadership(ctx, 1)
				}
				return c.hosts[1].Group(node.GroupID(g + 1)).IsLeader()
			})
		}
		c.load(1, 1, func() {})
		c.stores[1].BeforeSave(func([]node.Update) error {
			if wait := gate.Load(); wait != nil {
				<-*wait
			}
			return nil
		})
		var futures []*node.Future
		propose := func(g, n int) {
			for range n {
				f, err := c.hosts[1].Group(node.GroupID(g + 1)).ProposeAsync([]byte("x"))
				require.NoError(c, err)
				futures = append(futures, f)
			}
			time.Sleep(time.Microsecond)
		}
		try := func() int64 {
			first, second := make(chan struct{}), make(chan struct{})
			gate.Store(&first)
			propose(0, 1) // alone in its save
			for g := 1; g < busy; g++ {
				propose(g, 1)
			}
			gate.Store(&second)
			close(first) // and the others share the next one
			time.Sleep(100 * time.Microsecond)
			before := c.appends.Load()
			for range commands {
				for g := busy; g < groups; g++ {
					propose(g, 1)
				}
			}
			gate.Store(nil)
			close(second)
			for _, f := range futures {
				_, err := f.Result()
				require.NoError(c, err)
			}
			return c.appends.Load() - before
		}
		least := try()
		for range 5 { // a tick may come between
			least = min(least, try())
		}
		require.Equal(c, int64(2*(groups-busy)), least, "messages with entries")
	})
}

// With hundreds of groups in a save, several goroutines run the cores.
func TestHundredsOfGroups(t *testing.T) {
	const groups, clients, commands = 200, 2, 3
	runCrowd(t, groups, func() { time.Sleep(2 * time.Millisecond) }, func(c *crowd) {
		c.load(1, 1, func() {}) // leaders
		c.load(clients, commands, func() {})
		c.verify(clients, commands)
	})
}

// Many groups keep their promises while messages are lost, repeated and reordered, a
// host is cut off, and a host restarts.
func TestManyGroupsUnderFaults(t *testing.T) {
	const groups, clients, commands = 9, 3, 12
	var mu sync.Mutex
	random := testkit.Rand(t)
	save := func() {
		mu.Lock()
		took := time.Duration(random.IntN(3000)) * time.Microsecond
		mu.Unlock()
		time.Sleep(took)
	}
	runCrowd(t, groups, save, func(c *crowd) {
		c.network.SetFaults(memnet.Faults{Latency: latency, Jitter: 2 * time.Millisecond, Drop: 0.03, Duplicate: 0.03})
		c.load(clients, commands, func() {
			time.Sleep(50 * time.Millisecond)
			c.network.Partition([]core.NodeID{1})
			time.Sleep(3 * time.Second)
			c.network.Heal()
		})
		require.NoError(c, c.hosts[2].Close())
		c.start(2)
		c.load(1, 1, func() {})
		c.network.SetFaults(memnet.Faults{Latency: latency})
		c.verify(clients, commands)
	})
}
