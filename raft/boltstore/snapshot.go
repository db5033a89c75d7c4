//go:build !wasip1

package boltstore

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
)

// How much one transaction does; tests make it less.
var (
	// chunkSize is how many bytes of a snapshot are written, and so what a Save
	// waits for at most.
	chunkSize = 1 << 18
	// cleanEntries is how many values of the log are removed.
	cleanEntries = 4096
	// cleanChunks is how many values of a snapshot are removed.
	cleanChunks = 1024
)

// SaveSnapshot implements [raft.Storage].
func (s *Store) SaveSnapshot(snap core.Snapshot) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if newer, err := s.isNewer(snap); err != nil || !newer {
		return err
	}
	written, err := s.writeChunks(snap)
	if err != nil {
		return err
	}
	// Whether or not it was overtaken, its pieces or the older one's go.
	err = s.step(func(st *step) error {
		if written.Index <= st.head.Snapshot.Index {
			return nil // a newer one was received meanwhile
		}
		return st.compact(written)
	})
	if err != nil {
		return err
	}
	return s.clean(false)
}

func (s *Store) isNewer(snap core.Snapshot) (newer bool, err error) {
	err = s.view("reading", func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		newer = snap.LastIncludedIndex > h.Snapshot.Index
		return err
	})
	return newer, err
}

// writeChunks writes a snapshot's data, which counts when the head says so.
func (s *Store) writeChunks(snap core.Snapshot) (snapshotHead, error) {
	for n, rest := 0, snap.Data; len(rest) > 0; n++ {
		size := min(len(rest), chunkSize)
		err := s.step(func(st *step) error {
			return put(st.tx.Bucket(chunkBucket), chunkKey(snap.LastIncludedIndex, n), rest[:size])
		})
		if err != nil {
			return snapshotHead{}, err
		}
		rest = rest[size:]
	}
	return snapshotHead{
		Index: snap.LastIncludedIndex,
		Term:  snap.LastIncludedTerm,
		Size:  uint64(len(snap.Data)),
		Sum:   crc32.Checksum(snap.Data, castagnoli),
	}, nil
}

// ReadSnapshot implements [raft.Storage].
func (s *Store) ReadSnapshot() (snap core.Snapshot, err error) {
	err = s.view("reading the snapshot in", func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil || h.Snapshot.Index == 0 {
			return err
		}
		snap.LastIncludedIndex, snap.LastIncludedTerm = h.Snapshot.Index, h.Snapshot.Term
		snap.Data = make([]byte, 0, h.Snapshot.Size)
		return readChunks(tx, h.Snapshot, func(chunk []byte) { snap.Data = append(snap.Data, chunk...) })
	})
	return snap, err
}

// readChunks passes the pieces of a snapshot to each, in order. They are
// valid only there.
func readChunks(tx *bbolt.Tx, snap snapshotHead, each func([]byte)) error {
	chunks := tx.Bucket(chunkBucket)
	sum, size := uint32(0), uint64(0)
	for n := 0; size < snap.Size; n++ {
		chunk := get(chunks, chunkKey(snap.Index, n))
		if want := min(snap.Size-size, uint64(chunkSize)); uint64(len(chunk)) != want {
			return fmt.Errorf("piece %d of the snapshot at %d has %d bytes, and should have %d", n, snap.Index, len(chunk), want)
		}
		each(chunk)
		sum, size = crc32.Update(sum, castagnoli, chunk), size+uint64(len(chunk))
	}
	if sum != snap.Sum {
		return fmt.Errorf("the snapshot at %d has checksum %08x, and should have %08x", snap.Index, sum, snap.Sum)
	}
	return nil
}

// checkRecords reads all that counts.
func checkRecords(tx *bbolt.Tx) error {
	h, err := readHead(tx)
	if err != nil {
		return err
	}
	if err := readLog(tx, h, func(core.Entry) {}); err != nil {
		return err
	}
	return readChunks(tx, h.Snapshot, func([]byte) {})
}

// clean removes what the snapshot has made useless: the log records that it
// stands for, and the pieces of older ones. Each of its transactions is short.
// When nobody writes a snapshot, at the opening, pieces of a newer one go too:
// it was never finished.
func (s *Store) clean(opening bool) error {
	for {
		var old leftovers
		err := s.view("reading", func(tx *bbolt.Tx) (err error) {
			old, err = findLeftovers(tx, opening)
			return err
		})
		if err != nil || old.none() {
			return err
		}
		if err := s.step(func(st *step) error { return st.drop(old) }); err != nil {
			return err
		}
	}
}

// leftovers are keys of records that do not count.
type leftovers struct{ log, chunks [][]byte }

func (l leftovers) none() bool { return len(l.log) == 0 && len(l.chunks) == 0 }

// findLeftovers returns about as much as one transaction should remove.
func findLeftovers(tx *bbolt.Tx, opening bool) (leftovers, error) {
	h, err := readHead(tx)
	if err != nil {
		return leftovers{}, err
	}
	first, next := indexKey(h.Snapshot.Index), indexKey(h.Snapshot.Index+1)
	found := leftovers{
		log:    keysBetween(tx.Bucket(logBucket), nil, next, cleanEntries),
		chunks: keysBetween(tx.Bucket(chunkBucket), nil, first, cleanChunks),
	}
	if opening {
		found.chunks = append(found.chunks, keysBetween(tx.Bucket(chunkBucket), next, nil, cleanChunks)...)
	}
	return found, nil
}

// keysBetween returns copies of the keys from first on that are before end (nil: to
// the last), at most limit of them.
func keysBetween(b *bbolt.Bucket, first, end []byte, limit int) [][]byte {
	var keys [][]byte
	cursor := b.Cursor()
	for key, _ := cursor.Seek(first); key != nil && len(keys) < limit; key, _ = cursor.Next() {
		if end != nil && bytes.Compare(key, end) >= 0 {
			break
		}
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

// drop deletes leftovers.
func (st *step) drop(old leftovers) error {
	for _, key := range old.log {
		if err := st.delete(key); err != nil {
			return err
		}
	}
	for _, key := range old.chunks {
		if err := st.tx.Bucket(chunkBucket).Delete(key); err != nil {
			return err
		}
	}
	return nil
}
