package tcp

import (
	"encoding/binary"
	"fmt"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// decodeMessages appends the messages of a payload to dst. The entries' data are
// slices of the payload, which belongs to the messages from then on. aliased
// reports whether there are any. Messages of an unknown kind are left out.
func decodeMessages(dst []node.Message, payload []byte) (messages []node.Message, aliased bool, err error) {
	r := wireReader{left: payload}
	for len(r.left) > 0 {
		if n := r.array(); n != 4 {
			return dst, aliased, fmt.Errorf("%w: a message has %d parts; want 4", errFrame, n)
		}
		m := node.Message{Group: node.GroupID(r.uint()), Call: r.uint()}
		k := kind(min(r.uint(), 255))
		if r.err != nil {
			return dst, aliased, r.err
		}
		switch k {
		case kindAppendEntries:
			body := new(core.AppendEntries)
			r.appendEntries(body)
			aliased = aliased || len(body.Entries) > 0
			m.Body = body
		case kindAppendEntriesReply:
			body := new(core.AppendEntriesReply)
			r.reply(body)
			m.Body = body
		default:
			r.other(k, &m)
		}
		if r.err != nil {
			return dst, aliased, r.err
		}
		if m.Body != nil {
			dst = append(dst, m)
		}
	}
	return dst, aliased, nil
}

// wireReader reads msgpack. After an error it returns zeros.
type wireReader struct {
	left []byte
	err  error
}

func (r *wireReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s with %d bytes left", errFrame, what, len(r.left))
		r.left = nil
	}
}

// take returns the next n bytes.
func (r *wireReader) take(n int) []byte {
	if r.err != nil || n > len(r.left) {
		r.fail("the payload ends early")
		return nil
	}
	b := r.left[:n:n]
	r.left = r.left[n:]
	return b
}

func (r *wireReader) byte() byte {
	if len(r.left) == 0 {
		r.fail("the payload ends early")
		return 0
	}
	b := r.left[0]
	r.left = r.left[1:]
	return b
}

// sized reads a big endian number of n bytes.
func (r *wireReader) sized(n int) uint64 {
	var v uint64
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *wireReader) uint() uint64 {
	switch b := r.byte(); {
	case b < 0x80:
		return uint64(b)
	case b >= 0xcc && b <= 0xcf:
		return r.sized(1 << (b - 0xcc))
	case b >= 0xd0 && b <= 0xd3: // a signed number, of another encoder
		v := r.sized(1 << (b - 0xd0))
		if shift := 64 - 8<<(b-0xd0); int64(v<<shift)>>shift >= 0 {
			return v
		}
	}
	r.fail("a number is not what it should be")
	return 0
}

func (r *wireReader) bool() bool {
	switch r.byte() {
	case 0xc2:
		return false
	case 0xc3:
		return true
	}
	r.fail("a truth value is not what it should be")
	return false
}

// array reads the length of an array.
func (r *wireReader) array() int {
	var n uint64
	switch b := r.byte(); {
	case b >= 0x90 && b <= 0x9f:
		n = uint64(b & 0x0f)
	case b == 0xdc:
		n = r.sized(2)
	case b == 0xdd:
		n = r.sized(4)
	default:
		r.fail("an array is not what it should be")
	}
	if n > uint64(len(r.left)) { // an element has at least a byte
		r.fail("an array is longer than its frame")
		return 0
	}
	return int(n)
}

// bin reads bytes, which stay in the payload.
func (r *wireReader) bin() []byte {
	var n uint64
	switch b := r.byte(); {
	case b == 0xc0:
		return nil
	case b >= 0xc4 && b <= 0xc6:
		n = r.sized(1 << (b - 0xc4))
	case b >= 0xd9 && b <= 0xdb: // a string, of another encoder
		n = r.sized(1 << (b - 0xd9))
	case b >= 0xa0 && b <= 0xbf:
		n = uint64(b & 0x1f)
	default:
		r.fail("bytes are not what they should be")
	}
	if n > uint64(len(r.left)) {
		r.fail("bytes are longer than their frame")
		return nil
	}
	return r.take(int(n))
}

func (r *wireReader) appendEntries(m *core.AppendEntries) {
	n := r.array()
	for i := range n {
		switch i {
		case 0:
			m.Term = r.uint()
		case 1:
			m.LeaderID = core.NodeID(r.uint())
		case 2:
			m.PrevLogIndex = r.uint()
		case 3:
			m.PrevLogTerm = r.uint()
		case 4:
			m.Entries = r.entries()
		case 5:
			m.LeaderCommit = r.uint()
		case 6:
			m.Round = r.uint()
		default:
			r.skip(maxDepth)
		}
	}
}

func (r *wireReader) entries() []core.Entry {
	if len(r.left) > 0 && r.left[0] == 0xc0 {
		r.byte()
		return nil
	}
	n := r.array()
	if n > len(r.left)/minEntryBytes+1 {
		r.fail("there are more entries than fit their frame")
	}
	if n == 0 || r.err != nil {
		return nil
	}
	entries := make([]core.Entry, n)
	for i := range entries {
		e := &entries[i]
		k := r.array()
		for j := range k {
			switch j {
			case 0:
				e.Index = r.uint()
			case 1:
				e.Term = r.uint()
			case 2:
				e.Type = core.EntryType(min(r.uint(), 255))
			case 3:
				e.Data = r.bin()
			default:
				r.skip(maxDepth)
			}
		}
		if r.err != nil {
			return nil
		}
	}
	return entries
}

// minEntryBytes is the size of the smallest entry on the wire.
const minEntryBytes = 5

func (r *wireReader) reply(m *core.AppendEntriesReply) {
	n := r.array()
	for i := range n {
		switch i {
		case 0:
			m.Term = r.uint()
		case 1:
			m.Success = r.bool()
		case 2:
			m.RequestTerm = r.uint()
		case 3:
			m.PrevLogIndex = r.uint()
		case 4:
			m.MatchIndex = r.uint()
		case 5:
			m.HintIndex = r.uint()
		case 6:
			m.HintTerm = r.uint()
		case 7:
			m.Round = r.uint()
		default:
			r.skip(maxDepth)
		}
	}
}

// other reads a body that package msgpack decodes.
func (r *wireReader) other(k kind, m *node.Message) {
	body := newBody(k)
	if body == nil {
		r.skip(maxDepth)
		return
	}
	begin := r.left
	r.skip(maxDepth)
	if r.err != nil {
		return
	}
	if err := msgpack.Decode(begin[:len(begin)-len(r.left)], body); err != nil {
		r.err = fmt.Errorf("%w: %v", errFrame, err)
		return
	}
	m.Body = body
}

// maxDepth bounds how deep arrays and maps of a message nest.
const maxDepth = 8

// skip reads one value of any type.
func (r *wireReader) skip(depth int) {
	if depth == 0 {
		r.fail("a message nests too deep")
	}
	if r.err != nil {
		return
	}
	b := r.byte()
	switch {
	case b <= 0x7f, b >= 0xe0, b == 0xc0, b == 0xc2, b == 0xc3:
	case b <= 0x8f:
		r.skipAll(2*uint64(b&0x0f), depth)
	case b <= 0x9f:
		r.skipAll(uint64(b&0x0f), depth)
	case b <= 0xbf:
		r.take(int(b & 0x1f))
	case b >= 0xc4 && b <= 0xc6:
		r.takeLong(r.sized(1 << (b - 0xc4)))
	case b >= 0xc7 && b <= 0xc9:
		r.takeLong(r.sized(1<<(b-0xc7)) + 1)
	case b == 0xca:
		r.take(4)
	case b == 0xcb:
		r.take(8)
	case b >= 0xcc && b <= 0xd3:
		r.take(1 << ((b - 0xcc) & 3))
	case b >= 0xd4 && b <= 0xd8:
		r.take(1 + 1<<(b-0xd4))
	case b >= 0xd9 && b <= 0xdb:
		r.takeLong(r.sized(1 << (b - 0xd9)))
	case b == 0xdc || b == 0xdd:
		r.skipAll(r.sized(2<<(b-0xdc)), depth)
	case b == 0xde || b == 0xdf:
		r.skipAll(2*r.sized(2<<(b-0xde)), depth)
	default:
		r.fail("a value is not what it should be")
	}
}

func (r *wireReader) takeLong(n uint64) {
	if n > uint64(len(r.left)) {
		r.fail("a value is longer than its frame")
		return
	}
	r.take(int(n))
}

func (r *wireReader) skipAll(n uint64, depth int) {
	for ; n > 0 && r.err == nil; n-- {
		r.skip(depth - 1)
	}
}

// decodeHeader takes a header apart.
func decodeHeader(b []byte) (frameType byte, length uint32, sum uint32) {
	return b[4], binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[5:])
}
