package wal

import (
	"errors"
	"io/fs"

	"raftlab/raft/node"
)

// keepFree is how many segments wait to be used again, at least.
const keepFree = 2

// slackSegments is the number of segments that a log may have beyond twice the
// live records, before the janitor moves live records to the end.
const slackSegments = 2

// moveBytes is about how much is moved in one batch.
const moveBytes = 256 << 10

// poke tells the janitor to look for work.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// janitor does the work that no Save has to wait for. The janitor makes the
// next segment, frees segments, moves live records out of old segments, and
// removes old snapshots. Open starts the goroutine, and Close ends the
// goroutine.
func (s *Store) janitor() {
	defer close(s.done)
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
			if err := s.tidy(); err != nil {
				s.opts.Logger.Warn("tidying the log", "path", s.dir.Path(), "error", err)
			}
		}
	}
}

func (s *Store) tidy() error {
	err := errors.Join(s.removeGarbage(), s.freeSegments())
	err = errors.Join(err, s.prepareAhead())
	for err == nil && s.overfull() && !s.quitting() {
		if err = s.moveOldest(); err != nil {
			s.mu.Lock()
			s.stuck = s.newest
			s.mu.Unlock()
			return err
		}
		err = s.freeSegments()
	}
	return err
}

// prepareAhead makes the next segment before any Save needs one. If there is no
// room, the next Save in need of a segment tries again.
func (s *Store) prepareAhead() error {
	s.preparing <- struct{}{}
	defer func() { <-s.preparing }()
	s.mu.Lock()
	skip := s.noRoom
	s.mu.Unlock()
	if skip {
		return nil
	}
	err := s.prepare()
	s.mu.Lock()
	s.noRoom = err != nil
	s.mu.Unlock()
	return err
}

func (s *Store) quitting() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// hasWork reports whether the janitor has anything to do. The caller holds
// s.mu.
func (s *Store) hasWork() bool {
	return s.next == nil && !s.noRoom || len(s.garbage) > 0 || s.segments[0].refs == 0 && len(s.segments) > 1 ||
		len(s.dropped) > 0 && s.removable(s.dropped[0]) || s.isOverfull()
}

// removable reports whether the file of a dropped segment may be changed. A
// durable batch must declare the segment unneeded, and no call may be reading
// the file. The caller holds s.mu.
func (s *Store) removable(seg *segment) bool { return seg.number < s.oldest && seg.readers == 0 }

// freeSegments takes unreferenced segments out of the log, oldest first. A file
// is freed once a durable batch has declared the segment unneeded. The oldest
// go first, since a record in a newer segment may undo one in an older.
func (s *Store) freeSegments() error {
	s.mu.Lock()
	for len(s.segments) > 1 && s.segments[0].refs == 0 {
		s.dropped = append(s.dropped, s.segments[0])
		s.segments = s.segments[1:]
	}
	var remove []*segment
	for len(s.dropped) > 0 && s.removable(s.dropped[0]) {
		seg := s.dropped[0]
		s.dropped = s.dropped[1:]
		if seg.size == s.opts.SegmentBytes {
			s.free = append(s.free, seg)
		} else {
			remove = append(remove, seg)
		}
	}
	for s.hasSpare() {
		last := len(s.free) - 1
		remove = append(remove, s.free[last])
		s.free = s.free[:last]
	}
	s.mu.Unlock()
	var err error
	for _, seg := range remove {
		err = errors.Join(err, s.dir.Remove(seg.name))
	}
	return err
}

// hasSpare reports whether more segments wait than a log of twice the live records
// needs. A log that shrinks with each snapshot and grows again needs no new segments,
// which cost a second write of each byte. The caller holds s.mu.
func (s *Store) hasSpare() bool {
	files := int64(len(s.segments) + len(s.free))
	return len(s.free) > keepFree && files*s.opts.SegmentBytes > 2*s.index.live+(slackSegments+keepFree)*s.opts.SegmentBytes
}

// removeGarbage removes replaced and discarded snapshot files.
func (s *Store) removeGarbage() error {
	s.mu.Lock()
	files := s.garbage
	s.garbage = nil
	s.mu.Unlock()
	var err error
	for _, file := range files {
		if e := s.dir.Remove(snapshotName(file)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *Store) overfull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed == nil && s.isOverfull()
}

// isOverfull reports whether most of the log is waste. Each byte moved then
// frees another byte, so moves at most double the writes. The caller holds
// s.mu.
func (s *Store) isOverfull() bool {
	sealed := int64(len(s.segments) - 1)
	return sealed > 0 && s.segments[0].refs > 0 && s.newest != s.stuck && sealed*s.opts.SegmentBytes > 2*s.index.live+slackSegments*s.opts.SegmentBytes
}

// load is a part of a group on the way out of the oldest segment.
type load struct {
	id      node.GroupID
	group   *group
	from    point // of the entries; seg is nil if there are none
	lo, hi  uint64
	entries collector
}

// moveOldest appends the live records of the oldest segment to the log again.
func (s *Store) moveOldest() error {
	s.mu.Lock()
	seg := s.segments[0]
	seg.readers++
	var ids []node.GroupID
	for id, g := range s.index.groups {
		if g.refersTo(seg) {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	defer s.release([]stretch{{point: point{seg: seg}}})
	for len(ids) > 0 && !s.quitting() {
		loads, rest := s.loads(seg, ids)
		if err := s.carry(seg, loads); err != nil {
			return err
		}
		ids = rest
	}
	return nil
}

func (g *group) refersTo(seg *segment) bool {
	if g.stateSeg == seg || g.snapshotSeg == seg {
		return true
	}
	for i := range g.points {
		if g.points[i].seg == seg {
			return true
		}
	}
	return false
}

// loads plans about moveBytes of moves, and returns the remaining groups. Of
// each group the last range goes first. So while a log is opened without the
// oldest segment, ranges are found in descending order and there is no gap.
func (s *Store) loads(seg *segment, ids []node.GroupID) (loads []load, rest []node.GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := int64(0)
	for i, id := range ids {
		g := s.index.groups[id]
		if g == nil {
			continue
		}
		if bytes > moveBytes {
			return loads, ids[i:]
		}
		l := load{id: id, group: g}
		left := 0
		for n := len(g.points) - 1; n >= 0; n-- {
			if g.points[n].seg != seg {
				continue
			}
			if left++; left == 1 {
				l.from, l.lo = g.points[n], max(g.points[n].first, g.CompactedIndex+1)
				if l.hi = g.LastIndex; n+1 < len(g.points) {
					l.hi = g.points[n+1].first - 1
				}
				bytes += l.from.bytes
			}
		}
		bytes += recordBytes + int64(len(g.Snapshot.Configuration))
		loads = append(loads, l)
		if left > 1 {
			return loads, ids[i:]
		}
	}
	return loads, nil
}

// carry reads the loads and writes them as one batch. If a group has changed in
// the meantime, the group's entries are left out. A later call moves the rest.
func (s *Store) carry(seg *segment, loads []load) error {
	for i := range loads {
		l := &loads[i]
		if l.from.seg == nil {
			continue
		}
		l.entries = collector{group: l.id, maxBytes: maxBatchBytes}
		if err := s.readStretch(&stretch{point: l.from, lo: l.lo, hi: l.hi}, &l.entries); err != nil {
			return err
		}
	}
	select {
	case s.writing <- struct{}{}:
	case <-s.quit:
		return nil
	}
	defer func() { <-s.writing }()
	s.mu.Lock()
	s.tail.records = s.tail.records[:0]
	for i := range loads {
		if l := &loads[i]; s.index.groups[l.id] == l.group {
			s.tail.records = append(s.tail.records, l.record(seg))
		}
	}
	s.mu.Unlock()
	return s.commit()
}

// record returns the moveRecord of the load.
func (l *load) record(seg *segment) record {
	g := l.group
	r := record{kind: moveRecord, group: l.id, hardState: g.HardState, compacted: g.CompactedIndex, compactedTerm: g.CompactedTerm}
	if g.snapshotSeg == seg {
		r.snapshot = &snapshotRecord{header: g.Snapshot, file: g.snapshotFile}
	}
	if l.from.seg == nil {
		return r
	}
	n := g.find(l.hi)
	if n < 0 || g.points[n].seg != seg || g.points[n].offset != l.from.offset || g.points[n].first != l.from.first || l.hi > g.LastIndex {
		return r
	}
	if lo := max(l.lo, g.CompactedIndex+1); lo <= l.hi {
		r.first, r.entries = lo, l.entries.entries[lo-l.lo:]
	}
	return r
}
