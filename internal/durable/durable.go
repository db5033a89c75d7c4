// Package durable puts files in place so that a crash leaves the old content or
// the new content, and nothing in between.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// SyncDir makes the names in a directory durable. A created, renamed or removed
// file is certain to stay so only after SyncDir.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile replaces the file at path by one with data. WriteFile writes a
// temporary file beside path first, so path never holds a part of data.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return Replace(temporary, path)
}

// Replace renames the file at from to path, and so replaces the file at path. The
// content of from must be synced before.
func Replace(from, path string) error {
	if err := os.Rename(from, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
