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

// Bytes returns the encoded arguments or the encoded reply. The caller must not
// change the bytes.
func (m Message) Bytes() []byte { return m.data }

// Decode decodes the arguments or the reply into the variable at v. Gob matches
// fields by name, so the variable may be a struct of another name with a few of
// the original's fields.
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

// A Scheduler decides the fate of each message that could arrive. These are
// requests through an enabled end to an existing server, and their replies.
// Many callers call the scheduler at once, in their goroutines and without
// locks held. The scheduler may call any method of the network, and a change
// already applies to the message at hand.
type Scheduler func(Message) Decision

// A Decision is a scheduler's decision about a message. The zero value leaves
// the message to the network's faults.
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

// Never loses the message, and Call returns false.
func Never() Decision { return Decision{fate: drop} }

// Twice delivers a request now, and a copy one latency later. The first answer
// counts. A reply is delivered once.
func Twice() Decision { return Decision{fate: twice} }

// HeldBy keeps the message until the hold releases or drops the message.
func HeldBy(h *Hold) Decision { return Decision{fate: deliver, hold: h} }

// A Hold keeps messages until Release or Drop. After Release, further messages
// pass at once, and after Drop, further messages are lost at once.
type Hold struct {
	mu      sync.Mutex
	waiting int
	dropped bool
	open    bool
	over    chan struct{}
}

// NewHold returns a hold without messages. A hold for a bubble must be made in
// the bubble.
func NewHold() *Hold { return &Hold{over: make(chan struct{})} }

// Release delivers the held messages.
func (h *Hold) Release() { h.end(false) }

// Drop loses the held messages, and their calls return false.
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

// SetScheduler makes s decide over all messages from now on. A nil scheduler
// leaves the messages to the network's faults.
func (rn *Network) SetScheduler(s Scheduler) {
	if s == nil {
		rn.sched.Store(nil)
		return
	}
	rn.sched.Store(&s)
}
