package trace

import (
	"encoding/binary"
	"time"
)

// Sizes of a chunk. The first chunk is smaller, because most runs are short.
const (
	chunkEvents = 1024
	chunkBytes  = 64 << 10
	firstEvents = 256
	firstBytes  = 16 << 10
)

// A ring keeps the newest events. The memory of the ring holds no pointers but those to its
// chunks, so a long recording costs the garbage collector nothing.
type ring struct {
	chunks  []*chunk
	spare   *chunk // left out of the ring, for the next chunk
	events  int
	bytes   int
	omitted int
	newest  int64 // the Output of the newest event
}

// A chunk is a piece of the ring.
type chunk struct {
	records []record
	bytes   []byte          // the names, texts and bodies of the records
	seen    [seenSpans]span // spans in bytes by their hash, so that repeated ones take no room
	// contents holds the Fields and Entries of records by their index. Messages of the lab
	// suites have none before [labtrace.Describe].
	contents map[int]content
}

// A record is an event without pointers.
type record struct {
	time, output     int64
	message, call    uint64
	term, index      int64
	name, text, data span
	lane, peer       int32
	kind             Kind
	flags            uint8
}

// Flags of a record.
const (
	isReply = 1 << iota
	isCopy
	isLeads
	hasContent
)

// A span is a piece of a chunk's bytes.
type span struct{ from, to uint32 }

type content struct {
	fields  map[Field]int
	entries []Entry
}

// add adds an event.
func (r *ring) add(e *Event) {
	c := r.room(len(e.Name) + len(e.Text) + len(e.Data))
	before := len(c.bytes)
	rec := record{
		time: int64(e.Time), output: e.Output, message: e.Message, call: e.Call, term: int64(e.Term), index: int64(e.Index),
		lane: int32(e.Lane), peer: int32(e.Peer), kind: e.Kind,
		name: intern(c, e.Name), text: intern(c, e.Text), data: intern(c, e.Data),
	}
	rec.flags = flag(e.Reply, isReply) | flag(e.Copy, isCopy) | flag(e.Leads, isLeads)
	if e.Fields != nil || e.Entries != nil {
		rec.flags |= hasContent
		if c.contents == nil {
			c.contents = make(map[int]content)
		}
		c.contents[len(c.records)] = content{e.Fields, e.Entries}
	}
	c.records = append(c.records, rec)
	r.events++
	r.bytes += len(c.bytes) - before
	r.newest = e.Output
}

func flag(is bool, bit uint8) uint8 {
	if is {
		return bit
	}
	return 0
}

// room returns a chunk with room for an event with so many bytes, after leaving out the
// oldest chunks beyond the bounds.
func (r *ring) room(bytes int) *chunk {
	if n := len(r.chunks); n > 0 {
		last := r.chunks[n-1]
		if len(last.records) < cap(last.records) && len(last.bytes)+bytes <= cap(last.bytes) {
			return last
		}
	}
	return r.next(bytes)
}

// next appends a chunk to the ring. Its frame is apart from that of room, because the
// goroutines that send messages have small stacks.
func (r *ring) next(bytes int) *chunk {
	for len(r.chunks) > 0 && (r.events+chunkEvents > MaxEvents || r.bytes+max(chunkBytes, bytes) > MaxBytes) {
		oldest := r.chunks[0]
		r.events -= len(oldest.records)
		r.bytes -= len(oldest.bytes)
		r.omitted += len(oldest.records)
		r.chunks = r.chunks[1:]
		if cap(oldest.bytes) == chunkBytes {
			r.spare = oldest
		}
	}
	c := r.spare
	r.spare = nil
	switch {
	case c == nil && len(r.chunks) == 0:
		c = newChunk(firstEvents, max(firstBytes, bytes))
	case c == nil || cap(c.bytes) < bytes:
		c = newChunk(chunkEvents, max(chunkBytes, bytes))
	default:
		c.reset()
	}
	r.chunks = append(r.chunks, c)
	return c
}

// reset empties a chunk in place. A composite literal would need a stack of 2 KB for seen.
func (c *chunk) reset() {
	c.records, c.bytes, c.contents = c.records[:0], c.bytes[:0], nil
	clear(c.seen[:])
}

func newChunk(events, bytes int) *chunk {
	return &chunk{records: make([]record, 0, events), bytes: make([]byte, 0, bytes)}
}

// seenSpans is the number of spans that a chunk finds again.
const seenSpans = 256

// intern returns the span with some bytes. Heartbeats and names of methods are
// the same again and again.
func intern[B string | []byte](c *chunk, s B) span {
	if len(s) == 0 {
		return span{}
	}
	place := &c.seen[hash(s)%seenSpans]
	if string(c.bytes[place.from:place.to]) == string(s) {
		return *place
	}
	from := len(c.bytes)
	c.bytes = append(c.bytes, s...)
	*place = span{uint32(from), uint32(len(c.bytes))}
	return *place
}

// hash reads the length and the end, where the values of an encoded message are.
func hash[B string | []byte](s B) uint32 {
	var end [8]byte
	copy(end[:], s[max(0, len(s)-len(end)):])
	return uint32((binary.LittleEndian.Uint64(end[:]) + uint64(len(s))) * 0x9E3779B97F4A7C15 >> 40)
}

// all returns the events. Their Data shares the memory of the ring.
func (r *ring) all() []Event {
	events := make([]Event, 0, r.events)
	for _, c := range r.chunks {
		for i := range c.records {
			events = append(events, c.event(i))
		}
	}
	return events
}

func (c *chunk) event(i int) Event {
	rec := &c.records[i]
	e := Event{
		Time: time.Duration(rec.time), Kind: rec.kind, Lane: int(rec.lane), Peer: int(rec.peer), Message: rec.message, Call: rec.call,
		Reply: rec.flags&isReply != 0, Copy: rec.flags&isCopy != 0, Leads: rec.flags&isLeads != 0,
		Name: string(c.of(rec.name)), Text: string(c.of(rec.text)), Data: c.of(rec.data),
		Term: int(rec.term), Index: int(rec.index), Output: rec.output,
	}
	if rec.flags&hasContent != 0 {
		e.Fields, e.Entries = c.contents[i].fields, c.contents[i].entries
	}
	return e
}

// of returns the bytes of a span, or nil.
func (c *chunk) of(s span) []byte {
	if s.from == s.to {
		return nil
	}
	return c.bytes[s.from:s.to:s.to]
}
