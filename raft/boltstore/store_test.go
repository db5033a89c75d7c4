//go:build !wasip1

package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/boltstore"
	"raftlab/raft/node"
	"raftlab/raft/node/storagetest"
)

func TestStorage(t *testing.T) {
	storagetest.Run(t, uint64(testkit.Seed(t)), func(t *testing.T) storagetest.Open {
		return storageAt(filepath.Join(t.TempDir(), "host.bolt"))
	})
}

func TestStorageOnFullDisk(t *testing.T) {
	testkit.OnSmallDisks(t, func(disk func(t *testing.T) *testkit.SmallDisk) {
		storagetest.RunOnFullDisk(t, uint64(testkit.Seed(t)), func(t *testing.T) (storagetest.Open, func(int64)) {
			d := disk(t)
			return storageAt(filepath.Join(d.Dir, "host.bolt")), d.Limit
		})
	})
}

// storageAt opens the store at path. The first opening creates the store.
func storageAt(path string) storagetest.Open {
	created := false
	return func(id node.Identity) (node.Storage, error) {
		opts := boltstore.Options{Identity: id}
		if !created {
			created = true
			if err := boltstore.Create(path, opts); err != nil {
				return nil, err
			}
		}
		store, err := boltstore.Open(path, opts)
		if err != nil {
			return nil, err
		}
		return store, nil
	}
}

// own is the identity of the files in these tests.
var own = node.Identity{Cluster: "test", Host: 2}

func ownOptions() boltstore.Options {
	return boltstore.Options{Identity: own, Part: "shard 1 of 3 replicas"}
}

// create makes an empty data file.
func create(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host.bolt")
	require.NoError(t, boltstore.Create(path, ownOptions()))
	return path
}

func open(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	store, err := boltstore.Open(path, ownOptions())
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}
