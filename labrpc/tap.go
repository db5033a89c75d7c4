package labrpc

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// The kinds of events.
const (
	Sent EventKind = iota
	Delivered
	Dropped
)

// An EventKind is a kind of event.
type EventKind uint8

func (k EventKind) String() string {
	return [...]string{"sent", "delivered", "dropped"}[k]
}

// An Event happens to a message.
type Event struct {
	Time    time.Time
	Kind    EventKind
	Message Message
	Reason  string // of a drop
}

// String returns the event on one line, without its time.
func (e Event) String() string {
	s := fmt.Sprintf("%-9s %v (%d bytes)", e.Kind, e.Message, len(e.Message.data))
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// A tap is a function called for every event.
type tap struct{ hear func(Event) }

// AddTap makes the network call hear for every event, once when a message is
// sent and once when the message is delivered or dropped. A network may have
// several taps, called in the order of AddTap. The goroutines of callers call a
// tap, many at once and without locks held. The returned function removes the
// tap. A call of the tap that has begun may still end after the removal.
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

// setTaps replaces the list of taps. Events read the list without a lock. The
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

// MaxTraceBytes bounds the memory of a Trace, counted as the messages and some
// bytes for each event.
const MaxTraceBytes = 256 << 20

// eventBytes is the size of an event without its message, for the bound of a
// Trace.
const eventBytes = 200

// A Trace keeps the events of a network in order, up to MaxTraceBytes. Later
// events are only counted.
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

// Events returns a copy of all events so far.
func (tr *Trace) Events() []Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]Event(nil), tr.events...)
}

// Omitted returns the number of events beyond the trace's bound.
func (tr *Trace) Omitted() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.omitted
}

// WriteTo writes one line for each event, with the time since the start, the
// kind and the message. A last line counts omitted events if there are any.
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
