//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Open refuses a file of any other identity or part, names both, and leaves the file
// alone.
func TestIdentity(t *testing.T) {
	path := create(t)
	store := open(t, path)
	require.Equal(t, own, store.Identity())
	require.Equal(t, ownOptions().Part, store.Part())
	require.NoError(t, store.Close())
	id, part, err := boltstore.Identify(path)
	require.NoError(t, err)
	require.Equal(t, own, id)
	require.Equal(t, ownOptions().Part, part)
	before := readFile(t, path)
	for _, other := range []boltstore.Options{
		{Identity: node.Identity{Cluster: "another", Host: own.Host}, Part: part},
		{Identity: node.Identity{Cluster: own.Cluster, Host: 1}, Part: part},
		{Identity: own, Part: "another shard"},
		{Identity: own},
	} {
		_, err := boltstore.Open(path, other)
		require.ErrorIs(t, err, node.ErrStranger)
		require.NotErrorIs(t, err, node.ErrDamaged)
		for _, name := range []string{path, own.Cluster, part, other.Identity.Cluster, other.Part} {
			require.ErrorContains(t, err, name)
		}
		require.Equal(t, before, readFile(t, path), "the file was changed")
	}
	for _, wrong := range []boltstore.Options{
		{},
		{Identity: node.Identity{Cluster: "a"}},
		{Identity: node.Identity{Host: 1}},
		{Identity: own, Part: strings.Repeat("x", 256)},
	} {
		require.Error(t, boltstore.Create(filepath.Join(t.TempDir(), "new"), wrong), "%+v", wrong)
		_, err := boltstore.Open(path, wrong)
		require.Error(t, err)
	}
}

// A file of format 2, and one of a format to come, are refused by name and stay as
// they are.
func TestOtherFormats(t *testing.T) {
	for version, advice := range map[byte]string{2: "the earlier raftlab", 4: "the later raftlab"} {
		path := filepath.Join(t.TempDir(), "replica.bolt")
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		err = db.Update(func(tx *bbolt.Tx) error {
			for _, name := range []string{"chunks", "log", "state"} { // of format 2
				if _, err := tx.CreateBucket([]byte(name)); err != nil {
					return err
				}
			}
			key, record := []byte("head"), []byte{version, 0x90}
			sum := crc32.Checksum(append(bytes.Clone(key), record...), crc32.MakeTable(crc32.Castagnoli))
			return tx.Bucket([]byte("state")).Put(key, binary.BigEndian.AppendUint32(record, sum))
		})
		require.NoError(t, errors.Join(err, db.Close()))
		before := readFile(t, path)
		_, err = boltstore.Open(path, ownOptions())
		require.ErrorIs(t, err, boltstore.ErrVersion)
		require.NotErrorIs(t, err, node.ErrDamaged)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, advice)
		_, _, err = boltstore.Identify(path)
		require.ErrorIs(t, err, boltstore.ErrVersion)
		require.Equal(t, before, readFile(t, path))
	}
}

// An older copy of a file has a lower Sequence, whatever was saved since.
func TestSequence(t *testing.T) {
	path := create(t)
	store := open(t, path)
	last := store.Sequence()
	risen := func() {
		t.Helper()
		require.Greater(t, store.Sequence(), last)
		last = store.Sequence()
	}
	header := write(t, store, 1, 9, 2, []byte("body"))
	require.Equal(t, last, store.Sequence(), "a snapshot that no Update names")
	for _, u := range []node.Update{
		{Group: 1, HardState: &core.HardState{CurrentTerm: 1}},
		{Group: 1, Entries: run(1, 5, 1)},
		{Group: 1, Entries: run(3, 4, 2)},
		{Group: 1, Snapshot: header, CompactTo: 9},
	} {
		save(t, store, u)
		risen()
	}
	require.NoError(t, store.Remove(1))
	risen()
	save(t, store)
	require.NoError(t, store.Compact())
	require.NoError(t, store.Close())
	require.Equal(t, last, open(t, path).Sequence(), "after a restart")
}

// Save records the sequences of the peers, and a recorded one never falls.
func TestPeerSequences(t *testing.T) {
	path := create(t)
	now := map[core.NodeID]uint64{1: 3, 7: 4}
	opts := ownOptions()
	opts.PeerSequences = func() map[core.NodeID]uint64 { return now }
	store, err := boltstore.Open(path, opts)
	require.NoError(t, err)
	save(t, store, node.Update{Group: 1, Entries: run(1, 1, 1)})
	require.Equal(t, map[core.NodeID]uint64{1: 3, 7: 4}, store.PeerSequences())
	now = map[core.NodeID]uint64{1: 5, 7: 0, 9: 7}
	require.Equal(t, map[core.NodeID]uint64{1: 3, 7: 4}, store.PeerSequences())
	before := store.Sequence()
	require.NoError(t, store.RecordPeers())
	want := map[core.NodeID]uint64{1: 5, 7: 4, 9: 7}
	require.Equal(t, want, store.PeerSequences())
	require.Equal(t, before, store.Sequence(), "RecordPeers is no update: two stores would go on recording each other")
	require.NoError(t, store.Compact())
	require.NoError(t, store.Close())
	require.Equal(t, want, open(t, path).PeerSequences())
}

func TestPosition(t *testing.T) {
	store := open(t, create(t))
	at := func() boltstore.Position {
		p, err := store.Position(1)
		require.NoError(t, err)
		return p
	}
	require.Zero(t, at())
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 4}, Entries: run(1, 5, 3)})
	require.Equal(t, boltstore.Position{CurrentTerm: 4, LastTerm: 3, LastIndex: 5}, at())
	snapshot(t, store, 1, 9, 4, nil)
	last := at()
	require.Equal(t, boltstore.Position{CurrentTerm: 4, LastTerm: 4, LastIndex: 9}, last)
	require.True(t, boltstore.Position{LastTerm: 3, LastIndex: 100}.Behind(last))
	require.True(t, last.Behind(last))
	require.False(t, last.Behind(boltstore.Position{LastTerm: 4, LastIndex: 8}))
	require.NoError(t, store.Close())
	_, err := store.Position(1)
	require.ErrorIs(t, err, node.ErrStorageClosed)
}

// Without hard links Create makes the file all the same, whole or not at all.
func TestCreateWithoutLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.bolt")
	crashed := false
	undo := boltstore.WithoutLinks(func() {
		if crashed {
			return
		}
		crashed = true
		require.NoError(t, os.WriteFile(path, nil, 0o600)) // a crash right after the path was claimed
	})
	defer undo()
	require.ErrorIs(t, boltstore.Create(path, ownOptions()), fs.ErrExist)
	require.NoError(t, os.WriteFile(path+".new", []byte("torn"), 0o600))
	require.NoError(t, boltstore.Create(path, ownOptions()), "after a crash")
	before := readFile(t, path)
	require.ErrorIs(t, boltstore.Create(path, ownOptions()), fs.ErrExist)
	require.Equal(t, before, readFile(t, path))
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, open(t, path).Close())
}
