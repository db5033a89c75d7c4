package raft

// Entry is a command with the term in which a leader took it.
type Entry struct {
	Term    int
	Command interface{}
}

// Log is the part of the log behind the snapshot. The fields are exported, because the
// whole Log is saved.
type Log struct {
	Base     int // the last index in the snapshot
	BaseTerm int // and its term
	Entries  []Entry
}

// Last returns the index and the term of the end of the log.
func (l *Log) Last() (index, term int) {
	if n := len(l.Entries); n > 0 {
		return l.Base + n, l.Entries[n-1].Term
	}
	return l.Base, l.BaseTerm
}

// Term returns the term at index. ok is false if the log has no such index.
func (l *Log) Term(index int) (term int, ok bool) {
	switch last, _ := l.Last(); {
	case index == l.Base:
		return l.BaseTerm, true
	case index < l.Base || index > last:
		return 0, false
	}
	return l.Entries[index-l.Base-1].Term, true
}

// Append adds an entry and returns its index.
func (l *Log) Append(e Entry) int {
	l.Entries = append(l.Entries, e)
	return l.Base + len(l.Entries)
}

// Slice copies the entries from..to, both included.
func (l *Log) Slice(from, to int) []Entry {
	out := make([]Entry, 0, to-from+1)
	return append(out, l.Entries[from-l.Base-1:to-l.Base]...)
}

// Merge puts entries behind index prev, which the log has or has compacted. Merge cuts
// the log only where an entry differs. It reports whether the log changed.
func (l *Log) Merge(prev int, entries []Entry) bool {
	if skip := l.Base - prev; skip > 0 {
		if skip >= len(entries) {
			return false
		}
		prev, entries = l.Base, entries[skip:]
	}
	for i, e := range entries {
		index := prev + 1 + i
		if term, ok := l.Term(index); ok && term == e.Term {
			continue
		}
		l.Entries = append(l.Slice(l.Base+1, index-1), entries[i:]...)
		return true
	}
	return false
}

// Compact moves the base to index. Entries behind index stay if the log agrees with
// the term there.
func (l *Log) Compact(index, term int) {
	var rest []Entry
	if have, ok := l.Term(index); ok && have == term {
		last, _ := l.Last()
		rest = l.Slice(index+1, last)
	}
	*l = Log{Base: index, BaseTerm: term, Entries: rest}
}

// StartOfTerm returns the first index of the run of equal terms that ends at index.
func (l *Log) StartOfTerm(index int) int {
	term, _ := l.Term(index)
	for index > l.Base+1 {
		if before, _ := l.Term(index - 1); before != term {
			break
		}
		index--
	}
	return index
}

// NewerThan compares the log with the end of another (section 5.4.1).
func (l *Log) NewerThan(index, term int) bool {
	myIndex, myTerm := l.Last()
	if myTerm == term {
		return myIndex > index
	}
	return myTerm > term
}
