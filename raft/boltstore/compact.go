//go:build !wasip1

package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"raftlab/internal/durable"
	"raftlab/raft/node"
)

const compactSuffix = ".compact"

// stage, if set, is called after each stage of an opening or a rewriting. For tests.
var stage func(name string)

func reached(name string) {
	if stage != nil {
		stage(name)
	}
}

// Compact replaces the file by one without free pages. Saves go on meanwhile, and
// wait only for the copying of the last changes. A crash at any moment leaves the
// old file or the new one, with equal content.
func (s *Store) Compact() error {
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	if err := s.Check(); err != nil {
		return err
	}
	before := s.FileBytes()
	r := &rewriter{store: s, path: s.path + compactSuffix}
	err := r.run(s.opts.identity(), func(db *database) error { return s.replace(db, r) })
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

// LogBytes returns the size of the records of all logs, without bbolt's pages.
func (s *Store) LogBytes() int64 { return s.logBytes.Load() }

// compactIfWasteful compacts a file much larger than its content. Without room for
// a second file the store goes on with the first.
func (s *Store) compactIfWasteful() {
	least, size, usage := s.opts.CompactBytes, s.FileBytes(), s.Usage()
	if least < 0 || size < least || size/4 < s.logBytes.Load()+usage.Snapshots {
		return
	}
	if err := s.Compact(); err != nil && !errors.Is(err, node.ErrStorageClosed) {
		s.log.Warn("the data file cannot be compacted", "error", err)
	}
}

// replace puts the copy in the place of the store's database. The caller holds all
// locks but mu.
func (s *Store) replace(db *database, r *rewriter) error {
	if err := s.db.intact(); err != nil {
		return err // closed, or replaced by somebody else
	}
	if err := db.makeReserve(); err != nil {
		return err
	}
	if err := os.Rename(r.path, s.path); err != nil {
		return err
	}
	reached("renamed")
	old := s.db
	s.db, db.path = db, s.path
	s.logBytes.Store(r.logBytes)
	s.mu.Lock()
	s.state = r.state
	s.mu.Unlock()
	err := durable.SyncDir(filepath.Dir(s.path))
	if err != nil {
		// A crash could bring the old file back, without the updates from now on.
		s.failure.CompareAndSwap(nil, &err)
	}
	reached("replaced")
	return errors.Join(err, old.close())
}

// CopyOptions say what differs between a file and its copy.
type CopyOptions struct {
	// Identity and Part name the host of the copy.
	Identity node.Identity
	Part     string
	// Terms has the last term of each group in which the lost file may have voted.
	// The copy votes for no other candidate up to that term, nor up to the term of
	// the copied file.
	Terms map[node.GroupID]uint64
	// Sequence is the copy's [Store.Sequence]. The caller chooses a value above all
	// recorded sequences of the host.
	Sequence uint64
}

// Copy writes the content of the store to a new file at path, for another host
// with a lost file. Saves go on meanwhile.
func (s *Store) Copy(path string, opts CopyOptions) error {
	own := Options{Identity: opts.Identity, Part: opts.Part}
	err := own.validate()
	if err == nil {
		s.maintaining.Lock()
		defer s.maintaining.Unlock()
		r := &rewriter{store: s, path: path, copied: &opts}
		err = r.run(own.identity(), (*database).close)
	}
	if err != nil {
		return fmt.Errorf("boltstore: copying %s to %s: %w", s.path, path, err)
	}
	return nil
}

// rewriting tracks what has changed since a rewriter copied it.
type rewriting struct {
	active bool
	logs   map[node.GroupID]uint64 // the lowest changed index
	bodies map[uint64]uint32       // the lowest changed piece
}

func (r *rewriting) touched(logs map[node.GroupID]uint64, bodies map[uint64]uint32) {
	if !r.active {
		return
	}
	lower(r.logs, logs)
	lower(r.bodies, bodies)
}

// lower lowers the values of a map to those of another.
func lower[K comparable, V uint32 | uint64](m, by map[K]V) {
	for k, v := range by {
		if before, ok := m[k]; !ok || v < before {
			m[k] = v
		}
	}
}

// take returns the changes, and forgets them.
func (r *rewriting) take() (logs map[node.GroupID]uint64, bodies map[uint64]uint32) {
	logs, bodies = r.logs, r.bodies
	r.logs, r.bodies = make(map[node.GroupID]uint64), make(map[uint64]uint32)
	return logs, bodies
}

// rewriter copies the content of a store to a new file.
type rewriter struct {
	store    *Store
	path     string
	copied   *CopyOptions // nil for Compact
	db       *database    // the new file
	logBytes int64        // of the copy
	state    stateRecord  // of the copy
}

// freePasses is the number of passes without a lock. Each pass copies what has
// changed during the pass before.
const freePasses = 2

// run copies the content. At the end done receives the synced copy, while no
// transaction runs. After an error run removes the copy. The caller holds
// maintaining.
func (r *rewriter) run(id identityRecord, done func(*database) error) (err error) {
	defer contain(&err)()
	if err := removeIfExists(r.path); err != nil {
		return err
	}
	if r.db, err = newDatabase(r.path); err != nil {
		return err
	}
	finished := false
	defer func() {
		r.end()
		if !finished {
			err = errors.Join(err, r.db.close(), removeIfExists(r.path))
		}
	}()
	if err := r.begin(); err != nil {
		return err
	}
	for range freePasses {
		if err := r.pass(); err != nil {
			return err
		}
	}
	reached("copied")
	s := r.store
	s.writer.Lock()
	defer s.writer.Unlock()
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if err := r.last(id); err != nil {
		return err
	}
	reached("synced")
	if err := done(r.db); err != nil {
		finished = s.db == r.db // too late to go back
		return err
	}
	finished = true
	return nil
}

// begin makes the whole content a change that is to be copied.
func (r *rewriter) begin() error {
	s := r.store
	s.writer.Lock()
	defer s.writer.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.rewriting.active = true
	logs, bodies := s.rewriting.take()
	clear(logs)
	clear(bodies)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, g := range s.groups {
		s.rewriting.logs[id] = g.CompactedIndex + 1
	}
	for number := range s.bodies {
		s.rewriting.bodies[number] = 0
	}
	return r.db.update(usesReserve, createBuckets)
}

func (r *rewriter) end() {
	r.store.writer.Lock()
	defer r.store.writer.Unlock()
	r.store.rewriting = rewriting{}
}

// viewer runs a reading transaction.
type viewer func(func(*bbolt.Tx) error) error

// pass copies what has changed, while transactions go on.
func (r *rewriter) pass() error {
	s := r.store
	s.writer.Lock()
	logs, bodies := s.rewriting.take()
	s.writer.Unlock()
	return r.copyChanged(func(read func(*bbolt.Tx) error) error { return s.view("reading", read) }, logs, bodies)
}

func (r *rewriter) copyChanged(view viewer, logs map[node.GroupID]uint64, bodies map[uint64]uint32) error {
	for _, id := range slices.Sorted(maps.Keys(logs)) {
		if err := r.copyLog(view, id, logs[id]); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(bodies)) {
		if _, err := r.copyRecords(view, bodyBucket, bodyKey(number, bodies[number]), bodyKey(number+1, 0)); err != nil {
			return err
		}
	}
	return nil
}

// copyLog replaces a group's log in the copy from the index first on.
func (r *rewriter) copyLog(view viewer, id node.GroupID, first uint64) error {
	from, end := entryKey(id, first), afterGroup(id)
	err := r.db.update(usesReserve, func(tx *bbolt.Tx) error {
		_, size, err := deleteBetween(tx.Bucket(logBucket), from, end, math.MaxInt)
		r.logBytes -= int64(size)
		return err
	})
	if err != nil {
		return err
	}
	size, err := r.copyRecords(view, logBucket, from, end)
	r.logBytes += size
	return err
}

// copyBatch bounds the bytes of keys and values that one transaction copies.
var copyBatch = 1 << 20

// copyRecords copies the values of a bucket from the key first on and before end, and
// returns the size of their keys and pieces.
func (r *rewriter) copyRecords(view viewer, bucket, first, end []byte) (copied int64, err error) {
	for first != nil {
		var keys, values [][]byte
		next := []byte(nil)
		size := 0
		err := view(func(tx *bbolt.Tx) error {
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
			return copied, err
		}
		err = r.db.update(usesReserve, func(tx *bbolt.Tx) error {
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
			return copied, err
		}
		reached("batch")
		copied += int64(size)
		first = next
	}
	return copied, nil
}

// last copies the last changes and the heads, and makes the copy durable. The caller
// holds all locks but mu.
func (r *rewriter) last(id identityRecord) error {
	s := r.store
	if err := s.usable(); err != nil {
		return err
	}
	logs, bodies := s.rewriting.take()
	if err := r.copyChanged(s.db.view, logs, bodies); err != nil {
		return err
	}
	err := r.db.update(usesReserve, func(tx *bbolt.Tx) error {
		r.state = s.state
		r.state.Transaction, r.state.Heads = uint64(tx.ID()), 0
		if r.copied != nil {
			r.state.Sequence = r.copied.Sequence
		}
		err := s.db.view(func(from *bbolt.Tx) error {
			snapshots := tx.Bucket(snapshotBucket)
			err := from.Bucket(snapshotBucket).ForEach(func(k, v []byte) error { return snapshots.Put(k, bytes.Clone(v)) })
			if err != nil {
				return err
			}
			heads := tx.Bucket(headBucket)
			return from.Bucket(headBucket).ForEach(func(k, v []byte) error { return r.putHead(heads, bytes.Clone(k), bytes.Clone(v)) })
		})
		return errors.Join(err, putState(tx, identityKey, id), putState(tx, peersKey, peerRecords(s.peers)), putState(tx, stateKey, r.state))
	})
	return errors.Join(err, r.db.syncWhole())
}

// putHead copies a head.
func (r *rewriter) putHead(heads *bbolt.Bucket, key, record []byte) error {
	if c := r.copied; c != nil {
		var h headRecord
		if _, err := unseal(key, record, &h, 0); err != nil {
			return err
		}
		h.CurrentTerm = max(h.CurrentTerm, c.Terms[groupOf(key)])
		h.VotedFor = uint64(c.Identity.Host) // no other candidate gets a vote in that term
		var err error
		if record, _, err = seal(key, &h, 0); err != nil {
			return err
		}
	}
	r.state.Heads += hashHead(key, record)
	return heads.Put(key, record)
}
