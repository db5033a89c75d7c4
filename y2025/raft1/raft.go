// Package raft is Raft with the interface of the 2025 edition. A server is a server
// of the project's package raft.
package raft

import (
	"sync"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

// Raft is one server. The RPC handlers are those of the embedded server, and the
// network knows the service as Raft.
type Raft struct {
	*raft.Raft
	persister *tester.Persister
	killed    chan struct{}
	kill      sync.Once
}

var _ raftapi.Raft = (*Raft)(nil)

// Make starts the server me of peers from the state in persister, and returns at
// once. Somebody must read applyCh until Kill. Make panics if the state in persister
// cannot be read.
func Make(peers []*labrpc.ClientEnd, me int, persister *tester.Persister, applyCh chan raftapi.ApplyMsg) raftapi.Raft {
	return &Raft{
		Raft:      raft.Make(peers, me, persister, applyCh),
		persister: persister,
		killed:    make(chan struct{}),
	}
}

// PersistBytes returns the size of the saved state without the snapshot, in bytes.
func (rf *Raft) PersistBytes() int { return rf.persister.RaftStateSize() }

// Kill stops the server, and returns without waiting. Kill may be called more than
// once.
func (rf *Raft) Kill() {
	rf.kill.Do(func() {
		rf.Raft.Kill()
		close(rf.killed)
	})
}

// Killed returns a channel that Kill closes. A service on the server ends with the
// server.
func (rf *Raft) Killed() <-chan struct{} { return rf.killed }
