package crdt_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/crdt"
	"raftlab/protocols/harness"
)

func start(c *harness.Cluster) []*crdt.Replica {
	all := make([]*crdt.Replica, c.Size())
	for i := range all {
		all[i] = crdt.New(c.Ends(i), i, rand.New(rand.NewPCG(uint64(c.Net.Seed()), uint64(i))).IntN)
		c.Serve(i, all[i])
	}
	return all
}

// equal reports whether all replicas answer alike.
func equal(all []*crdt.Replica) bool {
	count, elements := all[0].Read()
	for _, r := range all[1:] {
		if n, e := r.Read(); n != count || !reflect.DeepEqual(e, elements) {
			return false
		}
	}
	return true
}

// Replicas accept writes on both sides of a partition, and are equal some time after the network has
// healed. No increment is lost or counted twice.
func TestConvergence(t *testing.T) {
	harness.Run(t, 6, func(t *testing.T, c *harness.Cluster) {
		all := start(c)
		c.SetFaults(harness.Lossy)
		c.Partition([]int{0, 1, 2}, []int{3, 4, 5})
		const writes = 200
		for i := range writes {
			r := all[c.Rand.IntN(len(all))]
			r.Increment()
			element := fmt.Sprint("e", c.Rand.IntN(30))
			if c.Rand.IntN(3) == 0 {
				r.Remove(element)
			} else {
				r.Add(element)
			}
			if i%20 == 0 {
				time.Sleep(crdt.Period)
			}
		}
		time.Sleep(time.Minute)
		require.False(t, equal(all), "a partition keeps the sides apart")
		c.Heal()
		harness.WaitFor(t, time.Minute, "equal replicas", func() bool { return equal(all) })
		count, elements := all[0].Read()
		require.Equal(t, writes, count)
		require.NotEmpty(t, elements)
	})
}

// A concurrent addition survives a removal. A removal after the addition has arrived removes the
// element everywhere.
func TestAddWins(t *testing.T) {
	harness.Run(t, 2, func(t *testing.T, c *harness.Cluster) {
		all := start(c)
		all[0].Add("x")
		harness.WaitFor(t, time.Minute, "x everywhere", func() bool { return equal(all) })
		c.Partition()
		all[0].Remove("x")
		all[1].Add("x")
		c.Heal()
		harness.WaitFor(t, time.Minute, "equal replicas", func() bool { return equal(all) })
		_, elements := all[0].Read()
		require.Equal(t, []string{"x"}, elements)
		all[0].Remove("x")
		harness.WaitFor(t, time.Minute, "equal replicas", func() bool { return equal(all) })
		_, elements = all[1].Read()
		require.Empty(t, elements)
	})
}

// merged merges random states in an order.
func merged(states []crdt.State, order []int) crdt.State {
	s := crdt.NewState()
	for _, i := range order {
		s.Merge(states[i])
	}
	return s
}

// Any order of merges, with repetitions, leads to one state. A merge that adds counts fails the
// same check.
func TestMergeIsASemilattice(t *testing.T) {
	states := make([]crdt.State, 4)
	for i := range states {
		states[i] = crdt.NewState()
		states[i].Counter[i] = i + 1
		states[i].Counter[(i+1)%4] = 2
		states[i].Set.Added[crdt.Dot{Replica: i, Number: 1}] = fmt.Sprint(i % 2)
		states[i].Set.Removed[crdt.Dot{Replica: i / 2, Number: 1}] = true
	}
	want := merged(states, []int{0, 1, 2, 3})
	for _, order := range [][]int{{3, 2, 1, 0}, {1, 3, 0, 2, 2, 1}, {0, 0, 1, 2, 3, 3, 0}} {
		require.Equal(t, want, merged(states, order))
	}
	sum := func(order []int) (n int) {
		for _, i := range order {
			n += states[i].Counter.Value()
		}
		return n
	}
	require.NotEqual(t, sum([]int{0, 1, 2, 3}), sum([]int{0, 0, 1, 2, 3, 3, 0}), "addition is not idempotent")
}

// Example counts on two replicas and merges in both directions.
func Example() {
	a, b := crdt.Counter{}, crdt.Counter{}
	a[0] += 2
	b[1] += 3
	a.Merge(b)
	b.Merge(a)
	b.Merge(a) // again, and without effect
	fmt.Println(a.Value(), b.Value())
	// Output: 5 5
}
