//go:build !wasip1

package boltstore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// Open refuses a file of any other identity, names both, and leaves the file alone.
func TestIdentity(t *testing.T) {
	path := create(t)
	store := open(t, path)
	require.Equal(t, own, store.Identity())
	require.NoError(t, store.Close())
	before := readFile(t, path)
	for _, other := range []boltstore.Identity{
		{Cluster: "another", Group: own.Group, Replica: own.Replica, Replicas: own.Replicas},
		{Cluster: own.Cluster, Group: "2", Replica: own.Replica, Replicas: own.Replicas},
		{Cluster: own.Cluster, Group: own.Group, Replica: 1, Replicas: own.Replicas},
		{Cluster: own.Cluster, Group: own.Group, Replica: own.Replica, Replicas: 5},
		{},
	} {
		_, err := boltstore.Open(path, other, boltstore.Options{})
		require.ErrorIs(t, err, boltstore.ErrIdentity)
		require.NotErrorIs(t, err, boltstore.ErrCorrupt)
		for _, name := range []string{path, own.String(), other.String()} {
			require.ErrorContains(t, err, name)
		}
		require.Equal(t, before, readFile(t, path), "the file was changed")
	}
	for _, incomplete := range []boltstore.Identity{{}, {Cluster: "a"}, {Replica: 1, Replicas: 1}, {Cluster: "a", Replica: 4, Replicas: 3}} {
		require.Error(t, boltstore.Create(filepath.Join(t.TempDir(), "new"), incomplete), "%+v", incomplete)
	}
}

// An older copy of a file has a lower Sequence, whatever was saved since.
func TestSequence(t *testing.T) {
	path := create(t)
	store := open(t, path)
	last := store.Sequence()
	for _, u := range []raft.Update{
		{HardState: &core.HardState{CurrentTerm: 1}},
		{Entries: run(1, 5, 1)},
		{Entries: run(3, 4, 2)},
		{Snapshot: &core.Snapshot{LastIncludedIndex: 9, LastIncludedTerm: 2}},
	} {
		require.NoError(t, store.Save(u))
		require.Greater(t, store.Sequence(), last, "%+v", u)
		last = store.Sequence()
	}
	require.NoError(t, store.Save(raft.Update{}))
	require.NoError(t, store.Compact())
	require.NoError(t, store.Close())
	require.Equal(t, last, open(t, path).Sequence(), "after a restart")
}

// Save records the sequences of the peers, and a recorded one never falls.
func TestPeerSequences(t *testing.T) {
	path := create(t)
	now := []uint64{3, 4}
	store, err := boltstore.Open(path, own, boltstore.Options{PeerSequences: func() []uint64 { return now }})
	require.NoError(t, err)
	recorded := func(want ...uint64) {
		t.Helper()
		peers, err := store.PeerSequences()
		require.NoError(t, err)
		require.Equal(t, want, peers)
	}
	require.NoError(t, store.Save(raft.Update{Entries: run(1, 1, 1)}))
	recorded(3, 4)
	now = []uint64{5, 0, 7}
	recorded(3, 4)
	before := store.Sequence()
	require.NoError(t, store.RecordPeers())
	recorded(5, 4, 7)
	require.Equal(t, before, store.Sequence(), "RecordPeers is no update: two stores would go on recording each other")
	require.NoError(t, store.Compact())
	require.NoError(t, store.Close())
	store = open(t, path)
	recorded(5, 4, 7)
}

// Without hard links Create makes the file all the same, whole or not at all.
func TestCreateWithoutLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.bolt")
	crashed := false
	undo := boltstore.WithoutLinks(func() {
		if crashed {
			return
		}
		crashed = true
		require.NoError(t, os.WriteFile(path, nil, 0o600)) // a crash right after the path was claimed
	})
	defer undo()
	require.ErrorIs(t, boltstore.Create(path, own), fs.ErrExist)
	require.NoError(t, os.WriteFile(path+".new", []byte("torn"), 0o600))
	require.NoError(t, boltstore.Create(path, own), "after a crash")
	before := readFile(t, path)
	require.ErrorIs(t, boltstore.Create(path, own), fs.ErrExist)
	require.Equal(t, before, readFile(t, path))
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, open(t, path).Close())
}
