package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"raftlab/raft/node"
)

// maxIdleBuffer bounds the buffer between writes, in bytes, once a batch fills less
// than a quarter of the buffer. A series of large batches keeps a larger buffer.
const maxIdleBuffer = 4 << 20

// marksBytes bounds the bytes that appendMarks adds.
const marksBytes = 2 * (9 + 9)

// appendMarks ends the batch at offset with a mark. The mark and the padding lie
// in one sector, and do not end with the sector. A disk writes whole sectors, and
// the salt is new for each use of a file. So a whole batch proves that the zeros
// behind the batch in the last sector were written, too (see [replayer.isTorn]).
func appendMarks(batch []byte, offset int64, salt uint64) []byte {
	mark := record{kind: markRecord, first: salt}
	for {
		begin := offset + int64(len(batch))
		batch = mark.append(batch)
		end := alignUp(offset+int64(len(batch)), batchAlign)
		if begin/sectorBytes == end/sectorBytes {
			return batch
		}
	}
}

// errNoRoom marks an error before the first write. The log is unchanged.
var errNoRoom = errors.New("no segment for more records")

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// commit writes the records in s.tail as one batch, makes them durable and enters
// them in the index. The caller holds s.writing.
func (s *Store) commit() error {
	t := &s.tail
	if len(t.records) == 0 {
		return nil
	}
	defer clear(t.records) // the data is not kept
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	size := int64(0)
	for i := range t.records {
		size += t.records[i].maxSize()
	}
	if size > maxBatchBytes {
		return fmt.Errorf("%w: the updates occupy %d bytes; the limit is %d", node.ErrUpdate, size, maxBatchBytes)
	}
	buf := slices.Grow(t.buf[:0], int(alignUp(size+batchHeaderBytes+marksBytes+pageBytes, pageBytes)))[:batchHeaderBytes]
	for i := range t.records {
		buf = t.records[i].append(buf)
	}
	if t.buf = buf; cap(buf) > maxIdleBuffer && len(buf) < cap(buf)/4 {
		t.buf = nil
	}
	if err := s.makeRoom(span(int64(len(buf) - batchHeaderBytes + marksBytes))); err != nil {
		return err
	}
	buf = appendMarks(buf, t.offset, t.seg.salt)
	offset, oldest, err := s.write(buf)
	if err != nil {
		return s.fail(err)
	}
	s.publish(offset, oldest)
	return nil
}

// write appends a batch to the log and syncs the file.
func (s *Store) write(batch []byte) (offset int64, oldest uint64, err error) {
	t := &s.tail
	s.mu.Lock()
	oldest = s.segments[0].number
	s.mu.Unlock()
	h := batchHeader{
		length:   uint32(len(batch) - batchHeaderBytes),
		sequence: t.sequence + 1,
		salt:     t.seg.salt,
		oldest:   oldest,
		previous: t.chain,
	}
	h.put(batch)
	offset = t.offset
	end := offset + span(int64(h.length))
	// Zeros fill the last page. The kernel then overwrites a whole page and
	// need not read the page first.
	padded := min(alignUp(end, pageBytes), t.seg.size)
	full := batch[:padded-offset]
	clear(full[len(batch):])
	if _, err := t.file.WriteAt(full, offset); err != nil {
		return 0, 0, fmt.Errorf("%s, offset %d: %w", t.seg.name, offset, err)
	}
	if err := t.file.Sync(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", t.seg.name, err)
	}
	t.offset, t.sequence, t.chain = end, h.sequence, h.checksum
	return offset, oldest, nil
}

// publish enters durable records in the index.
func (s *Store) publish(offset int64, oldest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = oldest
	for i := range s.tail.records {
		r := &s.tail.records[i]
		old := s.snapshotFile(r.group)
		s.index.apply(r, s.tail.seg, offset)
		if r.snapshot != nil && r.kind == updateRecord {
			s.takeReady(r.group, r.snapshot)
		}
		if old != 0 && old != s.snapshotFile(r.group) {
			s.retire(old)
		}
	}
	if s.hasWork() {
		s.poke()
	}
}

// fail ends writing for good. After a failed sync the kernel may drop the
// unwritten pages, so the success of a later sync would prove nothing.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("the log takes no more writes: %w", err)
	}
	return s.failed
}

// makeRoom goes on to the next segment if a batch of n bytes does not fit.
func (s *Store) makeRoom(n int64) error {
	t := &s.tail
	if t.seg != nil && t.offset+n <= t.seg.size {
		return nil
	}
	seg, err := s.takeNext()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	file, err := s.dir.Open(seg.name)
	if err == nil && pageBytes+n > seg.size {
		err = s.grow(seg, file, alignUp(pageBytes+n, pageBytes))
	}
	if err != nil {
		s.mu.Lock()
		s.next = seg
		s.mu.Unlock()
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	if err := t.close(); err != nil {
		s.opts.Logger.Warn("closing a full segment", "file", t.seg.name, "error", err)
	}
	t.seg, t.file, t.offset = seg, file, pageBytes
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.mu.Unlock()
	return nil
}

// grow makes a segment larger, for a batch above the ordinary size.
func (s *Store) grow(seg *segment, file File, size int64) error {
	if err := zero(file, seg.size, size); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := s.begin(seg, file, size); err != nil { // a header with the larger size
		return err
	}
	s.mu.Lock()
	seg.size = size
	s.mu.Unlock()
	return nil
}

// zero writes zeros from one offset to another.
func zero(file File, from, to int64) error {
	zeros := make([]byte, min(to-from, 1<<20))
	for from < to {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// takeNext returns the segment to follow the last one. If the janitor has not
// made the segment yet, takeNext makes the segment.
func (s *Store) takeNext() (*segment, error) {
	s.preparing <- struct{}{}
	defer func() { <-s.preparing }()
	if err := s.prepare(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.next
	s.next, s.noRoom = nil, false
	return seg, nil
}

const (
	segmentSuffix = ".wal"
	temporaryName = "next.tmp"
)

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func newSegment(number uint64, size int64) *segment {
	return &segment{number: number, salt: newSalt(), name: segmentName(number), size: size}
}

// prepare makes the segment after the newest one, unless the segment exists.
// The caller holds s.preparing.
func (s *Store) prepare() error {
	s.mu.Lock()
	if s.next != nil {
		s.mu.Unlock()
		return nil
	}
	var old *segment
	if n := len(s.free); n > 0 {
		old = s.free[n-1]
		s.free = s.free[:n-1]
	}
	number := s.newest + 1
	s.mu.Unlock()
	seg := newSegment(number, s.opts.SegmentBytes)
	if err := s.make(seg, old); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.newest = seg, number
	return nil
}

// make makes the file of a segment from an old file, or anew. The complete file
// is renamed to the segment's name.
func (s *Store) make(seg, old *segment) error {
	var file File
	var err error
	if old != nil {
		// The old name has to be gone before the old segment's header is.
		if err = s.dir.Rename(old.name, temporaryName); err == nil {
			if err := s.dir.Sync(); err != nil {
				return s.fail(err)
			}
			file, err = s.dir.Open(temporaryName)
		}
	} else {
		if file, err = s.dir.Create(temporaryName); err == nil {
			err = zero(file, pageBytes, seg.size)
		}
	}
	if err == nil {
		err = s.begin(seg, file, seg.size)
	}
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	if err == nil {
		err = s.dir.Rename(temporaryName, seg.name)
	}
	if err == nil {
		if err := s.dir.Sync(); err != nil {
			return s.fail(err)
		}
	}
	if err != nil {
		_ = s.dir.Remove(temporaryName) // if it is there; the next try makes it anew
		return fmt.Errorf("making %s: %w", seg.name, err)
	}
	return nil
}

// begin writes the header of a segment of a size and makes the whole file durable.
func (s *Store) begin(seg *segment, file File, size int64) error {
	id := s.opts.Identity
	sealed, err := seal(&segmentHeader{
		Version: formatVersion, Cluster: id.Cluster, Host: uint64(id.Host), Number: seg.number, Salt: seg.salt, Bytes: size,
	})
	if err != nil {
		return err
	}
	page := make([]byte, pageBytes)
	copy(page, sealed)
	if _, err := file.WriteAt(page, 0); err != nil {
		return err
	}
	return file.Sync()
}
