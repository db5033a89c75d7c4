//go:build !wasip1

package boltstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
)

// recordVersion is the format of records that this package writes and reads.
const recordVersion = 2

// head is the record with the valid range of the other buckets.
type head struct {
	CurrentTerm uint64
	VotedFor    uint64
	Snapshot    snapshotHead
	LastIndex   uint64 // of the log, or of the snapshot if the log is empty
	LastSum     uint32 // checksum of that entry's record
	Sequence    uint64 // number of updates of the head
}

// snapshotHead describes the valid snapshot. The zero value means none.
type snapshotHead struct {
	Index    uint64
	Term     uint64
	Size     uint64 // of the data, in bytes
	Sum      uint32 // checksum of the data
	EntrySum uint32 // checksum of the last record in the snapshot, for the log to continue
	Chunk    uint64 // size of the pieces, but for the last one; 0: firstChunkSize
}

// entryRecord is one log entry under its index.
type entryRecord struct {
	Term uint64
	Type uint8
	Data []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal encodes v as a record under key. The record's checksum continues before. seal
// returns the record and its checksum.
func seal(key []byte, v any, before uint32) ([]byte, uint32, error) {
	record, err := msgpack.Append([]byte{recordVersion}, v)
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
	if len(record) < 1+4 {
		return 0, fmt.Errorf("a record of %d bytes is cut short", len(record))
	}
	body := record[:len(record)-4]
	sum := checksum(key, body, before)
	if stored := sumOf(record); stored != sum {
		return 0, fmt.Errorf("the checksum is %08x; want %08x", stored, sum)
	}
	if body[0] != recordVersion {
		return 0, &msgpack.VersionError{Found: uint64(body[0]), Want: recordVersion}
	}
	return sum, msgpack.Decode(body[1:], v)
}

// sumOf returns the checksum at the end of a record.
func sumOf(record []byte) uint32 { return binary.BigEndian.Uint32(record[len(record)-4:]) }

// indexKey is the key of the log entry at index.
func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// chunkKey is the key of chunk n of the snapshot that ends at index.
func chunkKey(index uint64, n int) []byte {
	return binary.BigEndian.AppendUint32(indexKey(index), uint32(n))
}

func (r *entryRecord) entry(index uint64) core.Entry {
	return core.Entry{Index: index, Term: r.Term, Type: core.EntryType(r.Type), Data: r.Data}
}
