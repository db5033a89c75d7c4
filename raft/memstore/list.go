package memstore

import (
	"iter"
	"slices"

	"raftlab/raft/core"
)

// pieceEntries is the number of entries in a piece of the log.
const pieceEntries = 512

// entryList is a log in pieces. An append therefore never copies the log, and
// dropped pieces free their memory. Slices of a piece are handed out, so nothing
// in a piece changes.
type entryList struct {
	pieces [][]core.Entry // each but the last has pieceEntries
	begin  int            // place of the first entry in the first piece
	length int
}

// append adds entries at the end.
func (l *entryList) append(entries []core.Entry) {
	l.length += len(entries)
	for len(entries) > 0 {
		last := len(l.pieces) - 1
		if last < 0 || len(l.pieces[last]) == pieceEntries {
			var piece []core.Entry // the first piece grows with its content
			if last >= 0 {
				piece = make([]core.Entry, 0, pieceEntries)
			}
			l.pieces = append(l.pieces, piece)
			last++
		}
		n := min(len(entries), pieceEntries-len(l.pieces[last]))
		l.pieces[last] = append(l.pieces[last], entries[:n]...)
		entries = entries[n:]
	}
}

// truncate keeps the first n entries. The last piece is clipped, so that the next
// append copies the piece and does not overwrite what was handed out.
func (l *entryList) truncate(n int) {
	if n == l.length {
		return
	}
	l.length = n
	end := l.begin + n
	whole := (end + pieceEntries - 1) / pieceEntries
	clear(l.pieces[whole:])
	l.pieces = l.pieces[:whole]
	if whole > 0 {
		last := &l.pieces[whole-1]
		*last = slices.Clip((*last)[:end-(whole-1)*pieceEntries])
	}
}

// drop removes the first n entries.
func (l *entryList) drop(n int) {
	l.length -= n
	l.begin += n
	whole := l.begin / pieceEntries
	if l.length == 0 {
		whole = len(l.pieces)
		l.begin = 0
	} else {
		l.begin %= pieceEntries
	}
	l.pieces = slices.Delete(l.pieces, 0, whole)
	if l.begin > 0 { // a copy without the dropped entries frees their data
		rest := make([]core.Entry, len(l.pieces[0]), pieceEntries)
		copy(rest[l.begin:], l.pieces[0][l.begin:])
		l.pieces[0] = rest
	}
}

// piece returns entries from place lo on, up to hi or the end of a piece.
func (l *entryList) piece(lo, hi int) []core.Entry {
	lo, hi = lo+l.begin, hi+l.begin
	n := lo / pieceEntries
	return l.pieces[n][lo-n*pieceEntries : min(hi-n*pieceEntries, pieceEntries)]
}

// slice returns the entries from place lo up to hi. A slice of one piece is a part of
// the piece, and a longer one is a copy.
func (l *entryList) slice(lo, hi int) []core.Entry {
	part := l.piece(lo, hi)
	if len(part) == hi-lo {
		return part[:len(part):len(part)]
	}
	joined := make([]core.Entry, 0, hi-lo)
	for e := range l.all(lo, hi) {
		joined = append(joined, *e)
	}
	return joined
}

// all are the entries from place lo up to hi.
func (l *entryList) all(lo, hi int) iter.Seq[*core.Entry] {
	return func(yield func(*core.Entry) bool) {
		for lo < hi {
			part := l.piece(lo, hi)
			for i := range part {
				if !yield(&part[i]) {
					return
				}
			}
			lo += len(part)
		}
	}
}
