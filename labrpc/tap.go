package labrpc

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// What can happen to a message.
const (
	Sent EventKind = iota
	Delivered
	Dropped
)

// An EventKind says what happened to a message.
type EventKind uint8

func (k EventKind) String() string {
	return [...]string{"sent", "delivered", "dropped"}[k]
}

// An Event is something that happened to a message.
type Event struct {
	Time    time.Time
	Kind    EventKind
	Message Message
	Reason  string // of a drop
}

// String is the event on one line, without its time.
func (e Event) String() string {
	s := fmt.Sprintf("%-9s %v (%d bytes)", e.Kind, e.Message, len(e.Message.data))
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// A tap is a function that hears of every event.
type tap struct{ hear func(Event) }

// AddTap makes the network call hear for everything that happens to a message,
// once when the message is sent and once when it is delivered or dropped. A
// network may have several taps, which hear of an event in the order in which
// they were added. Calls come from the goroutines of callers, many at once,
// without locks held. The function that AddTap returns removes the tap. A call
// that has begun may still end after that.
func (rn *Network) AddTap(hear func(Event)) (remove func()) {
	t := &tap{hear}
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.setTaps(append(slices.Clone(rn.allTaps()), t))
	return func() {
		rn.mu.Lock()
		defer rn.mu.Unlock()
		rn.setTaps(slices.DeleteFunc(slices.Clone(rn.allTaps()), func(have *tap) bool { return have == t }))
	}
}

// setTaps replaces the list of taps, which events read without a lock. The
// caller holds rn.mu.
func (rn *Network) setTaps(taps []*tap) {
	if len(taps) == 0 {
		rn.taps.Store(nil)
		return
	}
	rn.taps.Store(&taps)
}

func (rn *Network) allTaps() []*tap {
	if taps := rn.taps.Load(); taps != nil {
		return *taps
	}
	return nil
}

// MaxTraceBytes bounds the memory of a Trace: the messages, and some bytes for
// each event.
const MaxTraceBytes = 256 << 20

// eventBytes is what a Trace counts for an event without its message.
const eventBytes = 200

// A Trace keeps the events of a network in the order in which they happened, up
// to MaxTraceBytes. A Trace counts later events only.
type Trace struct {
	start time.Time
	stop  func()
	limit int // bytes

	mu      sync.Mutex
	events  []Event
	bytes   int
	omitted int
}

// Record adds a trace to the network's taps. The trace prints times as time
// since this call.
func Record(rn *Network) *Trace {
	tr := &Trace{start: time.Now(), limit: MaxTraceBytes}
	tr.stop = rn.AddTap(tr.add)
	return tr
}

// Stop ends the recording. The events stay.
func (tr *Trace) Stop() { tr.stop() }

func (tr *Trace) add(e Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	size := eventBytes + len(e.Message.data)
	if tr.omitted > 0 || tr.bytes+size > tr.limit {
		tr.omitted++
		return
	}
	tr.bytes += size
	tr.events = append(tr.events, e)
}

// Events returns a copy of what has happened up to now.
func (tr *Trace) Events() []Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]Event(nil), tr.events...)
}

// Omitted returns the number of events that the trace had no room for.
func (tr *Trace) Omitted() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.omitted
}

// WriteTo writes the events, one per line: the time since the start, what
// happened, and to which message. The last line counts omitted events if there
// are any.
func (tr *Trace) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for _, e := range tr.Events() {
		n, err := fmt.Fprintf(w, "%12v %v\n", e.Time.Sub(tr.start), e)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	if omitted := tr.Omitted(); omitted > 0 {
		n, err := fmt.Fprintf(w, "%d later events exceed %d bytes\n", omitted, tr.limit)
		return total + int64(n), err
	}
	return total, nil
}
