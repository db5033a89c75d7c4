//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// wasteful makes a store whose file is mostly free pages.
func wasteful(t *testing.T) (string, *boltstore.Store) {
	path := create(t)
	store := reopen(t, path, -1)
	large := make([]core.Entry, 100)
	for i := range large {
		large[i] = core.Entry{Index: uint64(i) + 1, Term: 1, Data: make([]byte, 100_000)}
	}
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 3, VotedFor: 2}, Entries: large},
		node.Update{Group: 2, Entries: run(1, 30, 1)})
	snapshot(t, store, 1, 100, 1, bytes.Repeat([]byte("state"), 5000))
	save(t, store, node.Update{Group: 1, Entries: run(101, 1500, 3)})
	store.Settle()
	return path, store
}

// reopen opens a file with a least size for compactions.
func reopen(t *testing.T, path string, least int64) *boltstore.Store {
	t.Helper()
	opts := ownOptions()
	opts.CompactBytes, opts.Timeout = least, 1
	store, err := boltstore.Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}

func TestCompact(t *testing.T) {
	path, store := wasteful(t)
	before, size := digest(t, store), store.FileBytes()
	require.Greater(t, size, int64(10_000_000))
	require.NoError(t, store.Compact())
	require.Less(t, store.FileBytes(), int64(1_000_000))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), store.FileBytes())
	require.Equal(t, before, digest(t, store))

	// The store goes on in the new file, which is locked as the old one was.
	require.NoError(t, store.Save([]node.Update{{Group: 1, Entries: run(1501, 1600, 3)}}))
	_, err = boltstore.Open(path, boltstore.Options{Identity: own, Part: ownOptions().Part, Timeout: 1})
	require.ErrorIs(t, err, node.ErrInUse)
	require.NoError(t, store.Compact())
	after := digest(t, store)
	require.NoError(t, store.Close())
	require.ErrorIs(t, store.Compact(), node.ErrStorageClosed)
	store = open(t, path)
	require.Equal(t, after, digest(t, store))
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// A crash at any stage leaves a file with the same content, and the next opening
// leaves no other file.
func TestCrashWhileCompacting(t *testing.T) {
	undoSmall := boltstore.SmallTransactions()
	defer undoSmall()
	path, store := wasteful(t)
	want := digest(t, store)
	var images []string
	stages := map[string]int{}
	cut := func(name string) {
		stages[name]++
		images = append(images, copyDir(t, filepath.Dir(path)))
	}
	undo := boltstore.OnStage(cut)
	require.NoError(t, store.Compact())
	undo()
	for _, name := range []string{"copied", "synced", "renamed", "replaced"} {
		require.Equal(t, 1, stages[name], name)
	}
	require.Greater(t, stages["batch"], 20)
	for i, dir := range images {
		image := filepath.Join(dir, filepath.Base(path))
		store, err := boltstore.Open(image, ownOptions())
		require.NoError(t, err, "image %d of %d", i+1, len(images))
		require.Equal(t, want, digest(t, store), "image %d of %d", i+1, len(images))
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

// Changes during a compaction are in the new file: saves, truncations, snapshots
// half written and named, removed and new groups.
func TestChangesWhileCompacting(t *testing.T) {
	defer boltstore.SmallTransactions()()
	path, store := wasteful(t)
	index, term := uint64(1500), uint64(3)
	unfinished, err := store.CreateSnapshot(2, node.SnapshotHeader{Index: 20, Term: 1})
	require.NoError(t, err)
	part := bytes.Repeat([]byte("part"), 9000)
	parts := 0
	writePart := func() {
		_, err := unfinished.Write(part)
		require.NoError(t, err)
		parts++
	}
	writePart()
	changes := 0
	change := func() {
		switch changes++; changes % 7 {
		case 0:
			index, term = index-5, term+1
		case 1:
			if changes == 29 { // a snapshot of the leader
				index, term = index+1000, term+1
				snapshot(t, store, 1, index, term, nil)
			}
		case 2:
			state, err := store.Load(1)
			require.NoError(t, err)
			at, _ := state.Term(index - 10)
			snapshot(t, store, 1, index-10, at, bytes.Repeat([]byte{byte(changes)}, 40_000))
		case 3:
			id := node.GroupID(10 + changes/7)
			save(t, store, node.Update{Group: id, Entries: run(1, 50, 1)})
			require.NoError(t, store.Remove(id-2))
		case 4:
			writePart()
		}
		save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: term}, Entries: run(index+1, index+40, term)})
		index += 40
	}
	copied := false
	defer boltstore.OnStage(func(name string) {
		if copied = copied || name == "copied"; !copied && changes < 60 {
			change() // later parts run under the store's lock
		}
	})()
	require.NoError(t, store.Compact())
	require.Equal(t, 60, changes)
	check := func() {
		want := digest(t, store)
		require.Contains(t, want, fmt.Sprintf("LastIndex:%d", index))
		again, err := boltstore.Open(copyOf(t, store, path), ownOptions())
		require.NoError(t, err)
		require.Equal(t, want, digest(t, again))
		require.NoError(t, again.Close())
	}
	check()
	writePart()
	header, err := unfinished.Commit()
	require.NoError(t, err)
	save(t, store, node.Update{Group: 2, Snapshot: &header})
	require.Equal(t, bytes.Repeat(part, parts), body(t, store, 2))
	check()
	requireClean(t, store, path)
}

// The body of an open reader is in the new file, also if a newer snapshot has
// replaced the body.
func TestReaderDuringCompaction(t *testing.T) {
	path, store := wasteful(t)
	reader, err := store.OpenSnapshot(1)
	require.NoError(t, err)
	snapshot(t, store, 1, 200, 3, []byte("newer"))
	require.NoError(t, store.Compact())
	data := make([]byte, 25000)
	_, err = reader.ReadAt(data, 0)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("state"), 5000), data)
	require.NoError(t, reader.Close())
	requireClean(t, store, path)
}

// A compaction that fails leaves the store as it was.
func TestCompactionFails(t *testing.T) {
	path, store := wasteful(t)
	require.NoError(t, os.MkdirAll(filepath.Join(path+".compact", "in the way"), 0o700))
	require.Error(t, store.Compact())
	require.NoError(t, store.Save([]node.Update{{Group: 1, Entries: run(1501, 1501, 3)}}))
}

// A file that is large and mostly free is compacted after a snapshot and at the
// opening; one that is full is not.
func TestAutomaticCompaction(t *testing.T) {
	path, store := wasteful(t)
	require.NoError(t, store.Close())
	store = reopen(t, path, 0)
	store.Settle()
	require.Greater(t, store.FileBytes(), int64(10_000_000), "below the default")
	require.NoError(t, store.Close())
	store = reopen(t, path, 1<<20)
	store.Settle()
	require.Less(t, store.FileBytes(), int64(1_000_000), "at the opening")

	large := bytes.Repeat([]byte("large"), 1<<20)
	snapshot(t, store, 1, 900, 3, large)
	store.Settle()
	require.Greater(t, store.FileBytes(), int64(len(large)), "a file that is full")
	snapshot(t, store, 1, 1000, 3, large[:10])
	store.Settle()
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
			if err := store.Save([]node.Update{{Group: 1, Entries: run(i, i, 3)}}); err != nil {
				t.Errorf("Save: %v", err)
				return
			}
			if i%25 == 0 {
				if err := trySnapshot(store, i-10, make([]byte, 1<<19)); err != nil {
					t.Errorf("snapshot: %v", err)
				}
			}
		}
	})
	for _, use := range []func() error{
		store.Compact,
		func() error { _, err := store.Load(1); return err },
		func() error { return readSnapshot(store) },
		func() error { store.Usage(); return store.Check() },
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
				time.Sleep(time.Millisecond) // the saves wait for the disk, and more turns show nothing new
			}
		})
	}
	all.Wait()
	want := digest(t, store)
	requireClean(t, store, path)
	require.Equal(t, want, digest(t, open(t, path)))
	require.Contains(t, want, "LastIndex:1600")
}

// trySnapshot is snapshot for another goroutine than the test's.
func trySnapshot(store node.Storage, index uint64, data []byte) error {
	w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: index, Term: 3})
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	header, err := w.Commit()
	if err != nil {
		return err
	}
	return store.Save([]node.Update{{Group: 1, Snapshot: &header, CompactTo: index}})
}

func readSnapshot(store node.Storage) error {
	r, err := store.OpenSnapshot(1)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, int64(r.Header().Size)))
	return errors.Join(err, r.Close())
}

// A copy for another host has the content, its own identity, and no vote left in
// the terms in which the lost file may have voted.
func TestCopy(t *testing.T) {
	path, store := wasteful(t)
	save(t, store, node.Update{Group: 2, HardState: &core.HardState{CurrentTerm: 20, VotedFor: 4}})
	other := node.Identity{Cluster: own.Cluster, Host: 3}
	to := filepath.Join(filepath.Dir(path), "copy.bolt")
	copyTo := boltstore.CopyOptions{Identity: other, Part: "another", Terms: map[node.GroupID]uint64{1: 9, 2: 8}, Sequence: 77}
	require.NoError(t, store.Copy(to, copyTo))
	require.Error(t, store.Copy(to, boltstore.CopyOptions{}))
	_, err := boltstore.Open(to, ownOptions())
	require.ErrorIs(t, err, node.ErrStranger)
	copied, err := boltstore.Open(to, boltstore.Options{Identity: other, Part: "another"})
	require.NoError(t, err)
	defer copied.Close()
	require.EqualValues(t, 77, copied.Sequence())
	for id, want := range map[node.GroupID]core.HardState{1: {CurrentTerm: 9, VotedFor: 3}, 2: {CurrentTerm: 20, VotedFor: 3}} {
		state, err := copied.Load(id)
		require.NoError(t, err)
		require.Equal(t, want, state.HardState)
	}
	restoreVotes(t, store, copied)
	require.Equal(t, digest(t, store), digest(t, copied))
}

// A file that is copied with plain reads, while the cleaner works, has pages of
// many transactions. Open refuses such a copy, or finds the whole content. A copy
// between two transactions of the cleaner is whole, and so is a copy by the store.
func TestPlainCopyOfFileInUse(t *testing.T) {
	defer boltstore.SmallTransactions()()
	path, store := wasteful(t)
	require.NoError(t, store.Compact()) // few free pages, so that transactions reuse them
	refused := 0
	for i := uint64(1); i <= 3; i++ {
		resume := store.PauseCleaner()
		snapshot(t, store, 1, 200*i, 3, bytes.Repeat([]byte{byte(i)}, 40_000))
		save(t, store, node.Update{Group: 1, CompactTo: 200 * i})
		want, file := digest(t, store), readFile(t, path)
		resume()
		again := open(t, copyOf(t, store, path))
		require.Equal(t, want, digest(t, again))
		store.Settle()
		require.Equal(t, want, digest(t, store))

		mixed := filepath.Join(t.TempDir(), "mixed")
		metas := 2 * os.Getpagesize()
		require.NoError(t, os.WriteFile(mixed, append(file[:metas:metas], readFile(t, path)[metas:]...), 0o600))
		if again, err := boltstore.Open(mixed, ownOptions()); err != nil {
			require.ErrorIs(t, err, node.ErrDamaged)
			refused++
		} else {
			require.Equal(t, want, digest(t, again))
			require.NoError(t, again.Close())
		}

		whole := filepath.Join(t.TempDir(), "whole")
		require.NoError(t, store.Copy(whole, boltstore.CopyOptions{Identity: own, Part: store.Part(), Sequence: store.Sequence()}))
		again = open(t, whole)
		restoreVotes(t, store, again)
		require.Equal(t, want, digest(t, again))
	}
	require.Positive(t, refused)
}

// restoreVotes gives the groups of a copy the hard states of the store.
func restoreVotes(t *testing.T, store, copied *boltstore.Store) {
	t.Helper()
	for _, id := range []node.GroupID{1, 2} {
		state, err := store.Load(id)
		require.NoError(t, err)
		save(t, copied, node.Update{Group: id, HardState: &state.HardState})
	}
}
