// Package crdt has replicated data types without coordination, spread by gossip.
//
// Each replica accepts writes at once, alone in a partition too. Replicas merge their states
// later. The states form a semilattice. Merge is commutative, associative and idempotent, and a
// write only moves a state up. Replicas that have received the same writes are then equal, in any
// order of merges and with any repetition (strong eventual consistency, Shapiro, Preguiça, Baquero and
// Zawirski, Conflict-Free Replicated Data Types, 2011).
//
//   - A [Counter] counts for each replica apart. A merge takes the larger count, so no
//     increment counts twice.
//   - A [Set] is an add-wins set. Each addition has a unique dot, and a removal
//     removes the dots that the remover has seen. A concurrent addition survives.
//
// A [Replica] gossips (Demers et al., Epidemic Algorithms, 1987). Each period it sends its whole state to
// one random peer. A message may be lost, late or repeated. A change reaches all n replicas
// after about log n periods.
package crdt

import (
	"maps"
	"slices"
	"sync"
	"time"

	"raftlab/labrpc"
)

// A Counter holds the increments by each replica.
type Counter map[int]int

// Value returns the sum.
func (c Counter) Value() (sum int) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// Merge takes the larger count of each replica.
func (c Counter) Merge(o Counter) {
	for replica, n := range o {
		c[replica] = max(c[replica], n)
	}
}

// A Dot identifies an addition.
type Dot struct{ Replica, Number int }

// A Set holds the elements of dots, and the removed dots. Both grow with the additions. Real
// systems drop the removed ones and keep a version vector.
type Set struct {
	Added   map[Dot]string
	Removed map[Dot]bool
}

// Elements returns the elements in order.
func (s Set) Elements() []string {
	elements := make(map[string]bool)
	for dot, e := range s.Added {
		if !s.Removed[dot] {
			elements[e] = true
		}
	}
	return slices.Sorted(maps.Keys(elements))
}

// Merge unites both parts.
func (s Set) Merge(o Set) {
	maps.Copy(s.Added, o.Added)
	maps.Copy(s.Removed, o.Removed)
}

// A State is the state of a replica.
type State struct {
	Counter Counter
	Set     Set
}

// NewState returns the state without writes.
func NewState() State {
	return State{Counter{}, Set{make(map[Dot]string), make(map[Dot]bool)}}
}

// Merge merges both types.
func (s State) Merge(o State) {
	s.Counter.Merge(o.Counter)
	s.Set.Merge(o.Set)
}

// Period is the time between two messages of a replica.
const Period = 100 * time.Millisecond

// A Replica has a state. Its methods may be called concurrently. A replica without its earlier state
// needs a new id, because it would use its dots and its counter again.
type Replica struct {
	peers []*labrpc.ClientEnd
	me    int
	done  chan struct{}
	close sync.Once

	mu    sync.Mutex
	dots  int
	state State
}

// New starts a replica, which gossips to the peer random(n) each period. The caller calls
// Close.
func New(peers []*labrpc.ClientEnd, me int, random func(n int) int) *Replica {
	r := &Replica{peers: peers, me: me, done: make(chan struct{}), state: NewState()}
	go r.gossip(random)
	return r
}

// Close ends the gossip.
func (r *Replica) Close() { r.close.Do(func() { close(r.done) }) }

// gossip is the goroutine of the replica.
func (r *Replica) gossip(random func(n int) int) {
	ticker := time.NewTicker(Period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.mu.Lock()
			r.peers[random(len(r.peers))].Send("Replica.Receive", r.state) // encodes, and does not wait
			r.mu.Unlock()
		case <-r.done:
			return
		}
	}
}

// Receive merges the state of a peer.
func (r *Replica) Receive(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Merge(s)
}

// Increment counts one.
func (r *Replica) Increment() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Counter[r.me]++
}

// Add adds an element.
func (r *Replica) Add(element string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dots++
	r.state.Set.Added[Dot{r.me, r.dots}] = element
}

// Remove removes the additions of an element that have arrived here.
func (r *Replica) Remove(element string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for dot, e := range r.state.Set.Added {
		if e == element {
			r.state.Set.Removed[dot] = true
		}
	}
}

// Read returns the counter's value and the set's elements.
func (r *Replica) Read() (count int, elements []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Counter.Value(), r.state.Set.Elements()
}
