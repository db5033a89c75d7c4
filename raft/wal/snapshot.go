package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"sync"

	"raftlab/internal/durable"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// A snapshot file has the body in blocks of snapshotBlock bytes, the last one
// shorter. A CRC-32C follows each block. Then come the footer, sealed, and the
// length of the sealed footer in four bytes.
const snapshotBlock = 64 << 10

const (
	snapshotSuffix     = ".snap"
	unfinishedSuffix   = ".unfinished"
	blockChecksumBytes = 4
)

func snapshotName(file uint64) string { return fmt.Sprintf("%016x%s", file, snapshotSuffix) }

// snapshotFooter identifies a snapshot file.
type snapshotFooter struct {
	Version       uint8
	Cluster       string
	Host          uint64
	Group         uint64
	File          uint64
	Index         uint64
	Term          uint64
	Configuration []byte
	Size          uint64
	Checksum      uint64
}

func (f *snapshotFooter) header() node.SnapshotHeader {
	return node.SnapshotHeader{
		Index: f.Index, Term: f.Term, Configuration: f.Configuration, Size: f.Size, Checksum: f.Checksum,
	}
}

// readySnapshot is a committed snapshot, not yet named by an update.
type readySnapshot struct {
	header node.SnapshotHeader
	file   uint64
}

// snapshotWriter writes a snapshot file, a block at a time.
type snapshotWriter struct {
	store  *Store
	group  node.GroupID
	header node.SnapshotHeader
	number uint64
	file   File // nil once it is committed or aborted
	offset int64
	block  []byte
	size   uint64
	sum    uint64
	err    error // the first error of Write or Finish
	// finished: the file has its footer and its name, and is durable.
	finished bool
}

// CreateSnapshot implements [node.Storage].
func (s *Store) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	if err := storekit.CheckHeader(id, &header); err != nil {
		return nil, s.wrap("beginning a snapshot in", err)
	}
	if err := s.enter("beginning a snapshot in"); err != nil {
		return nil, err
	}
	s.lastFile++
	w := &snapshotWriter{store: s, group: id, header: storekit.CloneHeader(header), number: s.lastFile}
	s.mu.Unlock()
	file, err := s.dir.Create(w.temporary())
	if err != nil {
		return nil, s.wrap("beginning a snapshot in", noRoom(err))
	}
	w.file = file
	w.block = make([]byte, 0, snapshotBlock+blockChecksumBytes)
	return w, nil
}

func (w *snapshotWriter) temporary() string { return snapshotName(w.number) + unfinishedSuffix }

var errDone = errors.New("the snapshot is finished, committed or aborted")

// noRoom marks the error of a full disk. The errors that get the mark concern a file that
// no record names yet. The file is removed, so the log and the other files are not in
// doubt. A sync of the file gets the mark too, because nobody syncs the file again. A sync
// of the directory gets no mark, because the names of other files may depend on it.
func noRoom(err error) error {
	if durable.NoRoom(err) {
		return fmt.Errorf("%w: %w", node.ErrNoRoom, err)
	}
	return err
}

// Write implements [io.Writer].
func (w *snapshotWriter) Write(p []byte) (int, error) {
	if w.file == nil || w.finished {
		return 0, w.store.wrap("writing a snapshot to", errDone)
	}
	written := 0
	for len(p) > 0 && w.err == nil {
		n := min(len(p), snapshotBlock-len(w.block))
		w.block = append(w.block, p[:n]...)
		w.sum = storekit.Checksum(w.sum, p[:n])
		w.size += uint64(n)
		written += n
		if p = p[n:]; len(w.block) == snapshotBlock {
			w.err = noRoom(w.flush())
		}
	}
	return written, w.store.wrap("writing a snapshot to", w.err)
}

// flush writes the block and its checksum.
func (w *snapshotWriter) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	block := binary.LittleEndian.AppendUint32(w.block, crc32.Checksum(w.block, castagnoli))
	_, err := w.file.WriteAt(block, w.offset)
	w.offset += int64(len(block))
	w.block = w.block[:0]
	return err
}

// Commit implements [node.SnapshotWriter].
func (w *snapshotWriter) Commit() (node.SnapshotHeader, error) {
	if w.file == nil {
		return node.SnapshotHeader{}, w.store.wrap("writing a snapshot to", errDone)
	}
	header, err := w.commit()
	if err != nil {
		w.Abort()
		return node.SnapshotHeader{}, w.store.wrap("writing a snapshot to", err)
	}
	return header, nil
}

func (w *snapshotWriter) commit() (node.SnapshotHeader, error) {
	if w.err != nil {
		return node.SnapshotHeader{}, w.err
	}
	header, err := storekit.Complete(w.header, w.size, w.sum)
	if err != nil {
		return header, fmt.Errorf("group %d: %w", w.group, err)
	}
	if err := w.finish(); err != nil {
		return header, err
	}
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return header, node.ErrStorageClosed
	}
	w.file = nil
	if g := s.index.groups[w.group]; g != nil && header.Index <= g.Snapshot.Index {
		s.retire(w.number) // no update can name the snapshot any more
		s.poke()
		return header, nil
	}
	s.ready[w.group] = append(s.ready[w.group], readySnapshot{header: storekit.CloneHeader(header), file: w.number})
	s.bodies[w.number] = w.offset
	return header, nil
}

// Finish implements [node.SnapshotWriter].
func (w *snapshotWriter) Finish() error {
	if w.file == nil {
		return w.store.wrap("writing a snapshot to", errDone)
	}
	return w.store.wrap("writing a snapshot to", w.finish())
}

// finish completes the file and gives the file its name, unless that was done.
func (w *snapshotWriter) finish() error {
	if w.err != nil || w.finished {
		return w.err
	}
	if w.err = noRoom(w.complete()); w.err == nil {
		w.err = w.rename()
	}
	w.finished = w.err == nil
	return w.err
}

// complete writes the footer and makes the file durable.
func (w *snapshotWriter) complete() error {
	if err := w.flush(); err != nil {
		return err
	}
	id, h := w.store.opts.Identity, &w.header
	footer, err := seal(&snapshotFooter{
		Version: formatVersion, Cluster: id.Cluster, Host: uint64(id.Host), Group: uint64(w.group), File: w.number,
		Index: h.Index, Term: h.Term, Configuration: h.Configuration, Size: w.size, Checksum: w.sum,
	})
	if err != nil {
		return err
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	if _, err := w.file.WriteAt(footer, w.offset); err != nil {
		return err
	}
	w.offset += int64(len(footer))
	return w.file.Sync()
}

// rename gives the complete file its name.
func (w *snapshotWriter) rename() error {
	if err := w.file.Close(); err != nil {
		return noRoom(err)
	}
	dir := w.store.dir
	if err := dir.Rename(w.temporary(), snapshotName(w.number)); err != nil {
		return noRoom(err)
	}
	return dir.Sync()
}

// Abort implements [node.SnapshotWriter].
func (w *snapshotWriter) Abort() {
	if w.file == nil {
		return
	}
	_ = w.file.Close() // may be closed already
	w.file, w.block = nil, nil
	dir := w.store.dir
	err := dir.Remove(w.temporary())
	if errors.Is(err, fs.ErrNotExist) {
		err = dir.Remove(snapshotName(w.number)) // the file has its name already
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.store.opts.Logger.Warn("removing an aborted snapshot; the next Open removes it", "file", w.temporary(), "error", err)
	}
}

// findReady returns a group's committed snapshot with a header, nil if there is none.
// The caller holds s.mu.
func (s *Store) findReady(id node.GroupID, h *node.SnapshotHeader) *readySnapshot {
	list := s.ready[id]
	for i := range list {
		if storekit.SameHeader(&list[i].header, h) {
			return &list[i]
		}
	}
	return nil
}

// takeReady removes a newly named snapshot from the committed ones and discards
// the older ones. The caller holds s.mu.
func (s *Store) takeReady(id node.GroupID, named *snapshotRecord) {
	s.ready[id] = slices.DeleteFunc(s.ready[id], func(r readySnapshot) bool {
		if r.header.Index <= named.header.Index && r.file != named.file {
			s.retire(r.file)
		}
		return r.header.Index <= named.header.Index
	})
	if len(s.ready[id]) == 0 {
		delete(s.ready, id)
	}
}

// discardReady discards the committed snapshots of a group.
func (s *Store) discardReady(id node.GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.ready[id] {
		s.retire(r.file)
	}
	delete(s.ready, id)
	s.poke()
}

// abandonReady removes the committed snapshots without an update. If a removal
// fails, the next Open repeats the removal.
func (s *Store) abandonReady() {
	s.mu.Lock()
	for _, list := range s.ready {
		for _, r := range list {
			s.retire(r.file)
		}
	}
	s.ready = nil
	s.mu.Unlock()
	if err := s.removeGarbage(); err != nil {
		s.opts.Logger.Warn("removing snapshots", "path", s.dir.Path(), "error", err)
	}
}

// snapshotFile returns the number of a group's snapshot file, 0 if none. The caller
// holds s.mu.
func (s *Store) snapshotFile(id node.GroupID) uint64 {
	if g := s.index.groups[id]; g != nil {
		return g.snapshotFile
	}
	return 0
}

// retire has a snapshot file removed in the background. The caller holds s.mu.
func (s *Store) retire(file uint64) {
	delete(s.bodies, file)
	s.garbage = append(s.garbage, file)
}

// OpenSnapshot implements [node.Storage]. Each block is checked when it is read.
func (s *Store) OpenSnapshot(id node.GroupID) (node.SnapshotReader, error) {
	for {
		if err := s.enter("reading"); err != nil {
			return nil, err
		}
		file := s.snapshotFile(id)
		s.mu.Unlock()
		if file == 0 {
			return nil, s.wrap("reading", fmt.Errorf("group %d: %w", id, node.ErrNoSnapshot))
		}
		r, err := s.openSnapshot(id, file)
		if errors.Is(err, fs.ErrNotExist) {
			s.mu.Lock()
			replaced := s.snapshotFile(id) != file
			s.mu.Unlock()
			if replaced {
				continue
			}
		}
		if err != nil {
			return nil, s.wrap("reading", err)
		}
		return r, nil
	}
}

// snapshotReader reads a snapshot file.
type snapshotReader struct {
	store  *Store
	name   string
	file   File
	header node.SnapshotHeader
}

// openSnapshot opens a snapshot file and compares the footer with the name and
// the group.
func (s *Store) openSnapshot(id node.GroupID, number uint64) (*snapshotReader, error) {
	name := snapshotName(number)
	file, err := s.dir.Open(name)
	if err != nil {
		return nil, err
	}
	footer, err := s.readFooter(name, file)
	if err == nil && (footer.Group != uint64(id) || footer.File != number) {
		err = damage(s.dir.Path(), name, 0, "the file is snapshot %d of group %d instead of %d of %d", footer.File, footer.Group, number, id)
	}
	if err == nil {
		err = s.checkStranger(name, footer.Cluster, footer.Host)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &snapshotReader{store: s, name: name, file: file, header: footer.header()}, nil
}

// maxFooterBytes bounds a sealed footer.
const maxFooterBytes = node.MaxConfigurationBytes + 1024

func (s *Store) readFooter(name string, file File) (*snapshotFooter, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	var length [4]byte
	if size < int64(len(length)) {
		return nil, damage(s.dir.Path(), name, 0, "the file has %d bytes", size)
	}
	end := size - int64(len(length))
	if _, err := file.ReadAt(length[:], end); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(length[:]))
	if n > end || n > maxFooterBytes {
		return nil, damage(s.dir.Path(), name, end, "the footer has %d bytes", n)
	}
	sealed := make([]byte, n)
	if _, err := file.ReadAt(sealed, end-n); err != nil {
		return nil, err
	}
	var footer snapshotFooter
	if err := unseal(sealed, &footer); err != nil {
		return nil, broken(s.dir.Path(), name, end-n, err)
	}
	blocks := (int64(footer.Size) + snapshotBlock - 1) / snapshotBlock
	if want := int64(footer.Size) + blocks*blockChecksumBytes; want != end-n {
		return nil, damage(s.dir.Path(), name, end-n, "the body occupies %d bytes instead of %d", end-n, want)
	}
	return &footer, nil
}

// checkStranger reports a file of another cluster or host.
func (s *Store) checkStranger(name, cluster string, host uint64) error {
	id := s.opts.Identity
	if cluster != id.Cluster || host != uint64(id.Host) {
		return fmt.Errorf("%s is of host %d of cluster %q, and opened as host %d of cluster %q: %w",
			name, host, cluster, id.Host, id.Cluster, node.ErrStranger)
	}
	return nil
}

// Header implements [node.SnapshotReader].
func (r *snapshotReader) Header() node.SnapshotHeader { return storekit.CloneHeader(r.header) }

var blocks = sync.Pool{New: func() any { return new([snapshotBlock + blockChecksumBytes]byte) }}

// ReadAt implements [io.ReaderAt].
func (r *snapshotReader) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, r.store.wrap("reading", fmt.Errorf("%s: offset %d is negative", r.name, at))
	}
	buf := blocks.Get().(*[snapshotBlock + blockChecksumBytes]byte)
	defer blocks.Put(buf)
	n := 0
	for n < len(p) {
		if at >= int64(r.header.Size) {
			return n, io.EOF
		}
		block, err := r.readBlock(at/snapshotBlock, buf[:])
		if err != nil {
			return n, r.store.wrap("reading", err)
		}
		copied := copy(p[n:], block[at%snapshotBlock:])
		n += copied
		at += int64(copied)
	}
	return n, nil
}

// readBlock reads block i of the body and checks it.
func (r *snapshotReader) readBlock(i int64, buf []byte) ([]byte, error) {
	offset := i * (snapshotBlock + blockChecksumBytes)
	size := min(snapshotBlock, int64(r.header.Size)-i*snapshotBlock)
	buf = buf[:size+blockChecksumBytes]
	if _, err := r.file.ReadAt(buf, offset); err != nil {
		return nil, fmt.Errorf("%s, offset %d: %w", r.name, offset, err)
	}
	block := buf[:size]
	if sum := binary.LittleEndian.Uint32(buf[size:]); sum != crc32.Checksum(block, castagnoli) {
		return nil, damage(r.store.dir.Path(), r.name, offset, "a block of the snapshot does not have its checksum")
	}
	return block, nil
}

// Close implements [io.Closer].
func (r *snapshotReader) Close() error { return r.file.Close() }
