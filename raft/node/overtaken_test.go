package node_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// watchedStore is a storage whose snapshots are counted.
type watchedStore struct {
	*memstore.Store
	unfinished  atomic.Int64
	committed   atomic.Int64 // of the leader's snapshots
	beforeWrite func()       // of a piece of the leader's snapshots
}

func (s *watchedStore) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	w, err := s.Store.CreateSnapshot(id, header)
	s.unfinished.Add(1)
	return &watchedWriter{SnapshotWriter: w, store: s, leaders: header.Size > 0}, err
}

type watchedWriter struct {
	node.SnapshotWriter
	store   *watchedStore
	leaders bool // the snapshot is the leader's, and not the member's own
	ended   bool
}

func (w *watchedWriter) end() {
	if !w.ended {
		w.ended = true
		w.store.unfinished.Add(-1)
	}
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	if w.leaders {
		w.store.beforeWrite()
	}
	return w.SnapshotWriter.Write(p)
}

func (w *watchedWriter) Commit() (node.SnapshotHeader, error) {
	w.end()
	if w.leaders {
		w.store.committed.Add(1)
	}
	return w.SnapshotWriter.Commit()
}

func (w *watchedWriter) Abort() {
	w.end()
	w.SnapshotWriter.Abort()
}

// A leader sends a part of a snapshot, and another leader has the entries. The
// follower then does not keep the part.
func TestOvertakenSnapshotIsDiscarded(t *testing.T) {
	run(t, 5, node.Config{SnapshotEntries: 20, SnapshotChunkBytes: 50, TrailingEntries: 10_000}, overtake)
}

func overtake(c *cluster) {
	const first, slow = core.NodeID(1), core.NodeID(5)
	store := &watchedStore{}
	gate, reached := make(chan struct{}), make(chan struct{})
	blocked := false
	store.beforeWrite = func() {
		if !blocked {
			blocked = true
			close(reached)
			<-gate
		}
	}
	c.stop(slow)
	c.stop(first)
	c.config.TrailingEntries = -1
	c.start(first)
	c.config.TrailingEntries = 10_000
	store.Store = c.stores[slow].Reopen()
	config := c.config
	config.StateMachine = &journal{}
	follower, err := node.Start(node.HostConfig{Storage: store, Transport: c.network.Join(slow)}, config)
	require.NoError(c, err)
	c.nodes[slow], c.states[slow] = follower, config.StateMachine.(*journal)

	testkit.WaitFor(c, 30*time.Second, "the leadership of member 1", func() bool {
		if leader := c.leader(); leader.ID() != first {
			_ = leader.TransferLeadership(ctx, first)
		}
		return c.nodes[first].IsLeader()
	})
	c.network.Partition([]core.NodeID{slow})
	for i := range 60 {
		c.propose(fmt.Sprint(i))
	}
	c.network.Heal()
	<-reached
	c.network.Partition([]core.NodeID{first})
	leader := c.nodes[2]
	testkit.WaitFor(c, 30*time.Second, "another leader", func() bool {
		for _, id := range []core.NodeID{2, 3, 4} {
			if leader = c.nodes[id]; leader.IsLeader() {
				return true
			}
		}
		return false
	})
	_, err = leader.Propose(ctx, []byte("next"))
	require.NoError(c, err)
	time.Sleep(time.Second) // the entries arrive at the follower
	close(gate)
	testkit.WaitFor(c, 30*time.Second, "the entries", func() bool { return len(c.states[slow].all()) == 61 })
	require.Zero(c, store.committed.Load())
	testkit.WaitFor(c, time.Second, "the end of all snapshots", func() bool { return store.unfinished.Load() == 0 })
	require.NoError(c, follower.Err())
	c.network.Heal()
}
