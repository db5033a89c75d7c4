package core

import (
	"fmt"
	"slices"
	"sort"
)

// raftLog is a server's log: what a snapshot stands for, then entries. Slices of
// entries that were handed out stay as they were whatever happens to the log
// later, so the host may save and send them without a lock.
//
//	        snapshotIndex          stableIndex      lastIndex
//	1 ............ | e e e e e e e e e e | e e e e e e |
//	 in snapshot       on disk              not yet saved
type raftLog struct {
	snapshotIndex uint64 // last index that the snapshot stands for; 0: none
	snapshotTerm  uint64
	entries       []Entry // entries[i] is at snapshotIndex+1+i
	stableIndex   uint64  // up to here it is known to be saved
}

func newLog(snap Snapshot, entries []Entry) (*raftLog, error) {
	l := &raftLog{snapshotIndex: snap.LastIncludedIndex, snapshotTerm: snap.LastIncludedTerm}
	if (snap.LastIncludedIndex == 0) != (snap.LastIncludedTerm == 0) {
		return nil, fmt.Errorf("core: the stored snapshot ends at index %d in term %d", snap.LastIncludedIndex, snap.LastIncludedTerm)
	}
	term := snap.LastIncludedTerm
	for i, e := range entries {
		want := snap.LastIncludedIndex + uint64(i) + 1
		if e.Index != want || e.Term < term || e.Term == 0 {
			return nil, fmt.Errorf("core: entry %d of the stored log is at index %d in term %d; want index %d and a term of at least %d",
				i, e.Index, e.Term, want, max(term, 1))
		}
		term = e.Term
	}
	l.entries = slices.Clip(entries)
	l.stableIndex = l.lastIndex()
	return l, nil
}

func (l *raftLog) lastIndex() uint64 { return l.snapshotIndex + uint64(len(l.entries)) }
func (l *raftLog) lastTerm() uint64  { t, _ := l.term(l.lastIndex()); return t }

// term returns the term of the entry at index, and false where the log cannot
// tell: beyond its end, or before what its snapshot ends with.
func (l *raftLog) term(index uint64) (uint64, bool) {
	switch {
	case index == l.snapshotIndex:
		return l.snapshotTerm, true
	case index < l.snapshotIndex || index > l.lastIndex():
		return 0, false
	}
	return l.at(index).Term, true
}

func (l *raftLog) at(index uint64) *Entry { return &l.entries[index-l.snapshotIndex-1] }

// matches says whether the log holds an entry of that index and term, which by
// the Log Matching Property (§5.3) means that everything before agrees too.
func (l *raftLog) matches(index, term uint64) bool {
	t, ok := l.term(index)
	return ok && t == term
}

// conflicts says whether the log has another entry in e's place.
func (l *raftLog) conflicts(e Entry) bool {
	t, ok := l.term(e.Index)
	return ok && t != e.Term
}

// upToDate says whether a log that ends with index and term is at least as
// up-to-date as this one (§5.4.1): the later last term wins, then the longer log.
func (l *raftLog) upToDate(index, term uint64) bool {
	last := l.lastTerm()
	return term > last || term == last && index >= l.lastIndex()
}

// append adds entries at the end.
func (l *raftLog) append(entries ...Entry) { l.entries = append(l.entries, entries...) }

// merge brings entries in that follow a place where the logs agree: those that
// are there already stay, and only at a true conflict is the rest cut off (§5.3;
// Figure 2, AppendEntries 3 and 4). A delayed request therefore never removes
// what a later one brought.
func (l *raftLog) merge(entries []Entry) {
	for i, e := range entries {
		if l.matches(e.Index, e.Term) {
			continue
		}
		if l.conflicts(e) {
			l.truncate(e.Index)
		}
		l.append(entries[i:]...)
		return
	}
}

// truncate removes the entries from index on. The slice is clipped, so that
// what comes next does not overwrite entries that were handed out.
func (l *raftLog) truncate(index uint64) {
	l.entries = slices.Clip(l.entries[:index-l.snapshotIndex-1])
	l.stableIndex = min(l.stableIndex, index-1)
}

// unstable returns the entries that are not known to be saved.
func (l *raftLog) unstable() []Entry {
	return slices.Clip(l.entries[l.stableIndex-l.snapshotIndex:])
}

// savedTo records that the entry of that index and term is saved, and so all
// before it. If it was cut off while it was being saved, nothing is known.
func (l *raftLog) savedTo(index, term uint64) {
	if index > l.stableIndex && l.matches(index, term) {
		l.stableIndex = index
	}
}

// slice returns entries from lo on, up to hi or until they sum to more than
// maxBytes, but at least one if there is one.
func (l *raftLog) slice(lo, hi uint64, maxBytes int) []Entry {
	if lo > hi {
		return nil
	}
	part := l.entries[lo-l.snapshotIndex-1 : hi-l.snapshotIndex]
	bytes := 0
	for i := range part {
		bytes += part[i].size()
		if bytes > maxBytes && i > 0 {
			part = part[:i]
			break
		}
	}
	return slices.Clip(part)
}

// lastAtOrBelow returns the highest index up to index, but not before the
// snapshot's end, whose term is at most term. Both sides of a divergence use it
// to skip what cannot agree, a term at a time.
func (l *raftLog) lastAtOrBelow(index, term uint64) uint64 {
	index = min(index, l.lastIndex())
	if index <= l.snapshotIndex {
		return index
	}
	later := func(i int) bool { return l.entries[i].Term > term } // terms never fall along a log
	return l.snapshotIndex + uint64(sort.Search(int(index-l.snapshotIndex), later))
}

// compact drops the entries up to index, which a snapshot now stands for. They
// are copied away from what was dropped, so that its memory is freed.
func (l *raftLog) compact(index uint64) {
	term, _ := l.term(index)
	l.entries = slices.Clone(l.entries[index-l.snapshotIndex:])
	l.snapshotIndex, l.snapshotTerm = index, term
	l.stableIndex = max(l.stableIndex, index)
}

// restore replaces the whole log by a snapshot.
func (l *raftLog) restore(snap *Snapshot) {
	*l = raftLog{
		snapshotIndex: snap.LastIncludedIndex,
		snapshotTerm:  snap.LastIncludedTerm,
		stableIndex:   snap.LastIncludedIndex,
	}
}
