package clocks_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/clocks"
	"raftlab/protocols/harness"
)

// An event of a run, with the events directly before, which the test knows from the
// run itself.
type event struct {
	lamport clocks.Stamp
	vector  clocks.Vector
	causes  []int // indexes of events
}

// A run collects the events of all nodes.
type run struct {
	mu     sync.Mutex
	events []event
	last   []int // of each node, or -1
}

// add notes an event after the last one of a node and after further causes.
func (r *run) add(node int, e event) int {
	if r.last[node] >= 0 {
		e.causes = append(e.causes, r.last[node])
	}
	r.last[node] = len(r.events)
	r.events = append(r.events, e)
	return r.last[node]
}

// Note is a message. Sent is the index of the event of sending, for the test's eyes alone.
type Note struct {
	Lamport uint64
	Vector  clocks.Vector
	Sent    int
}

// Node sends notes and receives them.
type Node struct {
	me      int
	run     *run
	lamport clocks.Lamport
	vector  clocks.Vector
}

func (n *Node) send() Note {
	n.run.mu.Lock()
	defer n.run.mu.Unlock()
	e := event{lamport: clocks.Stamp{Time: n.lamport.Tick(), Node: n.me}, vector: n.vector.Tick(n.me)}
	return Note{e.lamport.Time, e.vector, n.run.add(n.me, e)}
}

// Receive takes one-way messages.
func (n *Node) Receive(m Note) {
	n.run.mu.Lock()
	defer n.run.mu.Unlock()
	e := event{
		lamport: clocks.Stamp{Time: n.lamport.Witness(m.Lamport), Node: n.me},
		vector:  n.vector.Witness(n.me, m.Vector), causes: []int{m.Sent},
	}
	n.run.add(n.me, e)
}

// ancestors returns for each event the set of events that happened before, from the causes.
func (r *run) ancestors() []map[int]bool {
	all := make([]map[int]bool, len(r.events))
	for i, e := range r.events { // causes come earlier in the list
		all[i] = make(map[int]bool)
		for _, c := range e.causes {
			all[i][c] = true
			for a := range all[c] {
				all[i][a] = true
			}
		}
	}
	return all
}

// On a network that loses, duplicates and reorders messages, the vectors decide exactly
// which event happened before which, and Lamport's clocks never contradict.
func TestHappenedBefore(t *testing.T) {
	const n = 4
	harness.Run(t, n, func(t *testing.T, c *harness.Cluster) {
		c.SetFaults(harness.Lossy)
		r := &run{last: []int{-1, -1, -1, -1}}
		nodes := make([]*Node, n)
		for i := range nodes {
			nodes[i] = &Node{me: i, run: r, vector: make(clocks.Vector, n)}
			c.Serve(i, nodes[i])
		}
		for range 60 {
			from := c.Rand.IntN(n)
			c.Ends(from)[c.Rand.IntN(n)].Send("Node.Receive", nodes[from].send())
			time.Sleep(time.Duration(c.Rand.IntN(20)) * time.Millisecond)
		}
		time.Sleep(time.Second)

		r.mu.Lock()
		defer r.mu.Unlock()
		before, concurrent, inverted := r.ancestors(), 0, 0
		for i, a := range r.events {
			for j, b := range r.events {
				if i == j {
					continue
				}
				happened := before[j][i]
				require.Equal(t, happened, a.vector.Compare(b.vector) == clocks.Before, "events %d %v and %d %v", i, a, j, b)
				require.NotEqual(t, a.lamport.Before(b.lamport), b.lamport.Before(a.lamport), "one total order")
				if happened {
					require.Less(t, a.lamport.Time, b.lamport.Time, "the clock condition")
				} else if !before[i][j] {
					concurrent++
					require.Equal(t, clocks.Concurrent, a.vector.Compare(b.vector))
					if a.lamport.Before(b.lamport) {
						inverted++ // ordered by Lamport, and yet without a cause
					}
				}
			}
		}
		require.Positive(t, concurrent)
		require.Positive(t, inverted)
	})
}

// Two nodes work alone, and one sends a message to the other. The numbers of Lamport order all
// events. The vectors show the concurrent ones.
func Example() {
	var l0, l1 clocks.Lamport
	v0, v1 := clocks.Vector{0, 0}, clocks.Vector{0, 0}

	alone := v1.Tick(1) // node 1 does something
	l1.Tick()
	sent, sentAt := v0.Tick(0), l0.Tick() // node 0 sends a message
	got, gotAt := v1.Witness(1, sent), l1.Witness(sentAt)

	fmt.Println("sent", sentAt, sent, "received", gotAt, got)
	fmt.Println("sending came", sent.Compare(got), "receiving, and is", sent.Compare(alone), "with the event of node 1")
	// Output:
	// sent 1 [1 0] received 2 [1 2]
	// sending came before receiving, and is concurrent with the event of node 1
}
