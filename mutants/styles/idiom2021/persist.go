package raft

import (
	"bytes"

	"raftlab/labgob"
)

func (rf *Raft) encodeState() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(rf.currentTerm)
	e.Encode(rf.votedFor)
	e.Encode(rf.lastIncludedIndex)
	e.Encode(rf.lastIncludedTerm)
	e.Encode(rf.log)
	return w.Bytes()
}

// persist saves the state. The persister keeps the snapshot.
func (rf *Raft) persist() {
	rf.persister.SaveRaftState(rf.encodeState())
}

func (rf *Raft) persistWithSnapshot(snapshot []byte) {
	rf.persister.SaveStateAndSnapshot(rf.encodeState(), snapshot)
}

func (rf *Raft) readPersist(data []byte) {
	if len(data) < 1 {
		return
	}
	d := labgob.NewDecoder(bytes.NewBuffer(data))
	var term, votedFor, lastIndex, lastTerm int
	var entries []LogEntry
	if d.Decode(&term) != nil || d.Decode(&votedFor) != nil ||
		d.Decode(&lastIndex) != nil || d.Decode(&lastTerm) != nil ||
		d.Decode(&entries) != nil {
		panic("readPersist: the state cannot be decoded")
	}
	rf.currentTerm = term
	rf.votedFor = votedFor
	rf.lastIncludedIndex = lastIndex
	rf.lastIncludedTerm = lastTerm
	rf.log = entries
}
