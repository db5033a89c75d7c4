package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// recordKind is the kind of a record.
type recordKind uint8

const (
	// updateRecord is a [node.Update].
	updateRecord recordKind = iota
	// moveRecord repeats a part of a group, so that the segment with the
	// original can be freed.
	moveRecord
	// removeRecord ends a group.
	removeRecord
	// markRecord changes nothing. The field first holds the segment's salt. Each
	// batch ends with a mark (see appendMarks). Open appends a batch with a mark
	// alone, which proves that the batch before is durable.
	markRecord
	// closeRecord is appended by Close.
	closeRecord
)

// record is one value in a batch. The encoding is the msgpack array of the
// fields in their order, with the entries as arrays of term, type and data. The
// methods of this file write and read the array by hand, since encoding by
// reflection costs more than the copy of the data.
type record struct {
	kind          recordKind
	group         node.GroupID
	hardState     core.HardState
	compacted     uint64 // the log's CompactedIndex after the record
	compactedTerm uint64
	snapshot      *snapshotRecord // nil if it stays
	first         uint64          // index of the first entry
	entries       []core.Entry
}

const recordFields = 9

// snapshotRecord makes a file a group's newest snapshot.
type snapshotRecord struct {
	header node.SnapshotHeader
	file   uint64 // number in the file's name
	reset  bool   // the log was dropped (Figure 13, step 7)
}

const snapshotFields = 7

// msgpack's codes.
const (
	codeNil     = 0xc0
	codeFalse   = 0xc2
	codeTrue    = 0xc3
	codeBin8    = 0xc4
	codeBin16   = 0xc5
	codeBin32   = 0xc6
	codeUint8   = 0xcc
	codeUint16  = 0xcd
	codeUint32  = 0xce
	codeUint64  = 0xcf
	codeArray16 = 0xdc
	codeArray32 = 0xdd
	fixArray    = 0x90
)

func appendUint(b []byte, v uint64) []byte {
	be := binary.BigEndian
	switch {
	case v < 0x80:
		return append(b, byte(v))
	case v <= math.MaxUint8:
		return append(b, codeUint8, byte(v))
	case v <= math.MaxUint16:
		return be.AppendUint16(append(b, codeUint16), uint16(v))
	case v <= math.MaxUint32:
		return be.AppendUint32(append(b, codeUint32), uint32(v))
	}
	return be.AppendUint64(append(b, codeUint64), v)
}

func appendArray(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, fixArray|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, codeArray16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, codeArray32), uint32(n))
}

func appendBytes(b, data []byte) []byte {
	switch n := len(data); {
	case n <= math.MaxUint8:
		b = append(b, codeBin8, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, codeBin16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, codeBin32), uint32(n))
	}
	return append(b, data...)
}

func (r *record) append(b []byte) []byte {
	b = appendArray(b, recordFields)
	b = appendUint(b, uint64(r.kind))
	b = appendUint(b, uint64(r.group))
	b = appendUint(b, r.hardState.CurrentTerm)
	b = appendUint(b, uint64(r.hardState.VotedFor))
	b = appendUint(b, r.compacted)
	b = appendUint(b, r.compactedTerm)
	b = r.snapshot.append(b)
	b = appendUint(b, r.first)
	b = appendArray(b, len(r.entries))
	for i := range r.entries {
		e := &r.entries[i]
		b = append(b, fixArray|3)
		b = appendUint(b, e.Term)
		b = appendUint(b, uint64(e.Type))
		b = appendBytes(b, e.Data)
	}
	return b
}

func (s *snapshotRecord) append(b []byte) []byte {
	if s == nil {
		return append(b, codeNil)
	}
	b = appendArray(b, snapshotFields)
	b = appendUint(b, s.header.Index)
	b = appendUint(b, s.header.Term)
	b = appendBytes(b, s.header.Configuration)
	b = appendUint(b, s.header.Size)
	b = appendUint(b, s.header.Checksum)
	b = appendUint(b, s.file)
	if s.reset {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

// maxSize returns how many bytes append adds at most.
func (r *record) maxSize() int64 {
	size := int64(100)
	if r.snapshot != nil {
		size += 100 + int64(len(r.snapshot.header.Configuration))
	}
	for i := range r.entries {
		size += 24 + int64(len(r.entries[i].Data))
	}
	return size
}

var errRecord = errors.New("a record is not well formed")

// cursor reads msgpack values. After the first malformed value, failed is set
// and all values are zero.
type cursor struct {
	rest   []byte
	failed bool
}

// take returns the next n bytes.
func (c *cursor) take(n uint64) []byte {
	if c.failed || n > uint64(len(c.rest)) {
		c.failed = true
		return nil
	}
	taken := c.rest[:n:n]
	c.rest = c.rest[n:]
	return taken
}

func (c *cursor) code() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return codeNil
}

// number reads a big-endian number of n bytes.
func (c *cursor) number(n uint64) uint64 {
	v := uint64(0)
	for _, b := range c.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (c *cursor) uint() uint64 {
	switch code := c.code(); {
	case code < 0x80:
		return uint64(code)
	case code >= codeUint8 && code <= codeUint64:
		return c.number(1 << (code - codeUint8))
	}
	c.failed = true
	return 0
}

func (c *cursor) array() uint64 {
	switch code := c.code(); {
	case code&0xf0 == fixArray:
		return uint64(code & 0x0f)
	case code == codeArray16:
		return c.number(2)
	case code == codeArray32:
		return c.number(4)
	}
	c.failed = true
	return 0
}

func (c *cursor) bytes() []byte {
	code := c.code()
	if code < codeBin8 || code > codeBin32 {
		c.failed = true
		return nil
	}
	return c.take(c.number(1 << (code - codeBin8)))
}

func (c *cursor) bool() bool {
	code := c.code()
	if code != codeFalse && code != codeTrue {
		c.failed = true
	}
	return code == codeTrue
}

// next reads a record into r and reuses the room of r's entries. The data of
// entries and configurations are parts of the cursor's bytes.
func (c *cursor) next(r *record) error {
	if c.array() != recordFields {
		return errRecord
	}
	*r = record{kind: recordKind(c.small()), group: node.GroupID(c.uint()), entries: r.entries[:0]}
	r.hardState = core.HardState{CurrentTerm: c.uint(), VotedFor: core.NodeID(c.uint())}
	r.compacted, r.compactedTerm = c.uint(), c.uint()
	r.snapshot = c.snapshot()
	r.first = c.uint()
	n := c.array()
	if n > uint64(len(c.rest)) || n > 0 && (r.first == 0 || r.first+n-1 < r.first) {
		return errRecord
	}
	for i := range n {
		if c.array() != 3 {
			return errRecord
		}
		r.entries = append(r.entries, core.Entry{
			Index: r.first + i, Term: c.uint(), Type: core.EntryType(c.small()), Data: c.bytes(),
		})
	}
	if c.failed || r.kind > closeRecord {
		return errRecord
	}
	return nil
}

// small reads a number of one byte.
func (c *cursor) small() uint8 {
	v := c.uint()
	if v > math.MaxUint8 {
		c.failed = true
	}
	return uint8(v)
}

func (c *cursor) snapshot() *snapshotRecord {
	if len(c.rest) > 0 && c.rest[0] == codeNil {
		c.rest = c.rest[1:]
		return nil
	}
	if c.array() != snapshotFields {
		c.failed = true
		return nil
	}
	return &snapshotRecord{
		header: node.SnapshotHeader{
			Index: c.uint(), Term: c.uint(), Configuration: c.bytes(), Size: c.uint(), Checksum: c.uint(),
		},
		file:  c.uint(),
		reset: c.bool(),
	}
}

// eachRecord calls f for each record of a batch. The record is valid during the
// call.
func eachRecord(payload []byte, scratch *record, f func(*record)) error {
	c := cursor{rest: payload}
	for len(c.rest) > 0 {
		if err := c.next(scratch); err != nil {
			return fmt.Errorf("%w: %d bytes before the end of the batch", err, len(c.rest))
		}
		f(scratch)
	}
	return nil
}
