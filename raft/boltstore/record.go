//go:build !wasip1

package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math"

	"go.etcd.io/bbolt"

	"raftlab/internal/msgpack"
	"raftlab/raft/node"
)

// formatVersion is the version of the records that this package writes and reads.
const formatVersion = 3

// The buckets of a file, see the package documentation.
var (
	stateBucket    = []byte("state")
	headBucket     = []byte("heads")
	snapshotBucket = []byte("snapshots")
	logBucket      = []byte("logs")
	bodyBucket     = []byte("bodies")
)

var buckets = [][]byte{stateBucket, headBucket, snapshotBucket, logBucket, bodyBucket}

// The keys of the state bucket.
var (
	identityKey = []byte("identity")
	peersKey    = []byte("peers")
	stateKey    = []byte("state")
)

// stateRecord describes the whole file. Every transaction writes the record.
type stateRecord struct {
	Transaction uint64 // bbolt's number of the transaction
	Sequence    uint64 // number of updates in the life of the file
	Groups      uint64 // number of heads
	Heads       uint64 // sum of the heads' hashes
}

// headRecord describes a group. The record is under the group's id.
type headRecord struct {
	CurrentTerm    uint64
	VotedFor       uint64
	SnapshotIndex  uint64 // 0: none
	SnapshotSum    uint32 // checksum of the snapshotRecord
	CompactedIndex uint64
	CompactedTerm  uint64
	CompactedSum   uint32 // checksum that the record at CompactedIndex+1 continues
	LastIndex      uint64
	LastSum        uint32 // checksum of the record at LastIndex
}

// snapshotRecord is a group's newest snapshot, under the group's id.
type snapshotRecord struct {
	Index, Term    uint64
	Configuration  []byte
	Size, Checksum uint64
	Body           uint64 // the body's number, the first part of the keys of its pieces
}

// entryRecord is a log entry, under the group's id and the entry's index.
type entryRecord struct {
	Term uint64
	Type uint8
	Data []byte
}

// peerRecord is the highest known sequence of another host's file.
type peerRecord struct{ Host, Sequence uint64 }

// identityRecord names the host of a file.
type identityRecord struct {
	Cluster string
	Host    uint64
	Part    string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal encodes v as a record under key. The record's checksum continues before. seal
// returns the record and its checksum.
func seal(key []byte, v any, before uint32) ([]byte, uint32, error) {
	record, err := msgpack.Append([]byte{formatVersion}, v)
	if err != nil {
		return nil, 0, err
	}
	sum := checksum(key, record, before)
	return binary.BigEndian.AppendUint32(record, sum), sum, nil
}

func checksum(key, body []byte, before uint32) uint32 {
	return crc32.Update(crc32.Update(before, castagnoli, key), castagnoli, body)
}

// unseal decodes the record under key into v. v shares no memory with the record.
func unseal(key, record []byte, v any, before uint32) (uint32, error) {
	sum, err := verify(key, record, before)
	if err != nil {
		return 0, err
	}
	return sum, msgpack.Decode(record[1:len(record)-sumSize], v)
}

// verify checks the checksum and the version of the record under key.
func verify(key, record []byte, before uint32) (uint32, error) {
	if len(record) < 1+sumSize {
		return 0, fmt.Errorf("a record of %d bytes is cut short", len(record))
	}
	sum := checksum(key, record[:len(record)-sumSize], before)
	if stored := sumOf(record); stored != sum {
		return 0, fmt.Errorf("the checksum is %08x; want %08x", stored, sum)
	}
	if record[0] != formatVersion {
		return 0, versionError(record[0])
	}
	return sum, nil
}

const sumSize = 4

// sumOf returns the checksum at the end of a record.
func sumOf(record []byte) uint32 { return binary.BigEndian.Uint32(record[len(record)-sumSize:]) }

// hashHead is a term of stateRecord.Heads. The hash is not linear, unlike a CRC,
// so changes of two heads do not cancel each other.
func hashHead(key, record []byte) uint64 {
	h := fnv.New64a()
	h.Write(key)
	h.Write(record)
	return h.Sum64()
}

func groupKey(id node.GroupID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

const groupKeySize = 8

func groupOf(key []byte) node.GroupID { return node.GroupID(binary.BigEndian.Uint64(key)) }

// entryKey is the key of a group's entry at index.
func entryKey(id node.GroupID, index uint64) []byte {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(id))
	return binary.BigEndian.AppendUint64(key, index)
}

const entryKeySize = 16

func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[8:]) }

// afterEntry lies between the pieces of a group's entry at index and all later keys.
func afterEntry(id node.GroupID, index uint64) []byte {
	return append(entryKey(id, index), 0xff, 0xff, 0xff, 0xff, 0xff)
}

// afterGroup lies between a group's entries and the keys of the next group.
func afterGroup(id node.GroupID) []byte { return afterEntry(id, math.MaxUint64) }

// afterSnapshot lies between the pieces of a group's snapshotRecord and the keys of
// the next group.
func afterSnapshot(id node.GroupID) []byte { return append(groupKey(id), 0xff, 0xff, 0xff, 0xff, 0xff) }

// bodyKey is the key of a piece of a snapshot's body.
func bodyKey(body uint64, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, body), piece)
}

const bodyKeySize = 12

func bodyOf(key []byte) (body uint64, piece uint32) {
	return binary.BigEndian.Uint64(key), binary.BigEndian.Uint32(key[8:])
}

// bodyPiece is the size of a body's pieces but the last, which may be shorter. A
// piece is stored with its checksum behind.
const bodyPiece = pieceSize - sumSize

func piecesOf(size uint64) uint32 { return uint32((size + bodyPiece - 1) / bodyPiece) }

func sealPiece(key, data []byte) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, len(data)+sumSize), data...), checksum(key, data, 0))
}

// openPiece returns the data of a piece.
func openPiece(key, value []byte) ([]byte, error) {
	if len(value) < sumSize {
		return nil, fmt.Errorf("a piece of %d bytes is cut short", len(value))
	}
	data := value[:len(value)-sumSize]
	if sum := checksum(key, data, 0); sum != sumOf(value) {
		return nil, fmt.Errorf("the checksum is %08x; want %08x", sumOf(value), sum)
	}
	return data, nil
}

// pieceSize bounds the values of the file, in bytes. A longer value is stored in
// pieces. bbolt keeps two to four values in a leaf, whatever their size, and writes
// the whole leaf again when a value is added. Without pieces, appending entries
// of 1 MiB would write five times their size. Two pieces, with keys and page
// header, fill pages of 4 KiB.
const pieceSize = 16<<10 - 64

// put stores a value under key, and the rest of a long value under the next keys. put
// returns the bytes of all keys and pieces.
func put(b *bbolt.Bucket, key, value []byte) (stored int, err error) {
	for n := uint32(0); ; n++ {
		k, size := pieceKey(key, n), min(len(value), pieceSize)
		if err := b.Put(k, value[:size]); err != nil {
			return stored, err
		}
		stored += len(k) + size
		if value = value[size:]; len(value) == 0 {
			return stored, nil
		}
	}
}

// pieceKey returns the key of piece n of the value under key.
func pieceKey(key []byte, n uint32) []byte {
	if n == 0 {
		return key
	}
	return binary.BigEndian.AppendUint32(bytes.Clone(key), n)
}

// get returns the value under key, or nil. The value is valid during the
// transaction.
func get(b *bbolt.Bucket, key []byte) []byte {
	c := b.Cursor()
	found, first := c.Seek(key)
	if !bytes.Equal(found, key) {
		return nil
	}
	value, _, _ := join(c, key, first)
	return value
}

// join returns the value under key, and the key and the piece after the value. The
// cursor stands at the first piece, first.
func join(c *bbolt.Cursor, key, first []byte) (value, nextKey, next []byte) {
	value = first
	for n := uint32(1); ; n++ {
		nextKey, next = c.Next()
		if nextKey == nil || !bytes.Equal(nextKey, pieceKey(key, n)) {
			return value, nextKey, next
		}
		if n == 1 {
			value = bytes.Clone(value) // the first piece lies in the mapped file
		}
		value = append(value, next...)
	}
}

// keysBetween returns copies of up to limit keys, from first on and before end.
func keysBetween(b *bbolt.Bucket, first, end []byte, limit int) [][]byte {
	var keys [][]byte
	cursor := b.Cursor()
	for key, _ := cursor.Seek(first); key != nil && len(keys) < limit && bytes.Compare(key, end) < 0; key, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

// deleteBetween deletes up to limit values of a bucket, from the key first on and
// before end. deleteBetween returns the number of deleted values and the bytes of
// their keys and pieces.
func deleteBetween(b *bbolt.Bucket, first, end []byte, limit int) (n, size int, err error) {
	for _, key := range keysBetween(b, first, end, limit) {
		size += len(key) + len(b.Get(key))
		n++
		if err := b.Delete(key); err != nil {
			return n, size, err
		}
	}
	return n, size, nil
}
