//go:build unix

package wal_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// openFiles counts the file descriptors of the process.
func openFiles(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("counts file descriptors in /proc")
	}
	names, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(names)
}

// A log of any length has a few files open, and none after Close.
func TestFileDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	opts := smallSegments
	require.NoError(t, wal.Create(dir, opts))
	before := openFiles(t)
	store, err := wal.Open(dir, opts)
	require.NoError(t, err)
	for range 60 {
		require.NoError(t, put(store, 1, 8000))
	}
	header, err := writeSnapshot(store, 1, node.SnapshotHeader{Index: 5, Term: 1}, make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, store.Save([]node.Update{{Group: 1, Snapshot: &header}}))
	for range 100 {
		_, err := store.Entries(1, 1, 60, 1<<20)
		require.NoError(t, err)
		r, err := store.OpenSnapshot(1)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	require.LessOrEqual(t, openFiles(t), before+6) // the lock, the segment, and the janitor's
	require.NoError(t, store.Close())
	require.LessOrEqual(t, openFiles(t), before+1) // the runtime may have opened its poller

	other := opts
	other.Identity.Host = 2
	for range 20 {
		_, err := wal.Open(dir, other)
		require.ErrorIs(t, err, node.ErrStranger)
	}
	require.LessOrEqual(t, openFiles(t), before+1, "a refused Open leaves no file open")
}

func TestTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "log") // parents are made too
	require.NoError(t, wal.Create(dir, smallSegments))
	require.ErrorIs(t, wal.Create(dir, smallSegments), fs.ErrExist)
	store := open(t, dir, smallSegments)
	_, err := wal.Open(dir, smallSegments)
	require.ErrorIs(t, err, node.ErrInUse)
	require.ErrorIs(t, wal.Create(dir, smallSegments), node.ErrInUse)
	require.NoError(t, store.Close())
	open(t, dir, smallSegments)
	_, err = wal.Open(filepath.Join(dir, "no such"), smallSegments)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = wal.Open(filepath.Join(dir, "LOCK"), smallSegments)
	require.Error(t, err, "a file is no directory")
	_, err = wal.Open(t.TempDir(), smallSegments)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A directory that cannot be written is refused with the cause, and is left as it was.
func TestReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("the superuser may write anywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	require.ErrorIs(t, wal.Create(dir, smallSegments), fs.ErrPermission)
}

// A long log and many groups cost little memory.
func TestMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	opts := wal.Options{Identity: smallSegments.Identity, SegmentBytes: 4 << 20}
	require.NoError(t, wal.Create(dir, opts))
	store := open(t, dir, opts)
	data := make([]byte, 100)
	next := uint64(1)
	for range 200 { // 200,000 entries, 22 MB
		u := node.Update{Group: 1}
		for range 1000 {
			u.Entries = append(u.Entries, core.Entry{Index: next, Term: 1, Data: data})
			next++
		}
		require.NoError(t, store.Save([]node.Update{u}))
	}
	var updates []node.Update
	for id := node.GroupID(2); id < 1002; id++ {
		updates = append(updates, node.Update{
			Group: id, HardState: &core.HardState{CurrentTerm: 1}, Entries: []core.Entry{{Index: 1, Term: 1, Data: data}},
		})
	}
	require.NoError(t, store.Save(updates))
	require.NoError(t, store.Close())
	clear(updates)
	before := heap()
	store = open(t, dir, opts)
	used := heap() - before
	t.Logf("an open log of 200,000 entries and 1,001 groups takes %d KiB", used>>10)
	require.Less(t, used, int64(2<<20))
	state, err := store.Load(1)
	require.NoError(t, err)
	require.Equal(t, next-1, state.LastIndex, fmt.Sprint(len(updates)))
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A log of another version is refused by both versions, and is not called damaged.
func TestOtherVersions(t *testing.T) {
	for _, name := range []string{"LOCK", "0000000000000001.wal"} {
		dir := filepath.Join(t.TempDir(), "log")
		require.NoError(t, wal.Create(dir, smallSegments))
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		length := binary.LittleEndian.Uint32(data)
		data[9] = 7 // the version, behind the length, the checksum and the array's byte
		binary.LittleEndian.PutUint32(data[4:], crc32.Checksum(data[8:8+length], crc32.MakeTable(crc32.Castagnoli)))
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err = wal.Open(dir, smallSegments)
		require.ErrorIs(t, err, wal.ErrFormat, name)
		require.NotErrorIs(t, err, node.ErrDamaged, name)
		require.ErrorContains(t, err, "version 7; this version of raftlab reads version 1", name)
	}
}
