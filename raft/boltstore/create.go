//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"raftlab/internal/durable"
)

// link makes a second name for a file. Tests replace it.
var link = os.Link

const newSuffix = ".new"

// Create makes the file of a host that has never run, for the identity and the
// part of opts. After a crash the whole file exists, or none. Create leaves an
// existing file alone, and the error then matches fs.ErrExist.
func Create(path string, opts Options) error {
	err := opts.validate()
	if err == nil {
		err = create(path, opts.identity())
	}
	if err != nil {
		return fmt.Errorf("boltstore: creating %s: %w", path, err)
	}
	return nil
}

func create(path string, id identityRecord) error {
	temporary := path + newSuffix
	if info, err := os.Lstat(path); err == nil {
		// An empty file beside a temporary one is the claim of an interrupted Create.
		if _, err := os.Lstat(temporary); err != nil || info.Size() > 0 {
			return fs.ErrExist
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := initialize(temporary, id); err != nil {
		return err
	}
	// A link, unlike a renaming, fails if the path has been taken meanwhile.
	err := link(temporary, path)
	if err == nil {
		return errors.Join(os.Remove(temporary), durable.SyncDir(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		err = claim(path) // some file systems have no links
		if err == nil {
			return durable.Replace(temporary, path)
		}
	}
	return errors.Join(err, os.Remove(temporary))
}

// claim takes a path by an empty file, which fails if the path is taken.
func claim(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// initialize writes an empty store, over the remains of an interrupted Create.
func initialize(path string, id identityRecord) error {
	if err := removeIfExists(path); err != nil {
		return err
	}
	db, err := newDatabase(path)
	if err != nil {
		return err
	}
	err = db.update(usesReserve, func(tx *bbolt.Tx) error {
		if err := createBuckets(tx); err != nil {
			return err
		}
		return errors.Join(putState(tx, identityKey, id), putState(tx, stateKey, stateRecord{Transaction: uint64(tx.ID())}))
	})
	return errors.Join(err, db.syncWhole(), db.close())
}

func createBuckets(tx *bbolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// newDatabase makes a database without content. Nothing of the database is durable
// before syncWhole.
func newDatabase(path string) (*database, error) {
	var opts Options
	opts.setDefaults()
	db, err := openDatabase(path, opts.bolt(false))
	if err != nil {
		return nil, err
	}
	db.unsynced = true
	return db, nil
}

// syncWhole makes a new database durable.
func (d *database) syncWhole() error {
	d.unsynced = false
	number, err := d.newest()
	return errors.Join(err, d.file.Sync(), d.syncAndMark(number))
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
