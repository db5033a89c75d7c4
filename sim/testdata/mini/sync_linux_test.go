package mini

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestNamesByTheClock writes files in a row that are named by the millisecond, as
// snapshots often are.
func TestNamesByTheClock(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		f, err := os.OpenFile(fmt.Sprint(dir, "/", time.Now().UnixMilli()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// TestFileTimes expects files that the test writes to have the time of the last change.
func TestFileTimes(t *testing.T) {
	path := t.TempDir() + "/f"
	changed := func(change func(), look func() (os.FileInfo, error)) {
		t.Helper()
		time.Sleep(10 * time.Millisecond)
		first := time.Now().Add(-10 * time.Millisecond) // clocks of file systems are coarse
		change()
		last := time.Now()
		time.Sleep(10 * time.Millisecond)
		info, err := look()
		if err != nil {
			t.Fatal(err)
		}
		if at := info.ModTime(); at.Before(first) || at.After(last) {
			t.Errorf("the time of the change is %v, and not from %v to %v", at, first, last)
		}
	}
	stat := func() (os.FileInfo, error) { return os.Stat(path) }
	changed(func() { os.WriteFile(path, nil, 0o600) }, stat)
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	changed(func() { f.WriteString("text") }, stat)
	changed(func() { f.WriteAt([]byte("x"), 1) }, f.Stat)
	changed(func() { f.Truncate(2) }, stat)
	changed(func() { f.WriteString("text"); f.Close() }, stat)
	changed(func() {}, func() (os.FileInfo, error) {
		os.WriteFile(path, []byte("text"), 0o600)
		now := time.Now().Add(-15 * time.Millisecond)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
		return stat()
	})
}

// TestSyncErrors syncs what can be synced, and what cannot.
func TestSyncErrors(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closed, err := syscall.Dup(int(dir.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(closed)
	got := fmt.Sprint(dir.Sync(), errors.Is(pipe.Sync(), syscall.EINVAL), syscall.Fsync(closed) == syscall.EBADF, syscall.Fdatasync(int(dir.Fd())))
	if got != "<nil> true true <nil>" {
		t.Error(got)
	}
}
