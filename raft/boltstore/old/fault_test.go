//go:build !wasip1

package boltstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// full makes a store with enough pages that a writing transaction reads some.
func full(t *testing.T, opts boltstore.Options) (string, *boltstore.Store) {
	path := create(t)
	store, err := boltstore.Open(path, own, opts)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	require.NoError(t, store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 1}, Entries: run(1, 5000, 1)}))
	return path, store
}

// unusable checks that a store refuses every use with an error, and that Close
// returns.
func unusable(t *testing.T, store *boltstore.Store, want error) {
	t.Helper()
	require.ErrorIs(t, store.Save(raft.Update{Entries: run(5001, 5001, 1)}), want)
	require.Error(t, store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 4, LastIncludedTerm: 1}))
	_, err := store.Load()
	require.ErrorIs(t, err, want)
	_, err = store.ReadSnapshot()
	require.ErrorIs(t, err, want)
	require.ErrorIs(t, store.Check(), want)
	require.ErrorIs(t, store.Compact(), want)
	store.Close()
}

// A file that is cut under a running store ends the store, and not the process.
func TestCutWhileInUse(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, 8192, 20000} {
		path, store := full(t, boltstore.Options{})
		require.NoError(t, os.Truncate(path, size))
		unusable(t, store, boltstore.ErrCorrupt)
	}
}

// A failed Save is final, even if the file gets its size back.
func TestFailureIsFinal(t *testing.T) {
	path, store := full(t, boltstore.Options{})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 9000))
	require.ErrorIs(t, store.Save(raft.Update{Entries: run(5001, 5001, 1)}), boltstore.ErrCorrupt)
	require.NoError(t, os.Truncate(path, info.Size()))
	require.ErrorContains(t, store.Save(raft.Update{Entries: run(5001, 5001, 1)}), "earlier write failed")
}

func TestReplacedWhileInUse(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed":           os.Remove,
		"directory removed": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"replaced by a copy": func(path string) error {
			return os.Rename(copyOf(t, path), path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, store := full(t, boltstore.Options{})
			require.NoError(t, replace(path))
			unusable(t, store, boltstore.ErrReplaced)
		})
	}
}

func copyOf(t *testing.T, path string) string {
	other := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(other, readFile(t, path), 0o600))
	return other
}

// The file is cut between the store's look at the file and bbolt's reading: the
// fault is raised on the goroutine of the caller, who gets an error.
func TestCutDuringTransaction(t *testing.T) {
	path, store := full(t, boltstore.Options{})
	defer boltstore.BeforeCommit(func(string) { require.NoError(t, os.Truncate(path, 0)) })()
	err := store.Save(raft.Update{Entries: run(100, 100, 2)})
	require.Error(t, err)
	require.Error(t, store.Save(raft.Update{Entries: run(101, 101, 2)}))
	store.Close()
}

// The disk neither reads nor writes any more. When a Commit fails, bbolt would scan
// the unreadable file on a goroutine of its own, which would end the process.
func TestUnreadableAndUnwritable(t *testing.T) {
	path, store := full(t, boltstore.Options{})
	require.NoError(t, store.Close())
	undo := boltstore.ReadOnlyFiles()
	store = open(t, path)
	undo()
	failed := false
	defer boltstore.OnCommitFailure(func() {
		failed = true
		require.NoError(t, os.Truncate(path, 8192))
	})()
	require.Error(t, store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 7}}))
	require.True(t, failed, "no write has failed")
	require.ErrorContains(t, store.Save(raft.Update{}), path)
	require.NoError(t, store.Close())
}

// A write that fails on a readable file is reported with its cause, and reading
// goes on.
func TestUnwritable(t *testing.T) {
	path, store := full(t, boltstore.Options{})
	require.NoError(t, store.Close())
	undo := boltstore.ReadOnlyFiles()
	store = open(t, path)
	undo()
	err := store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 7}})
	var cause *os.PathError
	require.ErrorAs(t, err, &cause)
	require.NotErrorIs(t, err, boltstore.ErrCorrupt)
	saved, err := store.Load()
	require.NoError(t, err)
	require.Len(t, saved.Entries, 5000)
	require.EqualValues(t, 1, saved.HardState.CurrentTerm)
}
