package raft

import (
	"bytes"
	"slices"
	"sync"
)

// Persister is the lab's stable storage: it keeps a server's Raft state and its
// service's snapshot as two blobs, in memory. It survives the "crash" of a
// server because the harness hands it, or a copy, to the next one. The zero
// value is empty and ready. Its methods may be called from any goroutine.
type Persister struct {
	mu sync.Mutex
	// The Raft state is head followed by tail. The slices' contents are never
	// changed, so copies share them.
	head, tail []byte
	snapshot   []byte
}

// MakePersister returns an empty Persister.
func MakePersister() *Persister { return &Persister{} }

// Copy returns a Persister with the same contents, which later changes of
// either leave alone: what the disk holds at this moment.
func (ps *Persister) Copy() *Persister {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return &Persister{head: ps.head, tail: ps.tail, snapshot: ps.snapshot}
}

// Save replaces both the Raft state and the snapshot, in one step.
func (ps *Persister) Save(raftstate []byte, snapshot []byte) {
	ps.replace(bytes.Clone(raftstate), nil, bytes.Clone(snapshot))
}

// SaveStateAndSnapshot is Save, under its older name.
func (ps *Persister) SaveStateAndSnapshot(raftstate []byte, snapshot []byte) {
	ps.Save(raftstate, snapshot)
}

// SaveRaftState replaces the Raft state; the snapshot stays.
func (ps *Persister) SaveRaftState(raftstate []byte) {
	ps.replaceState(bytes.Clone(raftstate), nil)
}

// replace takes over all parts, without a copy: their contents must not change
// from then on.
func (ps *Persister) replace(head, tail, snapshot []byte) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.head, ps.tail, ps.snapshot = head, tail, snapshot
}

// replaceState is replace, but the snapshot stays.
func (ps *Persister) replaceState(head, tail []byte) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.head, ps.tail = head, tail
}

// ReadRaftState returns a copy of the Raft state; nil if nothing was saved.
func (ps *Persister) ReadRaftState() []byte {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Concat(ps.head, ps.tail)
}

// ReadSnapshot returns a copy of the snapshot; nil if there is none.
func (ps *Persister) ReadSnapshot() []byte {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return bytes.Clone(ps.snapshot)
}

// RaftStateSize returns the length of the Raft state in bytes.
func (ps *Persister) RaftStateSize() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.head) + len(ps.tail)
}

// SnapshotSize returns the length of the snapshot in bytes.
func (ps *Persister) SnapshotSize() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.snapshot)
}
