package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// A frame is a header and a payload:
//
//	bytes 0-3   length of the payload, little endian
//	byte  4     frame type
//	bytes 5-8   CRC-32C of the type and the payload, little endian
//
// The payload of a frameMessages is a sequence of messages. Each message is a
// msgpack array of four: group, call, kind, body. A body is the array of its
// struct's fields. A receiver ignores unknown fields at the end, takes missing
// fields as zero, and drops messages of an unknown kind. So a later version may add
// fields and kinds.
const (
	frameMessages = iota + 1
	framePing     // payload: 8 bytes of the sender's choice
	framePong     // payload: the ping's
	frameHello    // payload: hello
	frameWelcome  // payload: welcome
)

const headerBytes = 9

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFrame is matched by the error of a connection that carries anything but
// frames of this protocol.
var errFrame = errors.New("malformed frame")

// putHeader writes a header over the first bytes of dst.
func putHeader(dst []byte, frameType byte, length int, sum uint32) {
	binary.LittleEndian.PutUint32(dst, uint32(length))
	dst[4] = frameType
	binary.LittleEndian.PutUint32(dst[5:], sum)
}

// frameTypes has every frame type at its own place.
var frameTypes = func() (all [256]byte) {
	for i := range all {
		all[i] = byte(i)
	}
	return all
}()

// checksum is the header's checksum of a payload in pieces.
func checksum(frameType byte, pieces ...[]byte) uint32 {
	sum := crc32.Update(0, castagnoli, frameTypes[frameType:][:1])
	for _, p := range pieces {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// kind numbers the types of bodies on the wire. The numbers never change.
type kind uint8

const (
	kindRequestVote kind = iota + 1
	kindRequestVoteReply
	kindAppendEntries
	kindAppendEntriesReply
	kindInstallSnapshot
	kindInstallSnapshotReply
	kindTimeoutNow
	kindReadIndex
	kindReadIndexReply
	kindQuiesce
	kindQuiesceReply
)

// kindOf returns the number of a body's type, 0 for a type without one.
func kindOf(b core.Body) kind {
	switch b.(type) {
	case *core.RequestVote:
		return kindRequestVote
	case *core.RequestVoteReply:
		return kindRequestVoteReply
	case *core.AppendEntries:
		return kindAppendEntries
	case *core.AppendEntriesReply:
		return kindAppendEntriesReply
	case *core.InstallSnapshot:
		return kindInstallSnapshot
	case *core.InstallSnapshotReply:
		return kindInstallSnapshotReply
	case *core.TimeoutNow:
		return kindTimeoutNow
	case *core.ReadIndex:
		return kindReadIndex
	case *core.ReadIndexReply:
		return kindReadIndexReply
	case *core.Quiesce:
		return kindQuiesce
	case *core.QuiesceReply:
		return kindQuiesceReply
	}
	return 0
}

// newBody returns an empty body of a kind, nil for an unknown kind.
func newBody(k kind) core.Body {
	switch k {
	case kindRequestVote:
		return new(core.RequestVote)
	case kindRequestVoteReply:
		return new(core.RequestVoteReply)
	case kindAppendEntries:
		return new(core.AppendEntries)
	case kindAppendEntriesReply:
		return new(core.AppendEntriesReply)
	case kindInstallSnapshot:
		return new(core.InstallSnapshot)
	case kindInstallSnapshotReply:
		return new(core.InstallSnapshotReply)
	case kindTimeoutNow:
		return new(core.TimeoutNow)
	case kindReadIndex:
		return new(core.ReadIndex)
	case kindReadIndexReply:
		return new(core.ReadIndexReply)
	case kindQuiesce:
		return new(core.Quiesce)
	case kindQuiesceReply:
		return new(core.QuiesceReply)
	}
	return nil
}

// separateBytes is the size from which on an entry's data is not copied into the
// frame, and becomes a piece of a vectored write.
const separateBytes = 8 << 10

// frameWriter lays out one frame of messages. AppendEntries and its reply are
// nearly all the traffic. They are laid out by hand, in go-msgpack's encoding.
// Package msgpack encodes the other bodies.
type frameWriter struct {
	buf   []byte // begins with the header
	large []large
	size  int // of the whole frame
}

// large is data that stands between two bytes of the buffer.
type large struct {
	at   int
	data []byte
}

func (w *frameWriter) reset() {
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	w.buf = append(w.buf[:0], make([]byte, headerBytes)...)
	clear(w.large)
	w.large = w.large[:0]
	w.size = headerBytes
}

// add appends a message. A message of an unknown kind is an error, and the frame
// is as it was.
func (w *frameWriter) add(m node.Message) error {
	k := kindOf(m.Body)
	if k == 0 {
		return fmt.Errorf("tcp: no encoding for a %T", m.Body)
	}
	before := len(w.buf)
	b := append(w.buf, 0x94) // an array of four
	b = appendUint(b, uint64(m.Group))
	b = appendUint(b, m.Call)
	b = appendUint(b, uint64(k))
	separate := 0
	switch body := m.Body.(type) {
	case *core.AppendEntries:
		b, separate = w.appendEntries(b, body)
	case *core.AppendEntriesReply:
		b = appendReply(b, body)
	default:
		var err error
		if b, err = msgpack.Append(b, m.Body); err != nil {
			return fmt.Errorf("tcp: %w", err)
		}
	}
	w.buf = b
	w.size += len(b) - before + separate
	return nil
}

func (w *frameWriter) appendEntries(b []byte, r *core.AppendEntries) ([]byte, int) {
	b = append(b, 0x97) // an array of seven
	b = appendUint(b, r.Term)
	b = appendUint(b, uint64(r.LeaderID))
	b = appendUint(b, r.PrevLogIndex)
	b = appendUint(b, r.PrevLogTerm)
	if r.Entries == nil {
		b = append(b, 0xc0) // nil
	} else {
		b = appendArray(b, len(r.Entries))
	}
	separate := 0
	for i := range r.Entries {
		e := &r.Entries[i]
		b = append(b, 0x94)
		b = appendUint(b, e.Index)
		b = appendUint(b, e.Term)
		b = appendUint(b, uint64(e.Type))
		if e.Data == nil {
			b = append(b, 0xc0) // nil
			continue
		}
		b = appendBin(b, len(e.Data))
		if len(e.Data) < separateBytes {
			b = append(b, e.Data...)
			continue
		}
		w.large = append(w.large, large{len(b), e.Data})
		separate += len(e.Data)
	}
	b = appendUint(b, r.LeaderCommit)
	return appendUint(b, r.Round), separate
}

func appendReply(b []byte, r *core.AppendEntriesReply) []byte {
	b = append(b, 0x98) // an array of eight
	b = appendUint(b, r.Term)
	if r.Success {
		b = append(b, 0xc3)
	} else {
		b = append(b, 0xc2)
	}
	b = appendUint(b, r.RequestTerm)
	b = appendUint(b, r.PrevLogIndex)
	b = appendUint(b, r.MatchIndex)
	b = appendUint(b, r.HintIndex)
	b = appendUint(b, r.HintTerm)
	return appendUint(b, r.Round)
}

// finish completes the header and returns the frame in pieces.
func (w *frameWriter) finish(pieces [][]byte) [][]byte {
	pieces = pieces[:0]
	begin := 0
	for _, l := range w.large {
		pieces = append(pieces, w.buf[begin:l.at], l.data)
		begin = l.at
	}
	pieces = append(pieces, w.buf[begin:])
	first := pieces[0]
	pieces[0] = first[headerBytes:]
	sum := checksum(frameMessages, pieces...)
	pieces[0] = first
	putHeader(w.buf, frameMessages, w.size-headerBytes, sum)
	return pieces
}

// The encodings of msgpack, https://github.com/msgpack/msgpack/blob/master/spec.md.

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<7:
		return append(b, byte(v))
	case v < 1<<8:
		return append(b, 0xcc, byte(v))
	case v < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

func appendArray(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, 0x90|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}

func appendBin(b []byte, n int) []byte {
	switch {
	case n < 1<<8:
		return append(b, 0xc4, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
}
