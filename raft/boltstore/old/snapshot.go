//go:build !wasip1

package boltstore

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
)

// How much one transaction does. Tests make it less.
var (
	// chunkSize is the part of a snapshot in one transaction, in bytes. A Save waits
	// for one such transaction at most.
	chunkSize = 1 << 20
	// cleanEntries bounds the removed values of the log in one transaction.
	cleanEntries = 4096
	// cleanChunks bounds the removed values of snapshots in one transaction.
	cleanChunks = 1024
)

// firstChunkSize is the chunkSize of files without snapshotHead.Chunk.
const firstChunkSize = 1 << 18

// SaveSnapshot implements [raft.Storage]. If the file is then much larger than
// its content, SaveSnapshot compacts the file too (see [Options.CompactBytes]).
func (s *Store) SaveSnapshot(snap core.Snapshot) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	err := s.saveSnapshot(snap)
	if err == nil {
		s.compactIfWasteful()
	}
	return err
}

func (s *Store) saveSnapshot(snap core.Snapshot) error {
	if newer, err := s.isNewer(snap); err != nil || !newer {
		return err
	}
	written, err := s.writeChunks(snap)
	if err != nil {
		return err
	}
	err = s.change(func(c *change) error {
		if written.Index <= c.head.Snapshot.Index {
			return nil // the leader's snapshot has overtaken this one
		}
		return c.compact(written)
	})
	if err != nil {
		return err
	}
	return s.clean(false) // of the older snapshot, or of this one if it was overtaken
}

func (s *Store) isNewer(snap core.Snapshot) (newer bool, err error) {
	err = s.view("reading", func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		newer = snap.LastIncludedIndex > h.Snapshot.Index
		return err
	})
	return newer, err
}

// writeChunks writes a snapshot's data. The data counts once the head names the
// snapshot.
func (s *Store) writeChunks(snap core.Snapshot) (snapshotHead, error) {
	for n, rest := 0, snap.Data; len(rest) > 0; n++ {
		size := min(len(rest), chunkSize)
		err := s.change(func(c *change) error {
			_, err := put(c.tx.Bucket(chunkBucket), chunkKey(snap.LastIncludedIndex, n), rest[:size])
			return err
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
		Chunk: uint64(chunkSize),
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

// readChunks passes the chunks of a snapshot to each, in order. A chunk is valid
// only until each returns.
func readChunks(tx *bbolt.Tx, snap snapshotHead, each func([]byte)) error {
	chunks := tx.Bucket(chunkBucket)
	chunkSize := cmp.Or(snap.Chunk, firstChunkSize)
	sum, size := uint32(0), uint64(0)
	for n := 0; size < snap.Size; n++ {
		chunk := get(chunks, chunkKey(snap.Index, n))
		if want := min(snap.Size-size, chunkSize); uint64(len(chunk)) != want {
			return fmt.Errorf("chunk %d of the snapshot at %d has %d bytes; want %d", n, snap.Index, len(chunk), want)
		}
		each(chunk)
		sum, size = crc32.Update(sum, castagnoli, chunk), size+uint64(len(chunk))
	}
	if sum != snap.Sum {
		return fmt.Errorf("the snapshot at %d has checksum %08x; want %08x", snap.Index, sum, snap.Sum)
	}
	return nil
}

// checkRecords reads every valid record.
func checkRecords(tx *bbolt.Tx) error {
	h, err := readHead(tx)
	if err != nil {
		return err
	}
	if _, err := readIdentity(tx); err != nil {
		return err
	}
	if _, err := readPeers(tx); err != nil {
		return err
	}
	if err := readLog(tx, h, func(core.Entry) {}); err != nil {
		return err
	}
	return readChunks(tx, h.Snapshot, func([]byte) {})
}

// clean removes the log records up to the snapshot's end and the chunks of older
// snapshots, in short transactions. At the opening, clean also removes the chunks
// of a newer snapshot, because a crash has interrupted its writer.
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
		if err := s.change(func(c *change) error { return c.drop(old) }); err != nil {
			return err
		}
	}
}

// leftovers are the keys of records to remove.
type leftovers struct{ log, chunks [][]byte }

func (l leftovers) none() bool { return len(l.log) == 0 && len(l.chunks) == 0 }

// findLeftovers returns about as many keys as one transaction should remove.
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

// keysBetween returns copies of up to limit keys, from first on and before end. A
// nil end means the end of the bucket.
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
func (c *change) drop(old leftovers) error {
	for _, key := range old.log {
		if err := c.delete(key); err != nil {
			return err
		}
	}
	for _, key := range old.chunks {
		if err := c.tx.Bucket(chunkBucket).Delete(key); err != nil {
			return err
		}
	}
	return nil
}
