package storagetest

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"io"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// model is the expected state of one group, kept in the plainest way.
type model struct {
	hardState     core.HardState
	snapshot      node.SnapshotHeader
	body          []byte
	compacted     uint64
	compactedTerm uint64
	entries       []core.Entry // from compacted+1 on
	bodies        []written    // committed, not named yet
}

// written is a committed snapshot.
type written struct {
	header node.SnapshotHeader
	body   []byte
}

func (m *model) first() uint64 { return m.compacted + 1 }
func (m *model) last() uint64  { return m.compacted + uint64(len(m.entries)) }

func (m *model) slice(lo, hi uint64) []core.Entry {
	return m.entries[lo-m.first() : hi-m.compacted]
}

func (m *model) term(index uint64) uint64 {
	if index == m.compacted {
		return m.compactedTerm
	}
	return m.entries[index-m.first()].Term
}

func (m *model) apply(u *node.Update) {
	if u.HardState != nil {
		m.hardState = *u.HardState
	}
	if u.Snapshot != nil {
		for _, w := range m.bodies {
			if sameHeader(&w.header, u.Snapshot) {
				m.snapshot, m.body = w.header, w.body
			}
		}
		index, term := u.Snapshot.Index, u.Snapshot.Term
		if index > m.last() || m.term(index) != term {
			m.compacted, m.compactedTerm, m.entries = index, term, nil
		}
	}
	if u.CompactTo > m.compacted {
		term := m.term(u.CompactTo)
		m.entries = m.entries[u.CompactTo-m.compacted:]
		m.compacted, m.compactedTerm = u.CompactTo, term
	}
	if len(u.Entries) > 0 {
		kept := m.entries[:u.Entries[0].Index-m.first()]
		m.entries = append(append([]core.Entry(nil), kept...), u.Entries...)
	}
}

// state returns the expected result of Load.
func (m *model) state() node.State {
	s := node.State{
		HardState:      m.hardState,
		Snapshot:       m.snapshot,
		CompactedIndex: m.compacted,
		CompactedTerm:  m.compactedTerm,
		LastIndex:      m.last(),
	}
	for i, e := range m.entries {
		if i == 0 || m.entries[i-1].Term != e.Term {
			s.Terms = append(s.Terms, node.TermRun{First: e.Index, Term: e.Term})
		}
		if isConfig(e) {
			s.ConfigIndexes = append(s.ConfigIndexes, e.Index)
		}
	}
	return s
}

func isConfig(e core.Entry) bool { return e.Type == core.ConfigurationEntry }

var ecma = crc64.MakeTable(crc64.ECMA)

// write writes a snapshot and returns the header for an update.
func (s *subject) write(id node.GroupID, index, term uint64, body []byte) node.SnapshotHeader {
	s.Helper()
	header, err := writeSnapshot(s.Storage, id, node.SnapshotHeader{
		Index: index, Term: term, Configuration: fmt.Appendf(nil, "members at %d", index),
	}, body, 1+s.rand.IntN(len(body)+1))
	s.ok(err)
	if g := s.want[id]; g != nil {
		g.bodies = append(g.bodies, written{header, body})
	} else {
		s.Fatalf("group %d: a snapshot of a group that the test has not saved", id)
	}
	return header
}

// writeSnapshot writes a body in pieces, and checks the returned header.
func writeSnapshot(storage node.Storage, id node.GroupID, header node.SnapshotHeader, body []byte, piece int) (node.SnapshotHeader, error) {
	w, err := storage.CreateSnapshot(id, header)
	if err != nil {
		return node.SnapshotHeader{}, err
	}
	if err := writeBody(w, body, piece); err != nil {
		w.Abort()
		return node.SnapshotHeader{}, err
	}
	want := header
	want.Size, want.Checksum = uint64(len(body)), crc64.Checksum(body, ecma)
	got, err := w.Commit()
	w.Abort() // does nothing
	if err == nil && !sameHeader(&got, &want) {
		err = fmt.Errorf("the header of Commit is %+v; want %+v", got, want)
	}
	return got, err
}

// writeBody writes a body in pieces.
func writeBody(w node.SnapshotWriter, body []byte, piece int) error {
	for rest := body; len(rest) > 0; {
		n, err := w.Write(rest[:min(piece, len(rest))])
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// readAll reads a snapshot as a whole and in parts, and compares the result
// with body.
func readAll(r node.SnapshotReader, body []byte) error {
	size := int64(r.Header().Size)
	got, err := io.ReadAll(io.NewSectionReader(r, 0, size))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("the body has %d bytes that are not the %d written", len(got), len(body))
	}
	for _, at := range []int64{0, size / 3, size / 2, size - 1, size} {
		if at < 0 {
			continue
		}
		part := make([]byte, 100)
		n, err := r.ReadAt(part, at)
		if want := min(int64(len(part)), size-at); int64(n) != want || !bytes.Equal(part[:n], body[at:at+want]) {
			return fmt.Errorf("ReadAt(100 bytes, %d) returned %d bytes; want %d of the body", at, n, want)
		}
		if short := n < len(part); short && err != io.EOF || !short && err != nil && err != io.EOF {
			return fmt.Errorf("ReadAt(100 bytes, %d) of %d: error %v", at, size, err)
		}
	}
	return nil
}

// entries makes n entries of one term from index first on.
func entries(first, term uint64, n int) []core.Entry {
	made := make([]core.Entry, n)
	for i := range made {
		index := first + uint64(i)
		made[i] = core.Entry{Index: index, Term: term, Data: fmt.Appendf(nil, "%d in %d", index, term)}
	}
	return made
}
