package wal

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// segment is a file of the log. The fields below number are guarded by Store.mu.
type segment struct {
	number  uint64
	salt    uint64
	name    string
	size    int64 // of the file
	refs    int   // points, states and snapshots that are in the segment
	readers int   // calls that read the file; it keeps its name meanwhile
}

// point locates a range of a group's entries, from index first up to the next
// point. The entries are in records of the group, in ascending order, from the
// batch at offset on.
//
// Each replacement of entries begins a new point. So among several records with
// one index, the first record behind the offset counts.
type point struct {
	first  uint64
	seg    *segment
	offset int64
	bytes  int64 // about what the range occupies
}

// A new point begins when both the distance in the log since the last point and
// the size of the group's entries there reach a limit, or when the distance
// alone reaches pointMaxBytes.
const (
	pointLogBytes = 64 << 10
	pointOwnBytes = 16 << 10
	pointMaxBytes = 1 << 20
)

// group is the part of a group in memory.
type group struct {
	storekit.Group
	points       []point
	stateSeg     *segment // has the newest record of the group
	snapshotSeg  *segment // has the newest record with a snapshot
	snapshotFile uint64
	plan         uint64 // last plan of updates that named the group
	// holes are ranges of the log still to be found while a log is opened, in
	// ascending order.
	holes []hole
}

// hole is a range of indexes.
type hole struct{ lo, hi uint64 }

// index finds the groups' entries. The size of the index grows with the bytes
// of the log, by one point in about 64 KiB, and not with the number of entries.
type index struct {
	groups map[node.GroupID]*group
	live   int64 // approximate size of the live records, in bytes
}

// recordBytes is the approximate size of a record without the data of entries.
const (
	recordBytes = 40
	entryBytes  = 10
)

func entriesBytes(entries []core.Entry) int64 {
	n := int64(0)
	for i := range entries {
		n += int64(len(entries[i].Data)) + entryBytes
	}
	return n
}

// refer moves a reference from one segment to another. Each may be nil.
func refer(from **segment, to *segment) {
	if *from != nil {
		(*from).refs--
	}
	if *from = to; to != nil {
		to.refs++
	}
}

// apply enters a record of the batch at offset of a segment. While a log is
// opened, parts of a group may be missing until a moveRecord supplies the
// parts. The segments with the original records are gone. Until then the group
// has holes.
func (x *index) apply(r *record, seg *segment, offset int64) {
	switch r.kind {
	case markRecord, closeRecord:
		return
	case removeRecord:
		x.remove(r.group)
		return
	}
	g := x.groups[r.group]
	if g == nil {
		g = &group{}
		x.groups[r.group] = g
		x.live += recordBytes
	}
	g.HardState = r.hardState
	refer(&g.stateSeg, seg)
	if s := r.snapshot; s != nil {
		g.Snapshot, g.snapshotFile = storekit.CloneHeader(s.header), s.file
		refer(&g.snapshotSeg, seg)
		if s.reset {
			x.drop(g, len(g.points))
			g.Reset(s.header.Index, s.header.Term)
			g.holes = nil
		}
	}
	if r.compacted > g.CompactedIndex {
		g.Compact(r.compacted, r.compactedTerm)
		x.dropCompacted(g)
		g.trimHoles(r.compacted+1, math.MaxUint64)
	}
	if len(r.entries) == 0 {
		return
	}
	if r.kind == moveRecord {
		x.move(g, r, seg, offset)
	} else {
		x.append(g, r, seg, offset)
	}
	// A point that lost its upper part may have compacted entries alone now.
	x.dropCompacted(g)
}

// remove forgets a group.
func (x *index) remove(id node.GroupID) {
	g := x.groups[id]
	if g == nil {
		return
	}
	x.drop(g, len(g.points))
	refer(&g.stateSeg, nil)
	refer(&g.snapshotSeg, nil)
	x.live -= recordBytes
	delete(x.groups, id)
}

// drop drops the first n points.
func (x *index) drop(g *group, n int) {
	for i := range n {
		x.unref(&g.points[i])
	}
	g.points = slices.Delete(g.points, 0, n)
}

func (x *index) unref(p *point) {
	p.seg.refs--
	x.live -= p.bytes
}

// dropCompacted drops the points with a wholly compacted range.
func (x *index) dropCompacted(g *group) {
	if g.LastIndex == g.CompactedIndex {
		x.drop(g, len(g.points))
		return
	}
	x.drop(g, max(g.find(g.CompactedIndex+1), 0))
}

// find returns the point with an index in the range, or -1.
func (g *group) find(index uint64) int {
	return sort.Search(len(g.points), func(i int) bool { return g.points[i].first > index }) - 1
}

// append enters entries at the end of the log or in the place of others.
func (x *index) append(g *group, r *record, seg *segment, offset int64) {
	first := r.first
	follows := first == g.LastIndex+1
	if first > g.LastIndex+1 {
		g.holes = append(g.holes, hole{g.LastIndex + 1, first - 1})
	}
	g.trimHoles(0, first-1)
	for n := len(g.points); n > 0 && g.points[n-1].first >= first; n-- {
		x.unref(&g.points[n-1])
		g.points = g.points[:n-1]
	}
	g.Truncate(first)
	g.Append(r.entries)
	bytes := entriesBytes(r.entries)
	x.live += bytes
	if n := len(g.points); n > 0 && follows {
		last := &g.points[n-1]
		distance := offset - last.offset
		if last.seg == seg && distance < pointMaxBytes && (distance < pointLogBytes || last.bytes < pointOwnBytes) {
			last.bytes += bytes
			return
		}
	}
	seg.refs++
	g.points = append(g.points, point{first: first, seg: seg, offset: offset, bytes: bytes})
}

// move enters the entries of a moveRecord.
func (x *index) move(g *group, r *record, seg *segment, offset int64) {
	first, last := r.first, r.first+uint64(len(r.entries))-1
	if last > g.LastIndex {
		g.holes = append(g.holes, hole{g.LastIndex + 1, last})
		g.LastIndex = last
	}
	g.fill(first, last)
	g.insert(r.entries)
	x.place(g, first, last, point{first: first, seg: seg, offset: offset, bytes: entriesBytes(r.entries)})
}

// trimHoles drops the parts of holes below lo and above hi.
func (g *group) trimHoles(lo, hi uint64) {
	kept := g.holes[:0]
	for _, h := range g.holes {
		if h.lo, h.hi = max(h.lo, lo), min(h.hi, hi); h.lo <= h.hi {
			kept = append(kept, h)
		}
	}
	g.holes = kept
}

// fill takes a range out of the holes.
func (g *group) fill(lo, hi uint64) {
	if len(g.holes) == 0 {
		return
	}
	var left []hole
	for _, h := range g.holes {
		if below := (hole{h.lo, min(h.hi, lo-1)}); below.lo <= below.hi {
			left = append(left, below)
		}
		if above := (hole{max(h.lo, hi+1), h.hi}); above.lo <= above.hi {
			left = append(left, above)
		}
	}
	g.holes = left
}

// insert enters the terms and configurations of moved entries.
func (g *group) insert(entries []core.Entry) {
	var own storekit.Group
	own.Append(entries)
	first, last := entries[0].Index, own.LastIndex
	kept := sort.Search(len(g.Terms), func(i int) bool { return g.Terms[i].First >= first })
	after := sort.Search(len(g.Terms), func(i int) bool { return g.Terms[i].First > last+1 })
	terms := slices.Concat(g.Terms[:kept], own.Terms)
	if after > 0 && last < g.LastIndex {
		terms = append(terms, node.TermRun{First: last + 1, Term: g.Terms[after-1].Term})
	}
	terms = append(terms, g.Terms[after:]...)
	g.Terms = slices.CompactFunc(terms, func(a, b node.TermRun) bool { return a.Term == b.Term })
	configs := slices.DeleteFunc(g.ConfigIndexes, func(i uint64) bool { return i >= first && i <= last })
	g.ConfigIndexes = append(configs, own.ConfigIndexes...)
	slices.Sort(g.ConfigIndexes)
}

// place makes a point for moved entries from first to last. The rest of the
// points at the old place stays.
func (x *index) place(g *group, first, last uint64, moved point) {
	begin := sort.Search(len(g.points), func(i int) bool { return g.points[i].first >= first })
	end := sort.Search(len(g.points), func(i int) bool { return g.points[i].first > last })
	made := []point{moved}
	if covered := end > 0 && last < g.LastIndex; covered && (end == len(g.points) || g.points[end].first > last+1) {
		tail := g.points[end-1]
		tail.first, tail.bytes = last+1, 0
		made = append(made, tail)
	}
	for i := range made {
		made[i].seg.refs++
		x.live += made[i].bytes
	}
	for i := begin; i < end; i++ {
		x.unref(&g.points[i])
	}
	g.points = slices.Concat(g.points[:begin], made, g.points[end:])
}

// complete reports entries missing after the whole log was read.
func (g *group) complete(id node.GroupID) error {
	if len(g.holes) > 0 {
		return fmt.Errorf("group %d: the entries from %d to %d are missing", id, g.holes[0].lo, g.holes[0].hi)
	}
	return nil
}
