package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// MaxEvents bounds the events of an Outcome. The last ones count.
const MaxEvents = 1 << 14

// An EventKind says what a goroutine did.
type EventKind uint64

// The kinds of events, as the runtime of a recorded run numbers them.
const (
	Passes   EventKind = iota + 1 // a point: a synchronization operation or an access to memory comes next
	Runs                          // the scheduler runs the goroutine
	Waits                         // the goroutine begins to wait
	Starts                        // the goroutine was started by another one
	Finishes                      // the goroutine ends
	Injects                       // a point is injected: the goroutine yields, sleeps, or falls behind all others
	Opens                         // the goroutine opens a file
	Meets                         // a fault of the world's network or of a disk happens
)

// An Event is a step of a recorded run.
type Event struct {
	Number    uint64 // from 1
	At        time.Duration
	Goroutine uint64 // as in Point
	ID        uint64 // the goroutine's number in stack dumps; 0 before its first run, and for Meets
	Kind      EventKind
	Object    uint64        // address of the lock, channel or variable of a point, or the goroutine that started this one
	Op        uint64        // the goroutine's operations so far
	Sleep     time.Duration // of an injected point, or the duration of a fault
	What      string        // the operation, the reason of a wait, a started function, the path of a file, or the fault
	Function  string        // innermost function outside of the standard library
	Place     string        // file and line there
}

// operations names the runtime's functions behind the operations of the
// language.
var operations = map[string]string{
	"runtime.chansend": "send", "runtime.chansend1": "send", "runtime.chanrecv": "receive", "runtime.chanrecv1": "receive", "runtime.chanrecv2": "receive",
	"runtime.selectgo": "select", "runtime.selectnbsend": "send", "runtime.selectnbrecv": "receive", "reflect.rselect": "select",
	"runtime.raceread": "read", "runtime.racereadrange": "read", "runtime.racewrite": "write", "runtime.racewriterange": "write",
	"runtime.simPoint": "point",
}

func (k EventKind) verb() string {
	return [...]string{"", "comes to", "runs", "waits:", "starts", "ends", "is held up before", "opens", "fault:"}[k]
}

// String is one line about the event.
func (e Event) String() string { return fmt.Sprintf("%d  %v  %s", e.Number, e.At, e.did()) }

// did says what the goroutine did.
func (e Event) did() string {
	if e.Kind == Meets {
		return e.step()
	}
	return fmt.Sprintf("goroutine %d %s", e.ID, e.step())
}

// step is did without the goroutine.
func (e Event) step() string {
	s := e.Kind.verb()
	if e.What != "" {
		s += " " + e.What
	}
	if e.Sleep > 0 {
		s += fmt.Sprintf(" for %v", e.Sleep)
	}
	if e.Place != "" {
		s += " in " + e.Function + " " + e.Place
	}
	return s
}

// lastEvents reads the ring of events.
func (p *page) lastEvents(r report) ([]Event, error) {
	last := r[wordEvents]
	n := min(last, uint64(p.events))
	if n == 0 {
		return nil, nil
	}
	buf := make([]byte, 8*eventWords*p.events)
	if _, err := p.f.ReadAt(buf, int64(p.eventsAt())); err != nil {
		return nil, err
	}
	events := make([]Event, 0, n)
	for number := last - n + 1; number <= last; number++ {
		events = append(events, decodeEvent(buf[8*eventWords*((number-1)%uint64(p.events)):]))
	}
	return events, nil
}

func decodeEvent(rec []byte) Event {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(rec[8*i:]) }
	e := Event{
		Number: word(0), At: time.Duration(word(1)), Goroutine: word(2), ID: word(3),
		Kind: EventKind(word(4)), Object: word(5), Op: word(6),
	}
	size := min(word(7), 8*(eventWords-8))
	parts := strings.SplitN(strings.ToValidUTF8(string(rec[64:64+size]), ""), "\t", 3)
	e.What = parts[0]
	if name, ok := operations[e.What]; ok {
		e.What = name
	}
	if len(parts) == 3 {
		e.Function, e.Place = parts[1], parts[2]
	}
	if e.Kind == Injects {
		e.Sleep, e.Object = time.Duration(e.Object), 0
	}
	if e.Kind == Meets && e.Object < uint64(len(faultKinds)) {
		e.What = strings.TrimSpace(faultKinds[e.Object] + " " + e.What)
		e.Sleep = time.Duration(e.Op)
		e.Object, e.Op = 0, 0
	}
	if e.Kind == 0 || e.Kind > Meets {
		e.Kind = Passes // a torn record of a killed run
	}
	return e
}
