package core

import (
	"fmt"
	"slices"
	"sort"
)

// raftLog is a server's log. The log knows the term of every entry. The newest entries, at
// least the unsaved ones, are in memory. Entries never change after they are handed out, so
// the host may save and send them without a lock.
//
//	        snapshotIndex        first        stableIndex      lastIndex
//	1 ............ | . . . . . . . | e e e e e e e | e e e e e e |
//	   compacted      in storage       in both        not yet saved
//
// Without maxCached, first is always snapshotIndex+1.
type raftLog struct {
	snapshotIndex uint64 // last compacted index, 0 if there is none
	snapshotTerm  uint64
	runs          []TermRun // terms of the entries behind snapshotIndex
	first         uint64    // index of entries[0]
	entries       []Entry
	stableIndex   uint64 // entries up to here are saved
	committed     uint64 // entries up to here are counted in cached
	maxCached     int    // bound on cached, 0 for no bound
	cached        int    // size of the committed entries in memory, if maxCached is set
}

func newLog(saved Persistent, maxCached int) (*raftLog, error) {
	snap := saved.Snapshot
	if (snap.LastIncludedIndex == 0) != (snap.LastIncludedTerm == 0) {
		return nil, fmt.Errorf("core: the stored snapshot ends at index %d in term %d", snap.LastIncludedIndex, snap.LastIncludedTerm)
	}
	l := &raftLog{maxCached: maxCached}
	l.restore(&snap)
	if saved.Stored != nil {
		return l, l.describe(saved)
	}
	term := snap.LastIncludedTerm
	for i, e := range saved.Entries {
		want := snap.LastIncludedIndex + uint64(i) + 1
		if e.Index != want || e.Term < term || e.Term == 0 {
			return nil, fmt.Errorf("core: entry %d of the stored log is at index %d in term %d; want index %d and a term of at least %d",
				i, e.Index, e.Term, want, max(term, 1))
		}
		term = e.Term
	}
	l.append(slices.Clip(saved.Entries)...)
	l.stableIndex = l.lastIndex()
	return l, nil
}

// describe takes over a log with all entries in storage.
func (l *raftLog) describe(saved Persistent) error {
	s, snap := saved.Stored, saved.Snapshot
	if len(saved.Entries) > 0 {
		return fmt.Errorf("core: the stored log is given as %d entries and as a description", len(saved.Entries))
	}
	if (s.CompactedIndex == 0) != (s.CompactedTerm == 0) || s.CompactedIndex > snap.LastIncludedIndex || s.LastIndex < snap.LastIncludedIndex {
		return fmt.Errorf("core: the stored log is compacted up to %d in term %d and ends at %d; the snapshot ends at %d",
			s.CompactedIndex, s.CompactedTerm, s.LastIndex, snap.LastIncludedIndex)
	}
	term, next := s.CompactedTerm, s.CompactedIndex+1
	if (len(s.Terms) == 0) != (s.LastIndex == s.CompactedIndex) || len(s.Terms) > 0 && s.Terms[0].First != next {
		return fmt.Errorf("core: the terms %v do not begin with the stored log at %d", s.Terms, next)
	}
	for i, run := range s.Terms {
		if run.First < next || run.First > s.LastIndex || run.Term < term || run.Term == 0 || i > 0 && run.Term == term {
			return fmt.Errorf("core: in the stored log, term %d at index %d follows term %d; the log ends at %d", run.Term, run.First, term, s.LastIndex)
		}
		term, next = run.Term, run.First+1
	}
	l.snapshotIndex, l.snapshotTerm = s.CompactedIndex, s.CompactedTerm
	l.runs = slices.Clone(s.Terms)
	l.first, l.stableIndex = s.LastIndex+1, s.LastIndex
	if !l.matches(snap.LastIncludedIndex, snap.LastIncludedTerm) {
		return fmt.Errorf("core: the stored log does not agree with the snapshot that ends at %d in term %d", snap.LastIncludedIndex, snap.LastIncludedTerm)
	}
	return nil
}

func (l *raftLog) lastIndex() uint64 { return l.first + uint64(len(l.entries)) - 1 }

func (l *raftLog) lastTerm() uint64 {
	if n := len(l.runs); n > 0 {
		return l.runs[n-1].Term
	}
	return l.snapshotTerm
}

// term returns the term of the entry at index, and false beyond the log's end or before the
// last compacted entry.
func (l *raftLog) term(index uint64) (uint64, bool) {
	switch {
	case index == l.snapshotIndex:
		return l.snapshotTerm, true
	case index < l.snapshotIndex || index > l.lastIndex():
		return 0, false
	case index >= l.first:
		return l.entries[index-l.first].Term, true
	}
	after := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].First > index })
	return l.runs[after-1].Term, true
}

// matches reports whether the log has an entry of this index and term. By the Log Matching
// Property (§5.3) all entries before then agree too.
func (l *raftLog) matches(index, term uint64) bool {
	t, ok := l.term(index)
	return ok && t == term
}

// conflicts reports whether the log has another entry in e's place.
func (l *raftLog) conflicts(e Entry) bool {
	t, ok := l.term(e.Index)
	return ok && t != e.Term
}

// upToDate reports whether a log with the last index and term is at least as up-to-date as
// this one (§5.4.1). The later last term wins, then the longer log.
func (l *raftLog) upToDate(index, term uint64) bool {
	last := l.lastTerm()
	return term > last || term == last && index >= l.lastIndex()
}

// append adds entries at the end.
func (l *raftLog) append(entries ...Entry) {
	last := l.lastTerm()
	for i := range entries {
		if e := &entries[i]; e.Term != last || len(l.runs) == 0 {
			l.runs = append(l.runs, TermRun{e.Index, e.Term})
			last = e.Term
		}
	}
	l.entries = append(l.entries, entries...)
}

// settle counts the entries up to index as committed.
func (l *raftLog) settle(index uint64) {
	if l.maxCached > 0 && index >= l.first {
		l.cached += sizeOf(l.entries[max(l.committed+1, l.first)-l.first : index+1-l.first])
	}
	l.committed = index
}

// merge adds entries behind an index at which the logs agree. Known entries stay, and only
// a true conflict removes the rest of the log (§5.3, and Figure 2, AppendEntries 3 and 4).
// A delayed request therefore never removes the entries of a later one. merge returns the
// new entries.
func (l *raftLog) merge(entries []Entry) []Entry {
	for i, e := range entries {
		if l.matches(e.Index, e.Term) {
			continue
		}
		if l.conflicts(e) {
			l.truncate(e.Index)
		}
		l.append(entries[i:]...)
		return entries[i:]
	}
	return nil
}

// truncate removes the entries from index on. The slice is clipped, so later entries do not
// overwrite entries in the host's hands.
func (l *raftLog) truncate(index uint64) {
	for n := len(l.runs); n > 0 && l.runs[n-1].First >= index; n-- {
		l.runs = l.runs[:n-1]
	}
	l.entries = slices.Clip(l.entries[:max(index, l.first)-l.first])
	l.first = min(l.first, index)
	l.stableIndex = min(l.stableIndex, index-1)
}

// unstable returns the unsaved entries.
func (l *raftLog) unstable() []Entry { return slices.Clip(l.entries[l.stableIndex+1-l.first:]) }

// savedTo records that the entry of this index and term, and all before, are saved. A save
// of an entry truncated in the meantime proves nothing.
func (l *raftLog) savedTo(index, term uint64) {
	if index > l.stableIndex && l.matches(index, term) {
		l.stableIndex = index
		l.evict()
	}
}

// evict drops committed entries from memory beyond the bound, oldest first, down to half of
// the bound. An uncommitted entry stays, since followers and the service still need it. The
// copy of the rest frees memory, at a constant cost for each dropped entry.
func (l *raftLog) evict() {
	if l.cached <= l.maxCached {
		return
	}
	n, size := 0, l.cached
	for l.first+uint64(n) <= min(l.stableIndex, l.committed) && size > l.maxCached/2 {
		size -= l.entries[n].size()
		n++
	}
	if n == 0 || n < len(l.entries)/4 {
		return // most entries have to stay anyway
	}
	l.entries = append(make([]Entry, 0, len(l.entries)+n), l.entries[n:]...) // with room up to the next call
	l.first, l.cached = l.first+uint64(n), size
}

// slice returns entries from lo to hi, at most maxBytes of them, but at least one if there
// is one. lo must not be before first.
func (l *raftLog) slice(lo, hi uint64, maxBytes int) []Entry {
	if lo > hi {
		return nil
	}
	return limit(l.entries[lo-l.first:hi-l.first+1], maxBytes)
}

// limit returns the first entries, at most maxBytes of them, but at least one if there is
// one.
func limit(entries []Entry, maxBytes int) []Entry {
	bytes := 0
	for i := range entries {
		bytes += entries[i].size()
		if bytes > maxBytes && i > 0 {
			entries = entries[:i]
			break
		}
	}
	return slices.Clip(entries)
}

// lastAtOrBelow returns the highest index up to index with at most this term, but none
// before the last compacted index. Leader and follower both skip entries without a chance
// of agreement this way, a term at a time.
func (l *raftLog) lastAtOrBelow(index, term uint64) uint64 {
	index = min(index, l.lastIndex())
	if index <= l.snapshotIndex {
		return index
	}
	later := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].Term > term }) // terms never fall
	if later == len(l.runs) {
		return index
	}
	return min(index, l.runs[later].First-1)
}

// compact drops the entries up to index. The copy of the rest frees the memory of the
// dropped entries.
func (l *raftLog) compact(index uint64) {
	term, _ := l.term(index)
	if index >= l.first {
		dropped := int(index + 1 - l.first)
		if l.maxCached > 0 {
			l.cached -= sizeOf(l.entries[:dropped])
		}
		l.entries = slices.Clone(l.entries[dropped:])
		l.first = index + 1
	}
	after := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].First > index+1 })
	l.runs = slices.Clone(l.runs[after-1:])
	l.runs[0].First = index + 1
	if index == l.lastIndex() {
		l.runs = nil
	}
	l.snapshotIndex, l.snapshotTerm = index, term
	l.stableIndex = max(l.stableIndex, index)
}

// restore replaces the whole log by a snapshot.
func (l *raftLog) restore(snap *Snapshot) {
	index, term := snap.LastIncludedIndex, snap.LastIncludedTerm
	*l = raftLog{snapshotIndex: index, snapshotTerm: term, first: index + 1, stableIndex: index, committed: index, maxCached: l.maxCached}
}
