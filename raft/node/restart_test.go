package node_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// runHost runs a test of a host with one group of one member, in virtual time.
func runHost(t *testing.T, body func(t *testing.T, h *node.Host, store *memstore.Store, n *node.Node)) {
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{Faults: memnet.Faults{Latency: latency}})
		store := memstore.New(node.Identity{Cluster: "test", Host: 1})
		h, err := node.NewHost(node.HostConfig{Storage: store, Transport: network.Join(1)})
		require.NoError(t, err)
		defer h.Close()
		n, err := h.Start(oneMember(1))
		require.NoError(t, err)
		_, err = n.ReadIndex(ctx)
		require.NoError(t, err)
		body(t, h, store, n)
	})
}

func oneMember(group node.GroupID) node.Config {
	return node.Config{Group: group, Members: []node.Member{{ID: 1}}, StateMachine: &journal{}}
}

// stall makes saves hang until the returned function is called, and has one begin.
func stall(t *testing.T, store *memstore.Store, n *node.Node) (release func()) {
	gate := make(chan struct{})
	store.BeforeSave(func([]node.Update) error { <-gate; return nil })
	_, err := n.ProposeAsync([]byte("late"))
	require.NoError(t, err)
	time.Sleep(time.Millisecond)
	return func() { close(gate) }
}

// A member that started before the end of the last member's save would promise
// with less than what the last member has promised.
func TestGroupDoesNotStartBeforeItsLastSaveEnds(t *testing.T) {
	runHost(t, func(t *testing.T, h *node.Host, store *memstore.Store, n *node.Node) {
		release := stall(t, store, n)
		require.ErrorIs(t, n.Close(), node.ErrStalled)
		_, err := h.Start(oneMember(1))
		require.ErrorIs(t, err, node.ErrStarted)
		require.ErrorIs(t, h.Remove(1), node.ErrStalled)
		release()
		require.NoError(t, n.Close())
		again := oneMember(1)
		n, err = h.Start(again)
		require.NoError(t, err)
		require.NoError(t, n.Barrier(ctx))
		_, err = n.Propose(ctx, []byte("again"))
		require.NoError(t, err)
		require.Equal(t, []string{"late", "again"}, again.StateMachine.(*journal).all())
	})
}

func TestRemoveWaitsForTheLastSave(t *testing.T) {
	runHost(t, func(t *testing.T, h *node.Host, store *memstore.Store, n *node.Node) {
		time.AfterFunc(time.Second, stall(t, store, n))
		require.NoError(t, h.Remove(1))
		time.Sleep(2 * time.Second)
		groups, err := store.Groups()
		require.NoError(t, err)
		require.Empty(t, groups)
		require.NoError(t, h.Err())
	})
}

func TestFailedHostStartsNoGroup(t *testing.T) {
	runHost(t, func(t *testing.T, h *node.Host, store *memstore.Store, n *node.Node) {
		full := errors.New("no space left on device")
		store.BeforeSave(func([]node.Update) error { return full })
		_, err := n.Propose(ctx, []byte("x"))
		require.ErrorIs(t, err, node.ErrUnknown)
		require.ErrorIs(t, h.Err(), full)
		require.NoError(t, n.Close(), "nobody waits for the failed storage")
		_, err = h.Start(oneMember(2))
		require.ErrorIs(t, err, node.ErrStopped)
		require.ErrorIs(t, err, full)
	})
}

func TestGroupStartsAndStopsUnderLoad(t *testing.T) {
	runHost(t, func(t *testing.T, h *node.Host, store *memstore.Store, n *node.Node) {
		var acknowledged []string
		for round := range 50 {
			for i := range round % 4 {
				command := fmt.Sprint(round, i)
				_, err := n.Propose(ctx, []byte(command))
				require.NoError(t, err)
				acknowledged = append(acknowledged, command)
			}
			go n.Snapshot(ctx)
			go n.Status(ctx)
			require.NoError(t, n.Close())
			again := oneMember(1)
			var err error
			n, err = h.Start(again)
			require.NoError(t, err)
			_, err = n.ReadIndex(ctx)
			require.NoError(t, err)
			require.Equal(t, acknowledged, again.StateMachine.(*journal).all())
		}
	})
}
