package raft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
)

// persisterStorage is the [Storage] over the lab's [Persister]. A Persister takes
// the whole state at each save. To keep a save cheap with a long log,
// persisterStorage keeps the encoded log and only appends. The Persister gets a new
// head and the same, longer, tail.
type persisterStorage struct {
	ps *Persister

	mu       sync.Mutex
	closed   bool
	head     stateHead
	log      encodedLog
	snapshot []byte // shared with ps
}

// stateHead is the beginning of the Raft state. The log follows.
type stateHead struct {
	Version           uint8
	CurrentTerm       uint64
	VotedFor          uint64
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	Entries           uint64 // number of entries in the log
}

// stateVersion is the format of the state.
const stateVersion = 1

var errClosed = errors.New("raft: storage is closed")

// openPersister reads the state in ps.
func openPersister(ps *Persister) (*persisterStorage, error) {
	if ps == nil {
		return nil, errors.New("the persister is nil")
	}
	s := &persisterStorage{ps: ps, head: stateHead{Version: stateVersion}, snapshot: ps.ReadSnapshot()}
	state := ps.ReadRaftState()
	if len(state) == 0 {
		return s, nil
	}
	if err := s.read(state); err != nil {
		return nil, fmt.Errorf("the persisted Raft state (%d bytes) cannot be read: %w", len(state), err)
	}
	return s, nil
}

// read decodes a state. A state with a missing end, or with further bytes, is
// refused: the server may have acknowledged the missing entries.
func (s *persisterStorage) read(state []byte) error {
	s.head = stateHead{}
	rest, err := msgpack.DecodeVersion(state, stateVersion, &s.head)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(state, encode(nil, &s.head)) {
		return errors.New("the beginning is not in the form of this program")
	}
	if rest, err = s.log.decode(rest, s.head); err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the %d entries", len(rest), s.head.Entries)
	}
	return nil
}

func (s *persisterStorage) Load() (core.Persistent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return core.Persistent{}, errClosed
	}
	return core.Persistent{
		HardState: core.HardState{CurrentTerm: s.head.CurrentTerm, VotedFor: core.NodeID(s.head.VotedFor)},
		Snapshot:  core.Snapshot{LastIncludedIndex: s.head.LastIncludedIndex, LastIncludedTerm: s.head.LastIncludedTerm},
		Entries:   slices.Clone(s.log.entries),
	}, nil
}

func (s *persisterStorage) Save(u Update) error {
	var snap core.Snapshot
	if u.Snapshot != nil {
		snap = *u.Snapshot
		snap.Data = bytes.Clone(snap.Data) // the service shares the data; large, so not under the lock
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if hs := u.HardState; hs != nil {
		s.head.CurrentTerm, s.head.VotedFor = hs.CurrentTerm, uint64(hs.VotedFor)
	}
	if u.Snapshot != nil {
		s.log = encodedLog{}
		s.setSnapshot(snap)
	}
	if len(u.Entries) > 0 {
		s.log.truncate(u.Entries[0].Index)
		s.log.append(u.Entries...)
	}
	s.flush()
	return nil
}

func (s *persisterStorage) SaveSnapshot(snap core.Snapshot) error {
	snap.Data = bytes.Clone(snap.Data) // the service keeps its data; large, so not under the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if snap.LastIncludedIndex <= s.head.LastIncludedIndex {
		return nil
	}
	s.log.compact(snap.LastIncludedIndex)
	s.setSnapshot(snap)
	s.flush()
	return nil
}

// setSnapshot keeps the snapshot. Nobody may change its data later.
func (s *persisterStorage) setSnapshot(snap core.Snapshot) {
	s.head.LastIncludedIndex, s.head.LastIncludedTerm = snap.LastIncludedIndex, snap.LastIncludedTerm
	s.snapshot = snap.Data
}

// flush passes the state to the Persister.
func (s *persisterStorage) flush() {
	s.head.Entries = uint64(len(s.log.entries))
	s.ps.replace(encode(nil, &s.head), s.log.bytes(), s.snapshot)
}

func (s *persisterStorage) ReadSnapshot() (core.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return core.Snapshot{}, errClosed
	}
	return core.Snapshot{
		LastIncludedIndex: s.head.LastIncludedIndex,
		LastIncludedTerm:  s.head.LastIncludedTerm,
		Data:              s.snapshot,
	}, nil
}

func (s *persisterStorage) StateSize() int { return s.ps.RaftStateSize() }

func (s *persisterStorage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// encode appends the encoding of v, a plain struct, to dst.
func encode(dst []byte, v any) []byte {
	dst, err := msgpack.Append(dst, v)
	if err != nil {
		panic(fmt.Sprintf("raft: %v", err)) // plain structs always have an encoding
	}
	return dst
}
