package labrpc

import (
	"fmt"
	"io"
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

// SetTap makes the network call tap for everything that happens to a message:
// once when it is sent and once when it is delivered or dropped. Calls come
// from the goroutines of callers, many at once, without locks held. nil takes
// the tap off.
func (rn *Network) SetTap(tap func(Event)) {
	if tap == nil {
		rn.tap.Store(nil)
		return
	}
	rn.tap.Store(&tap)
}

// A Trace keeps the events of a network in the order in which they happened.
type Trace struct {
	mu     sync.Mutex
	start  time.Time
	events []Event
}

// Record puts a trace on the network's tap. Times are printed as time since
// this call.
func Record(rn *Network) *Trace {
	tr := &Trace{start: time.Now()}
	rn.SetTap(tr.add)
	return tr
}

func (tr *Trace) add(e Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, e)
}

// Events returns a copy of what has happened up to now.
func (tr *Trace) Events() []Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]Event(nil), tr.events...)
}

// WriteTo writes the events, one per line: the time since the start, what
// happened, and to which message.
func (tr *Trace) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for _, e := range tr.Events() {
		n, err := fmt.Fprintf(w, "%12v %v\n", e.Time.Sub(tr.start), e)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
