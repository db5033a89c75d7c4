//go:build unix

package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// inUse reports whether a member runs on a data directory. The file of the lock stays as
// it is.
func inUse(dir string) (bool, error) {
	f, err := lock(dir, syscall.LOCK_SH)
	if errors.Is(err, ErrInUse) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// lockDirectory keeps members away from a data directory until the file is closed.
func lockDirectory(dir string) (*os.File, error) { return lock(dir, syscall.LOCK_EX) }

// lock locks the log of a data directory, as package raft/wal does.
func lock(dir string, how int) (*os.File, error) {
	m, err := Read(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(m.LogPath(dir), "LOCK"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f, nil
}
