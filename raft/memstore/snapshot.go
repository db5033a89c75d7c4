package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// writer collects the body of a snapshot.
type writer struct {
	store  *Store
	group  node.GroupID
	header node.SnapshotHeader
	body   []byte
	// finished: the body takes no more bytes. done: the snapshot is committed or aborted.
	finished, done bool
}

// CreateSnapshot implements [node.Storage].
func (s *Store) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := storekit.CheckHeader(id, &header); err != nil {
		return nil, wrap(err)
	}
	return &writer{store: s, group: id, header: storekit.CloneHeader(header)}, nil
}

var errDone = errors.New("the snapshot is finished, committed or aborted")

// Write implements [node.SnapshotWriter].
func (w *writer) Write(p []byte) (int, error) {
	if w.done || w.finished {
		return 0, wrap(errDone)
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

// Finish implements [node.SnapshotWriter].
func (w *writer) Finish() error {
	if w.done {
		return wrap(errDone)
	}
	w.finished = true
	return nil
}

// Commit implements [node.SnapshotWriter].
func (w *writer) Commit() (node.SnapshotHeader, error) {
	if w.done {
		return node.SnapshotHeader{}, wrap(errDone)
	}
	w.done = true
	header, err := storekit.Complete(w.header, uint64(len(w.body)), storekit.Checksum(0, w.body))
	if err != nil {
		return node.SnapshotHeader{}, wrap(fmt.Errorf("group %d: %w", w.group, err))
	}
	s := w.store
	if err := s.lock(); err != nil {
		return node.SnapshotHeader{}, err
	}
	defer s.mu.Unlock()
	if header.Index <= s.group(w.group).Snapshot.Index {
		return storekit.CloneHeader(header), nil // no update can name the snapshot any more
	}
	if s.ready == nil {
		s.ready = make(map[node.GroupID][]snapshot)
	}
	s.ready[w.group] = append(s.ready[w.group], snapshot{header: header, body: w.body})
	return storekit.CloneHeader(header), nil
}

// Abort implements [node.SnapshotWriter].
func (w *writer) Abort() { w.done, w.body = true, nil }

// reader reads an immutable body.
type reader struct {
	*bytes.Reader
	header node.SnapshotHeader
}

// OpenSnapshot implements [node.Storage].
func (s *Store) OpenSnapshot(id node.GroupID) (node.SnapshotReader, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g := s.group(id)
	if g.Snapshot.Index == 0 {
		return nil, wrap(fmt.Errorf("group %d: %w", id, node.ErrNoSnapshot))
	}
	return &reader{Reader: bytes.NewReader(g.body), header: storekit.CloneHeader(g.Snapshot)}, nil
}

// Header implements [node.SnapshotReader].
func (r *reader) Header() node.SnapshotHeader { return r.header }

// Close implements [io.Closer].
func (r *reader) Close() error { return nil }

var _ io.ReaderAt = (*reader)(nil)
