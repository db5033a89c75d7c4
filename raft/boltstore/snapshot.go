//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// chunkPieces is the number of pieces of a body in one transaction, about 1 MiB. A
// Save waits for one such transaction at most. Tests make it less.
var chunkPieces = 64

// writer writes a body in transactions of chunkPieces.
type writer struct {
	store    *Store
	group    node.GroupID
	header   node.SnapshotHeader
	body     *body
	buffer   []byte
	pieces   uint32 // written
	size     uint64
	checksum uint64
	err      error // ends the writing
	finished bool
}

// CreateSnapshot implements [node.Storage].
func (s *Store) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	if err := storekit.CheckHeader(id, &header); err != nil {
		return nil, s.wrap("writing to", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.wrap("writing to", node.ErrStorageClosed)
	}
	b := &body{number: s.nextBody}
	s.nextBody++
	s.bodies[b.number] = b
	return &writer{store: s, group: id, header: storekit.CloneHeader(header), body: b}, nil
}

// Write implements [node.SnapshotWriter].
func (w *writer) Write(p []byte) (n int, err error) {
	if w.finished {
		return 0, w.store.wrap("writing to", errDone)
	}
	chunk := chunkPieces * bodyPiece
	for w.err == nil && len(p) > 0 {
		part := p[:min(len(p), chunk-len(w.buffer))]
		w.buffer = append(w.buffer, part...)
		w.size += uint64(len(part))
		w.checksum = storekit.Checksum(w.checksum, part)
		n, p = n+len(part), p[len(part):]
		if len(w.buffer) == chunk {
			w.err = w.flush()
		}
	}
	return n, w.err
}

// flush writes the buffer, unless the disk has no room.
func (w *writer) flush() error {
	s := w.store
	s.writer.Lock()
	defer s.writer.Unlock()
	first := w.pieces
	err := s.commit(needsRoom, func(t *transaction) error {
		t.piece[w.body.number] = first
		bodies := t.tx.Bucket(bodyBucket)
		for rest := w.buffer; len(rest) > 0; w.pieces++ {
			key, data := bodyKey(w.body.number, w.pieces), rest[:min(len(rest), bodyPiece)]
			if err := bodies.Put(key, sealPiece(key, data)); err != nil {
				return err
			}
			rest = rest[len(data):]
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.body.bytes += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	return nil
}

var errDone = errors.New("the snapshot is finished, committed or aborted")

// Finish implements [node.SnapshotWriter].
func (w *writer) Finish() error {
	if w.err == nil && len(w.buffer) > 0 {
		w.err = w.flush()
	}
	w.finished = w.err == nil
	return w.err
}

// Commit implements [node.SnapshotWriter].
func (w *writer) Commit() (node.SnapshotHeader, error) {
	header, err := w.commit()
	if err != nil {
		w.discard(err)
		return node.SnapshotHeader{}, err
	}
	w.err, w.buffer = w.store.wrap("writing to", errDone), nil
	return header, nil
}

func (w *writer) commit() (header node.SnapshotHeader, err error) {
	if w.err != nil {
		return header, w.err
	}
	s := w.store
	if header, err = storekit.Complete(w.header, w.size, w.checksum); err != nil {
		return header, s.wrap("writing to", fmt.Errorf("group %d: %w", w.group, err))
	}
	if err := w.Finish(); err != nil {
		return header, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return header, s.wrap("writing to", node.ErrStorageClosed)
	}
	if g := s.groups[w.group]; g != nil && header.Index <= g.Snapshot.Index {
		s.dropBody(w.body) // no update can name the snapshot any more
		return storekit.CloneHeader(header), nil
	}
	s.ready[w.group] = append(s.ready[w.group], snapshot{header: header, body: w.body})
	return storekit.CloneHeader(header), nil
}

// Abort implements [node.SnapshotWriter].
func (w *writer) Abort() {
	w.discard(nil)
}

// discard ends the writing and drops the body.
func (w *writer) discard(err error) {
	if errors.Is(w.err, errDone) {
		return
	}
	w.err, w.buffer = w.store.wrap("writing to", errors.Join(errDone, err)), nil
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropBody(w.body)
}

// dropBody gives a body to the cleaner, unless a reader needs the body. The caller
// holds mu.
func (s *Store) dropBody(b *body) {
	if b == nil {
		return
	}
	b.dropped = true
	if b.readers == 0 {
		delete(s.bodies, b.number)
		s.garbage.bodies[b.number] = struct{}{}
		s.cleaner.notify()
	}
}

// reader reads a body. The body stays in the file until the reader is closed.
type reader struct {
	store  *Store
	header node.SnapshotHeader
	body   *body
	closed atomic.Bool
}

// OpenSnapshot implements [node.Storage]. ReadAt checks the checksum of each piece of
// the body, and its errors match [node.ErrDamaged].
func (s *Store) OpenSnapshot(id node.GroupID) (node.SnapshotReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.wrap("reading", node.ErrStorageClosed)
	}
	g := s.groups[id]
	if g == nil || g.body == nil {
		return nil, s.wrap("reading", fmt.Errorf("group %d: %w", id, node.ErrNoSnapshot))
	}
	g.body.readers++
	return &reader{store: s, header: storekit.CloneHeader(g.Snapshot), body: g.body}, nil
}

// Header implements [node.SnapshotReader].
func (r *reader) Header() node.SnapshotHeader { return storekit.CloneHeader(r.header) }

// ReadAt implements [io.ReaderAt].
func (r *reader) ReadAt(p []byte, offset int64) (n int, err error) {
	switch {
	case r.closed.Load():
		return 0, r.store.wrap("reading", errors.New("the snapshot reader is closed"))
	case offset < 0:
		return 0, r.store.wrap("reading", fmt.Errorf("the offset %d is negative", offset))
	case uint64(offset) >= r.header.Size:
		return 0, io.EOF
	}
	wanted := len(p)
	p = p[:min(uint64(len(p)), r.header.Size-uint64(offset))]
	err = r.store.view("reading", func(tx *bbolt.Tx) error {
		bodies := tx.Bucket(bodyBucket)
		for n < len(p) {
			place := offset + int64(n)
			key := bodyKey(r.body.number, uint32(place/bodyPiece))
			data, err := openPiece(key, bodies.Get(key))
			if err == nil && place%bodyPiece >= int64(len(data)) {
				err = fmt.Errorf("the piece has %d bytes", len(data))
			}
			if err != nil {
				return fmt.Errorf("%w: the snapshot at %d, byte %d: %w", node.ErrDamaged, r.header.Index, place, err)
			}
			n += copy(p[n:], data[place%bodyPiece:])
		}
		return nil
	})
	if err == nil && n < wanted {
		err = io.EOF
	}
	return n, err
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return r.store.wrap("reading", errors.New("the snapshot reader is closed"))
	}
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.body.readers--; r.body.dropped {
		s.dropBody(r.body)
	}
	return nil
}
