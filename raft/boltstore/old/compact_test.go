//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// wasteful makes a store whose file is mostly free pages.
func wasteful(t *testing.T) (string, *boltstore.Store) {
	path := create(t)
	store, err := boltstore.Open(path, own, boltstore.Options{CompactBytes: -1})
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	large := make([]core.Entry, 100)
	for i := range large {
		large[i] = core.Entry{Index: uint64(i) + 1, Term: 1, Data: make([]byte, 100_000)}
	}
	require.NoError(t, store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 3, VotedFor: 2}, Entries: large}))
	require.NoError(t, store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 100, LastIncludedTerm: 1, Data: bytes.Repeat([]byte("state"), 5000)}))
	require.NoError(t, store.Save(raft.Update{Entries: run(101, 1500, 3)}))
	return path, store
}

func TestCompact(t *testing.T) {
	path, store := wasteful(t)
	before, size := mustRead(t, store), store.FileBytes()
	require.Greater(t, size, int64(10_000_000))
	require.NoError(t, store.Compact())
	require.Less(t, store.FileBytes(), int64(1_000_000))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), store.FileBytes())
	require.True(t, mustRead(t, store).equal(before))

	// The store goes on in the new file, which is locked as the old one was.
	require.NoError(t, store.Save(raft.Update{Entries: run(1501, 1600, 3)}))
	_, err = boltstore.Open(path, own, boltstore.Options{Timeout: 1})
	require.ErrorIs(t, err, boltstore.ErrLocked)
	require.NoError(t, store.Compact())
	after := mustRead(t, store)
	require.NoError(t, store.Close())
	require.ErrorIs(t, store.Compact(), boltstore.ErrClosed)
	store = open(t, path)
	require.True(t, mustRead(t, store).equal(after))
	require.Len(t, after.Entries, 1500)
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// A crash at any stage leaves a file with the same content, and the next opening
// leaves no other file.
func TestCrashWhileCompacting(t *testing.T) {
	_, undoSmall := boltstore.SmallTransactions()
	defer undoSmall()
	path, store := wasteful(t)
	want := mustRead(t, store)
	var images []string
	stages := map[string]int{}
	cut := func(name string) {
		stages[name]++
		images = append(images, copyDir(t, filepath.Dir(path)))
	}
	defer boltstore.OnStage(cut)()
	require.NoError(t, store.Compact())
	for _, name := range []string{"copied", "synced", "renamed", "replaced"} {
		require.Equal(t, 1, stages[name], name)
	}
	require.Greater(t, stages["batch"], 20)
	for i, dir := range images {
		image := filepath.Join(dir, filepath.Base(path))
		store, err := boltstore.Open(image, own, boltstore.Options{})
		require.NoError(t, err, "image %d of %d", i+1, len(images))
		require.True(t, mustRead(t, store).equal(want), "image %d of %d", i+1, len(images))
		require.NoError(t, store.Close())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1, "image %d of %d", i+1, len(images))
		require.NoError(t, os.RemoveAll(dir))
	}
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// Saves, truncations of the log and snapshots during a compaction are in the new
// file.
func TestChangesWhileCompacting(t *testing.T) {
	_, undoSmall := boltstore.SmallTransactions()
	defer undoSmall()
	path, store := wasteful(t)
	index, term := uint64(1500), uint64(3)
	batches := 0
	change := func(name string) {
		if name != "batch" && name != "copied" {
			return
		}
		if batches++; batches > 60 {
			return // the last part runs under the store's lock
		}
		if batches%7 == 0 {
			index -= 300
			term++
		}
		require.NoError(t, store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: term}, Entries: run(index+1, index+40, term)}))
		index += 40
	}
	// Count the batches of the part without the lock first.
	free := 0
	undo := boltstore.OnStage(func(name string) {
		if name == "batch" {
			free++
		}
	})
	require.NoError(t, store.Compact())
	undo()
	require.Greater(t, free, 10)
	undo = boltstore.OnStage(func(name string) {
		if batches < free/2 {
			change(name)
		}
	})
	require.NoError(t, store.Compact())
	undo()
	want := mustRead(t, store)
	require.Equal(t, index, want.Entries[len(want.Entries)-1].Index)
	require.Equal(t, term, want.Entries[len(want.Entries)-1].Term)
	require.NoError(t, store.Close())
	require.True(t, mustRead(t, open(t, path)).equal(want))
}

// A snapshot of the leader that arrives during a compaction ends the compaction.
// The store keeps the old file.
func TestCompactionOvertaken(t *testing.T) {
	path, store := wasteful(t)
	received := false
	defer boltstore.OnStage(func(string) {
		if received {
			return
		}
		received = true
		require.NoError(t, store.Save(raft.Update{Snapshot: &core.Snapshot{LastIncludedIndex: 9000, LastIncludedTerm: 3, Data: []byte("new")}}))
	})()
	require.ErrorContains(t, store.Compact(), "received snapshot")
	require.EqualValues(t, 9000, mustRead(t, store).Snapshot.LastIncludedIndex)
	require.NoError(t, store.Compact())
	require.NoError(t, store.Save(raft.Update{Entries: run(9001, 9001, 3)}))
	require.NoError(t, store.Close())
	require.Len(t, mustRead(t, open(t, path)).Entries, 1)
}

// A compaction that fails leaves the store as it was.
func TestCompactionFails(t *testing.T) {
	path, store := wasteful(t)
	require.NoError(t, os.MkdirAll(filepath.Join(path+".compact", "in the way"), 0o700))
	require.Error(t, store.Compact())
	require.NoError(t, store.Save(raft.Update{Entries: run(1501, 1501, 3)}))
}

// A file that is large and mostly free is compacted after a snapshot and at the
// opening; one that is full is not.
func TestAutomaticCompaction(t *testing.T) {
	path, store := wasteful(t)
	require.NoError(t, store.Close())
	reopened := func(least int64) *boltstore.Store {
		store, err := boltstore.Open(path, own, boltstore.Options{CompactBytes: least})
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		return store
	}
	store = reopened(0)
	require.Greater(t, store.FileBytes(), int64(10_000_000), "below the default")
	require.NoError(t, store.Close())
	store = reopened(1 << 20)
	require.Less(t, store.FileBytes(), int64(1_000_000), "at the opening")

	large := bytes.Repeat([]byte("large"), 1<<20)
	require.NoError(t, store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 900, LastIncludedTerm: 3, Data: large}))
	require.Greater(t, store.FileBytes(), int64(len(large)), "a file that is full")
	require.NoError(t, store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 1000, LastIncludedTerm: 3, Data: large[:10]}))
	require.Less(t, store.FileBytes(), int64(1_000_000), "after a snapshot")
}

// Saving, taking snapshots, reading and compacting at the same time.
func TestCompactConcurrently(t *testing.T) {
	path, store := wasteful(t)
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for i := uint64(1501); i <= 1600; i++ {
			if err := store.Save(raft.Update{Entries: run(i, i, 3)}); err != nil {
				t.Errorf("Save: %v", err)
				return
			}
			if i%25 == 0 {
				if err := store.SaveSnapshot(core.Snapshot{LastIncludedIndex: i - 10, LastIncludedTerm: 3, Data: make([]byte, 1<<19)}); err != nil {
					t.Errorf("SaveSnapshot: %v", err)
				}
			}
		}
	})
	for _, use := range []func() error{
		store.Compact,
		func() error { _, err := read(store); return err },
		func() error { store.StateSize(); store.FileBytes(); return store.Check() },
	} {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := use(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	want := mustRead(t, store)
	require.NoError(t, store.Close())
	require.True(t, mustRead(t, open(t, path)).equal(want))
	require.EqualValues(t, 1600, want.Entries[len(want.Entries)-1].Index)
}

// A copy for another replica has the content, its own identity, and no vote left
// in the terms in which the lost file may have voted.
func TestCopy(t *testing.T) {
	path, store := wasteful(t)
	other := own
	other.Replica = 3
	to := filepath.Join(filepath.Dir(path), "copy.bolt")
	require.NoError(t, store.Copy(to, other, 9, 77))
	require.Error(t, store.Copy(to, boltstore.Identity{}, 9, 77))
	_, err := boltstore.Open(to, own, boltstore.Options{})
	require.ErrorIs(t, err, boltstore.ErrIdentity)
	copied, err := boltstore.Open(to, other, boltstore.Options{})
	require.NoError(t, err)
	defer copied.Close()
	want, got := mustRead(t, store), mustRead(t, copied)
	require.Equal(t, core.HardState{CurrentTerm: 9, VotedFor: 3}, got.HardState)
	require.EqualValues(t, 77, copied.Sequence())
	got.HardState = want.HardState
	require.True(t, got.equal(want))
}
