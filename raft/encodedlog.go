package raft

import (
	"fmt"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"raftlab/raft/core"
)

// encodedLog is a log beside its encoding, which grows by appending. An entry
// is encoded as what it shares with the beginning of the entry before it and
// the rest: commands of one type begin with the same description of that type,
// which is so kept once and not with each.
type encodedLog struct {
	entries []core.Entry
	ends    []int  // ends[i] is where entries[i] ends in encoded
	encoded []byte // bytes up to len are never changed, so that they can be shared
}

// encodedEntry is one entry in the encoded log; its index follows from its place.
type encodedEntry struct {
	Term   uint64
	Type   uint8
	Shared int    // so many bytes of data are those of the entry before
	Rest   []byte // and these follow
}

// bytes returns the encoding. Its contents stay what they are.
func (l *encodedLog) bytes() []byte { return slices.Clip(l.encoded) }

func (l *encodedLog) append(entries ...core.Entry) {
	for _, e := range entries {
		shared := commonPrefix(l.lastData(), e.Data)
		l.encoded = encode(l.encoded, &encodedEntry{Term: e.Term, Type: uint8(e.Type), Shared: shared, Rest: e.Data[shared:]})
		l.entries = append(l.entries, e)
		l.ends = append(l.ends, len(l.encoded))
	}
}

func (l *encodedLog) lastData() []byte {
	if len(l.entries) == 0 {
		return nil
	}
	return l.entries[len(l.entries)-1].Data
}

// truncate removes the entries from index on.
func (l *encodedLog) truncate(index uint64) {
	n := l.before(index)
	if n == len(l.entries) {
		return
	}
	end := 0
	if n > 0 {
		end = l.ends[n-1]
	}
	// Clipped: what is appended next must not overwrite bytes that were shared.
	l.entries, l.ends, l.encoded = slices.Clip(l.entries[:n]), l.ends[:n], slices.Clip(l.encoded[:end])
}

// compact removes the entries up to index. The first one that stays can no
// longer lean on the one before it and is encoded anew.
func (l *encodedLog) compact(index uint64) {
	rest := l.entries[l.before(index+1):]
	if len(rest) == 0 {
		*l = encodedLog{}
		return
	}
	skip := len(l.entries) - len(rest)
	var fresh encodedLog
	fresh.append(rest[0])
	shift := len(fresh.encoded) - l.ends[skip]
	fresh.entries = append(fresh.entries, rest[1:]...)
	fresh.encoded = append(fresh.encoded, l.encoded[l.ends[skip]:]...)
	for _, end := range l.ends[skip+1:] {
		fresh.ends = append(fresh.ends, end+shift)
	}
	*l = fresh
}

// before returns the number of entries whose index is below index.
func (l *encodedLog) before(index uint64) int {
	if len(l.entries) == 0 || index <= l.entries[0].Index {
		return 0
	}
	return int(min(index-l.entries[0].Index, uint64(len(l.entries))))
}

// decode reads the log that follows head.
func (l *encodedLog) decode(dec *codec.Decoder, head stateHead) error {
	for n := range head.Entries {
		var e encodedEntry
		index := head.LastIncludedIndex + 1 + n
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("entry %d, number %d of %d: %w", index, n+1, head.Entries, err)
		}
		last := l.lastData()
		if e.Shared < 0 || e.Shared > len(last) {
			return fmt.Errorf("entry %d shares %d bytes with the one before, which has %d", index, e.Shared, len(last))
		}
		l.append(core.Entry{Index: index, Term: e.Term, Type: core.EntryType(e.Type), Data: slices.Concat(last[:e.Shared], e.Rest)})
	}
	return nil
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
