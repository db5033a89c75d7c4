// Package raftapi has the interface between a Raft server and its service.
package raftapi

import "raftlab/raft"

// Raft is a Raft server. Any goroutine may call the methods.
type Raft interface {
	// Start proposes a command and returns at once. On the leader, index and term are
	// the place of the command in the log.
	Start(command any) (index int, term int, isLeader bool)
	// GetState returns the current term, and whether this server believes to be the
	// leader.
	GetState() (term int, isLeader bool)
	// Snapshot replaces the log up to index by a snapshot of the service's state.
	Snapshot(index int, snapshot []byte)
	// PersistBytes returns the size of the saved state without the snapshot, in bytes.
	PersistBytes() int
	// Kill stops the server, and returns without waiting.
	Kill()
}

// ApplyMsg is a message from a server to its service: a committed command, or a
// snapshot to replace the service's state.
type ApplyMsg = raft.ApplyMsg
