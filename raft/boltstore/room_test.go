//go:build !wasip1

package boltstore_test

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// snapshotOf writes a snapshot of group 1.
func snapshotOf(store *boltstore.Store, size int) error {
	w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: 1, Term: 1})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(make([]byte, size)); err != nil {
		return err
	}
	return w.Finish()
}

// appendTo appends an entry of size bytes to group 1.
func appendTo(store *boltstore.Store, index uint64, size int) error {
	return store.Save([]node.Update{{Group: 1, Entries: []core.Entry{{Index: index, Term: 1, Data: make([]byte, size)}}}})
}

// While snapshots find no room, the log has 4 MiB. Then the store fails for good. After a
// restart with room the store has all that it acknowledged.
func TestLogGoesOnWithoutRoomForSnapshots(t *testing.T) {
	testkit.OnSmallDisks(t, func(disk func(t *testing.T) *testkit.SmallDisk) {
		d, size := disk(t), 100_000
		path := filepath.Join(d.Dir, "host.bolt")
		require.NoError(t, boltstore.Create(path, ownOptions()))
		store := open(t, path)
		require.NoError(t, appendTo(store, 1, size))
		d.Limit(0)
		err := snapshotOf(store, 20<<20)
		require.ErrorIs(t, err, node.ErrNoRoom)
		require.ErrorIs(t, err, syscall.ENOSPC)
		last := uint64(1)
		for err = nil; err == nil; last++ {
			err = appendTo(store, last+1, size)
		}
		last--
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NotErrorIs(t, err, node.ErrNoRoom)
		require.Greater(t, int(last)*size, 4<<20)
		d.Limit(-1)
		require.ErrorContains(t, appendTo(store, last+1, size), "earlier write failed")
		require.NoError(t, store.Close())
		store = open(t, path)
		state, err := store.Load(1)
		require.NoError(t, err)
		require.GreaterOrEqual(t, state.LastIndex, last)
		require.NoError(t, appendTo(store, state.LastIndex+1, size))
		require.NoError(t, snapshotOf(store, 5<<20))
		require.NoError(t, store.Close())
	})
}

// Where the system cannot allocate blocks ahead, snapshots are written as before.
func TestWithoutAllocation(t *testing.T) {
	defer boltstore.OnAllocate(func() error { return errors.ErrUnsupported })()
	store := open(t, create(t))
	require.NoError(t, appendTo(store, 1, 1000))
	require.NoError(t, snapshotOf(store, 5<<20))
	require.NoError(t, store.Compact())
	require.NoError(t, store.Close())
}

// A compaction that finds no room for the reserve of the new file leaves the old file.
func TestCompactionWithoutRoom(t *testing.T) {
	path, store := full(t)
	store.Settle()
	before := digest(t, store)
	undo := boltstore.OnAllocate(func() error { return syscall.ENOSPC })
	require.ErrorIs(t, store.Compact(), node.ErrNoRoom)
	require.NoFileExists(t, path+".compact")
	require.NoError(t, store.Save(update(5001, 1)), "the log has its reserve")
	undo()
	require.NoError(t, store.Compact())
	require.NotEqual(t, before, digest(t, store))
}
