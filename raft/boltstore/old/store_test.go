//go:build !wasip1

package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/storagetest"
)

func TestStorage(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Open {
		path := create(t)
		return func() (raft.Storage, error) { return boltstore.Open(path, own, boltstore.Options{}) }
	})
}

// own is the identity of the files in these tests.
var own = boltstore.Identity{Cluster: "test", Group: "1", Replica: 2, Replicas: 3}

// create makes an empty data file.
func create(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "replica.bolt")
	require.NoError(t, boltstore.Create(path, own))
	return path
}

func open(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	store, err := boltstore.Open(path, own, boltstore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}
