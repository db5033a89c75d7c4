package raft

import (
	"bytes"
	"slices"
	"sync"
)

// Persister is the lab's stable storage. It keeps a server's Raft state and the
// service's snapshot as two byte slices in memory. The state survives the "crash" of
// a server because the harness passes the Persister, or a copy, to the next server.
// The zero value is empty and ready. Any goroutine may call the methods.
type Persister struct {
	mu sync.Mutex
	// The Raft state is head followed by tail. Nobody changes the contents of the
	// slices, so copies share them.
	head, tail []byte
	snapshot   []byte
}

// MakePersister returns an empty Persister.
func MakePersister() *Persister { return &Persister{} }

// Copy returns a Persister with the present contents. Later changes of one do not
// reach the other.
func (ps *Persister) Copy() *Persister {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return &Persister{head: ps.head, tail: ps.tail, snapshot: ps.snapshot}
}

// Save replaces the Raft state and the snapshot together.
func (ps *Persister) Save(raftstate []byte, snapshot []byte) {
	ps.replace(bytes.Clone(raftstate), nil, bytes.Clone(snapshot))
}

// SaveStateAndSnapshot is Save, under its older name.
func (ps *Persister) SaveStateAndSnapshot(raftstate []byte, snapshot []byte) {
	ps.Save(raftstate, snapshot)
}

// SaveRaftState replaces the Raft state and keeps the snapshot.
func (ps *Persister) SaveRaftState(raftstate []byte) {
	ps.replaceState(bytes.Clone(raftstate), nil)
}

// replace keeps the slices without a copy, so nobody may change their contents
// later.
func (ps *Persister) replace(head, tail, snapshot []byte) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.head, ps.tail, ps.snapshot = head, tail, snapshot
}

// replaceState is replace without the snapshot.
func (ps *Persister) replaceState(head, tail []byte) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.head, ps.tail = head, tail
}

// ReadRaftState returns a copy of the Raft state, or nil before the first save.
func (ps *Persister) ReadRaftState() []byte {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Concat(ps.head, ps.tail)
}

// ReadSnapshot returns a copy of the snapshot, or nil before the first save.
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
