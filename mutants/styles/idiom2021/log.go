package raft

// LogEntry is one entry of the log. Its index follows from its place.
type LogEntry struct {
	Term    int
	Command interface{}
}

// The functions below expect rf.mu to be held. rf.log[0] is the entry with index
// rf.lastIncludedIndex+1.

func (rf *Raft) lastLogIndex() int {
	return rf.lastIncludedIndex + len(rf.log)
}

func (rf *Raft) lastLogTerm() int {
	if len(rf.log) == 0 {
		return rf.lastIncludedTerm
	}
	return rf.log[len(rf.log)-1].Term
}

func (rf *Raft) entryAt(index int) LogEntry {
	return rf.log[index-rf.lastIncludedIndex-1]
}

// termAt returns the term of the entry at index, or -1 if the log does not know it.
func (rf *Raft) termAt(index int) int {
	if index == rf.lastIncludedIndex {
		return rf.lastIncludedTerm
	}
	if index < rf.lastIncludedIndex || index > rf.lastLogIndex() {
		return -1
	}
	return rf.entryAt(index).Term
}

// entriesFrom returns a copy of the entries from index to the end.
func (rf *Raft) entriesFrom(index int) []LogEntry {
	suffix := rf.log[index-rf.lastIncludedIndex-1:]
	return append([]LogEntry{}, suffix...)
}

// truncateFrom drops the entry at index and all that follow.
func (rf *Raft) truncateFrom(index int) {
	rf.log = rf.log[:index-rf.lastIncludedIndex-1]
}

// compactTo drops the entries up to index. The term of that entry is kept.
func (rf *Raft) compactTo(index int, term int) {
	if rf.termAt(index) == term {
		rf.log = rf.entriesFrom(index + 1)
	} else {
		rf.log = []LogEntry{}
	}
	rf.lastIncludedIndex = index
	rf.lastIncludedTerm = term
}

// firstIndexOfTerm walks back from index to the first entry in the log that has the
// same term.
func (rf *Raft) firstIndexOfTerm(index int) int {
	term := rf.termAt(index)
	for index-1 > rf.lastIncludedIndex && rf.termAt(index-1) == term {
		index--
	}
	return index
}

// lastIndexOfTerm returns the index of the last entry with that term, or -1.
func (rf *Raft) lastIndexOfTerm(term int) int {
	for i := rf.lastLogIndex(); i > rf.lastIncludedIndex; i-- {
		if rf.termAt(i) == term {
			return i
		}
		if rf.termAt(i) < term {
			break
		}
	}
	return -1
}

// candidateIsUpToDate compares the ends of the two logs (section 5.4.1).
func (rf *Raft) candidateIsUpToDate(lastIndex int, lastTerm int) bool {
	if lastTerm != rf.lastLogTerm() {
		return lastTerm > rf.lastLogTerm()
	}
	return lastIndex >= rf.lastLogIndex()
}
