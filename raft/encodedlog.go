package raft

import (
	"fmt"
	"slices"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
)

// encodedLog is a log and its encoding. The encoding grows by appending. An entry
// is encoded as the length of the common prefix with the entry before, and the
// rest. Commands of one type begin with the same description of the type, so the
// encoding holds one description for a run of commands.
type encodedLog struct {
	entries []core.Entry
	ends    []int  // ends[i] is the end of entries[i] in encoded
	encoded []byte // shared: bytes up to len never change
}

// encodedEntry is one entry in the encoded log. The index follows from the place.
type encodedEntry struct {
	Term   uint64
	Type   uint8
	Shared int    // length of the common prefix with the data of the entry before
	Rest   []byte // of the data
}

// bytes returns the encoding. Later changes of the log do not change its contents.
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
	// Clipped, because the next append must not overwrite shared bytes.
	l.entries, l.ends, l.encoded = slices.Clip(l.entries[:n]), l.ends[:n], slices.Clip(l.encoded[:end])
}

// compact removes the entries up to index. It encodes the first remaining entry
// again, without the entry before.
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

// matches reports whether the log has an entry of this index and term.
func (l *encodedLog) matches(index, term uint64) bool {
	n := l.before(index)
	return n < len(l.entries) && l.entries[n].Index == index && l.entries[n].Term == term
}

// terms returns the runs of entries with the same term.
func (l *encodedLog) terms() (runs []core.TermRun) {
	for i, e := range l.entries {
		if i == 0 || e.Term != l.entries[i-1].Term {
			runs = append(runs, core.TermRun{First: e.Index, Term: e.Term})
		}
	}
	return runs
}

// slice returns the entries from lo to hi, which the log has, at most about maxBytes
// of data, but at least one.
func (l *encodedLog) slice(lo, hi uint64, maxBytes int) []core.Entry {
	part := l.entries[l.before(lo):l.before(hi+1)]
	for i := range part {
		if maxBytes -= len(part[i].Data); maxBytes < 0 && i > 0 {
			part = part[:i]
			break
		}
	}
	return slices.Clip(part)
}

// decode reads the log of a state from data, and returns the bytes after the log.
func (l *encodedLog) decode(data []byte, head stateHead) (rest []byte, err error) {
	for n := range head.Entries {
		var e encodedEntry
		index := head.LastIncludedIndex + 1 + n
		if data, err = msgpack.DecodePrefix(data, &e); err != nil {
			return nil, fmt.Errorf("entry %d, number %d of %d: %w", index, n+1, head.Entries, err)
		}
		last := l.lastData()
		if e.Shared < 0 || e.Shared > len(last) {
			return nil, fmt.Errorf("entry %d shares %d bytes with the %d bytes of the entry before", index, e.Shared, len(last))
		}
		l.append(core.Entry{Index: index, Term: e.Term, Type: core.EntryType(e.Type), Data: slices.Concat(last[:e.Shared], e.Rest)})
	}
	return data, nil
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
