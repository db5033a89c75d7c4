package raft

import "raftlab/raft/core"

// Storage keeps one server's persistent state (Figure 2) and snapshot (section 7).
// When a method returns nil, its arguments are durable. After an error the server
// no longer uses the storage.
//
// The server calls Load once, before all other methods. Afterwards one goroutine at
// a time calls Save, and any goroutine calls the other methods concurrently.
type Storage interface {
	// Load returns the hard state, the log, and the snapshot's last index and term.
	// Data stays empty, see ReadSnapshot.
	Load() (core.Persistent, error)
	// Save stores an update atomically: a crash leaves the whole update or nothing.
	Save(Update) error
	// SaveSnapshot stores a snapshot of the server's own state, and drops the log up
	// to the snapshot's end. SaveSnapshot ignores a snapshot that is not newer than
	// the stored one. A long SaveSnapshot should not delay Save for long.
	SaveSnapshot(core.Snapshot) error
	// ReadSnapshot returns the newest stored snapshot with its data, or the zero
	// Snapshot. The caller must not change the data.
	ReadSnapshot() (core.Snapshot, error)
	// StateSize returns the stored size without the snapshot, in bytes.
	StateSize() int
	// Close ends the use of the storage. Later calls of any method fail.
	Close() error
}

// Update is the argument of [Storage.Save]. Save applies the fields in this order.
type Update struct {
	// HardState, if not nil, replaces the stored hard state.
	HardState *core.HardState
	// Snapshot, if not nil, is a leader's, and replaces the stored snapshot and the
	// whole log.
	Snapshot *core.Snapshot
	// Entries, if any, replace the stored log from the index of the first on.
	Entries []core.Entry
}
