//go:build unix

package wal_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/node"
	"raftlab/raft/node/storagetest"
	"raftlab/raft/wal"
)

var identity = node.Identity{Cluster: "test", Host: 1}

func TestStorage(t *testing.T) {
	storagetest.Run(t, uint64(testkit.Seed(t)), func(t *testing.T) storagetest.Open {
		return storageAt(filepath.Join(t.TempDir(), "log"), 64<<10)
	})
}

func TestStorageOnFullDisk(t *testing.T) {
	testkit.OnSmallDisks(t, func(disk func(t *testing.T) *testkit.SmallDisk) {
		storagetest.RunOnFullDisk(t, uint64(testkit.Seed(t)), func(t *testing.T) (storagetest.Open, func(int64)) {
			d := disk(t)
			return storageAt(filepath.Join(d.Dir, "log"), 1<<20), d.Limit
		})
	})
}

// storageAt opens the log in a directory. The first opening creates the log.
func storageAt(dir string, segmentBytes int64) storagetest.Open {
	created := false
	return func(id node.Identity) (node.Storage, error) {
		opts := wal.Options{Identity: id, SegmentBytes: segmentBytes}
		if !created {
			created = true
			if err := wal.Create(dir, opts); err != nil {
				return nil, err
			}
		}
		store, err := wal.Open(dir, opts)
		if err != nil {
			return nil, err
		}
		return store, nil
	}
}

// open opens the log in a directory, which is closed at the test's end.
func open(t testing.TB, dir string, opts wal.Options) *wal.Store {
	t.Helper()
	store, err := wal.Open(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}
