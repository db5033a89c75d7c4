package raft

import "raftlab/raft/core"

// Storage keeps one server's persistent state (Figure 2) and its snapshot
// (section 7). What a method was given is durable when it returns without an
// error; after an error the server stops using it.
//
// Load is called first, once. After that Save is called by one goroutine at a
// time, and the other methods from any, at the same time too.
type Storage interface {
	// Load returns what is stored: the hard state, the log, and of the snapshot
	// its last index and term (Data is left empty, see ReadSnapshot).
	Load() (core.Persistent, error)
	// Save stores an update as one step: after a crash all of it is there or none.
	Save(Update) error
	// SaveSnapshot stores a snapshot of the server's own state and drops the log
	// up to its end; what follows stays. One that is not newer than the stored
	// one is ignored. It may take long, and should not hold up Save for long.
	SaveSnapshot(core.Snapshot) error
	// ReadSnapshot returns the newest stored snapshot, with its data; the zero
	// Snapshot if there is none. The data must not be changed.
	ReadSnapshot() (core.Snapshot, error)
	// StateSize returns the size of what is stored without the snapshot, in bytes.
	StateSize() int
	// Close ends the use of the storage; a later call of any method fails.
	Close() error
}

// Update is what changes in one step of [Storage.Save], in this order.
type Update struct {
	// HardState replaces the stored one; nil: it stays.
	HardState *core.HardState
	// Snapshot, received from a leader, replaces the stored one and the whole
	// log; nil: they stay.
	Snapshot *core.Snapshot
	// Entries are appended, after what is stored from the first one's index on
	// is removed. Empty: the log stays.
	Entries []core.Entry
}
