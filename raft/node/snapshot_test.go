package node_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// restartWith restarts a host with another state machine.
func (c *cluster) restartWith(id core.NodeID, machine *journal) *node.Node {
	c.Helper()
	c.stop(id)
	c.stores[id] = c.stores[id].Reopen()
	return c.startWith(id, machine)
}

// leaveBehind cuts a follower off until the others need a snapshot to reach it, and
// waits until the follower has stored the snapshot.
func (c *cluster) leaveBehind(n *node.Node, next *int, commands int) {
	c.Helper()
	c.network.Partition([]core.NodeID{n.ID()})
	for range commands {
		c.propose(fmt.Sprint(*next))
		*next++
	}
	c.network.Heal()
	before := c.snapshotIndex(n)
	testkit.WaitFor(c, 30*time.Second, "the leader's snapshot", func() bool { return c.snapshotIndex(n) > before })
}

func (c *cluster) snapshotIndex(n *node.Node) uint64 {
	c.Helper()
	st, err := n.Status(ctx)
	require.NoError(c, err)
	return st.SnapshotIndex
}

// A member's own snapshot may take so long that the leader's newer one comes first.
func TestOwnSnapshotIsOvertakenByTheLeaders(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: 5}, func(c *cluster) {
		slow := c.follower().ID()
		gate, begun := make(chan struct{}), make(chan struct{})
		var once sync.Once
		n := c.restartWith(slow, &journal{write: func() { once.Do(func() { close(begun) }); <-gate }})
		next := 0
		for ; next < 25; next++ {
			c.propose(fmt.Sprint(next))
		}
		<-begun
		c.leaveBehind(n, &next, 60)
		close(gate)
		for ; next < 150; next++ {
			c.propose(fmt.Sprint(next))
		}
		c.agree(150)
		require.NoError(c, n.Err())
		require.NoError(c, n.Snapshot(ctx), "the member takes snapshots again")
	})
}

// While Apply is slow, a second snapshot of the leader may replace one that waits
// for the state machine, with entries between them.
func TestSlowStateMachineGetsTheNewestSnapshot(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: 5}, func(c *cluster) {
		slow := c.follower().ID()
		gate := make(chan struct{})
		machine := &journal{}
		machine.apply = func(cmd node.Command) {
			<-gate
			if have := len(machine.all()); fmt.Sprint(have) != string(cmd.Data) {
				t.Errorf("command %s is applied to a state of %d commands", cmd.Data, have)
			}
		}
		n := c.restartWith(slow, machine)
		next := 0
		for ; next < 3; next++ {
			c.propose(fmt.Sprint(next))
		}
		c.leaveBehind(n, &next, 40)
		for range 10 {
			c.propose(fmt.Sprint(next))
			next++
		}
		time.Sleep(time.Second) // the entries reach the slow member
		c.leaveBehind(n, &next, 60)
		close(gate)
		c.agree(next)
		require.NoError(c, n.Err())
	})
}

// Snapshots as large as the state would be written again and again for a few
// commands if the size of the last one did not count.
func TestSnapshotsCostNoMoreThanTheLog(t *testing.T) {
	var mu sync.Mutex
	snapshots := 0
	machine := &journal{write: func() { mu.Lock(); snapshots++; mu.Unlock() }}
	run(t, 1, node.Config{SnapshotEntries: -1, SnapshotBytes: 1000}, func(c *cluster) {
		c.restartWith(1, machine)
		command := fmt.Sprintf("%0100d", 0) // the state is all commands
		for range 512 {
			c.propose(command)
			time.Sleep(time.Millisecond) // a snapshot under way ends
		}
	})
	require.LessOrEqual(t, snapshots, 12, "more often than the state doubles")
	require.GreaterOrEqual(t, snapshots, 4)
}

// Commands without data occupy memory, too.
func TestEmptyCommandsCountForTheApplyBound(t *testing.T) {
	run(t, 3, node.Config{MaxApplyBytes: 4800}, func(c *cluster) {
		gate := make(chan struct{})
		n := c.restartWith(c.follower().ID(), &journal{apply: func(node.Command) { <-gate }})
		leader := c.leader()
		for range 1000 {
			_, err := leader.Propose(ctx, nil)
			require.NoError(c, err)
		}
		time.Sleep(time.Second)
		st, err := n.Status(ctx)
		require.NoError(c, err)
		require.Less(c, st.ApplyQueue, uint64(200), "commands in the queue of a state machine that is stuck")
		require.Greater(c, st.ApplyQueue, uint64(90))
		require.Equal(c, n.Applied(), st.LastApplied)
		require.Less(c, st.LastApplied, uint64(10))
		close(gate)
		c.agree(1000)
	})
}

// behind makes the leader need a snapshot for a follower, and cuts the follower off.
func (c *cluster) behind(commands int) (leader, follower *node.Node) {
	c.Helper()
	leader, follower = c.leader(), c.follower()
	c.network.Partition([]core.NodeID{follower.ID()})
	for i := range commands {
		c.propose(fmt.Sprint(i))
	}
	require.NoError(c, leader.Snapshot(ctx))
	return leader, follower
}

// A transfer that waits for its rate leaves the host's snapshot goroutines to others.
func TestSnapshotRate(t *testing.T) {
	const chunk, rate = 10, 20
	config := node.Config{TrailingEntries: 1, SnapshotChunkBytes: chunk, SnapshotRate: rate}
	run(t, 3, config, func(c *cluster) {
		c.host.MaxSnapshots = 1
		for id := core.NodeID(1); id <= 3; id++ {
			c.restartWith(id, &journal{})
		}
		leader, follower := c.behind(50)
		begun := time.Now()
		c.network.Heal()
		sending := func() (size uint64) {
			st, err := leader.Status(ctx)
			require.NoError(c, err)
			return st.Members[follower.ID()-1].SnapshotOffset
		}
		testkit.WaitFor(c, 10*time.Second, "the second chunk", func() bool { return sending() >= 2*chunk })
		c.propose("x")
		now := time.Now()
		require.NoError(c, leader.Snapshot(ctx))
		require.Less(c, time.Since(now), 100*time.Millisecond)
		testkit.WaitFor(c, time.Hour, "the snapshot", func() bool { return len(c.states[follower.ID()].all()) == 51 })
		st, err := follower.Status(ctx)
		require.NoError(c, err)
		size := float64(leader.Host().Stats().Storage.Snapshots)
		took := time.Since(begun).Seconds()
		require.Greater(c, took, (size-2*chunk)/rate, "faster than the rate, %d bytes to index %d", int(size), st.SnapshotIndex)
		require.Less(c, took, 2*size/rate)
	})
}

// A view that takes long to write does not keep other members from a snapshot.
func TestSlowViewDoesNotDelayTransfers(t *testing.T) {
	run(t, 3, node.Config{TrailingEntries: 1, SnapshotChunkBytes: 50}, func(c *cluster) {
		c.host.MaxSnapshots = 1
		var slow sync.Map
		gate := make(chan struct{})
		for id := core.NodeID(1); id <= 3; id++ {
			c.restartWith(id, &journal{write: func() {
				if _, yes := slow.Load(id); yes {
					<-gate
				}
			}})
		}
		leader, follower := c.behind(50)
		slow.Store(leader.ID(), true)
		c.propose("x")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(c, leader.Snapshot(short), context.DeadlineExceeded)
		c.network.Heal()
		testkit.WaitFor(c, 5*time.Second, "the snapshot", func() bool { return len(c.states[follower.ID()].all()) == 51 })
		close(gate)
	})
}

// A transfer goes on from its last chunk after a broken connection.
func TestTransferIsResumed(t *testing.T) {
	var mu sync.Mutex
	var offsets []uint64 // of the chunks that were sent
	run(t, 3, node.Config{TrailingEntries: 1, SnapshotChunkBytes: 10, SnapshotRate: 100}, func(c *cluster) {
		c.host.Trace = &node.Trace{Sent: func(m node.TraceMessage) {
			if b, ok := m.Body.(*core.InstallSnapshot); ok {
				mu.Lock()
				defer mu.Unlock()
				offsets = append(offsets, b.Offset)
			}
		}}
		for id := core.NodeID(1); id <= 3; id++ {
			c.restartWith(id, &journal{})
		}
		leader, follower := c.behind(50)
		sent := func() []uint64 {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(offsets)
		}
		c.network.Heal()
		testkit.WaitFor(c, time.Minute, "some chunks", func() bool { return slices.Contains(sent(), 100) })
		c.network.Partition([]core.NodeID{follower.ID()})
		time.Sleep(time.Minute)
		before := len(sent())
		c.network.Heal()
		testkit.WaitFor(c, time.Minute, "the snapshot", func() bool { return len(c.states[follower.ID()].all()) == 50 })
		require.Equal(c, leader.ID(), c.leader().ID())
		require.GreaterOrEqual(c, slices.Min(sent()[before:]), uint64(90), "offsets after the broken connection: %v", sent()[before:])
	})
}

// Large entries from before the last snapshot do not stay in the log, however many
// entries may trail.
func TestLargeEntriesDoNotTrail(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: -1, SnapshotBytes: 10_000, TrailingEntries: 1000}, func(c *cluster) {
		for i := range 60 {
			c.propose(fmt.Sprintf("%d %1000s", i, ""))
		}
		for id := range c.nodes {
			n := c.nodes[id]
			testkit.WaitFor(c, 30*time.Second, "a log without the first entries", func() bool {
				st, err := n.Status(ctx)
				require.NoError(c, err)
				return st.SnapshotIndex >= 20
			})
		}
	})
}

// stuckStore is a storage whose open snapshots are closed only when the gate opens.
type stuckStore struct {
	*memstore.Store
	gate, begun chan struct{}
	once        sync.Once
}

func (s *stuckStore) OpenSnapshot(id node.GroupID) (node.SnapshotReader, error) {
	r, err := s.Store.OpenSnapshot(id)
	return &stuckReader{r, s}, err
}

type stuckReader struct {
	node.SnapshotReader
	store *stuckStore
}

func (r *stuckReader) Close() error {
	r.store.once.Do(func() { close(r.store.begun) })
	<-r.store.gate
	return r.SnapshotReader.Close()
}

// The leader closes the snapshot of a transfer that has ended. The leader goes on if the
// disk hangs meanwhile. A stopped member does not wait for the disk either.
func TestClosingOfASentSnapshotDelaysNobody(t *testing.T) {
	config := node.Config{SnapshotEntries: 20, TrailingEntries: -1}
	runWith(t, 3, config, func(c *cluster) { c.host.CloseTimeout = time.Second }, func(c *cluster) {
		store := &stuckStore{gate: make(chan struct{}), begun: make(chan struct{})}
		id := c.leader().ID()
		c.stop(id)
		store.Store = c.stores[id].Reopen()
		host, config := c.host, c.config
		config.StateMachine = &journal{}
		host.Storage, host.Transport = store, c.network.Join(id)
		leader, err := node.Start(host, config)
		require.NoError(c, err)
		c.nodes[id], c.states[id] = leader, config.StateMachine.(*journal)
		testkit.WaitFor(c, 30*time.Second, "the leadership", func() bool {
			_ = c.leader().TransferLeadership(ctx, id)
			return leader.IsLeader()
		})
		next := 0
		c.leaveBehind(c.follower(), &next, 60)
		<-store.begun
		for range 10 {
			short, cancel := context.WithTimeout(ctx, time.Second)
			_, err := leader.Propose(short, []byte("command"))
			cancel()
			require.NoError(c, err)
		}
		require.ErrorIs(c, leader.Close(), node.ErrStalled)
		close(store.gate)
		require.NoError(c, leader.Close())
	})
}
