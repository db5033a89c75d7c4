package raft

type Entry struct {
	Term    int
	Command any
}

// raftLog holds the entries after index Base, the last index of the snapshot.
type raftLog struct {
	Base     int
	BaseTerm int
	Entries  []Entry
}

func (l *raftLog) lastIndex() int {
	return l.Base + len(l.Entries)
}

func (l *raftLog) lastTerm() int {
	return l.term(l.lastIndex())
}

func (l *raftLog) at(index int) Entry {
	return l.Entries[index-l.Base-1]
}

func (l *raftLog) term(index int) int {
	if index == l.Base {
		return l.BaseTerm
	}
	return l.at(index).Term
}

func (l *raftLog) push(e Entry) {
	l.Entries = append(l.Entries, e)
}

// after returns a copy of the entries after index.
func (l *raftLog) after(index int) []Entry {
	return append([]Entry(nil), l.Entries[index-l.Base:]...)
}

// merge brings entries to the place after prev, and reports whether the log changed.
func (l *raftLog) merge(prev int, entries []Entry) bool {
	for i, e := range entries {
		index := prev + 1 + i
		if index <= l.lastIndex() && l.term(index) == e.Term {
			continue
		}
		l.Entries = append(l.Entries[:index-l.Base-1], entries[i:]...)
		return true
	}
	return false
}

// compact moves the base up to index. Later entries stay if the term at index is the same.
func (l *raftLog) compact(index, term int) {
	if index <= l.lastIndex() && l.term(index) == term {
		l.Entries = append([]Entry(nil), l.Entries[index-l.Base:]...)
	} else {
		l.Entries = nil
	}
	l.Base, l.BaseTerm = index, term
}
