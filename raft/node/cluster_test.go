package node_test

import (
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// journal is a state machine that keeps the commands in their order. The result
// of a command is the number of commands so far.
type journal struct {
	mu       sync.Mutex
	commands []string
	restores int
	apply    func(node.Command) // called for each command, if set
	write    func()             // called before a view is written, if set
	close    func()             // called when a view is closed, if set
}

func (j *journal) Apply(commands []node.Command) {
	for i := range commands {
		if j.apply != nil {
			j.apply(commands[i])
		}
		j.mu.Lock()
		j.commands = append(j.commands, string(commands[i].Data))
		commands[i].Result = fmt.Append(nil, len(j.commands))
		j.mu.Unlock()
	}
}

type journalView struct {
	commands     []string
	write, close func()
}

func (v journalView) WriteTo(w io.Writer) (int64, error) {
	if v.write != nil {
		v.write()
	}
	return 0, gob.NewEncoder(w).Encode(v.commands)
}

func (v journalView) Close() error {
	if v.close != nil {
		v.close()
	}
	return nil
}

func (j *journal) Snapshot() (io.WriterTo, error) { return journalView{j.all(), j.write, j.close}, nil }

func (j *journal) Restore(body io.Reader) error {
	var commands []string
	if err := gob.NewDecoder(body).Decode(&commands); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.commands = commands
	j.restores++
	return nil
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.commands)
}

// cluster is a group of hosts on a network in memory.
type cluster struct {
	*testing.T
	network *memnet.Network
	config  node.Config // of each host, but for the state machine
	host    node.HostConfig
	stores  map[core.NodeID]*memstore.Store
	disks   map[core.NodeID]*simdisk.Disk // in place of stores, if not nil
	nodes   map[core.NodeID]*node.Node
	states  map[core.NodeID]*journal
}

const latency = 200 * time.Microsecond

// run runs a test of a cluster in virtual time.
func run(t *testing.T, hosts int, config node.Config, body func(c *cluster)) {
	runWith(t, hosts, config, func(*cluster) {}, body)
}

// runOnDisks is run with a log on a simulated disk for each host.
func runOnDisks(t *testing.T, hosts int, config node.Config, body func(c *cluster)) {
	runWith(t, hosts, config, func(c *cluster) { c.disks = make(map[core.NodeID]*simdisk.Disk) }, body)
}

func runWith(t *testing.T, hosts int, config node.Config, prepare, body func(c *cluster)) {
	testkit.Run(t, func(t *testing.T) {
		c := &cluster{
			T:       t,
			network: memnet.New(memnet.Options{Seed: uint64(testkit.Seed(t)), Faults: memnet.Faults{Latency: latency}}),
			config:  config,
			stores:  make(map[core.NodeID]*memstore.Store),
			nodes:   make(map[core.NodeID]*node.Node),
			states:  make(map[core.NodeID]*journal),
		}
		for id := core.NodeID(1); id <= core.NodeID(hosts); id++ {
			c.config.Members = append(c.config.Members, node.Member{ID: id, Address: fmt.Sprintf("memnet:%d", id)})
		}
		prepare(c)
		for _, m := range c.config.Members {
			c.start(m.ID)
		}
		defer func() {
			for _, n := range c.nodes {
				if err := n.Close(); err != nil {
					t.Errorf("closing %v: %v", n, err)
				}
			}
		}()
		body(c)
	})
}

// start starts a host, on what it has stored.
func (c *cluster) start(id core.NodeID) *node.Node {
	c.Helper()
	identity := node.Identity{Cluster: "test", Host: id}
	switch {
	case c.disks != nil && c.disks[id] == nil:
		c.disks[id] = simdisk.New()
		require.NoError(c, wal.CreateIn(c.disks[id], wal.Options{Identity: identity, SegmentBytes: diskSegment}))
	case c.disks != nil:
	case c.stores[id] == nil:
		c.stores[id] = memstore.New(identity)
	default:
		c.stores[id] = c.stores[id].Reopen()
	}
	return c.startWith(id, &journal{})
}

// diskSegment is the size of the log's files on a simulated disk. One or two of them are
// the room of the log while the disk is full.
const diskSegment = 1 << 20

// storage opens what a host has stored.
func (c *cluster) storage(id core.NodeID) node.Storage {
	c.Helper()
	if c.disks == nil {
		return c.stores[id]
	}
	store, err := wal.OpenIn(c.disks[id], wal.Options{Identity: node.Identity{Cluster: "test", Host: id}, SegmentBytes: diskSegment})
	require.NoError(c, err)
	return store
}

func (c *cluster) startWith(id core.NodeID, machine *journal) *node.Node {
	c.Helper()
	host, config := c.host, c.config
	host.Storage, host.Transport = c.storage(id), c.network.Join(id)
	config.StateMachine = machine
	n, err := node.Start(host, config)
	require.NoError(c, err)
	c.nodes[id], c.states[id] = n, machine
	return n
}

// stop closes a host.
func (c *cluster) stop(id core.NodeID) {
	c.Helper()
	require.NoError(c, c.nodes[id].Close())
	delete(c.nodes, id)
}

// leader waits until a host leads that a majority confirms.
func (c *cluster) leader() *node.Node {
	c.Helper()
	var leader *node.Node
	testkit.WaitFor(c, 30*time.Second, "a leader", func() bool {
		for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
			if n := c.nodes[id]; n.IsLeader() && confirmed(n) {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

func confirmed(n *node.Node) bool {
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := n.ReadIndex(short)
	return err == nil && n.IsLeader()
}

// follower returns a host that does not lead.
func (c *cluster) follower() *node.Node {
	c.Helper()
	leader := c.leader()
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		if id != leader.ID() {
			return c.nodes[id]
		}
	}
	c.Fatal("no follower")
	return nil
}

// propose proposes a command on whichever host leads, until it is acknowledged.
func (c *cluster) propose(command string) node.Result {
	c.Helper()
	var result node.Result
	testkit.WaitFor(c, 30*time.Second, "an acknowledgement of "+command, func() bool {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var err error
		result, err = c.leader().Propose(ctx, []byte(command))
		return err == nil
	})
	return result
}

// agree waits until all running hosts have applied the same commands, and returns
// them.
func (c *cluster) agree(count int) []string {
	c.Helper()
	var want []string
	testkit.WaitFor(c, 30*time.Second, fmt.Sprintf("%d commands on all hosts", count), func() bool {
		want = nil
		for id := range c.nodes {
			have := c.states[id].all()
			if want == nil {
				want = have
			}
			if len(have) < count || !slices.Equal(have, want) {
				return false
			}
		}
		return true
	})
	return want
}
