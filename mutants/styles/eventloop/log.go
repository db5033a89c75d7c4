package raft

// Entry is one command of the log. The key in the map is the entry's index.
type Entry struct {
	Term    int
	Command any
}

// logMap has the entries snapIndex+1 to last.
type logMap struct {
	entries   map[int]Entry
	last      int
	snapIndex int
	snapTerm  int
}

// term returns the term of an entry, and false if the log lacks the entry.
func (l *logMap) term(index int) (int, bool) {
	if index == l.snapIndex {
		return l.snapTerm, true
	}
	e, ok := l.entries[index]
	return e.Term, ok
}

func (l *logMap) lastTerm() int {
	term, _ := l.term(l.last)
	return term
}

func (l *logMap) add(e Entry) {
	l.last++
	l.entries[l.last] = e
}

// from returns a copy of the entries from index on.
func (l *logMap) from(index int) []Entry {
	var es []Entry
	for i := index; i <= l.last; i++ {
		es = append(es, l.entries[i])
	}
	return es
}

// truncate drops the entries after index.
func (l *logMap) truncate(index int) {
	for ; l.last > index; l.last-- {
		delete(l.entries, l.last)
	}
}

// compact drops the entries up to index, and all entries if the term at index differs.
func (l *logMap) compact(index, term int) {
	if t, ok := l.term(index); !ok || t != term {
		l.entries, l.last = map[int]Entry{}, index
	}
	for i := l.snapIndex + 1; i <= index; i++ {
		delete(l.entries, i)
	}
	l.snapIndex, l.snapTerm = index, term
}
