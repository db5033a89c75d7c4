package onnode_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
	"raftlab/rsm/onnode"
)

// A command takes effect once, however often and on whichever server the command is
// submitted, through a change of the leader and restarts.
func TestOnceThroughLeaderChangeAndRestarts(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		require.EqualValues(c, 5, c.submit(1, 1, 5))
		require.EqualValues(c, 5, c.submit(1, 1, 5))
		old, _ := c.leader()
		c.stop(old)
		require.EqualValues(c, 5, c.submit(1, 1, 5), "on another leader")
		require.EqualValues(c, 12, c.submit(1, 2, 7))
		c.stores[old] = c.stores[old].Reopen()
		c.start(old, &total{})
		for _, id := range []core.NodeID{1, 2, 3} {
			c.restart(id)
		}
		require.EqualValues(c, 12, c.submit(1, 2, 7), "after restarts")
		require.EqualValues(c, 13, c.submit(2, 1, 1))
		require.EqualValues(c, 13, c.agree())
	})
}

// Submissions of a leader that loses the leadership end at once, and not with their
// contexts.
func TestLostLeadershipSettlesSubmissions(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		id, old := c.leader()
		c.network.Partition([]core.NodeID{id})
		var replies []chan error
		for client := range uint64(3) {
			reply := make(chan error, 1)
			replies = append(replies, reply)
			go func() {
				_, err := old.replica.Submit(context.Background(), client+1, 1, 1)
				reply <- err
			}()
		}
		for _, reply := range replies {
			require.ErrorIs(c, <-reply, rsm.ErrLost)
		}
		_, next := c.leader(id)
		for client := range uint64(3) {
			_, err := next.replica.Submit(c.Context(), client+1, 1, 1)
			require.NoError(c, err)
		}
		c.network.Heal()
		require.EqualValues(c, 3, c.agree())
	})
}

// A follower refuses, and so does a stopped server. A command above the limit, and
// commands beyond the bound on uncommitted bytes, are refused without effect.
func TestRefusals(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		_, err := c.servers[c.follower()].replica.Submit(c.Context(), 1, 1, 1)
		require.ErrorIs(c, err, rsm.ErrNotLeader)
		id, s := c.leader()
		_, err = s.log.Propose(make([]byte, 1<<10+1))
		require.ErrorIs(c, err, rsm.ErrInvalid)
		require.ErrorContains(c, err, "1025 bytes")
		c.stop(id)
		_, err = s.replica.Submit(c.Context(), 1, 1, 1)
		require.ErrorIs(c, err, rsm.ErrStopped)
		_, err = s.log.Propose([]byte("x"))
		require.ErrorIs(c, err, rsm.ErrStopped)
		require.False(c, s.log.Leadership().Leads)
	})
}

// Raft's own entries, such as the no-op of a new leader, are no commands.
func TestOwnEntriesAreNoCommands(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		c.submit(1, 1, 1)
		for range 3 { // each new leader begins with a no-op of Raft
			_, s := c.leader()
			require.NoError(c, s.log.Node().TransferLeadership(c.Context(), core.None))
		}
		require.EqualValues(c, 1, c.submit(1, 1, 1))
		require.EqualValues(c, 3, c.submit(1, 2, 2))
		for _, s := range c.servers {
			require.NoError(c, s.replica.Err())
		}
		require.EqualValues(c, 3, c.agree())
	})
}

// The member begins its terms with a no-op, so the replica adds none to the log.
func TestOneNoOpForATerm(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		for range 3 {
			_, s := c.leader()
			require.NoError(c, s.log.Node().TransferLeadership(c.Context(), core.None))
		}
		_, s := c.leader()
		require.NoError(c, s.log.Node().Barrier(c.Context()))
		st, err := s.log.Node().Status(c.Context())
		require.NoError(c, err)
		terms := st.CurrentTerm - 1 // the first configuration has a term of its own
		require.LessOrEqual(c, st.LastIndex, 1+2*terms, "a configuration, and for each term a no-op and the command of c.leader")
	})
}

// During a transfer of the leadership a submission is refused as by a follower, and
// the client tries another server.
func TestSubmissionsDuringATransfer(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		id, s := c.leader()
		to := id%3 + 1
		c.network.Partition([]core.NodeID{to})
		transferred := make(chan error, 1)
		go func() { transferred <- s.log.Node().TransferLeadership(c.Context(), to) }()
		testkit.WaitFor(c, time.Second, "the transfer", func() bool {
			st, err := s.log.Node().Status(c.Context())
			require.NoError(c, err)
			return st.Transferee == to
		})
		_, err := s.replica.Submit(c.Context(), 1, 1, 1)
		require.ErrorIs(c, err, rsm.ErrNotLeader)
		require.ErrorIs(c, <-transferred, node.ErrNotTransferred)
	})
}

// Snapshots replace the log, and a restart begins with the last one: state, sessions
// and place in the log.
func TestRestartFromASnapshot(t *testing.T) {
	run(t, rsm.Options{SnapshotBytes: 500}, func(c *cluster) {
		for seq := uint64(1); seq <= 100; seq++ {
			require.EqualValues(c, seq, c.submit(1, seq, 1))
		}
		id, leader := c.leader()
		testkit.WaitFor(c, 30*time.Second, "a short log", func() bool {
			saved, err := c.stores[id].Load(1)
			require.NoError(c, err)
			return saved.CompactedIndex+40 > saved.LastIndex
		})
		before := leader.replica.Applied()
		for _, id := range []core.NodeID{1, 2, 3} {
			c.restart(id)
			require.Positive(c, c.servers[id].replica.Applied(), "the snapshot counts before the log does")
		}
		_, leader = c.leader()
		require.EqualValues(c, 100, c.submit(1, 100, 1), "a known command")
		require.Greater(c, leader.replica.Applied(), before)
		require.EqualValues(c, 100, c.agree())
	})
}

// A server far behind installs the leader's snapshot while the server runs.
func TestLeadersSnapshot(t *testing.T) {
	run(t, rsm.Options{SnapshotBytes: 500}, func(c *cluster) {
		behind := c.follower()
		c.submit(1, 1, 1)
		c.network.Partition([]core.NodeID{behind})
		for seq := uint64(2); seq <= 100; seq++ {
			c.submit(1, seq, 1)
		}
		id, _ := c.leader(behind)
		saved, err := c.stores[id].Load(1)
		require.NoError(c, err)
		require.Greater(c, saved.CompactedIndex, c.servers[behind].replica.Applied())
		c.network.Heal()
		require.EqualValues(c, 100, c.agree())
	})
}

// Commands are applied while a snapshot is written, up to the bound of package rsm.
func TestAppliesBesideASnapshot(t *testing.T) {
	run(t, rsm.Options{SnapshotBytes: 1000}, func(c *cluster) {
		id := c.follower()
		c.stop(id)
		c.stores[id] = c.stores[id].Reopen()
		gate := make(chan struct{}, 100)
		c.start(id, &total{writes: gate})
		for seq := uint64(1); seq <= 200; seq++ {
			c.submit(1, seq, 1)
		}
		s := c.servers[id]
		bound := func() uint64 { time.Sleep(time.Second); return s.replica.Applied() }
		first := bound()
		require.Equal(c, first, bound(), "the server waits for its snapshot")
		require.Greater(c, first, uint64(50), "and has applied more than the snapshot holds")
		close(gate)
		require.EqualValues(c, 200, c.agree())
	})
}

// A snapshot that cannot be read is an error of the start.
func TestUnreadableSnapshot(t *testing.T) {
	run(t, rsm.Options{SnapshotBytes: 500}, func(c *cluster) {
		id := c.follower()
		for seq := uint64(1); seq <= 50; seq++ {
			c.submit(1, seq, 1)
		}
		s := c.servers[id]
		testkit.WaitFor(c, 30*time.Second, "a snapshot", func() bool {
			saved, err := c.stores[id].Load(1)
			return err == nil && saved.Snapshot.Index > 0
		})
		c.stop(id)
		c.stores[id] = c.stores[id].Reopen()
		log, err := onnode.Start(mustHost(c, id), c.config)
		require.NoError(c, err)
		snapshot := log.Snapshot()
		require.Nil(c, log.Snapshot(), "the memory is released")
		_, err = rsm.New(s.machine, snapshot[:len(snapshot)-1], c.opts)
		require.ErrorContains(c, err, "want 8")
		// A replica that did not begin with the snapshot fails in place of losing state.
		require.NoError(c, log.Close())
		require.NoError(c, log.Node().Host().Close())
		c.stores[id] = c.stores[id].Reopen()
		log, err = onnode.Start(mustHost(c, id), c.config)
		require.NoError(c, err)
		r, err := rsm.New(s.machine, nil, c.opts)
		require.NoError(c, err)
		r.Run(log) // installs the snapshot
		testkit.WaitFor(c, 30*time.Second, "the snapshot", func() bool { return r.Applied() > 0 })
		r.Kill()
		r.Wait()
		require.NoError(c, log.Close())
		require.NoError(c, log.Node().Host().Close())
	})
}

func mustHost(c *cluster, id core.NodeID) *node.Host {
	c.Helper()
	host, err := node.NewHost(node.HostConfig{Storage: c.stores[id], Transport: c.network.Join(id)})
	require.NoError(c, err)
	return host
}

// A failed storage ends the leadership, and the cause is the member's.
func TestFailedStorage(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		id, s := c.leader()
		full := errors.New("the disk is full")
		c.stores[id].BeforeSave(func([]node.Update) error { return full })
		_, err := s.replica.Submit(c.Context(), 1, 1, 1)
		require.Error(c, err)
		require.ErrorIs(c, s.log.Node().Err(), full)
		require.False(c, s.log.Leadership().Leads)
		require.EqualValues(c, 1, c.submit(1, 1, 1))
		s.replica.Kill()
		s.replica.Wait()
		require.NoError(c, s.log.Close())
		require.NoError(c, s.host.Close())
		delete(c.servers, id)
	})
}

// A panic of the state machine stops the replicas, and not the process.
func TestPanicStopsTheReplica(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		_, s := c.leader()
		_, err := s.replica.Submit(c.Context(), 1, 1, poison)
		require.ErrorIs(c, err, rsm.ErrStopped)
		var panicked *node.PanicError
		require.ErrorAs(c, s.replica.Err(), &panicked)
		require.Equal(c, "poison", panicked.Value)
	})
}

// The replica is the state machine.
func TestStateMachineIsRefused(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		config := c.config
		config.Group = 2
		config.StateMachine = struct{ node.StateMachine }{}
		_, err := onnode.Start(c.servers[1].host, config)
		require.ErrorIs(c, err, node.ErrConfig)
	})
}
