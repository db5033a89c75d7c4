// Package raft is a skeleton, such as a course hands out. Nothing of the protocol is
// implemented, so no test of a lab may pass.
package raft

import (
	"sync/atomic"

	"raftlab/labrpc"
)

// ApplyMsg carries a committed command or a snapshot to the service.
type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

// Raft is one server.
type Raft struct{ dead atomic.Bool }

// Make would start server me.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	return &Raft{}
}

// GetState would return the term, and whether this server leads.
func (rf *Raft) GetState() (int, bool) { return 0, false }

// Start would begin agreement on a command.
func (rf *Raft) Start(command any) (int, int, bool) { return -1, -1, true }

// Snapshot would take the service's snapshot.
func (rf *Raft) Snapshot(index int, snapshot []byte) {}

// Kill stops the server.
func (rf *Raft) Kill() { rf.dead.Store(true) }

// RequestVoteArgs would carry a candidate's request.
type RequestVoteArgs struct{}

// RequestVoteReply would carry the answer.
type RequestVoteReply struct{}

// RequestVote would answer a candidate.
func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {}
