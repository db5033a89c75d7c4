package onnode_test

import (
	"context"
	"sync/atomic"
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

// slowReceiver takes its time for a snapshot.
type slowReceiver struct{ installed atomic.Bool }

func (r *slowReceiver) Apply(uint64, []byte) error { return nil }

func (r *slowReceiver) Install([]byte) error {
	time.Sleep(time.Minute)
	r.installed.Store(true)
	return nil
}

// The member has restored its snapshot before Deliver. A read must still wait until
// the receiver has the snapshot.
func TestReadIndexWaitsForTheFirstSnapshot(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		store := memstore.New(node.Identity{Cluster: "test", Host: 1})
		network := memnet.New(memnet.Options{})
		start := func() (*node.Host, *onnode.Log) {
			host, err := node.NewHost(node.HostConfig{Storage: store, Transport: network.Join(1)})
			require.NoError(t, err)
			log, err := onnode.Start(host, node.Config{TrailingEntries: -1, Members: []node.Member{{ID: core.NodeID(1)}}})
			require.NoError(t, err)
			return host, log
		}
		host, log := start()
		r, err := rsm.New(&total{}, log.Snapshot(), rsm.Options{})
		require.NoError(t, err)
		r.Run(log)
		testkit.WaitFor(t, time.Minute, "a leader", func() bool { return log.Leadership().Leads })
		_, err = r.Submit(t.Context(), 0, 0, 5)
		require.NoError(t, err)
		testkit.WaitFor(t, time.Minute, "a snapshot of the whole log", func() bool {
			r.Snapshot()
			status, err := log.Node().Status(t.Context())
			return err == nil && status.SnapshotIndex == status.LastIndex
		})
		r.Kill()
		require.NoError(t, log.Close())
		r.Wait()
		require.NoError(t, host.Close())

		store = store.Reopen()
		host, log = start()
		short, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.ErrorIs(t, log.ReadIndex(short), context.DeadlineExceeded, "before Deliver")
		var receiver slowReceiver
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- log.Deliver(&receiver, stop) }()
		require.NoError(t, log.ReadIndex(t.Context()))
		require.True(t, receiver.installed.Load())
		close(stop)
		require.NoError(t, <-ended)
		require.NoError(t, log.Close())
		require.NoError(t, host.Close())
	})
}

// slowApplier takes its time for each command, and keeps what it has seen before and
// after.
type slowApplier struct{ before, after atomic.Int64 }

func (r *slowApplier) Apply(uint64, []byte) error {
	r.before.Add(1)
	time.Sleep(time.Minute)
	r.after.Add(1)
	return nil
}

func (r *slowApplier) Install([]byte) error { return nil }

// The commands of a delivery belong to the member again when Apply returns. So a
// stopped log does not end while the receiver reads them.
func TestStopWaitsForTheReceiver(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		host, err := node.NewHost(node.HostConfig{
			Storage: memstore.New(node.Identity{Cluster: "test", Host: 1}), Transport: memnet.New(memnet.Options{}).Join(1), CloseTimeout: time.Hour,
		})
		require.NoError(t, err)
		log, err := onnode.Start(host, node.Config{Members: []node.Member{{ID: core.NodeID(1)}}})
		require.NoError(t, err)
		testkit.WaitFor(t, time.Minute, "a leader", func() bool { return log.Leadership().Leads })
		for range 3 { // the first delivery has one command or more
			_, err := log.Propose([]byte("x"))
			require.NoError(t, err)
		}
		var receiver slowApplier
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- log.Deliver(&receiver, stop) }()
		time.Sleep(time.Second)
		require.Equal(t, int64(1), receiver.before.Load())
		close(stop)
		require.NoError(t, log.Close())
		require.Equal(t, receiver.before.Load(), receiver.after.Load(), "the receiver is in the middle of a command")
		require.NoError(t, <-ended)
		require.NoError(t, host.Close())
	})
}
