//go:build linux

package world_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim/world"
)

func newDisk(t *testing.T) *world.Disk {
	d, err := world.NewDisk(t.TempDir())
	require.NoError(t, err)
	return d
}

func syncDir(t *testing.T, dir string) {
	f, err := os.Open(dir)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// TestSyncedIsSafe loses power after each write, synced or not.
func TestSyncedIsSafe(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	path := filepath.Join(d.Dir(), "log")
	f, err := os.Create(path)
	require.NoError(t, err)
	syncDir(t, d.Dir())
	var want []byte
	outcomes := map[string]bool{}
	for i := range 60 {
		safe := bytes.Repeat([]byte{byte('a' + i%26)}, 700)
		_, err = f.Write(safe)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		want = append(want, safe...)
		_, err = f.Write(bytes.Repeat([]byte{'.'}, 3000))
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("#"), 5)
		require.NoError(t, err)
		require.NoError(t, d.PowerLoss())
		_, err = f.Write(safe)
		require.ErrorIs(t, err, syscall.EIO)
		require.NoError(t, f.Close())

		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(got), len(want))
		outcomes[fmt.Sprint(got[5] == '#', len(got) == len(want), bytes.Count(got[len(want):], []byte("."))/512)] = true
		got[5] = want[5]
		require.Equal(t, string(want), string(got[:len(want)]))
		f, err = os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(int64(len(want))))
		_, err = f.WriteAt(want[5:6], 5)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		_, err = f.Seek(0, 2)
		require.NoError(t, err)
	}
	require.Greater(t, len(outcomes), 6, "%v", outcomes)
	fmt.Println(outcomes)
}

// TestNamesAreLost replaces a file in the right way and in wrong ways.
func TestNamesAreLost(t *testing.T) {
	inWorld(t)
	seen := map[string]bool{}
	for i := range 40 {
		d := newDisk(t)
		path, next := filepath.Join(d.Dir(), "f"), filepath.Join(d.Dir(), "f.new")
		require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
		f, err := os.Open(path)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		syncDir(t, d.Dir())
		g, err := os.Create(next)
		require.NoError(t, err)
		_, err = g.Write([]byte("new"))
		require.NoError(t, err)
		synced := i%2 == 0
		if synced {
			require.NoError(t, g.Sync())
		}
		require.NoError(t, g.Close())
		require.NoError(t, os.Rename(next, path))
		if i%4 == 0 {
			syncDir(t, d.Dir())
		}
		require.NoError(t, d.PowerLoss())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		left, _ := os.ReadFile(next)
		if i%4 == 0 {
			require.Equal(t, "new", string(got))
		}
		if synced {
			require.Contains(t, []string{"old", "new"}, string(got))
		}
		seen[fmt.Sprintf("%v %q %q", synced, got, left)] = true
	}
	require.True(t, seen[`true "old" ""`] && seen[`true "old" "new"`] && seen[`true "new" ""`], "%v", seen)
	require.True(t, seen[`false "" ""`] || seen[`false "\x00\x00\x00" ""`], "%v", seen)
}

// TestRemovedComesBack loses the removal of a file.
func TestRemovedComesBack(t *testing.T) {
	inWorld(t)
	back := 0
	for range 20 {
		d := newDisk(t)
		path := filepath.Join(d.Dir(), "f")
		f, err := os.Create(path)
		require.NoError(t, err)
		fmt.Fprint(f, "content")
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.NoError(t, os.Mkdir(filepath.Join(d.Dir(), "dir"), 0o700))
		syncDir(t, d.Dir())
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.Remove(filepath.Join(d.Dir(), "dir")))
		require.NoError(t, d.PowerLoss())
		if got, err := os.ReadFile(path); err == nil {
			require.Equal(t, "content", string(got))
			back++
		}
	}
	require.NotZero(t, back)
	require.Less(t, back, 20)
}

// TestPowerLossFreesLocks takes a lock again that the dead holder had.
func TestPowerLossFreesLocks(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	path := filepath.Join(d.Dir(), "lock")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	syncDir(t, d.Dir())
	lock := func() error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	require.NoError(t, lock())
	require.ErrorIs(t, lock(), syscall.EWOULDBLOCK)
	require.NoError(t, d.PowerLoss())
	require.NoError(t, lock())
}

// TestLockWaits waits for a lock without LOCK_NB.
func TestLockWaits(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	f, err := os.Create(filepath.Join(d.Dir(), "lock"))
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	began := time.Now()
	time.AfterFunc(3*time.Second, func() { f.Close() })
	g, err := os.Open(f.Name())
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, syscall.Flock(int(g.Fd()), syscall.LOCK_EX))
	require.InDelta(t, 3, time.Since(began).Seconds(), 0.1)
}

// TestRangeLockWaits waits in one process for a lock of another. The operand is on
// the waiting goroutine's stack, which may move.
func TestRangeLockWaits(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	path := filepath.Join(d.Dir(), "lock")
	var errs [2]error
	var waited time.Duration
	lock := func(i int, then func(f *os.File)) func() {
		return func() {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if errs[i] = err; err != nil {
				return
			}
			began := time.Now()
			l := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 10, Len: 5}
			if errs[i] = syscall.FcntlFlock(f.Fd(), syscall.F_SETLKW, &l); errs[i] == nil {
				waited = time.Since(began)
				then(f)
			}
		}
	}
	one, err := world.NewProcess("one", "10.0.9.5")
	require.NoError(t, err)
	require.NoError(t, one.Start(lock(0, func(*os.File) { time.Sleep(time.Hour) })))
	time.Sleep(time.Second)
	two, err := world.NewProcess("two", "10.0.9.6")
	require.NoError(t, err)
	require.NoError(t, two.Start(lock(1, func(f *os.File) { fmt.Fprint(f, "mine") })))
	time.AfterFunc(3*time.Second, one.Kill)
	<-two.Done()
	require.Equal(t, [2]error{}, errs)
	require.InDelta(t, 3, waited.Seconds(), 0.1)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(got))
}

// TestDiskFaults fills a disk, and lets it fail and take its time.
func TestDiskFaults(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	f, err := os.Create(filepath.Join(d.Dir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, d.SetFaults(world.DiskFaults{Full: true, Room: 1000}))
	_, err = f.Write(make([]byte, 900))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 200))
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = f.WriteAt(make([]byte, 900), 0)
	require.NoError(t, err)

	require.NoError(t, d.SetFaults(world.DiskFaults{SyncTime: 10 * time.Millisecond, SyncJitter: 5 * time.Millisecond}))
	began := time.Now()
	require.NoError(t, f.Sync())
	require.InDelta(t, 0.0125, time.Since(began).Seconds(), 0.0026)

	for fault, do := range map[world.DiskFaults]func() error{
		{WriteError: 1}: func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		{SyncError: 1}:  f.Sync,
		{ReadError: 1}:  func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
	} {
		require.NoError(t, d.SetFaults(fault))
		require.ErrorIs(t, do(), syscall.EIO)
		require.NoError(t, d.SetFaults(world.DiskFaults{}))
		require.NoError(t, do())
	}
	require.NoError(t, d.SetFaults(world.DiskFaults{Slow: 1, MaxSlow: time.Hour}))
	began = time.Now()
	require.NoError(t, f.Sync())
	require.Greater(t, time.Since(began), time.Second)
}

// TestDisksAreChecked expects errors for wrong arguments, outside of a world
// too.
func TestDisksAreChecked(t *testing.T) {
	_, err := world.NewDisk(filepath.Join(t.TempDir(), "nowhere"))
	require.ErrorIs(t, err, world.ErrInvalid)
	d := newDisk(t)
	require.ErrorIs(t, d.SetFaults(world.DiskFaults{WriteError: 2}), world.ErrInvalid)
	require.ErrorIs(t, d.SetFaults(world.DiskFaults{SyncTime: -1}), world.ErrInvalid)
	require.ErrorIs(t, d.SetFaults(world.DiskFaults{Room: -1}), world.ErrInvalid)
	if world.Active() {
		_, err := world.NewDisk(d.Dir())
		require.ErrorIs(t, err, world.ErrInvalid)
	}
	require.NoError(t, d.PowerLoss())
}
