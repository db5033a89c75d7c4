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
