package simdisk_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// content returns a file's bytes, nil if there is no file.
func content(t *testing.T, d *simdisk.Disk, name string) []byte {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return nil
	}
	size, err := f.Size()
	require.NoError(t, err)
	data := make([]byte, size)
	_, err = f.ReadAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return data
}

// newFile makes a file of 4 KiB of ones, durable with its name, on which 4 KiB of twos
// are written.
func newFile(t *testing.T) (*simdisk.Disk, wal.File) {
	t.Helper()
	d := simdisk.New()
	f, err := d.Create("file")
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{1}, 4096), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, d.Sync())
	_, err = f.WriteAt(bytes.Repeat([]byte{2}, 4096), 0)
	require.NoError(t, err)
	return d, f
}

func TestFates(t *testing.T) {
	r := testkit.Rand(t)
	seen := map[simdisk.Fate]map[int]bool{}
	for fate := simdisk.Keep; fate <= simdisk.Misdirect; fate++ {
		seen[fate] = map[int]bool{}
		for range 50 {
			d, f := newFile(t)
			data := content(t, d.Crash(simdisk.Loss{Writes: fate, Rand: r}), "file")
			_, err := f.WriteAt(data, 0)
			require.ErrorIs(t, err, simdisk.ErrCrashed)
			twos := 0
			for at := 0; at < 4096; at += 512 {
				sector := data[at : at+512]
				uniform := bytes.Count(sector, sector[:1]) == 512
				require.True(t, uniform || fate == simdisk.Garble, "a sector is whole")
				if uniform && sector[0] == 2 {
					require.True(t, fate != simdisk.Tear || twos == at/512, "a torn write ends once")
					twos++
				}
			}
			seen[fate][twos] = true
		}
	}
	require.Equal(t, map[int]bool{8: true}, seen[simdisk.Keep])
	require.Equal(t, map[int]bool{0: true}, seen[simdisk.Lose])
	for _, fate := range []simdisk.Fate{simdisk.Tear, simdisk.Scatter, simdisk.Garble, simdisk.Misdirect} {
		require.Greater(t, len(seen[fate]), 3, fate)
	}
}

func TestUnsynced(t *testing.T) {
	d, f := newFile(t)
	require.True(t, d.Unsynced(), "a write")
	require.NoError(t, f.Sync())
	require.False(t, d.Unsynced())
	require.NoError(t, d.Rename("file", "other"))
	require.True(t, d.Unsynced(), "a name")
	require.NoError(t, d.Sync())
	require.False(t, d.Unsynced())
}

func TestNames(t *testing.T) {
	lose := simdisk.Loss{Names: simdisk.Lose}
	d, f := newFile(t)
	require.NoError(t, f.Sync())
	require.NoError(t, d.Rename("file", "other"))
	require.NotNil(t, content(t, d, "other"))
	require.NotNil(t, content(t, d.Clone(lose), "file"), "the new name is not durable")
	require.NoError(t, d.Sync())
	require.Nil(t, content(t, d.Clone(lose), "file"))
	require.NoError(t, d.Remove("other"))
	require.ErrorIs(t, d.Remove("other"), fs.ErrNotExist)
	require.NotNil(t, content(t, d.Clone(lose), "other"))
	require.Nil(t, content(t, d.Clone(simdisk.Loss{}), "other"))
	_, err := f.ReadAt(make([]byte, 10), 0)
	require.NoError(t, err, "an open file outlives its name")
	_, err = d.Create("new")
	require.NoError(t, err)
	_, err = d.Create("new")
	require.ErrorIs(t, err, fs.ErrExist)
}

func TestFaults(t *testing.T) {
	d, f := newFile(t)
	d.SetCapacity(5000)
	_, err := f.WriteAt(make([]byte, 5001), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = f.WriteAt(make([]byte, 5000), 0)
	require.NoError(t, err)

	d.FailSync(syscall.EIO)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	d.FailSync(nil)
	require.NoError(t, f.Sync())
	require.Equal(t, bytes.Repeat([]byte{1}, 4096), content(t, d.Clone(simdisk.Loss{Writes: simdisk.Lose}), "file"), "lost by the failed sync")

	d.FailRead(func(string, int64, int) error { return syscall.EIO })
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, syscall.EIO)
	d.FailRead(nil)

	lock, err := d.Lock("lock")
	require.NoError(t, err)
	_, err = d.Lock("lock")
	require.ErrorIs(t, err, node.ErrInUse)
	require.NoError(t, lock.Close())
	_, err = d.Lock("lock")
	require.NoError(t, err)

	d.StopAfter(1)
	require.NoError(t, d.Sync())
	require.ErrorIs(t, d.Sync(), simdisk.ErrCrashed)
}

func TestHang(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		d, f := newFile(t)
		d.Hang()
		synced := make(chan error, 1)
		go func() { synced <- f.Sync() }()
		testkit.Never(t, 1e9, "a sync of a hanging disk", func() bool { return len(synced) > 0 })
		d.Resume()
		require.NoError(t, <-synced)
		d.Hang()
		go func() { synced <- f.Sync() }()
		d.Crash(simdisk.Loss{})
		require.ErrorIs(t, <-synced, simdisk.ErrCrashed)
	})
}

// A journal repeats a run on another disk.
func TestJournal(t *testing.T) {
	d := simdisk.New()
	d.Record()
	f, err := d.Create("a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, d.Rename("a", "b"))
	require.NoError(t, d.Sync())
	again := simdisk.New()
	for _, op := range d.Journal() {
		again.Apply(op)
	}
	require.Equal(t, []byte("text"), content(t, again.Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose}), "b"))
	require.Equal(t, "[create a write 4 bytes at 0 of a sync a rename a to b sync the directory]", fmt.Sprint(d.Journal()))
}

// A store on a disk that loses power after a Save, and what it has then.
func Example() {
	opts := wal.Options{Identity: node.Identity{Cluster: "test", Host: 1}}
	disk := simdisk.New()
	if err := wal.CreateIn(disk, opts); err != nil {
		fmt.Println(err)
	}
	store, err := wal.OpenIn(disk, opts)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println("saved:", store.Save([]node.Update{{Group: 7}}))
	disk = disk.Crash(simdisk.Loss{Writes: simdisk.Scatter, Names: simdisk.Tear, Rand: rand.New(rand.NewPCG(1, 2))})
	_ = store.Close() // fails: its disk is gone
	store, err = wal.OpenIn(disk, opts)
	if err != nil {
		fmt.Println(err)
	}
	groups, err := store.Groups()
	fmt.Println(groups, err, store.Close())
	// Output:
	// saved: <nil>
	// [7] <nil> <nil>
}
