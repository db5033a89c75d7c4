package raft

// Log has the terms and the commands of entries in two slices. Position 0 stands for index
// Base, the last entry of the snapshot, and has no command.
type Log struct {
	Base     int
	Terms    []int
	Commands []any
}

func (l *Log) Last() int {
	return l.Base + len(l.Terms) - 1
}

func (l *Log) Term(index int) int {
	return l.Terms[index-l.Base]
}

func (l *Log) Command(index int) any {
	return l.Commands[index-l.Base]
}

func (l *Log) Append(term int, command any) {
	l.Terms = append(l.Terms, term)
	l.Commands = append(l.Commands, command)
}

// CutAfter drops the entries after index.
func (l *Log) CutAfter(index int) {
	l.Terms = l.Terms[:index-l.Base+1]
	l.Commands = l.Commands[:index-l.Base+1]
}

// CutBefore drops the entries before index, which becomes the base.
func (l *Log) CutBefore(index int) {
	l.Terms = append([]int{}, l.Terms[index-l.Base:]...)
	l.Commands = append([]any{}, l.Commands[index-l.Base:]...)
	l.Commands[0] = nil
	l.Base = index
}

// Slice copies at most limit entries from index on.
func (l *Log) Slice(index, limit int) ([]int, []any) {
	from := index - l.Base
	to := min(from+limit, len(l.Terms))
	return append([]int{}, l.Terms[from:to]...), append([]any{}, l.Commands[from:to]...)
}

// LastOfTerm returns the last index of an entry of a term, or 0.
func (l *Log) LastOfTerm(term int) int {
	for i := l.Last(); i >= l.Base && l.Term(i) >= term; i-- {
		if l.Term(i) == term {
			return i
		}
	}
	return 0
}
