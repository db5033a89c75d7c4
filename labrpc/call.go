package labrpc

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"raftlab/labgob"
)

// A ClientEnd is one end of a link to a server. A ClientEnd may be used
// concurrently.
type ClientEnd struct {
	via transport
}

// A transport carries calls to wherever the server is.
type transport interface {
	// call takes encoded arguments to the server and returns the encoded reply, if
	// a reply arrives.
	call(svcMeth string, args []byte) (reply []byte, ok bool)
	// send takes encoded arguments to the server without waiting.
	send(svcMeth string, args []byte)
	// mistake reports a mistake of a program that only the receiver of a message
	// can notice. Call returns false if mistake returns.
	mistake(svcMeth string, err error)
}

// Call sends an RPC, waits for the answer, and stores the answer in the
// variable at reply. Call returns false if no answer will come. Possible causes
// are a lost request or reply, a disabled or cut end, a deleted server, a broken
// connection, and the end of the network. After false, the handler may have run
// or not. On a simulated network, Call returns unless the handler blocks. Over
// TCP, Call returns after TCPOptions.CallTimeout at the latest. Callers need no
// timeouts.
//
// Mistakes in the caller's program panic, namely arguments that cannot be
// encoded and a reply that is no pointer. On a simulated network, the mistakes
// between caller and server panic in the caller, too, namely an unknown service
// or method, and types that do not fit the handler. The message names the
// existing services or methods. Over TCP, the two programs may differ, so Call
// logs the message and returns false.
func (e *ClientEnd) Call(svcMeth string, args any, reply any) bool {
	if v := reflect.ValueOf(reply); v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("labrpc: Call(%q): reply is a %T, not a pointer to a variable", svcMeth, reply))
	}
	got, ok := e.via.call(svcMeth, encodeArgs("Call", svcMeth, args))
	if !ok {
		return false
	}
	if err := labgob.Decode(got, reply); err != nil {
		e.via.mistake(svcMeth, fmt.Errorf("the reply does not fit a %T: %w", reply, err))
		return false
	}
	return true
}

// encodeArgs encodes the arguments of a message, and panics if the arguments cannot
// be encoded.
func encodeArgs(method, svcMeth string, args any) []byte {
	if v := reflect.ValueOf(args); v.Kind() == reflect.Pointer && v.IsNil() {
		panic(fmt.Sprintf("labrpc: %s(%q): arguments are a nil %T", method, svcMeth, args))
	}
	data, err := labgob.Encode(args)
	if err != nil {
		panic(fmt.Sprintf("labrpc: %s(%q): cannot encode arguments, a %T: %v", method, svcMeth, args, err))
	}
	return data
}

// A link is an end on a simulated network.
type link struct {
	net    *Network
	name   any
	number int
	sent   atomic.Int64 // calls

	cutRequests atomic.Bool
	cutReplies  atomic.Bool

	// Guarded by net.mu.
	enabled bool
	server  any
	faults  *Faults       // of its own
	cut     chan struct{} // closed when the end is disabled
	fifo    bool
	last    chan struct{} // closed after the newest one-way message of a FIFO link
}

// An exchange is a call under way.
type exchange struct {
	link    *link
	net     *Network
	request Message
	fate    fate
	faults  *Faults // nobody changes them
	latency time.Duration
	long    bool            // LongDelays
	station *station        // nil: nowhere
	cut     <-chan struct{} // of the link, when the call began
	first   delivery
	taken   atomic.Bool   // an answer is under way to the caller, or it has given up
	got     answer        // the answer that was taken
	arrived chan struct{} // has room for the one news of got
}

// A delivery is a request at its server.
type delivery struct {
	exchange *exchange
	copy     int // of the request
	handler  *handler
	args     reflect.Value
}

// An answer is the result of a handler, or the reason why no handler was
// called.
type answer struct {
	copy    int // of the request
	handler *handler
	reply   reflect.Value
	err     error
}

// message encodes an answer.
func (x *exchange) message(a answer) (Message, error) {
	m := x.request
	m.Copy, m.Reply = a.copy, true
	if a.err != nil {
		return m, a.err
	}
	var err error
	m.data, err = a.handler.encode(a.reply)
	return m, err
}

func (l *link) call(svcMeth string, args []byte) ([]byte, bool) {
	x, open := l.begin(svcMeth, args)
	if !open {
		time.Sleep(x.latency) // so that a loop of calls lets time pass in a bubble
		return nil, false
	}
	x.event(Sent, x.request, "")
	return x.run()
}

// mistake panics, because caller and server are one program.
func (l *link) mistake(svcMeth string, err error) {
	panic(fmt.Sprintf("labrpc: Call(%q): %v", svcMeth, err))
}

// begin counts a call and reads the present state of the network.
func (l *link) begin(svcMeth string, data []byte) (*exchange, bool) {
	rn := l.net
	number := int(l.sent.Add(1) - 1)
	rn.count.Add(1)
	x := &exchange{link: l, net: rn, arrived: make(chan struct{}, 1)}
	x.fate = fate{uint64(rn.seed), l.number, number}
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	x.latency, x.long, x.faults = rn.latency, rn.longDelays, rn.faultsOf(l)
	x.cut = l.cut
	x.request = Message{Link: l.number, Number: number, End: l.name, Server: l.server, Method: svcMeth, data: data}
	if l.enabled && l.server != nil {
		x.station = rn.servers[l.server]
	}
	if !rn.closed {
		rn.bytes.Add(int64(len(data)))
	}
	return x, !rn.closed
}

// run takes the request to the server and the reply back. The result is the
// reply if the reply arrives.
func (x *exchange) run() ([]byte, bool) {
	if x.station == nil {
		return nil, x.nowhere(x.request, "no connection")
	}
	route := x.decide(x.request)
	if lost := x.travel(route, x.request); lost {
		return nil, false
	}
	if x.isCut(false) {
		return nil, x.nowhere(x.request, "requests are cut")
	}
	if route.again {
		go x.deliverAgain(route.againAfter)
	}
	x.deliver(&x.first)
	reply, ok := x.await()
	if !ok {
		return nil, false
	}
	x.event(Sent, reply, "")
	if lost := x.travel(x.decide(reply), reply); lost {
		return nil, false
	}
	if x.isCut(true) {
		return nil, x.nowhere(reply, "replies are cut")
	}
	x.net.bytes.Add(int64(len(reply.data)))
	x.event(Delivered, reply, "")
	return reply.data, true
}

// await waits for the first answer of the handler.
func (x *exchange) await() (Message, bool) {
	select {
	case <-x.arrived:
		return x.open(), true
	case <-x.station.gone:
	case <-x.cut:
	case <-x.net.done:
	}
	if x.taken.CompareAndSwap(false, true) {
		return Message{}, false
	}
	<-x.arrived // the answer was faster, and will be dropped on its way
	return x.open(), true
}

// open encodes the reply, and panics if the call was a mistake.
func (x *exchange) open() Message {
	m, err := x.message(x.got)
	if err != nil {
		panic(fmt.Sprintf("labrpc: Call(%q) to server %v: %v", x.request.Method, x.request.Server, err))
	}
	return m
}

// answer gives an answer to the caller if the caller still waits.
func (x *exchange) answer(a answer) {
	if x.taken.CompareAndSwap(false, true) {
		x.got = a
		x.arrived <- struct{}{}
		return
	}
	if x.net.taps.Load() == nil {
		return
	}
	if m, err := x.message(a); err == nil {
		x.event(Sent, m, "")
		x.event(Dropped, m, "nobody waits for it")
	}
}

// deliver hands a request to the server. The handler runs in a goroutine of its own,
// so a blocked handler delays only its own caller. In a bubble the goroutine is new
// and ends with the handler, because a bubble ends only after all its goroutines.
func (x *exchange) deliver(d *delivery) {
	h, args, err := x.arrive(d.copy)
	if err == nil && h.reply == nil {
		err = fmt.Errorf("%s has no reply and takes one-way messages (ClientEnd.Send); a handler of Call is a func(args A, reply *R)", h.name)
	}
	if err != nil {
		x.answer(answer{copy: d.copy, err: err})
		return
	}
	d.exchange, d.handler, d.args = x, h, args
	if x.net.workers != nil {
		x.net.workers.run(d)
	} else {
		go d.serve()
	}
}

func (d *delivery) serve() {
	reply := d.handler.serve(d.args)
	d.exchange.answer(answer{copy: d.copy, handler: d.handler, reply: reply})
}

// deliverAgain delivers a copy of the request, later.
func (x *exchange) deliverAgain(delay time.Duration) {
	m := x.request
	m.Copy = 1
	x.event(Sent, m, "")
	if lost := x.travel(route{delay: delay}, m); lost {
		return
	}
	if x.isCut(false) {
		x.event(Dropped, m, "requests are cut")
		return
	}
	x.deliver(&delivery{copy: m.Copy})
}

// A route is the planned fate of one message.
type route struct {
	delay      time.Duration
	hold       *Hold
	lost       bool
	again      bool // deliver a copy too
	againAfter time.Duration
}

// decide draws the fate of a message, unless a scheduler decides.
func (x *exchange) decide(m Message) route {
	var d Decision
	if s := x.net.sched.Load(); s != nil {
		d = (*s)(m)
	}
	r := route{delay: x.fate.latency(x.latency, m.Reply)}
	switch {
	case d.fate == usual:
		r = x.drawn(m)
	case d.fate == drop:
		r.lost = true
	default:
		r.delay, r.hold = max(d.delay, r.delay), d.hold
		r.again, r.againAfter = d.fate == twice && !m.Reply, r.delay
	}
	return r
}

// drawn returns the route that follows from the seed and the faults, after
// edits.
func (x *exchange) drawn(m Message) route {
	f := x.faults
	plain := route{delay: x.fate.latency(x.latency, m.Reply)}
	r, late := plain, false
	if m.Reply {
		reorder := x.fate.reorder(*f)
		late = reorder > r.delay
		r.delay = max(r.delay, reorder)
		r.lost = x.fate.chance(forReplyLoss, f.ReplyLoss)
	} else {
		plain.delay = max(plain.delay, x.fate.upTo(forRequestDelay, f.MaxDelay))
		r = route{
			delay:      plain.delay,
			lost:       x.fate.chance(forRequestLoss, f.RequestLoss),
			again:      x.fate.chance(forDuplicate, f.Duplicate),
			againAfter: max(x.latency, x.fate.upTo(forDuplicateDelay, f.MaxDelay)),
		}
	}
	if e := theEditor(); e != nil {
		return e.edit(r, x.fate, m, late, plain)
	}
	return r
}

// travel lets a message take its route, and reports whether the message was
// lost.
func (x *exchange) travel(r route, m Message) (lost bool) {
	reason := x.pause(r.delay)
	if reason == "" && r.hold != nil {
		reason = x.held(r.hold)
	}
	if reason == "" && r.lost {
		reason = "lost"
	}
	if reason == "" {
		return false
	}
	x.event(Dropped, m, reason)
	return true
}

// pause waits for d. If something ends the call before, pause returns the
// reason.
func (x *exchange) pause(d time.Duration) string {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.station.gone:
		case <-x.cut:
		case <-x.net.done:
		}
	}
	return x.ended()
}

// held waits for a hold to end.
func (x *exchange) held(h *Hold) string {
	h.add(1)
	defer h.add(-1)
	select {
	case <-h.over:
		if h.drops() {
			return "dropped by the scheduler"
		}
	case <-x.station.gone:
	case <-x.cut:
	case <-x.net.done:
	}
	return x.ended()
}

// ended returns the reason if something has ended the call.
func (x *exchange) ended() string {
	switch {
	case closed(x.station.gone):
		return "server deleted"
	case closed(x.cut):
		return "end disabled"
	case closed(x.net.done):
		return "network cleaned up"
	}
	return ""
}

// closed reports whether a channel without messages is closed. A select of one
// channel takes no lock.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// nowhere ends a message that reaches nobody. The caller notices after a while.
func (x *exchange) nowhere(m Message, reason string) bool {
	x.event(Dropped, m, reason)
	span := max(x.latency, x.fate.timeout(x.long))
	if x.station != nil {
		x.pause(span)
		return false
	}
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.net.done:
	}
	return false
}

// isCut says whether one direction of the link is cut now.
func (x *exchange) isCut(replies bool) bool {
	if replies {
		return x.link.cutReplies.Load()
	}
	return x.link.cutRequests.Load()
}

func (x *exchange) event(kind EventKind, m Message, reason string) {
	taps := x.net.allTaps()
	if len(taps) == 0 {
		return
	}
	e := Event{time.Now(), kind, m, reason}
	for _, t := range taps {
		t.hear(e)
	}
}
