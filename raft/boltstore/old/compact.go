//go:build !wasip1

package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"

	"raftlab/internal/durable"
)

const compactSuffix = ".compact"

// errOvertaken reports a snapshot of the leader that has replaced the content
// during the copying.
var errOvertaken = errors.New("a received snapshot has replaced the content meanwhile")

// stage, if set, is called after each stage of a rewriting. For tests.
var stage func(name string)

func reached(name string) {
	if stage != nil {
		stage(name)
	}
}

// Compact replaces the file by one without free pages. Saves go on meanwhile, and
// wait only for the copying of the records saved meanwhile. A crash at any moment
// leaves the old file or the new one, with equal content.
func (s *Store) Compact() error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	return s.compact()
}

func (s *Store) compact() error {
	if err := s.Check(); err != nil {
		return err
	}
	before := s.FileBytes()
	temporary := s.path + compactSuffix
	err := s.rewrite(temporary, func(*change) error { return nil }, func(db *database) error {
		return s.replace(db, temporary)
	})
	if err != nil {
		return s.wrap("compacting", err)
	}
	s.log.Info("data file compacted", "before", before, "after", s.FileBytes())
	return nil
}

// FileBytes returns the size of the file.
func (s *Store) FileBytes() int64 {
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	return s.db.size.Load()
}

// compactIfWasteful compacts a file much larger than its content. Without room for
// a second file the store goes on with the first.
func (s *Store) compactIfWasteful() {
	least, size := s.opts.CompactBytes, s.FileBytes()
	if least < 0 || size < least || size/4 < s.size.Load()+s.snapshotSize.Load() {
		return
	}
	if err := s.compact(); err != nil {
		s.log.Warn("the data file cannot be compacted", "error", err)
	}
}

// replace puts db, whose file is at temporary, in the place of the store's
// database. The caller holds replacing.
func (s *Store) replace(db *database, temporary string) error {
	if err := s.db.intact(); err != nil {
		return err // closed, or replaced by somebody else
	}
	if err := os.Rename(temporary, s.path); err != nil {
		return err
	}
	reached("renamed")
	old := s.db
	s.db, db.path = db, s.path
	err := durable.SyncDir(filepath.Dir(s.path))
	if err != nil {
		// A crash could bring the old file back, without the updates from now on.
		s.failure.CompareAndSwap(nil, &err)
	}
	reached("replaced")
	return errors.Join(err, old.close())
}

// Copy writes the content of the store to a new file at path, for another replica
// with a lost file. Saves go on meanwhile.
//
// The copy votes for no other candidate up to term, because the lost file may have
// voted. The copy's Sequence is sequence. The caller chooses a value above all
// recorded sequences of the replica.
func (s *Store) Copy(path string, id Identity, term, sequence uint64) error {
	err := id.validate()
	if err == nil {
		s.writing <- struct{}{}
		defer func() { <-s.writing }()
		err = s.rewrite(path, func(c *change) error {
			c.head.CurrentTerm = max(c.head.CurrentTerm, term)
			c.head.VotedFor = uint64(id.Replica) // no other candidate gets a vote in that term
			c.head.Sequence = sequence
			return putRecord(c.tx, identityKey, id)
		}, (*database).close)
	}
	if err != nil {
		return fmt.Errorf("boltstore: copying %s to %s: %w", s.path, path, err)
	}
	return nil
}

// rewriting tracks changes of the log while rewrite copies the log.
type rewriting struct {
	mu    sync.Mutex
	first uint64 // the lowest changed index
}

func (r *rewriting) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first = noIndex
}

func (r *rewriting) touched(first uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first = min(r.first, first)
}

// rewrite copies the content to a new file at path. At the end edit changes the
// copy's records, and done receives the synced copy while no transaction runs.
// After an error rewrite removes the copy. The caller holds writing.
func (s *Store) rewrite(path string, edit func(*change) error, done func(*database) error) (err error) {
	defer contain(&err)()
	if err := removeIfExists(path); err != nil {
		return err
	}
	db, err := newDatabase(path)
	if err != nil {
		return err
	}
	finished := false
	defer func() {
		if !finished {
			err = errors.Join(err, db.close(), removeIfExists(path))
		}
	}()
	s.rewriting.begin()
	h, err := s.copyContent(db)
	if err != nil {
		return err
	}
	reached("copied")
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if err := s.copyRest(db, h, edit); err != nil {
		return err
	}
	reached("synced")
	if err := done(db); err != nil {
		finished = s.db == db // too late to go back
		return err
	}
	finished = true
	return nil
}

// copyContent copies the snapshot and the log while transactions go on, and
// returns the head at the beginning.
func (s *Store) copyContent(db *database) (h head, err error) {
	view := func(read func(*bbolt.Tx) error) error { return s.view("reading", read) }
	err = view(func(tx *bbolt.Tx) error {
		h, err = readHead(tx)
		return err
	})
	if err != nil {
		return h, err
	}
	db.NoSync = true
	defer func() { db.NoSync = false }()
	snap := h.Snapshot.Index
	err = copyRecords(view, db, chunkBucket, chunkKey(snap, 0), chunkKey(snap+1, 0))
	if err == nil {
		err = copyRecords(view, db, logBucket, indexKey(snap+1), indexKey(h.LastIndex+1))
	}
	return h, errors.Join(err, db.file.Sync())
}

// copyRest completes a copy of the content at h. The caller holds replacing.
func (s *Store) copyRest(db *database, h head, edit func(*change) error) error {
	var now head
	var peers []uint64
	err := s.db.view(func(tx *bbolt.Tx) (err error) {
		if now, err = readHead(tx); err == nil {
			peers, err = readPeers(tx)
		}
		return err
	})
	if err == nil && now.Snapshot != h.Snapshot {
		err = errOvertaken
	}
	if err != nil {
		return err
	}
	first := max(min(s.rewriting.first, h.LastIndex+1), h.Snapshot.Index+1)
	if err := deleteFrom(db, logBucket, indexKey(first)); err != nil {
		return err
	}
	if err := copyRecords(s.db.view, db, logBucket, indexKey(first), indexKey(now.LastIndex+1)); err != nil {
		return err
	}
	err = db.update(func(tx *bbolt.Tx) error {
		c := &change{tx: tx, head: now}
		if err := errors.Join(putRecord(tx, identityKey, s.identity), putRecord(tx, peersKey, peers)); err != nil {
			return err
		}
		if err := edit(c); err != nil {
			return err
		}
		return putRecord(tx, headKey, &c.head)
	})
	return errors.Join(err, db.file.Sync())
}

// copyBatch bounds the bytes of keys and values that one transaction copies.
var copyBatch = 1 << 20

// copyRecords copies the values of a bucket from the key first on and before end.
func copyRecords(view func(func(*bbolt.Tx) error) error, db *database, bucket, first, end []byte) error {
	for first != nil {
		var keys, values [][]byte
		next := []byte(nil)
		err := view(func(tx *bbolt.Tx) error {
			size := 0
			cursor := tx.Bucket(bucket).Cursor()
			for k, v := cursor.Seek(first); k != nil && bytes.Compare(k, end) < 0; k, v = cursor.Next() {
				if size >= copyBatch {
					next = bytes.Clone(k)
					return nil
				}
				keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
				size += len(k) + len(v)
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = db.update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			b.FillPercent = logFill
			for i, k := range keys {
				if err := b.Put(k, values[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		reached("batch")
		first = next
	}
	return nil
}

// deleteFrom deletes the values of a bucket from the key first on.
func deleteFrom(db *database, bucket, first []byte) error {
	return db.update(func(tx *bbolt.Tx) error {
		for _, k := range keysBetween(tx.Bucket(bucket), first, nil, math.MaxInt) {
			if err := tx.Bucket(bucket).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}
