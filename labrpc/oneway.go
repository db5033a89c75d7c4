package labrpc

import (
	"fmt"
	"reflect"
)

// Send sends a one-way message to a handler of the shape
//
//	func (t *T) Method(args A)
//
// and returns at once. A handler with a reply also takes the message, and the reply is
// dropped. The sender does not learn the fate of the message. A disabled end, a
// missing server and a cut direction lose the message. The faults for requests apply.
// Without FIFO, messages overtake each other.
//
// Mistakes panic as in Call. Over TCP, Send is a Call without a reply, in a goroutine
// that ends with the call.
func (e *ClientEnd) Send(svcMeth string, args any) {
	e.via.send(svcMeth, encodeArgs("Send", svcMeth, args))
}

// SetFIFO makes an end deliver one-way messages in the order of Send, or ends the
// order. The network starts a handler after the handlers of all earlier messages of
// the end have returned. Messages can still be lost, and a copy directly follows the
// original. The order starts anew when the end is disabled or the server is
// deleted, as on a new connection. Calls are not ordered. Unknown ends are ignored.
func (rn *Network) SetFIFO(endname any, fifo bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.fifo = fifo
	}
}

// enqueue returns a channel that closes after the previous message of a FIFO link, and
// the channel to close after the next message. Both are nil on other links.
func (l *link) enqueue() (before <-chan struct{}, after chan struct{}) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if !l.fifo {
		l.last = nil
		return nil, nil
	}
	before, after = l.last, make(chan struct{})
	l.last = after
	return before, after
}

func (l *link) send(svcMeth string, args []byte) {
	x, open := l.begin(svcMeth, args)
	if !open {
		return
	}
	x.event(Sent, x.request, "")
	if x.station == nil {
		x.event(Dropped, x.request, "no connection")
		return
	}
	route := x.decide(x.request)
	before, after := l.enqueue()
	go x.carry(route, before, after)
}

// carry is the goroutine of a one-way message. It ends with the handler, or when
// something ends the message.
func (x *exchange) carry(r route, before <-chan struct{}, after chan struct{}) {
	if after != nil {
		defer close(after)
	}
	lost := x.travel(r, x.request)
	if before != nil { // a lost message also waits, so that no later one overtakes an earlier one
		select {
		case <-before:
		case <-x.station.gone:
		case <-x.cut:
		case <-x.net.done:
		}
	}
	reason := x.ended()
	if reason == "" && x.isCut(false) {
		reason = "requests are cut"
	}
	if lost {
		return
	}
	if reason != "" {
		x.event(Dropped, x.request, reason)
		return
	}
	x.handOver(0)
	if !r.again {
		return
	}
	m := x.request
	m.Copy = 1
	x.event(Sent, m, "")
	if !x.travel(route{delay: r.againAfter}, m) {
		x.handOver(1)
	}
}

// handOver runs the handler of a one-way message.
func (x *exchange) handOver(copy int) {
	h, args, err := x.arrive(copy)
	if err != nil {
		panic(fmt.Sprintf("labrpc: Send(%q) to server %v: %v", x.request.Method, x.request.Server, err))
	}
	h.serve(args)
}

// arrive counts a request at the server, and returns the handler with its arguments.
func (x *exchange) arrive(copy int) (*handler, reflect.Value, error) {
	m := x.request
	m.Copy = copy
	x.event(Delivered, m, "")
	server := x.station.server
	server.count.Add(1)
	h, err := server.find(m.Method)
	if err != nil {
		return nil, reflect.Value{}, err
	}
	args, err := h.decode(m.data)
	return h, args, err
}
