//go:build !wasip1

package boltstore

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
)

// logFill is how full the pages of the log are made: entries come in order, so
// little is inserted between them later.
const logFill = 0.9

// step is one writing transaction under way.
type step struct {
	tx    *bbolt.Tx
	head  head // written when the step ends
	grown int  // by how many bytes the log's records
	sealer
}

// step runs a transaction. It is on disk when step returns without an error.
// After a failure nothing is written any more: what the disk holds is then known
// only when the file is read again.
func (s *Store) step(do func(*step) error) (err error) {
	defer func() {
		if err = s.wrap("writing to", err); err != nil {
			s.failure.CompareAndSwap(nil, &err)
		}
	}()
	defer contain(&err)()
	st := new(step)
	err = s.db.Update(func(tx *bbolt.Tx) error {
		if failed := s.failure.Load(); failed != nil {
			return fmt.Errorf("an earlier write failed: %w", *failed)
		}
		return st.run(tx, do)
	})
	if err != nil {
		return err
	}
	s.size.Add(int64(st.grown))
	if s.committed != nil {
		s.committed()
	}
	return nil
}

func (st *step) run(tx *bbolt.Tx, do func(*step) error) error {
	h, err := readHead(tx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	st.tx, st.head = tx, h
	if err := do(st); err != nil || st.head == h {
		return err
	}
	return st.putHead()
}

func (st *step) putHead() error {
	record, _, err := st.seal(headKey, &st.head, 0)
	if err != nil {
		return err
	}
	return st.tx.Bucket(stateBucket).Put(headKey, record)
}

func (st *step) log() *bbolt.Bucket {
	b := st.tx.Bucket(logBucket)
	b.FillPercent = logFill
	return b
}

// append adds entries, in the place of what is there from the first one's index on.
func (st *step) append(entries []core.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := st.truncate(entries[0].Index); err != nil {
		return err
	}
	log := st.log()
	for _, e := range entries {
		if e.Index != st.head.LastIndex+1 {
			return fmt.Errorf("entry %d does not follow on entry %d", e.Index, st.head.LastIndex)
		}
		key := indexKey(e.Index)
		record, sum, err := st.seal(key, &entryRecord{Term: e.Term, Type: uint8(e.Type), Data: e.Data}, st.head.LastSum)
		if err != nil {
			return err
		}
		if err := log.Put(key, record); err != nil {
			return err
		}
		st.head.LastIndex, st.head.LastSum = e.Index, sum
		st.grown += len(key) + len(record)
	}
	return nil
}

// truncate removes the entries from index on.
func (st *step) truncate(index uint64) error {
	if index > st.head.LastIndex {
		return nil
	}
	if index <= st.head.Snapshot.Index {
		return fmt.Errorf("entry %d is in the snapshot, which ends at %d", index, st.head.Snapshot.Index)
	}
	if err := st.remove(index, st.head.LastIndex); err != nil {
		return err
	}
	sum, err := st.sumAt(index - 1)
	st.head.LastIndex, st.head.LastSum = index-1, sum
	return err
}

// sumAt returns the checksum that the record after index continues.
func (st *step) sumAt(index uint64) (uint32, error) {
	if index == st.head.Snapshot.Index {
		return st.head.Snapshot.EntrySum, nil
	}
	record := st.log().Get(indexKey(index))
	if len(record) < 4 {
		return 0, fmt.Errorf("%w: there is no entry %d", ErrCorrupt, index)
	}
	return sumOf(record), nil
}

// remove deletes the log's records from first to last.
func (st *step) remove(first, last uint64) error {
	for index := first; index <= last; index++ {
		if err := st.delete(indexKey(index)); err != nil {
			return err
		}
	}
	return nil
}

// delete removes a log record.
func (st *step) delete(key []byte) error {
	log := st.log()
	st.grown -= len(key) + len(log.Get(key))
	return log.Delete(key)
}

// restore puts a snapshot in the place of the whole log.
func (st *step) restore(snap snapshotHead) error {
	log := st.tx.Bucket(logBucket)
	err := log.ForEach(func(k, v []byte) error {
		st.grown -= len(k) + len(v)
		return nil
	})
	if err != nil {
		return err
	}
	if err := st.tx.DeleteBucket(logBucket); err != nil {
		return err
	}
	if _, err := st.tx.CreateBucket(logBucket); err != nil {
		return err
	}
	st.head.Snapshot = snap
	st.head.LastIndex, st.head.LastSum = snap.Index, snap.EntrySum
	return nil
}

// compact makes snap the snapshot. The entries that it stands for no longer
// count; clean removes them.
func (st *step) compact(snap snapshotHead) error {
	if snap.Index >= st.head.LastIndex {
		return st.restore(snap)
	}
	sum, err := st.sumAt(snap.Index)
	snap.EntrySum = sum
	st.head.Snapshot = snap
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

// readLog passes the log that counts to each, in order.
func readLog(tx *bbolt.Tx, h head, each func(core.Entry)) error {
	sum := h.Snapshot.EntrySum
	cursor := tx.Bucket(logBucket).Cursor()
	next := h.Snapshot.Index + 1
	for key, record := cursor.Seek(indexKey(next)); key != nil; key, record = cursor.Next() {
		if next > h.LastIndex || !bytes.Equal(key, indexKey(next)) {
			return fmt.Errorf("the log has the key %x, where it should have entry %d of %d", key, next, h.LastIndex)
		}
		var r entryRecord
		var err error
		if sum, err = unseal(key, record, &r, sum); err != nil {
			return fmt.Errorf("log entry %d: %w", next, err)
		}
		each(r.entry(next))
		next++
	}
	if next != h.LastIndex+1 || sum != h.LastSum {
		return fmt.Errorf("the log ends at %d (checksum %08x), and should end at %d (%08x)", next-1, sum, h.LastIndex, h.LastSum)
	}
	return nil
}
