//go:build unix

package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"raftlab/internal/durable"
	"raftlab/raft/node"
)

// osDirectory is a directory of the operating system.
type osDirectory struct{ path string }

// openDirectory returns a directory. With create, openDirectory also makes the
// directory and all parents that do not exist.
func openDirectory(path string, create bool) (Directory, error) {
	if create {
		if err := makeDirectory(path); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	return osDirectory{path}, nil
}

// makeDirectory makes a directory and syncs the parent, so that the name is
// durable.
func makeDirectory(path string) error {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	return osDirectory{filepath.Dir(path)}.Sync()
}

func (d osDirectory) Path() string { return d.path }

func (d osDirectory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osDirectory) open(name string, flags int) (*os.File, error) {
	return os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|flags, 0o600)
}

func (d osDirectory) Create(name string) (File, error) {
	f, err := d.open(name, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDirectory) Open(name string) (File, error) {
	f, err := d.open(name, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDirectory) Lock(name string) (File, error) {
	f, err := d.open(name, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return osFile{f}, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", f.Name(), node.ErrInUse)
	}
	return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
}

func (d osDirectory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d osDirectory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d osDirectory) Sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return durable.SyncData(f.File) }
