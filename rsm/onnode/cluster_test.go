package onnode_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/rsm"
	"raftlab/rsm/onnode"
)

// total is a state machine that adds. The result is the sum so far.
type total struct {
	sum    int64
	writes chan struct{} // if not nil, the writing of a snapshot waits for a token
}

// poison is a command that panics.
const poison = 666

func (s *total) Apply(n int64) int64 {
	if n == poison {
		panic("poison")
	}
	s.sum += n
	return s.sum
}

func (s *total) Snapshot() func(io.Writer) error {
	sum := s.sum
	return func(w io.Writer) error {
		if s.writes != nil {
			<-s.writes
		}
		return binary.Write(w, binary.BigEndian, sum)
	}
}

func (s *total) Restore(snapshot []byte) error {
	if len(snapshot) != 8 {
		return fmt.Errorf("total: a snapshot of %d bytes; want 8", len(snapshot))
	}
	s.sum = int64(binary.BigEndian.Uint64(snapshot))
	return nil
}

type replica = rsm.Replica[int64, int64]

// server is one member with its replica.
type server struct {
	host    *node.Host
	log     *onnode.Log
	replica *replica
	machine *total
}

// cluster is a group of servers on a network in memory.
type cluster struct {
	*testing.T
	network *memnet.Network
	config  node.Config
	opts    rsm.Options
	stores  map[core.NodeID]*memstore.Store
	servers map[core.NodeID]*server
}

// run runs a test of three servers in virtual time.
func run(t *testing.T, opts rsm.Options, body func(c *cluster)) {
	testkit.Run(t, func(t *testing.T) {
		c := &cluster{
			T: t,
			network: memnet.New(memnet.Options{
				Seed:   uint64(testkit.Seed(t)),
				Faults: memnet.Faults{Latency: 200 * time.Microsecond},
			}),
			config:  node.Config{TrailingEntries: -1, MaxCommandBytes: 1 << 10},
			opts:    opts,
			stores:  make(map[core.NodeID]*memstore.Store),
			servers: make(map[core.NodeID]*server),
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.config.Members = append(c.config.Members, node.Member{ID: id})
			c.stores[id] = memstore.New(node.Identity{Cluster: "test", Host: id})
		}
		for id := range c.stores {
			c.start(id, &total{})
		}
		defer func() {
			for id := range c.servers {
				c.stop(id)
			}
		}()
		body(c)
	})
}

// start starts a server on what the server has stored.
func (c *cluster) start(id core.NodeID, machine *total) {
	c.Helper()
	s, err := c.tryStart(id, machine)
	require.NoError(c, err)
	c.servers[id] = s
}

func (c *cluster) tryStart(id core.NodeID, machine *total) (*server, error) {
	host, err := node.NewHost(node.HostConfig{Storage: c.stores[id], Transport: c.network.Join(id)})
	if err != nil {
		return nil, err
	}
	log, err := onnode.Start(host, c.config)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	r, err := rsm.New(machine, log.Snapshot(), c.opts)
	if err != nil {
		return nil, errors.Join(err, log.Close(), host.Close())
	}
	r.Run(log)
	return &server{host, log, r, machine}, nil
}

// stop ends a server in order.
func (c *cluster) stop(id core.NodeID) {
	c.Helper()
	s := c.servers[id]
	s.replica.Kill()
	require.NoError(c, s.log.Close())
	s.replica.Wait()
	require.NoError(c, s.host.Close())
	delete(c.servers, id)
}

func (c *cluster) restart(id core.NodeID) {
	c.Helper()
	c.stop(id)
	c.stores[id] = c.stores[id].Reopen()
	c.start(id, &total{})
}

// leader waits for a server that leads and has applied a command of its own term.
func (c *cluster) leader(not ...core.NodeID) (id core.NodeID, leader *server) {
	c.Helper()
	testkit.WaitFor(c, 30*time.Second, "a leader", func() bool {
		for i, s := range c.servers {
			if slices.Contains(not, i) || !s.log.Leadership().Leads {
				continue
			}
			if _, err := s.replica.Submit(c.Context(), 0, 0, 0); err == nil {
				id, leader = i, s
				return true
			}
		}
		return false
	})
	return id, leader
}

func (c *cluster) follower() core.NodeID {
	c.Helper()
	id, _ := c.leader()
	return id%3 + 1
}

// submit submits on whichever server leads, until there is a result.
func (c *cluster) submit(client, seq uint64, n int64) int64 {
	c.Helper()
	var result int64
	testkit.WaitFor(c, 30*time.Second, "a result", func() bool {
		_, s := c.leader()
		ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
		defer cancel()
		var err error
		result, err = s.replica.Submit(ctx, client, seq, n)
		return err == nil
	})
	return result
}

// agree waits until every running server has applied what the leader has, and
// returns the sum.
func (c *cluster) agree() int64 {
	c.Helper()
	_, leader := c.leader()
	want := leader.replica.Applied()
	for id, s := range c.servers {
		testkit.WaitFor(c, 30*time.Second, fmt.Sprintf("server %d to catch up", id), func() bool { return s.replica.Applied() >= want })
	}
	for id, s := range c.servers {
		c.stop(id) // so that nobody changes the state
		require.Equal(c, leader.machine.sum, s.machine.sum, "server %d", id)
	}
	return leader.machine.sum
}
