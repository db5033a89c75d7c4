package raft

// Record is one entry.
type Record struct {
	Term    int
	Command any
}

// journal is the log behind index Start.
type journal struct {
	Start     int
	StartTerm int
	Records   []Record
}

func (j journal) end() int { return j.Start + len(j.Records) }

// termOf returns the term at index, and -1 outside of the journal.
func (j journal) termOf(index int) int {
	if index == j.Start {
		return j.StartTerm
	}
	if index < j.Start || index > j.end() {
		return -1
	}
	return j.Records[index-j.Start-1].Term
}

// from copies the records behind index prev.
func (j journal) from(prev int) []Record {
	return append([]Record(nil), j.Records[prev-j.Start:]...)
}

// after returns the journal behind a snapshot.
func (j journal) after(index, term int) journal {
	if j.termOf(index) != term {
		return journal{Start: index, StartTerm: term}
	}
	return journal{Start: index, StartTerm: term, Records: j.from(index)}
}

// put writes the records behind prev. It reports whether the journal has changed.
func (j *journal) put(prev int, records []Record) bool {
	for len(records) > 0 && (prev < j.Start || j.termOf(prev+1) == records[0].Term) {
		prev, records = prev+1, records[1:]
	}
	if len(records) == 0 {
		return false
	}
	kept := append([]Record(nil), j.Records[:prev-j.Start]...)
	j.Records = append(kept, records...)
	return true
}

// accepts is the check of section 5.4.1 for a candidate's log.
func (j journal) accepts(lastIndex, lastTerm int) bool {
	mine := j.termOf(j.end())
	return lastTerm > mine || lastTerm == mine && lastIndex >= j.end()
}
