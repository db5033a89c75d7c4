package raft

import (
	"bytes"
	"fmt"

	"raftlab/labgob"
)

// hardState is what the persister keeps, beside the snapshot.
type hardState struct {
	Term int
	Vote int
	Log  Log
}

// saver turns a hardState into bytes and back.
type saver struct {
	p *Persister
}

func (s saver) bytes(h *hardState) []byte {
	var buf bytes.Buffer
	if err := labgob.NewEncoder(&buf).Encode(h); err != nil {
		panic(fmt.Sprintf("raft: cannot encode the state: %v", err))
	}
	return buf.Bytes()
}

func (s saver) save(h *hardState) {
	s.p.SaveRaftState(s.bytes(h))
}

func (s saver) saveWith(h *hardState, snapshot []byte) {
	s.p.SaveStateAndSnapshot(s.bytes(h), snapshot)
}

// load returns the saved state, or the state of a new server.
func (s saver) load() hardState {
	data := s.p.ReadRaftState()
	if len(data) == 0 {
		return hardState{Vote: nobody}
	}
	var h hardState
	if err := labgob.NewDecoder(bytes.NewBuffer(data)).Decode(&h); err != nil {
		panic(fmt.Sprintf("raft: cannot decode the state: %v", err))
	}
	return h
}
