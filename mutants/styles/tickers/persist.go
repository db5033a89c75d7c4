package raft

import (
	"bytes"
	"fmt"

	"raftlab/labgob"
)

func (rf *Raft) stateBytes() []byte {
	buf := new(bytes.Buffer)
	enc := labgob.NewEncoder(buf)
	if err := enc.Encode(rf.hard); err != nil {
		panic(fmt.Sprintf("encode the state: %v", err))
	}
	if err := enc.Encode(rf.log); err != nil {
		panic(fmt.Sprintf("encode the log: %v", err))
	}
	return buf.Bytes()
}

func (rf *Raft) persist() {
	rf.persister.SaveRaftState(rf.stateBytes())
}

func (rf *Raft) restore(state []byte) {
	if len(state) < 1 {
		return
	}
	var hard hardState
	var log raftLog
	dec := labgob.NewDecoder(bytes.NewBuffer(state))
	if err := dec.Decode(&hard); err != nil {
		panic(fmt.Sprintf("decode the state: %v", err))
	}
	if err := dec.Decode(&log); err != nil {
		panic(fmt.Sprintf("decode the log: %v", err))
	}
	rf.hard, rf.log = hard, log
}

// Snapshot is called by the service, which has applied everything up to index.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if index > rf.log.Base && index <= rf.commitIndex {
		rf.log.compact(index, rf.log.term(index))
		rf.persister.Save(rf.stateBytes(), snapshot)
	}
}

// CondInstallSnapshot has nothing to decide, because the queue is in order.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	return true
}

func (rf *Raft) PersistBytes() int {
	return rf.persister.RaftStateSize()
}
