// Package broadcast sends messages to all nodes of a group, with four guarantees
// (Hadzilacos and Toueg, A Modular Approach to Fault-Tolerant Broadcasts, 1994). Each guarantee
// includes the earlier ones.
//
//   - [BestEffort] delivers a message to every node if the sender does not crash. The links
//     retry each message until it is acknowledged.
//   - [Reliable] delivers a message to all correct nodes or to none, though the sender
//     crashes halfway. Each node forwards a new message before delivering it.
//   - [Causal] delivers a message after the messages that its sender had delivered before.
//     An answer never arrives before its question. A vector clock in the message counts
//     these messages, and a node delays the message until it has delivered as many (Birman,
//     Schiper and Stephenson, 1991). Forwarding over FIFO links already keeps this order
//     here. The clocks keep the order over any links.
//   - [Total] delivers all messages in one order on all nodes, namely the order of Lamport's
//     stamps. A node delivers the message with the smallest stamp when every node
//     has sent something with a larger time (Lamport 1978, the queue of the mutual exclusion).
//
// Total order makes replicas of any deterministic state machine equal. The price is liveness.
// A node that crashes sends no larger times, and the others deliver nothing more.
// An order that survives crashes is as hard as consensus (Chandra and Toueg 1996), the task
// of packages paxos and raft.
package broadcast

import (
	"slices"
	"sync"

	"raftlab/labrpc"
	"raftlab/protocols/clocks"
)

// A Guarantee says what nodes can rely on.
type Guarantee int

// The guarantees.
const (
	BestEffort Guarantee = iota
	Reliable
	Causal
	Total
)

// A Message is a message of the application.
type Message struct {
	From   int
	Number int // counts the sender's messages from 1
	Body   string
	Clock  clocks.Vector // for Causal, the numbers of delivered messages, and Number for From
	Stamp  clocks.Stamp  // for Total
}

// A Packet goes over a link. Without a message (Number 0), a packet tells its time only.
type Packet struct {
	Via     int    // the sender of the packet
	Time    uint64 // of sending
	Message Message
}

type id struct{ from, number int }

// A Node is a member of the group. Its methods may be called concurrently. A crashed node stays away,
// because a new one would number its messages from 1 again. A node keeps all messages,
// delivered or not, and a link keeps those that its peer has not acknowledged.
type Node struct {
	guarantee Guarantee
	me        int
	links     []*link // nil for the node itself
	done      chan struct{}
	close     sync.Once

	mu        sync.Mutex
	sent      int
	seen      map[id]bool
	pending   []Message     // received, and not delivered
	delivered []Message     // in order
	counts    clocks.Vector // of delivered messages, by sender
	clock     clocks.Lamport
	latest    []uint64 // the newest time from each node
}

// New starts a node of a group whose nodes all have the same guarantee. The caller
// calls Close.
func New(g Guarantee, peers []*labrpc.ClientEnd, me int) *Node {
	n := &Node{
		guarantee: g, me: me, links: make([]*link, len(peers)), done: make(chan struct{}),
		seen: make(map[id]bool), counts: make(clocks.Vector, len(peers)), latest: make([]uint64, len(peers)),
	}
	for i, peer := range peers {
		if i != me {
			n.links[i] = newLink(peer)
			go n.links[i].run(n.done)
		}
	}
	return n
}

// Close ends the links' goroutines, each after its call under way.
func (n *Node) Close() { n.close.Do(func() { close(n.done) }) }

// Broadcast sends a message to all nodes, itself included.
func (n *Node) Broadcast(body string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	m := Message{From: n.me, Number: n.sent, Body: body}
	m.Clock = slices.Clone(n.counts)
	m.Clock[n.me] = uint64(n.sent)
	m.Stamp = clocks.Stamp{Time: n.clock.Tick(), Node: n.me}
	n.accept(m, m.Stamp.Time)
	n.deliver()
}

// Receive takes a packet of a link. The reply acknowledges the packet.
func (n *Node) Receive(p Packet, _ *bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// The links are FIFO, so everything sent earlier by p.Via has arrived.
	n.latest[p.Via] = max(n.latest[p.Via], p.Time)
	now := n.clock.Witness(p.Time)
	m := p.Message
	if m.Number > 0 && !n.seen[id{m.From, m.Number}] {
		n.accept(m, now)
	}
	n.deliver()
}

// accept stores a new message, and forwards the message or at least the time. The caller
// holds n.mu.
func (n *Node) accept(m Message, now uint64) {
	n.seen[id{m.From, m.Number}] = true
	n.pending = append(n.pending, m)
	n.latest[n.me] = now
	p := Packet{Via: n.me, Time: now, Message: m}
	if n.guarantee == BestEffort && m.From != n.me {
		return
	}
	for _, l := range n.links {
		if l != nil {
			l.put(p)
		}
	}
}

// deliver delivers pending messages while one is ready. The caller holds n.mu.
func (n *Node) deliver() {
	for {
		i := slices.IndexFunc(n.pending, n.ready)
		if i < 0 {
			return
		}
		m := n.pending[i]
		n.pending = slices.Delete(n.pending, i, i+1)
		n.delivered = append(n.delivered, m)
		n.counts[m.From]++
	}
}

// ready reports whether the guarantee permits the delivery of a message now.
func (n *Node) ready(m Message) bool {
	switch n.guarantee {
	case Causal:
		for k, count := range m.Clock {
			if k == m.From && n.counts[k] != count-1 || k != m.From && n.counts[k] < count {
				return false
			}
		}
	case Total:
		for _, o := range n.pending {
			if o.Stamp.Before(m.Stamp) {
				return false
			}
		}
		// A node with a larger time sends no further message with a smaller stamp.
		for k, newest := range n.latest {
			if k != m.From && newest <= m.Stamp.Time {
				return false
			}
		}
	}
	return true
}

// Delivered returns the delivered messages in order.
func (n *Node) Delivered() []Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.delivered)
}
