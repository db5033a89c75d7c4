package raft

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"
	"sync"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// onlyGroup is the id of a server's only Raft group.
const onlyGroup node.GroupID = 1

// storage is the [node.Storage] over the lab's [Persister], for the one group of a
// server. The log begins behind the newest snapshot.
//
// A Persister takes the whole state at each save. To keep a save cheap with a long
// log, storage keeps the encoded log and only appends. The Persister gets a new head
// and the same, longer, tail.
type storage struct {
	ps       *Persister
	identity node.Identity

	mu       sync.Mutex
	closed   bool
	head     stateHead
	log      encodedLog
	snapshot snapshot
	complete []snapshot // not named by a save yet
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

// snapshot is a snapshot with its body. The Persister shares the body, and nobody
// changes the body.
type snapshot struct {
	header node.SnapshotHeader
	body   []byte
}

func newSnapshot(index, term uint64, body []byte) snapshot {
	return snapshot{node.SnapshotHeader{Index: index, Term: term, Size: uint64(len(body)), Checksum: checksum(body)}, body}
}

var crcTable = crc64.MakeTable(crc64.ECMA)

func checksum(body []byte) uint64 { return crc64.Checksum(body, crcTable) }

var _ node.Storage = (*storage)(nil)

// openStorage reads the state in ps.
func openStorage(ps *Persister, me int) (*storage, error) {
	if ps == nil {
		return nil, errors.New("the persister is nil")
	}
	s := &storage{
		ps:       ps,
		identity: node.Identity{Cluster: "lab", Host: nodeID(me)},
		head:     stateHead{Version: stateVersion},
	}
	if state := ps.ReadRaftState(); len(state) > 0 {
		if err := s.read(state); err != nil {
			return nil, fmt.Errorf("the persisted Raft state (%d bytes) cannot be read: %w", len(state), err)
		}
	}
	s.snapshot = newSnapshot(s.head.LastIncludedIndex, s.head.LastIncludedTerm, ps.ReadSnapshot())
	return s, nil
}

// read decodes a state. A state with a missing end, or with further bytes, is
// refused: the server may have acknowledged the missing entries.
func (s *storage) read(state []byte) error {
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

// Volatile reports that a save does not block.
func (s *storage) Volatile() bool { return true }

// Identity implements [node.Storage].
func (s *storage) Identity() node.Identity { return s.identity }

// Groups implements [node.Storage].
func (s *storage) Groups() ([]node.GroupID, error) { return []node.GroupID{onlyGroup}, nil }

// lock locks the storage unless it is closed.
func (s *storage) lock() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return node.ErrStorageClosed
	}
	return nil
}

func (s *storage) snapshotIndex() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.LastIncludedIndex
}

func (s *storage) lastIndex() uint64 { return s.head.LastIncludedIndex + uint64(len(s.log.entries)) }

// Load implements [node.Storage].
func (s *storage) Load(node.GroupID) (node.State, error) {
	if err := s.lock(); err != nil {
		return node.State{}, err
	}
	defer s.mu.Unlock()
	return node.State{
		HardState:      core.HardState{CurrentTerm: s.head.CurrentTerm, VotedFor: core.NodeID(s.head.VotedFor)},
		Snapshot:       s.snapshot.header,
		CompactedIndex: s.head.LastIncludedIndex,
		CompactedTerm:  s.head.LastIncludedTerm,
		LastIndex:      s.lastIndex(),
		Terms:          s.log.terms(),
	}, nil
}

// Save implements [node.Storage].
func (s *storage) Save(updates []node.Update) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, u := range updates {
		if hs := u.HardState; hs != nil {
			s.head.CurrentTerm, s.head.VotedFor = hs.CurrentTerm, uint64(hs.VotedFor)
		}
		if u.Snapshot != nil {
			if err := s.setSnapshot(u.Snapshot); err != nil {
				return err
			}
		}
		if len(u.Entries) > 0 {
			s.log.truncate(u.Entries[0].Index)
			s.log.append(u.Entries...)
		}
	}
	s.head.Entries = uint64(len(s.log.entries))
	s.ps.replace(encode(nil, &s.head), s.log.bytes(), s.snapshot.body)
	return nil
}

// setSnapshot makes a complete snapshot the newest one. The entries behind the
// snapshot stay if the log agrees with the snapshot (Figure 13, steps 6 and 7).
func (s *storage) setSnapshot(h *node.SnapshotHeader) error {
	i := slices.IndexFunc(s.complete, func(c snapshot) bool { return c.header.Index == h.Index && c.header.Checksum == h.Checksum })
	if i < 0 {
		return fmt.Errorf("%w: the snapshot at index %d is not complete", node.ErrUpdate, h.Index)
	}
	s.snapshot = s.complete[i]
	s.complete = slices.DeleteFunc(s.complete, func(c snapshot) bool { return c.header.Index <= h.Index })
	if s.log.matches(h.Index, h.Term) {
		s.log.compact(h.Index)
	} else {
		s.log = encodedLog{}
	}
	s.head.LastIncludedIndex, s.head.LastIncludedTerm = h.Index, h.Term
	return nil
}

// Entries implements [node.Storage]. The result is a part of the log, whose entries
// never change.
func (s *storage) Entries(_ node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	switch {
	case lo <= s.head.LastIncludedIndex:
		return nil, fmt.Errorf("%w: %d", node.ErrCompacted, lo)
	case lo > hi || hi > s.lastIndex():
		return nil, fmt.Errorf("%w: %d to %d of %d", node.ErrNotStored, lo, hi, s.lastIndex())
	}
	return s.log.slice(lo, hi, maxBytes), nil
}

// CreateSnapshot implements [node.Storage].
func (s *storage) CreateSnapshot(_ node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	return &snapshotWriter{storage: s, header: header}, nil
}

// snapshotWriter is a snapshot whose body is being written.
type snapshotWriter struct {
	bytes.Buffer
	storage *storage
	header  node.SnapshotHeader
}

// Finish implements [node.SnapshotWriter].
func (w *snapshotWriter) Finish() error { return nil }

// Commit implements [node.SnapshotWriter].
func (w *snapshotWriter) Commit() (node.SnapshotHeader, error) {
	s := newSnapshot(w.header.Index, w.header.Term, w.Bytes())
	if w.header.Size+w.header.Checksum != 0 && (w.header.Size != s.header.Size || w.header.Checksum != s.header.Checksum) {
		return s.header, fmt.Errorf("%w: the snapshot at index %d has checksum %x; want %x", node.ErrDamaged, s.header.Index, s.header.Checksum, w.header.Checksum)
	}
	if err := w.storage.lock(); err != nil {
		return s.header, err
	}
	defer w.storage.mu.Unlock()
	if s.header.Index > w.storage.head.LastIncludedIndex { // otherwise no update can name the snapshot
		w.storage.complete = append(w.storage.complete, s)
	}
	return s.header, nil
}

// Abort implements [node.SnapshotWriter].
func (w *snapshotWriter) Abort() {}

// OpenSnapshot implements [node.Storage].
func (s *storage) OpenSnapshot(node.GroupID) (node.SnapshotReader, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.head.LastIncludedIndex == 0 {
		return nil, node.ErrNoSnapshot
	}
	return snapshotReader{bytes.NewReader(s.snapshot.body), s.snapshot.header}, nil
}

// snapshotReader reads a snapshot.
type snapshotReader struct {
	*bytes.Reader
	header node.SnapshotHeader
}

// Header implements [node.SnapshotReader].
func (r snapshotReader) Header() node.SnapshotHeader { return r.header }

// Close implements [node.SnapshotReader].
func (r snapshotReader) Close() error { return nil }

// Remove implements [node.Storage]. The persister's only group stays.
func (s *storage) Remove(node.GroupID) error { return errors.ErrUnsupported }

// Usage implements [node.Storage].
func (s *storage) Usage() node.Usage {
	return node.Usage{Log: int64(s.ps.RaftStateSize()), Snapshots: int64(s.ps.SnapshotSize())}
}

// Close ends the use of the persister.
func (s *storage) Close() error {
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
