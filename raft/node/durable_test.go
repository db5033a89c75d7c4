package node_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// ledger is a state machine with a disk of its own. A crash loses all behind the last
// Sync.
type ledger struct {
	journal
	index  uint64
	synced struct {
		index    uint64
		commands []string
	}
}

func (l *ledger) Apply(commands []node.Command) {
	l.journal.Apply(commands)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index = commands[len(commands)-1].Index
}

func (l *ledger) Applied() (uint64, error) { return l.index, nil }

func (l *ledger) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced.index, l.synced.commands = l.index, append([]string(nil), l.commands...)
	return nil
}

// crash returns the state machine that a restart finds.
func (l *ledger) crash() *ledger {
	after := &ledger{index: l.synced.index, synced: l.synced}
	after.commands = append([]string(nil), l.synced.commands...)
	return after
}

var _ node.Durable = (*ledger)(nil)

// startLedger starts a host with a Durable state machine.
func (c *cluster) startLedger(l *ledger) *node.Node {
	c.Helper()
	c.stop(1)
	c.stores[1] = c.stores[1].Reopen()
	host, config := c.host, c.config
	host.Storage, host.Transport = c.stores[1], c.network.Join(1)
	config.StateMachine = l
	n, err := node.Start(host, config)
	require.NoError(c, err)
	c.nodes[1], c.states[1] = n, &l.journal
	return n
}

// A restarted member restores no snapshot that the state machine's disk includes, and
// applies only what the disk lacks.
func TestDurableStateMachineKeepsItsState(t *testing.T) {
	run(t, 1, node.Config{SnapshotEntries: -1, TrailingEntries: 1}, func(c *cluster) {
		first := &ledger{}
		n := c.startLedger(first)
		var want []string
		propose := func(count int) {
			for range count {
				want = append(want, fmt.Sprint(len(want)))
				c.propose(want[len(want)-1])
			}
		}
		propose(30)
		require.NoError(c, n.Snapshot(ctx))
		propose(30) // lost by the state machine, kept by the log
		second := first.crash()
		require.Len(c, second.commands, 30)
		n = c.startLedger(second)
		require.NoError(c, n.Barrier(ctx))
		require.Equal(c, want, second.all(), "each command once")
		require.Zero(c, second.restores, "the disk has the state of the snapshot")

		require.NoError(c, n.Snapshot(ctx))
		propose(5)
		third := &ledger{} // a lost disk
		n = c.startLedger(third)
		require.NoError(c, n.Barrier(ctx))
		require.Equal(c, want, third.all())
		require.Equal(c, 1, third.restores)
	})
}

// The log is dropped only up to what a Sync has made durable.
func TestLogOutlastsTheStateMachinesSync(t *testing.T) {
	run(t, 1, node.Config{SnapshotEntries: 10, TrailingEntries: 1}, func(c *cluster) {
		l := &ledger{}
		n := c.startLedger(l)
		for i := range 100 {
			c.propose(fmt.Sprint(i))
			st, err := n.Status(ctx)
			require.NoError(c, err)
			l.mu.Lock()
			synced := l.synced.index
			l.mu.Unlock()
			require.LessOrEqual(c, st.SnapshotIndex, synced)
		}
		testkit.WaitFor(c, time.Second, "a snapshot", func() bool { return n.Host().Stats().Storage.Snapshots > 0 })
	})
}

// A first member that starts with Join by mistake would wait for ever in silence.
func TestJoiningMemberOfTheFirstMembersIsWarned(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		for _, listed := range []bool{true, false} {
			var log bytes.Buffer
			joining := *c
			joining.host.Logger = slog.New(slog.NewTextHandler(io.Writer(&log), nil))
			joining.config.Join = true
			if listed {
				joining.config.Members = append(joining.config.Members[:1:1], node.Member{ID: 4, Address: address(4)})
			}
			joining.stores[4] = memstore.New(node.Identity{Cluster: "test", Host: 4})
			n := joining.startWith(4, &journal{})
			require.NoError(c, n.Close())
			delete(c.nodes, 4)
			require.Equal(c, listed, bytes.Contains(log.Bytes(), []byte("without Config.Join")), log.String())
		}
	})
}

// A state machine that is ahead of the log does not belong to the log.
func TestStateMachineAheadOfTheLogIsRefused(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		n := c.startLedger(&ledger{})
		c.leader()
		result, err := n.Propose(ctx, []byte("x"))
		require.NoError(c, err)
		c.stop(1)
		host, config := c.host, c.config
		c.stores[1] = c.stores[1].Reopen()
		host.Storage, host.Transport = c.stores[1], c.network.Join(1)
		config.StateMachine = &ledger{index: result.Index + 1}
		_, err = node.Start(host, config)
		require.ErrorIs(c, err, node.ErrDamaged)
		require.ErrorContains(c, err, fmt.Sprintf("index %d, and the log ends at %d", result.Index+1, result.Index))
		c.start(1)
		c.startLedger(&ledger{index: result.Index})
	})
}
