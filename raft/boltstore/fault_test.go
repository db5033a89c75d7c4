//go:build !wasip1

package boltstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// full makes a store with enough pages that a writing transaction reads some.
func full(t *testing.T) (string, *boltstore.Store) {
	path := create(t)
	store, err := boltstore.Open(path, ownOptions())
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	require.NoError(t, store.Save([]node.Update{{Group: 1, HardState: &core.HardState{CurrentTerm: 1}, Entries: run(1, 5000, 1)}}))
	return path, store
}

// update appends an entry.
func update(index, term uint64) []node.Update {
	return []node.Update{{Group: 1, Entries: run(index, index, term)}}
}

var vote = []node.Update{{Group: 1, HardState: &core.HardState{CurrentTerm: 7}}}

// unusable checks that a store refuses every use with an error, and that Close
// returns.
func unusable(t *testing.T, store *boltstore.Store, want error) {
	t.Helper()
	require.ErrorIs(t, store.Save(update(5001, 1)), want)
	w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: 4, Term: 1})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 2<<20))
	require.Error(t, err)
	_, err = w.Commit()
	require.Error(t, err)
	_, err = store.Entries(1, 1, 1, 1)
	require.ErrorIs(t, err, want)
	require.Error(t, store.Remove(1))
	require.ErrorIs(t, store.Check(), want)
	require.ErrorIs(t, store.Compact(), want)
	store.Close()
}

// A file that is cut under a running store ends the store, and not the process.
func TestCutWhileInUse(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, 8192, 20000} {
		path, store := full(t)
		require.NoError(t, os.Truncate(path, size))
		unusable(t, store, node.ErrDamaged)
	}
}

// A failed Save is final, even if the file gets its size back.
func TestFailureIsFinal(t *testing.T) {
	path, store := full(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 9000))
	require.ErrorIs(t, store.Save(update(5001, 1)), node.ErrDamaged)
	require.NoError(t, os.Truncate(path, info.Size()))
	require.ErrorContains(t, store.Save(update(5001, 1)), "earlier write failed")
}

func TestReplacedWhileInUse(t *testing.T) {
	for name, replace := range map[string]func(store *boltstore.Store, path string) error{
		"removed":           func(_ *boltstore.Store, path string) error { return os.Remove(path) },
		"directory removed": func(_ *boltstore.Store, path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"replaced by a copy": func(store *boltstore.Store, path string) error {
			return os.Rename(copyOf(t, store, path), path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, store := full(t)
			require.NoError(t, replace(store, path))
			unusable(t, store, boltstore.ErrReplaced)
		})
	}
}

// The file is cut between the store's look at the file and bbolt's reading: the
// fault is raised on the goroutine of the caller, who gets an error.
func TestCutDuringTransaction(t *testing.T) {
	path, store := full(t)
	defer boltstore.BeforeCommit(func(string) { require.NoError(t, os.Truncate(path, 0)) })()
	err := store.Save(update(100, 2))
	require.Error(t, err)
	require.Error(t, store.Save(update(101, 2)))
	store.Close()
}

// The disk neither reads nor writes any more. When a Commit fails, bbolt would scan
// the unreadable file on a goroutine of its own, which would end the process.
func TestUnreadableAndUnwritable(t *testing.T) {
	path, store := full(t)
	require.NoError(t, store.Close())
	undo := boltstore.ReadOnlyFiles()
	store = open(t, path)
	undo()
	failed := false
	defer boltstore.OnCommitFailure(func() {
		failed = true
		require.NoError(t, os.Truncate(path, 8192))
	})()
	require.Error(t, store.Save(vote))
	require.True(t, failed, "no write has failed")
	require.ErrorContains(t, store.Save(vote), path)
	require.NoError(t, store.Close())
}

// A write that fails on a readable file is reported with its cause, and reading
// goes on.
func TestUnwritable(t *testing.T) {
	path, store := full(t)
	require.NoError(t, store.Close())
	undo := boltstore.ReadOnlyFiles()
	store = open(t, path)
	undo()
	err := store.Save(vote)
	var cause *os.PathError
	require.ErrorAs(t, err, &cause)
	require.NotErrorIs(t, err, node.ErrDamaged)
	entries, err := store.Entries(1, 1, 5000, 1<<20)
	require.NoError(t, err)
	require.Len(t, entries, 5000)
	state, err := store.Load(1)
	require.NoError(t, err)
	require.EqualValues(t, 1, state.HardState.CurrentTerm)
}

// A failed sync is final, and nothing is acknowledged any more. The update is there
// after a restart, or is not.
func TestFailedSync(t *testing.T) {
	path, store := full(t)
	store.Settle()
	before := digest(t, store)
	broken := errors.New("the disk is gone")
	undo := boltstore.OnSync(func(string) error { return broken })
	require.ErrorIs(t, store.Save(vote), broken)
	undo()
	require.ErrorContains(t, store.Save(update(5001, 1)), "earlier write failed")
	require.ErrorContains(t, store.Remove(1), "earlier write failed")
	require.NoError(t, store.Close())
	after := digest(t, open(t, path))
	require.NotEqual(t, before, after, "the kernel has all that was written")
}

// unsynced makes a store whose last update has failed at the sync, and returns the
// file that is on the disk if the kernel has written nothing of the update.
func unsynced(t *testing.T, updates []node.Update) (path, before, after string, disk []byte) {
	t.Helper()
	path, store := full(t)
	store.Settle()
	before, disk = digest(t, store), readFile(t, path)
	broken := errors.New("the disk is gone")
	undo := boltstore.OnSync(func(string) error { return broken })
	require.ErrorIs(t, store.Save(updates), broken)
	undo()
	require.NoError(t, store.Close())
	again := open(t, copyOf(t, store, path))
	return path, before, digest(t, again), disk
}

// failing are updates whose sync fails: of one page, of a part of a large tree, and
// of more pages than the file has.
var failing = map[string][]node.Update{
	"a vote":         vote,
	"an entry":       update(5001, 1),
	"a large change": {{Group: 1, Entries: run(2000, 30_000, 2)}, {Group: 2, Entries: run(1, 5, 1)}},
}

// After a failed sync the kernel may keep unwritten pages in memory and call them
// clean. A later sync succeeds without writing them. So the next Open has to write
// them again before the store relies on them.
func TestOpenAfterFailedSync(t *testing.T) {
	for name, updates := range failing {
		t.Run(name, func(t *testing.T) {
			path, before, after, disk := unsynced(t, updates)
			require.NotEqual(t, before, after)
			undo := boltstore.OnRewrite(func(to string, b []byte, at int64) {
				require.Equal(t, path, to)
				disk = append(disk, make([]byte, max(0, int(at)+len(b)-len(disk)))...)
				require.NotEqual(t, b, disk[at:][:len(b)], "the page at %d belongs to the transaction before", at)
				copy(disk[at:], b)
			})
			store := open(t, path)
			undo()
			require.Equal(t, after, digest(t, store))
			crashed := filepath.Join(t.TempDir(), "crashed")
			require.NoError(t, os.WriteFile(crashed, disk, 0o600))
			require.Equal(t, after, digest(t, open(t, crashed)))
		})
	}
}

// The kernel forgets the unwritten pages while Open checks the file. Open then goes
// back to the transaction before, which has not been overwritten.
func TestForgottenWhileOpening(t *testing.T) {
	for name, updates := range failing {
		t.Run(name, func(t *testing.T) {
			path, before, _, disk := unsynced(t, updates)
			file := readFile(t, path)
			metas := 2 * os.Getpagesize()
			copy(file[metas:], disk[metas:]) // the meta page is written, and the rest is not
			times := 0
			defer boltstore.OnStage(func(stage string) {
				require.Equal(t, "checked", stage)
				if times++; times == 1 {
					require.NoError(t, os.WriteFile(path, file, 0o600))
				}
			})()
			require.Equal(t, before, digest(t, open(t, path)))
			require.Equal(t, 1, times)
		})
	}
}

// A store whose write has failed does not know its file's content. The store must
// neither replace the file nor copy it.
func TestNoCopyAfterFailure(t *testing.T) {
	path, store := full(t)
	store.Settle()
	broken := errors.New("the disk is gone")
	undo := boltstore.OnSync(func(string) error { return broken })
	require.ErrorIs(t, store.Save([]node.Update{{Group: 2, Entries: run(1, 5, 1)}}), broken)
	undo()
	require.ErrorIs(t, store.Compact(), broken)
	copied := filepath.Join(t.TempDir(), "copy")
	require.ErrorIs(t, store.Copy(copied, boltstore.CopyOptions{Identity: own}), broken)
	require.NoFileExists(t, copied)
	require.NoError(t, store.Close())
	open(t, path)
}
