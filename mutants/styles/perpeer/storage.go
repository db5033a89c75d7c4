package raft

import (
	"bytes"
	"log"

	"raftlab/labgob"
)

// image is the persistent state as it is encoded.
type image struct {
	Term int
	Vote int
	Log  Log
}

func (rf *Raft) save() {
	var buf bytes.Buffer
	if err := labgob.NewEncoder(&buf).Encode(image{rf.term, rf.vote, rf.log}); err != nil {
		log.Panicf("raft: encode: %v", err)
	}
	rf.persister.Save(buf.Bytes(), rf.snapshot)
}

func (rf *Raft) load() {
	state := rf.persister.ReadRaftState()
	if len(state) == 0 {
		return
	}
	var im image
	if err := labgob.NewDecoder(bytes.NewReader(state)).Decode(&im); err != nil {
		log.Panicf("raft: decode: %v", err)
	}
	rf.term, rf.vote, rf.log = im.Term, im.Vote, im.Log
	rf.snapshot = rf.persister.ReadSnapshot()
}

func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.log.Base || index > rf.lastApplied {
		return
	}
	rf.log.CutBefore(index)
	rf.snapshot = snapshot
	rf.save()
}

func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	return true
}

func (rf *Raft) PersistBytes() int {
	return rf.persister.RaftStateSize()
}
