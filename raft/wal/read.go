package wal

import (
	"fmt"
	"io"
	"sync"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// stretch is a range of a group's entries and the place in the log.
type stretch struct {
	point
	lo, hi uint64
}

// Entries implements [node.Storage]. Entries reads the log's files.
func (s *Store) Entries(id node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	if err := s.enter("reading"); err != nil {
		return nil, err
	}
	g := s.index.groups[id]
	if g == nil {
		g = &noGroup
	}
	if err := g.CheckRange(id, lo, hi); err != nil {
		s.mu.Unlock()
		return nil, s.wrap("reading", err)
	}
	stretches := g.locate(lo, hi, int64(maxBytes))
	for i := range stretches {
		stretches[i].seg.readers++
	}
	s.mu.Unlock()
	defer s.release(stretches)

	want := collector{group: id, maxBytes: maxBytes}
	for i := range stretches {
		if err := s.readStretch(&stretches[i], &want); err != nil {
			return nil, s.wrap("reading", err)
		}
		if want.full {
			break
		}
	}
	return want.entries, nil
}

// minStretches is the number of stretches considered whatever the sizes of the
// points. A size is too large after a part of the range was replaced.
const minStretches = 64

// locate returns the places of entries, for about maxBytes and more. All places
// belong to one moment, so all entries belong to one log.
func (g *group) locate(lo, hi uint64, maxBytes int64) []stretch {
	var found []stretch
	bytes := int64(0)
	for i := g.find(lo); i < len(g.points) && lo <= hi; i++ {
		end := hi
		if i+1 < len(g.points) {
			end = min(hi, g.points[i+1].first-1)
		}
		found = append(found, stretch{point: g.points[i], lo: lo, hi: end})
		if len(found) > 1 { // of the first range, most may lie before lo
			bytes += g.points[i].bytes
		}
		if bytes > 2*maxBytes && len(found) >= minStretches {
			break
		}
		lo = end + 1
	}
	return found
}

func (s *Store) release(stretches []stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range stretches {
		stretches[i].seg.readers--
	}
}

// collector takes entries from batches.
type collector struct {
	group    node.GroupID
	next, hi uint64
	maxBytes int
	bytes    int
	full     bool // maxBytes is reached
	entries  []core.Entry
}

// take takes the wanted entries from a batch's records, with a copy of the
// data.
func (c *collector) take(payload []byte, scratch *record) error {
	had := len(c.entries)
	size := 0
	err := eachRecord(payload, scratch, func(r *record) {
		if r.group != c.group || r.kind > moveRecord {
			return
		}
		for i := range r.entries {
			e := &r.entries[i]
			if e.Index != c.next || c.next > c.hi || c.full {
				continue
			}
			if c.bytes += len(e.Data); c.bytes > c.maxBytes && len(c.entries) > 0 {
				c.full = true
				continue
			}
			size += len(e.Data)
			c.entries = append(c.entries, *e)
			c.next++
		}
	})
	data := make([]byte, 0, size)
	for i := had; i < len(c.entries); i++ {
		from := len(data)
		data = append(data, c.entries[i].Data...)
		c.entries[i].Data = data[from:len(data):len(data)]
	}
	return err
}

// window is a part of a file in memory.
type window struct {
	file  File
	end   int64 // of the file
	start int64
	bytes []byte
	buf   []byte
	// scratch is for records in the window.
	scratch record
}

// windowBytes is the size of a read, unless a batch is larger.
const windowBytes = 128 << 10

// maxIdleWindow bounds the idle buffer between reads, in bytes.
const maxIdleWindow = 1 << 20

var windows = sync.Pool{New: func() any { return new(window) }}

func getWindow(file File, size int64) *window {
	w := windows.Get().(*window)
	*w = window{file: file, end: size, buf: w.buf, scratch: w.scratch}
	return w
}

func (w *window) put() {
	if w.file = nil; cap(w.buf) > maxIdleWindow {
		w.buf, w.scratch = nil, record{}
	}
	windows.Put(w)
}

// at returns up to n bytes at an offset, less only at the end of the file.
func (w *window) at(offset, n int64) ([]byte, error) {
	n = min(n, w.end-offset)
	if n <= 0 {
		return nil, nil
	}
	if offset < w.start || offset+n > w.start+int64(len(w.bytes)) {
		size := min(max(n, windowBytes), w.end-offset)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		got, err := w.file.ReadAt(w.buf[:size], offset)
		if err != nil && !(err == io.EOF && int64(got) >= n) {
			w.bytes = nil
			return nil, fmt.Errorf("offset %d: %w", offset, err)
		}
		w.start, w.bytes = offset, w.buf[:got]
	}
	from := offset - w.start
	return w.bytes[from : from+n], nil
}

// batchHeader reads the header of the batch at an offset. The result is false
// without a header of this salt, or if the batch would end beyond the file.
func (w *window) batchHeader(offset int64, salt uint64) (batchHeader, bool, error) {
	head, err := w.at(offset, batchHeaderBytes)
	if err != nil {
		return batchHeader{}, false, err
	}
	h, ok := getHeader(head, salt)
	return h, ok && h.length <= maxBatchBytes && offset+batchHeaderBytes+int64(h.length) <= w.end, nil
}

// batch reads the batch at an offset. The result is false without a whole
// batch.
func (w *window) batch(offset int64, salt uint64) (h batchHeader, payload []byte, ok bool, err error) {
	h, ok, err = w.batchHeader(offset, salt)
	if !ok || err != nil {
		return h, nil, false, err
	}
	batch, err := w.at(offset, batchHeaderBytes+int64(h.length))
	if err != nil {
		return h, nil, false, err
	}
	return h, batch[batchHeaderBytes:], batchChecksum(batch) == h.checksum, nil
}

// readStretch gives the collector the entries of a stretch.
func (s *Store) readStretch(st *stretch, c *collector) error {
	file, err := s.dir.Open(st.seg.name)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	w := getWindow(file, size)
	defer w.put()
	c.next, c.hi = st.lo, st.hi
	for offset := st.offset; c.next <= c.hi && !c.full; {
		h, payload, ok, err := w.batch(offset, st.seg.salt)
		if err != nil {
			return fmt.Errorf("%s, %w", st.seg.name, err)
		}
		if !ok {
			return damage(s.dir.Path(), st.seg.name, offset, "no whole batch, where entry %d of group %d should follow", c.next, c.group)
		}
		if err := c.take(payload, &w.scratch); err != nil {
			return damage(s.dir.Path(), st.seg.name, offset, "%v", err)
		}
		offset += span(int64(h.length))
	}
	return nil
}
