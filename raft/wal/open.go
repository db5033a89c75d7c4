package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// Open opens a log made by [Create], and reads all of the log. If the directory
// has no log, the error matches fs.ErrNotExist. If another process or this one
// has the log open, the error matches [node.ErrInUse]. If the log belongs to
// another host, the error matches [node.ErrStranger]. If a durable part of the
// log has changed, the error matches [node.ErrDamaged]. If another version of this
// package has written the log, the error matches [ErrFormat].
func Open(path string, opts Options) (*Store, error) {
	dir, err := openDirectory(path, false)
	if err != nil {
		return nil, fmt.Errorf("wal: opening a log: %w", err)
	}
	return OpenIn(dir, opts)
}

// OpenIn is [Open] for any kind of directory.
func OpenIn(dir Directory, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, opts: opts,
		writing: make(chan struct{}, 1), preparing: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		tail:   tail{fresh: make(map[node.GroupID]struct{})},
		index:  index{groups: make(map[node.GroupID]*group)},
		ready:  make(map[node.GroupID][]readySnapshot),
		bodies: make(map[uint64]int64),
	}
	if err := s.open(); err != nil {
		return nil, s.wrap("opening", err)
	}
	go s.janitor()
	s.poke()
	return s, nil
}

func (s *Store) open() (err error) {
	if s.lock, err = s.lockFile(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.tail.close(), s.lock.Close())
		}
	}()
	names, err := s.sortFiles()
	if err != nil {
		return err
	}
	if err := s.replay(names.segments); err != nil {
		return err
	}
	for id, g := range s.index.groups {
		if err := g.complete(id); err != nil {
			return damage(s.dir.Path(), segmentName(s.segments[0].number), 0, "%v", err)
		}
	}
	if err := s.findSnapshots(names.snapshots); err != nil {
		return err
	}
	if err := s.removeLeftovers(names.leftovers); err != nil {
		return err
	}
	return s.resume()
}

// lockFile locks the directory and checks the owner.
func (s *Store) lockFile() (File, error) {
	names, err := s.dir.List()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, lockName) {
		return nil, fmt.Errorf("%s: %w", lockName, fs.ErrNotExist) // Lock would make it
	}
	lock, err := s.dir.Lock(lockName)
	if err != nil {
		return nil, err
	}
	if err = s.checkLock(lock); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (s *Store) checkLock(lock File) error {
	var h lockHeader
	err := readHeader(lock, &h)
	if errors.Is(err, errSeal) {
		names, err := s.sortFiles()
		if err != nil {
			return err
		}
		if s.isUnfinished(names) {
			return fmt.Errorf("%s: Create was interrupted, and has to be repeated: %w", lockName, fs.ErrNotExist)
		}
	}
	if err != nil {
		return broken(s.dir.Path(), lockName, 0, err)
	}
	return s.checkStranger(lockName, h.Cluster, h.Host)
}

// fileNames are the files of a log by kind.
type fileNames struct {
	segments  []uint64 // numbers, ascending
	snapshots []uint64 // numbers
	leftovers []string // of work that was interrupted
}

func (s *Store) sortFiles() (fileNames, error) {
	var found fileNames
	names, err := s.dir.List()
	if err != nil {
		return found, err
	}
	for _, name := range names {
		if number, ok := numberOf(name, segmentSuffix); ok {
			found.segments = append(found.segments, number)
		} else if number, ok := numberOf(name, snapshotSuffix); ok {
			found.snapshots = append(found.snapshots, number)
			s.lastFile = max(s.lastFile, number)
		} else if number, ok := numberOf(name, snapshotSuffix+unfinishedSuffix); ok {
			found.leftovers = append(found.leftovers, name)
			s.lastFile = max(s.lastFile, number)
		} else if name == temporaryName {
			found.leftovers = append(found.leftovers, name)
		}
	}
	slices.Sort(found.segments)
	return found, nil
}

// numberOf returns the number in the name of a segment or a snapshot.
func numberOf(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil
}

// replay reads the segments and finds the log's end. Only the newest segments
// without a gap are the log. Older ones are leftovers of an interrupted
// removal.
func (s *Store) replay(numbers []uint64) error {
	first := len(numbers) - 1
	for first > 0 && numbers[first-1]+1 == numbers[first] {
		first--
	}
	if first < 0 {
		return damage(s.dir.Path(), segmentName(1), 0, "there is no segment")
	}
	for _, number := range numbers[first:] {
		seg, err := s.openSegment(number)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, seg)
	}
	for _, number := range numbers[:first] {
		s.dropped = append(s.dropped, &segment{number: number, name: segmentName(number)})
	}
	s.newest = numbers[len(numbers)-1]
	p := replayer{store: s}
	if err := p.run(); err != nil {
		return err
	}
	switch begin := s.segments[0]; {
	case !p.began && begin.number > 1:
		return damage(s.dir.Path(), begin.name, pageBytes, "there is no batch in the oldest segment, so %s is missing", segmentName(begin.number-1))
	case p.began && s.oldest < begin.number:
		return damage(s.dir.Path(), segmentName(s.oldest), 0, "the segment is missing")
	}
	return nil
}

// openSegment reads a segment's header.
func (s *Store) openSegment(number uint64) (*segment, error) {
	name := segmentName(number)
	file, err := s.dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var h segmentHeader
	if err := readHeader(file, &h); err != nil {
		return nil, broken(s.dir.Path(), name, 0, err)
	}
	if err := s.checkStranger(name, h.Cluster, h.Host); err != nil {
		return nil, err
	}
	if h.Number != number {
		return nil, damage(s.dir.Path(), name, 0, "the file is segment %d", h.Number)
	}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size < h.Bytes {
		return nil, damage(s.dir.Path(), name, size, "the file has %d bytes of %d", size, h.Bytes)
	}
	return &segment{number: number, salt: h.Salt, name: name, size: size &^ (batchAlign - 1)}, nil
}

// replayer reads the log.
type replayer struct {
	store    *Store
	scratch  record
	began    bool // a batch has been read
	sequence uint64
	chain    uint32
	// end is where the log ends, in the segment at place.
	place      int
	end        int64
	lastOffset int64 // of the last batch, which is in that segment
}

// run reads all batches in order up to the first broken one, and makes sure
// that no later batch exists.
func (p *replayer) run() error {
	segments := p.store.segments
	for i, seg := range segments {
		begins, err := p.begins(seg)
		if err != nil {
			return err
		}
		if i > 0 && !begins {
			break // not yet used, or the end of the log is in the one before
		}
		p.place = i
		if err := p.segment(seg); err != nil {
			return err
		}
	}
	if err := p.nothingFollows(); err != nil {
		return err
	}
	if err := p.isTorn(); err != nil {
		return err
	}
	s := p.store
	s.tail.sequence, s.tail.chain = p.sequence, p.chain
	return p.settle()
}

// begins reports whether a segment's first batch is the next batch of the log.
func (p *replayer) begins(seg *segment) (bool, error) {
	file, err := p.store.dir.Open(seg.name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	w := getWindow(file, seg.size)
	defer w.put()
	h, _, ok, err := w.batch(pageBytes, seg.salt)
	if err != nil {
		return false, fmt.Errorf("%s, %w", seg.name, err)
	}
	return ok && (!p.began || h.sequence == p.sequence+1 && h.previous == p.chain), nil
}

// segment reads the batches of a segment.
func (p *replayer) segment(seg *segment) error {
	s := p.store
	file, err := s.dir.Open(seg.name)
	if err != nil {
		return err
	}
	defer file.Close()
	w := getWindow(file, seg.size)
	defer w.put()
	for p.end = pageBytes; ; {
		h, payload, ok, err := w.batch(p.end, seg.salt)
		if err != nil {
			return fmt.Errorf("%s, %w", seg.name, err)
		}
		if !ok || p.began && (h.sequence != p.sequence+1 || h.previous != p.chain) {
			return nil
		}
		err = eachRecord(payload, &p.scratch, func(r *record) { s.index.apply(r, seg, p.end) })
		if err != nil {
			return damage(s.dir.Path(), seg.name, p.end, "%v", err)
		}
		p.began, p.sequence, p.chain, s.oldest = true, h.sequence, h.checksum, h.oldest
		p.lastOffset = p.end
		p.end += span(int64(h.length))
	}
}

// nothingFollows makes sure that no batch follows the log's end. The store
// writes a batch only when all earlier ones are durable. So a later batch
// proves that the missing batch was durable and is damaged. Without a later
// batch, the missing one is an interrupted write, and Save had not returned.
func (p *replayer) nothingFollows() error {
	s := p.store
	for _, seg := range s.segments[p.place:] {
		at, err := p.findLater(seg)
		if err != nil {
			return err
		}
		if at >= 0 {
			return damage(s.dir.Path(), s.segments[p.place].name, p.end,
				"batch %d is not whole, and a later one follows in %s at offset %d", p.sequence+1, seg.name, at)
		}
	}
	return nil
}

// findLater returns the offset of a header with a number beyond the missing
// one, or -1. findLater searches the whole segment, since a disk may have
// written the batch to a wrong place.
func (p *replayer) findLater(seg *segment) (int64, error) {
	file, err := p.store.dir.Open(seg.name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	w := getWindow(file, seg.size)
	defer w.put()
	mark := binary.LittleEndian.AppendUint32(nil, batchMagic)
	for from := int64(0); from < seg.size; {
		part, err := w.at(from, windowBytes)
		if err != nil {
			return 0, fmt.Errorf("%s, %w", seg.name, err)
		}
		i := bytes.Index(part, mark)
		if i < 0 {
			from += max(int64(len(part))-int64(len(mark))+1, 1)
			continue
		}
		from += int64(i)
		head, err := w.at(from, batchHeaderBytes)
		if err != nil {
			return 0, fmt.Errorf("%s, %w", seg.name, err)
		}
		if h, ok := getHeader(head, seg.salt); ok && p.follows(h.sequence) {
			return from, nil
		}
		from++
	}
	return -1, nil
}

// follows reports whether a batch is later than the missing one.
func (p *replayer) follows(sequence uint64) bool {
	return sequence > p.sequence+1 || !p.began && sequence > 1
}

// isTorn checks that an interrupted write explains the broken batch at the log's
// end. The sector at the log's end was written with the last batch (see
// appendMarks), and had zeros behind that batch. If the sector now has anything
// else, the broken batch was written, and the last batch was durable before. Each
// write fills its last page with zeros, so then the part of the broken batch in
// each sector of the page is either as written or zero. Anything else is damage
// to a batch that may have been acknowledged. The pages behind are not checked,
// since the content of a reused file is unknown.
func (p *replayer) isTorn() error {
	if !p.began || p.end%pageBytes == 0 {
		return nil
	}
	seg := p.store.segments[p.place]
	file, err := p.store.dir.Open(seg.name)
	if err != nil {
		return err
	}
	defer file.Close()
	w := getWindow(file, seg.size)
	defer w.put()
	page := alignUp(p.end, pageBytes) - p.end
	rest, err := w.at(p.end, page)
	if err != nil {
		return fmt.Errorf("%s, %w", seg.name, err)
	}
	if int64(len(rest)) < page {
		return damage(p.store.dir.Path(), seg.name, p.end+int64(len(rest)), "the file ends within a page")
	}
	if why := explain(rest, p.end, seg.salt, p.sequence+1, p.chain); why != "" {
		return damage(p.store.dir.Path(), seg.name, p.end, "%s", why)
	}
	return nil
}

// sectorBytes is the unit that a disk writes as a whole.
const sectorBytes = 512

// explain returns why no interrupted write can have left the rest of a page, "" if
// one can.
func explain(rest []byte, offset int64, salt, sequence uint64, chain uint32) string {
	pieces := sectorPieces(rest, offset)
	if isZero(pieces[0]) {
		return "" // the sector with the header was not written
	}
	head := rest
	if len(pieces[0]) < batchHeaderBytes && len(pieces) > 1 && isZero(pieces[1]) {
		return "" // a part of the header was not written
	}
	h, ok := getHeader(head, salt)
	if !ok && len(rest) < batchHeaderBytes {
		return "" // the header goes on in the next page
	}
	if !ok || h.sequence != sequence || h.previous != chain {
		return fmt.Sprintf("the header of batch %d is damaged", sequence)
	}
	if batchHeaderBytes+int64(h.length) > int64(len(rest)) {
		return "" // the batch goes on in the next page
	}
	for _, piece := range sectorPieces(rest[:batchHeaderBytes+h.length], offset) {
		if isZero(piece) {
			return ""
		}
	}
	return fmt.Sprintf("batch %d was written as a whole, and does not have its checksum", sequence)
}

// sectorPieces splits bytes at the boundaries of sectors.
func sectorPieces(b []byte, offset int64) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		n := min(int64(len(b)), sectorBytes-offset%sectorBytes)
		pieces = append(pieces, b[:n])
		b, offset = b[n:], offset+n
	}
	return pieces
}

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// settle makes the last batch durable. The former process may have ended, or a
// sync may have failed, between write and sync. settle writes the batch again,
// since the kernel may have marked unwritten pages as clean.
func (p *replayer) settle() error {
	s := p.store
	seg := s.segments[p.place]
	file, err := s.dir.Open(seg.name)
	if err != nil {
		return err
	}
	s.tail.seg, s.tail.file, s.tail.offset = seg, file, p.end
	// Segments made ahead follow. The first of them is kept as the next one.
	if ahead := s.segments[p.place+1:]; len(ahead) > 0 {
		s.next, s.newest = ahead[0], ahead[0].number
		for _, extra := range ahead[1:] {
			if err := s.dir.Remove(extra.name); err != nil {
				return err
			}
		}
		s.segments = s.segments[:p.place+1]
	}
	if !p.began {
		return nil
	}
	return p.rewrite()
}

func (p *replayer) rewrite() error {
	t := &p.store.tail
	w := getWindow(t.file, t.seg.size)
	defer w.put()
	h, ok, err := w.batchHeader(p.lastOffset, t.seg.salt)
	if err != nil || !ok {
		return errors.Join(err, damage(p.store.dir.Path(), t.seg.name, p.lastOffset, "the batch has changed"))
	}
	batch, err := w.at(p.lastOffset, batchHeaderBytes+int64(h.length))
	if err != nil {
		return err
	}
	// The rest of the page gets its zeros, in the place of an interrupted write.
	padded := make([]byte, alignUp(p.end, pageBytes)-p.lastOffset)
	copy(padded, batch)
	if _, err := t.file.WriteAt(padded, p.lastOffset); err != nil {
		return fmt.Errorf("%s, offset %d: %w", t.seg.name, p.lastOffset, err)
	}
	return t.file.Sync()
}

// findSnapshots checks the groups' snapshots and marks all other snapshots for
// removal.
func (s *Store) findSnapshots(numbers []uint64) error {
	counts := make(map[uint64]bool)
	for id, g := range s.index.groups {
		if g.snapshotFile == 0 {
			continue
		}
		counts[g.snapshotFile] = true
		r, err := s.openSnapshot(id, g.snapshotFile)
		if errors.Is(err, fs.ErrNotExist) {
			return damage(s.dir.Path(), snapshotName(g.snapshotFile), 0, "the snapshot of group %d at %d is missing", id, g.Snapshot.Index)
		}
		if err != nil {
			return err
		}
		size, err := r.file.Size()
		s.bodies[g.snapshotFile] = size
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		if !storekit.SameHeader(&r.header, &g.Snapshot) {
			return damage(s.dir.Path(), snapshotName(g.snapshotFile), 0, "the header is %+v instead of %+v", r.header, g.Snapshot)
		}
		s.lastFile = max(s.lastFile, g.snapshotFile)
	}
	for _, number := range numbers {
		if !counts[number] {
			s.garbage = append(s.garbage, number)
		}
	}
	return nil
}

// resume makes the log ready for writing. A batch without updates is appended,
// which proves to a later Open that the batch before was durable.
func (s *Store) resume() error {
	if err := s.dir.Sync(); err != nil {
		return err
	}
	s.tail.records = append(s.tail.records[:0], record{kind: markRecord})
	err := s.commit()
	if errors.Is(err, errNoRoom) {
		return nil // reads go on, and writes as soon as there is room
	}
	return err
}

func (s *Store) removeLeftovers(names []string) error {
	for _, name := range names {
		if err := s.dir.Remove(name); err != nil {
			return err
		}
	}
	return s.removeGarbage()
}
