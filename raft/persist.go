package raft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"raftlab/raft/core"
)

// persisterStorage is the [Storage] over the lab's [Persister], whose interface
// takes the whole state at each save. So that a save costs no more with a long
// log than with a short one, the encoded log is kept and only added to: the
// Persister is handed a new head and the same, longer, tail.
type persisterStorage struct {
	ps *Persister

	mu       sync.Mutex
	closed   bool
	head     stateHead
	log      encodedLog
	snapshot []byte // shared with ps
}

// stateHead begins the Raft state; the log follows it.
type stateHead struct {
	Version           uint8
	CurrentTerm       uint64
	VotedFor          uint64
	LastIncludedIndex uint64
	LastIncludedTerm  uint64
	Entries           uint64 // so many follow
}

// stateVersion is the format that this file writes and reads.
const stateVersion = 1

var errClosed = errors.New("raft: storage is closed")

// msgpack encodes structs as arrays: fields by place, without their names.
var msgpack = newMsgpack()

func newMsgpack() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	return h
}

// openPersister reads what ps holds.
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

// read decodes a state. All of it must be there, and nothing else: what was cut
// off may have been acknowledged.
func (s *persisterStorage) read(state []byte) error {
	s.head = stateHead{}
	dec := codec.NewDecoder(bytes.NewReader(state), msgpack)
	if err := dec.Decode(&s.head); err != nil {
		return err
	}
	switch {
	case s.head.Version != stateVersion:
		return fmt.Errorf("it has format version %d; this program reads %d", s.head.Version, stateVersion)
	case !bytes.HasPrefix(state, encode(nil, &s.head)):
		return errors.New("it does not begin as this program writes it")
	}
	if err := s.log.decode(dec, s.head); err != nil {
		return err
	}
	if n := dec.NumBytesRead(); n != len(state) {
		return fmt.Errorf("%d bytes follow its %d entries", len(state)-n, s.head.Entries)
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
		snap.Data = bytes.Clone(snap.Data) // the service gets it too; large, so not under the lock
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
	snap.Data = bytes.Clone(snap.Data) // it stays the service's; large, so not under the lock
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

// setSnapshot takes over the snapshot, whose data nobody changes any more.
func (s *persisterStorage) setSnapshot(snap core.Snapshot) {
	s.head.LastIncludedIndex, s.head.LastIncludedTerm = snap.LastIncludedIndex, snap.LastIncludedTerm
	s.snapshot = snap.Data
}

// flush hands the state to the Persister.
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

// encoder encodes values one after another into a buffer of its own: making
// one costs more than most of what it encodes.
type encoder struct {
	enc *codec.Encoder
	buf []byte
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{buf: make([]byte, 0, 256)}
	e.enc = codec.NewEncoderBytes(&e.buf, msgpack)
	return e
}}

// maxKeptBuffer is the largest buffer that an encoder keeps for the next value.
const maxKeptBuffer = 64 << 10

// encode appends v in msgpack to dst.
func encode(dst []byte, v any) []byte {
	e := encoders.Get().(*encoder)
	e.enc.ResetBytes(&e.buf)
	if err := e.enc.Encode(v); err != nil {
		panic(fmt.Sprintf("raft: encoding %T: %v", v, err)) // plain structs of our own always encode
	}
	dst = append(dst, e.buf...)
	if cap(e.buf) <= maxKeptBuffer {
		encoders.Put(e)
	}
	return dst
}
