//go:build !wasip1

package boltstore

import (
	"bytes"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
)

// logFill is the fill of the log's pages. Entries arrive in order, so bbolt
// rarely inserts into a full page later.
const logFill = 0.9

// change is one writing transaction under way.
type change struct {
	tx    *bbolt.Tx
	head  head   // written at the end
	grown int    // bytes that the log's records have grown by
	first uint64 // the lowest index written or removed; noIndex: none
}

const noIndex = ^uint64(0)

// change runs a writing transaction. When change returns nil, the transaction is on
// disk. After a failure the content of the file is unknown, and the store writes
// nothing more.
func (s *Store) change(do func(*change) error) error {
	c := &change{first: noIndex}
	err := s.update(func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		c.tx, c.head = tx, h
		if err := do(c); err != nil {
			return err
		}
		s.rewriting.touched(c.first)
		if c.head == h {
			return nil
		}
		c.head.Sequence++
		if err := putRecord(tx, headKey, &c.head); err != nil {
			return err
		}
		return s.putPeers(tx)
	})
	if err != nil {
		return err
	}
	s.size.Add(int64(c.grown))
	s.snapshotSize.Store(int64(c.head.Snapshot.Size))
	s.sequence.Store(c.head.Sequence)
	return nil
}

// update runs a writing transaction, and remembers a failure.
func (s *Store) update(write func(*bbolt.Tx) error) (err error) {
	defer func() {
		if err = s.wrap("writing to", err); err != nil {
			s.failure.CompareAndSwap(nil, &err)
		}
	}()
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	err = s.db.update(func(tx *bbolt.Tx) error {
		if failed := s.failure.Load(); failed != nil {
			return fmt.Errorf("an earlier write failed: %w", *failed)
		}
		return write(tx)
	})
	if err == nil && s.committed != nil {
		s.committed()
	}
	return err
}

func (c *change) log() *bbolt.Bucket {
	b := c.tx.Bucket(logBucket)
	b.FillPercent = logFill
	return b
}

// append replaces the log from the index of the first entry on.
func (c *change) append(entries []core.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	c.first = min(c.first, entries[0].Index)
	if err := c.truncate(entries[0].Index); err != nil {
		return err
	}
	log := c.log()
	for _, e := range entries {
		if e.Index != c.head.LastIndex+1 {
			return fmt.Errorf("entry %d does not follow on entry %d", e.Index, c.head.LastIndex)
		}
		key := indexKey(e.Index)
		record, sum, err := seal(key, &entryRecord{Term: e.Term, Type: uint8(e.Type), Data: e.Data}, c.head.LastSum)
		if err != nil {
			return err
		}
		stored, err := put(log, key, record)
		if err != nil {
			return err
		}
		c.head.LastIndex, c.head.LastSum = e.Index, sum
		c.grown += stored
	}
	return nil
}

// truncate removes the entries from index on.
func (c *change) truncate(index uint64) error {
	if index > c.head.LastIndex {
		return nil
	}
	if index <= c.head.Snapshot.Index {
		return fmt.Errorf("entry %d is in the snapshot, which ends at %d", index, c.head.Snapshot.Index)
	}
	if err := c.remove(index, c.head.LastIndex); err != nil {
		return err
	}
	sum, err := c.sumAt(index - 1)
	c.head.LastIndex, c.head.LastSum = index-1, sum
	return err
}

// sumAt returns the checksum of the record at index, for the next record to
// continue.
func (c *change) sumAt(index uint64) (uint32, error) {
	if index == c.head.Snapshot.Index {
		return c.head.Snapshot.EntrySum, nil
	}
	record := get(c.log(), indexKey(index))
	if len(record) < 4 {
		return 0, fmt.Errorf("%w: there is no entry %d", ErrCorrupt, index)
	}
	return sumOf(record), nil
}

// termAt returns the term of the entry at index. termAt does not check the record's
// checksum, because the checksum continues the one of the record before.
func (c *change) termAt(index uint64) (uint64, error) {
	record := get(c.log(), indexKey(index))
	if len(record) < 1+4 {
		return 0, fmt.Errorf("%w: there is no entry %d", ErrCorrupt, index)
	}
	var r entryRecord
	err := msgpack.Decode(record[1:len(record)-4], &r)
	return r.Term, err
}

// remove deletes the log's records from first to last.
func (c *change) remove(first, last uint64) error {
	for _, key := range keysBetween(c.log(), indexKey(first), indexKey(last+1), math.MaxInt) {
		if err := c.delete(key); err != nil {
			return err
		}
	}
	return nil
}

// delete removes a piece of a log record.
func (c *change) delete(key []byte) error {
	log := c.log()
	c.grown -= len(key) + len(log.Get(key))
	return log.Delete(key)
}

// restore replaces the whole log by a snapshot.
func (c *change) restore(snap snapshotHead) error {
	c.first = 0
	log := c.tx.Bucket(logBucket)
	err := log.ForEach(func(k, v []byte) error {
		c.grown -= len(k) + len(v)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.tx.DeleteBucket(logBucket); err != nil {
		return err
	}
	if _, err := c.tx.CreateBucket(logBucket); err != nil {
		return err
	}
	c.head.Snapshot = snap
	c.head.LastIndex, c.head.LastSum = snap.Index, snap.EntrySum
	return nil
}

// compact makes snap the snapshot. clean removes the log up to snap's end later.
func (c *change) compact(snap snapshotHead) error {
	if snap.Index >= c.head.LastIndex {
		return c.restore(snap)
	}
	sum, err := c.sumAt(snap.Index)
	snap.EntrySum = sum
	c.head.Snapshot = snap
	return err
}

// readHead reads the head.
func readHead(tx *bbolt.Tx) (head, error) {
	var h head
	for _, name := range [][]byte{stateBucket, logBucket, chunkBucket} {
		if tx.Bucket(name) == nil {
			return h, fmt.Errorf("there is no bucket %q", name)
		}
	}
	_, err := unseal(headKey, tx.Bucket(stateBucket).Get(headKey), &h, 0)
	if err != nil {
		return h, fmt.Errorf("the head: %w", err)
	}
	if h.LastIndex < h.Snapshot.Index {
		return h, fmt.Errorf("the head: the log ends at %d, before the snapshot at %d", h.LastIndex, h.Snapshot.Index)
	}
	return h, nil
}

// readLog passes the valid entries to each, in order.
func readLog(tx *bbolt.Tx, h head, each func(core.Entry)) error {
	sum := h.Snapshot.EntrySum
	cursor := tx.Bucket(logBucket).Cursor()
	next := h.Snapshot.Index + 1
	for key, piece := cursor.Seek(indexKey(next)); key != nil; {
		if next > h.LastIndex || !bytes.Equal(key, indexKey(next)) {
			return fmt.Errorf("the log has the key %x; want entry %d of %d", key, next, h.LastIndex)
		}
		var r entryRecord
		var record []byte
		var err error
		record, key, piece = join(cursor, key, piece)
		if sum, err = unseal(indexKey(next), record, &r, sum); err != nil {
			return fmt.Errorf("log entry %d: %w", next, err)
		}
		each(r.entry(next))
		next++
	}
	if next != h.LastIndex+1 || sum != h.LastSum {
		return fmt.Errorf("the log ends at %d with checksum %08x; want %d with %08x", next-1, sum, h.LastIndex, h.LastSum)
	}
	return nil
}
