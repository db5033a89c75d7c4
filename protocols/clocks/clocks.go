// Package clocks has Lamport's logical clocks and vector clocks.
//
// No node of a distributed system can tell from its own clock what happened first. Lamport
// (Time, Clocks, and the Ordering of Events in a Distributed System, CACM 1978) defines an
// order without clocks. Event a happened before event b, written a -> b, if a comes
// earlier on the same node, if a sends the message received by b, or by a chain of both.
// Events without an order are concurrent.
//
// A [Lamport] clock gives each event a number L with
//
//	a -> b implies L(a) < L(b)   (the clock condition)
//
// The converse is false. A small number proves nothing about causes. Numbers
// with the node's id as a tie-break give one total order of all events ([Stamp]), which agrees
// with causality, and which every node computes alike.
//
// A [Vector] (Fidge 1988, Mattern 1989) counts the events of each node known to an event.
// Vectors decide causality exactly.
//
//	a -> b if and only if V(a) < V(b)
//
// The price is a number for each node in each message.
package clocks

import "slices"

// A Lamport clock is the clock of one node. The zero value is ready. The owner guards the
// clock.
type Lamport struct{ now uint64 }

// Tick counts an event of the node, such as the sending of a message, and returns its time.
func (c *Lamport) Tick() uint64 {
	c.now++
	return c.now
}

// Witness counts the receipt of a message with a time, and returns the time of the receipt
// (rule IR2 of the paper).
func (c *Lamport) Witness(sent uint64) uint64 {
	c.now = max(c.now, sent) + 1
	return c.now
}

// A Stamp is a place in the total order of events.
type Stamp struct {
	Time uint64
	Node int
}

// Before reports whether a stamp comes earlier in the total order.
func (s Stamp) Before(o Stamp) bool {
	return s.Time < o.Time || s.Time == o.Time && s.Node < o.Node
}

// A Vector holds the number of known events of each node. Vectors of one system have the same
// length.
type Vector []uint64

// An Order relates two events.
type Order string

// The orders of two events.
const (
	Before     Order = "before"
	After      Order = "after"
	Equal      Order = "equal"
	Concurrent Order = "concurrent"
)

// Tick counts an event of a node and returns a copy of the vector to send.
func (v Vector) Tick(node int) Vector {
	v[node]++
	return slices.Clone(v)
}

// Merge adds the knowledge of another vector.
func (v Vector) Merge(o Vector) {
	for i := range v {
		v[i] = max(v[i], o[i])
	}
}

// Witness merges the vector of a message and counts its receipt by a node.
func (v Vector) Witness(node int, sent Vector) Vector {
	v.Merge(sent)
	return v.Tick(node)
}

// AtMost reports whether each number of v is at most that of o.
func (v Vector) AtMost(o Vector) bool {
	for i := range v {
		if v[i] > o[i] {
			return false
		}
	}
	return true
}

// Compare returns the order of the event of v relative to the event of o.
func (v Vector) Compare(o Vector) Order {
	switch less, more := v.AtMost(o), o.AtMost(v); {
	case less && more:
		return Equal
	case less:
		return Before
	case more:
		return After
	}
	return Concurrent
}
