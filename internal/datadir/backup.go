package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"raftlab/internal/durable"
	"raftlab/internal/etcdapi"
	"raftlab/mvcc"
)

// BackupReport describes a backup.
type BackupReport struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"` // at the end of the file
	Revision int64  `json:"revision"`
	Keys     int    `json:"keys"`
	Leases   int    `json:"leases"`

	view *mvcc.View
}

// View returns the store in the backup.
func (r *BackupReport) View() *mvcc.View { return r.view }

// Backup writes the state in the data directory of a stopped member. The backup has all
// entries of the log, with the uncommitted ones. The error
// matches [ErrInUse] if the member runs. See [WriteBackup] for the file.
func Backup(dir, path string, replace bool) (*BackupReport, error) {
	held, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	c, err := withoutGroups(dir, "backup")
	if err != nil {
		return nil, err
	}
	return WriteBackup(path, replace, c.machine.WriteBackup)
}

// WriteBackup puts a backup in place at path. write writes the content. WriteBackup
// makes the content durable, reads the file again, and compares all checksums, before the
// file gets its name. If a file is there already, and replace is not set, the error
// matches fs.ErrExist and the file stays.
func WriteBackup(path string, replace bool, write func(io.Writer) error) (_ *BackupReport, err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return nil, &os.PathError{Op: "writing the backup", Path: path, Err: fs.ErrExist}
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.unfinished")
	if err != nil {
		return nil, err
	}
	temporary := file.Name()
	defer func() {
		file.Close() // closed already, if all went well
		if e := os.Remove(temporary); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	out := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(write(out), out.Flush()); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	r, err := describe(file)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	r.File = path
	return r, place(temporary, path, replace)
}

// place gives a file its name.
func place(temporary, path string, replace bool) error {
	if replace {
		return durable.Replace(temporary, path)
	}
	err := os.Link(temporary, path) // fails if path is taken meanwhile
	switch {
	case err == nil:
		return durable.SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return durable.Replace(temporary, path) // the file system has no links
}

// describe reads a backup as a whole.
func describe(file *os.File) (*BackupReport, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	m, digest, err := etcdapi.ReadBackup(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	v := m.View()
	return &BackupReport{
		File: file.Name(), Bytes: info.Size(), SHA256: fmt.Sprintf("%x", digest),
		Revision: v.Revision(), Keys: v.Keys(), Leases: v.LeaseCount(),
		view: v,
	}, nil
}

// VerifyBackup checks a backup file as a whole.
func VerifyBackup(path string) (*BackupReport, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return describe(file)
}
