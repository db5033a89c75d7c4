package labrpc

import (
	"fmt"
	"sync"
	"time"

	"raftlab/labgob"
)

// A Message is a request or a reply on its way.
type Message struct {
	Link   int    // the number of its end, counted by MakeEnd from 0
	Number int    // of the call on that link, from 0; request and reply have the same
	Copy   int    // 0; 1 for a request's second delivery
	Reply  bool   // a reply, from Server to End
	End    any    // name of the client's end
	Server any    // name of the server, nil if the end is not connected
	Method string // Service.Method
	data   []byte
}

// Bytes returns the encoded arguments or reply, which must not be changed.
func (m Message) Bytes() []byte { return m.data }

// Decode decodes the arguments or the reply into what v points at. As gob
// matches fields by name, that may be a struct with just those fields of the
// original that the caller wants to see, and of another name.
func (m Message) Decode(v any) error {
	return labgob.Decode(m.data, v)
}

// String is the message in a few words, such as "request 0#3 Raft.RequestVote
// c0->s1".
func (m Message) String() string {
	what, arrow := "request", "->"
	if m.Reply {
		what, arrow = "reply", "<-"
	}
	again := ""
	if m.Copy > 0 {
		again = " again"
	}
	return fmt.Sprintf("%s %d#%d%s %s %v%s%v", what, m.Link, m.Number, again, m.Method, m.End, arrow, m.Server)
}

// A Scheduler decides the fate of each message that could arrive: requests
// through an enabled end to a server that exists, and their replies. It is
// called in the goroutine of the caller, without locks held, by many callers
// at once; it may call any method of the network, and what it changes holds
// for the message at hand already.
type Scheduler func(Message) Decision

// A Decision is what a scheduler wants done with a message. The zero value
// leaves it to the network's faults.
type Decision struct {
	fate  decided
	delay time.Duration
	hold  *Hold
}

type decided uint8

const (
	usual decided = iota
	deliver
	drop
	twice
)

// Usual leaves the message to the network's faults.
func Usual() Decision { return Decision{} }

// Now delivers the message as fast as the network's latency allows.
func Now() Decision { return Decision{fate: deliver} }

// After delivers the message after a delay, and not before the latency.
func After(d time.Duration) Decision { return Decision{fate: deliver, delay: d} }

// Never loses the message: Call returns false.
func Never() Decision { return Decision{fate: drop} }

// Twice delivers a request now, and a copy a latency later. The answer that
// comes first counts. A reply is delivered once.
func Twice() Decision { return Decision{fate: twice} }

// HeldBy keeps the message until the hold lets it go.
func HeldBy(h *Hold) Decision { return Decision{fate: deliver, hold: h} }

// A Hold keeps messages until they are released or dropped. After that,
// messages given to it pass, or are dropped, at once.
type Hold struct {
	mu      sync.Mutex
	waiting int
	dropped bool
	open    bool
	over    chan struct{}
}

// NewHold returns a hold without messages. In a bubble it must be made there.
func NewHold() *Hold { return &Hold{over: make(chan struct{})} }

// Release delivers what is held.
func (h *Hold) Release() { h.end(false) }

// Drop loses what is held: the calls return false.
func (h *Hold) Drop() { h.end(true) }

func (h *Hold) end(dropped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.open {
		h.open, h.dropped = true, dropped
		close(h.over)
	}
}

// Waiting returns how many messages are held now.
func (h *Hold) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting
}

func (h *Hold) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting += n
}

// drops says whether the hold ended in Drop.
func (h *Hold) drops() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}

// SetScheduler makes s decide over all messages from now on; nil leaves them to
// the network's faults again.
func (rn *Network) SetScheduler(s Scheduler) {
	if s == nil {
		rn.sched.Store(nil)
		return
	}
	rn.sched.Store(&s)
}
