package hashring_test

import (
	"fmt"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	_ "raftlab/internal/testkit" // -seed is a flag of every test package
	"raftlab/protocols/hashring"
)

const keys = 5000

func ring(virtual, nodes int) *hashring.Ring {
	r := hashring.New(virtual)
	for i := range nodes {
		r.Join(fmt.Sprint("node-", i))
	}
	return r
}

// owners returns the owner of each key.
func owners(r *hashring.Ring) []string {
	all := make([]string, keys)
	for k := range all {
		all[k] = r.Owners(fmt.Sprint("key-", k), 1)[0]
	}
	return all
}

// A join moves keys to the new node only, and about one key in n. Leaving moves the keys back. The
// remainder of a division moves almost all keys.
func TestJoinMovesFewKeys(t *testing.T) {
	r := ring(100, 9)
	before := owners(r)
	r.Join("new")
	moved := 0
	for k, owner := range owners(r) {
		if owner != before[k] {
			require.Equal(t, "new", owner)
			moved++
		}
	}
	require.InDelta(t, keys/10, moved, keys/20)
	r.Leave("new")
	require.Equal(t, before, owners(r))

	byRemainder := 0
	for k := range keys {
		h := fnv.New32a()
		fmt.Fprint(h, "key-", k)
		if h.Sum32()%9 != h.Sum32()%10 {
			byRemainder++
		}
	}
	require.Greater(t, byRemainder, keys*3/4)
}

// largest returns the share of the node with the most keys, relative to the mean.
func largest(r *hashring.Ring, nodes int) float64 {
	count := make(map[string]int)
	most := 0
	for _, owner := range owners(r) {
		count[owner]++
		most = max(most, count[owner])
	}
	return float64(most) * float64(nodes) / keys
}

// Virtual nodes balance the load.
func TestBalance(t *testing.T) {
	require.Less(t, largest(ring(200, 10), 10), 1.3)
	require.Greater(t, largest(ring(1, 10), 10), 1.5)
}

// The order of joins does not matter, replicas are distinct, and a replica takes over when the owner
// leaves.
func TestReplicas(t *testing.T) {
	r, reversed := ring(20, 5), hashring.New(20)
	for i := range 5 {
		reversed.Join(fmt.Sprint("node-", 4-i))
	}
	reversed.Join("node-2") // again
	require.Equal(t, owners(r), owners(reversed))
	for k := range 100 {
		replicas := r.Owners(fmt.Sprint("key-", k), 3)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(replicas))), 3)
		reduced := ring(20, 5)
		reduced.Leave(replicas[0])
		require.Equal(t, replicas[1:], reduced.Owners(fmt.Sprint("key-", k), 2))
	}
	require.Len(t, r.Owners("key", 9), 5)
	require.Empty(t, hashring.New(1).Owners("key", 1))
}

func ExampleRing() {
	r := hashring.New(100)
	for _, node := range []string{"a", "b", "c", "d"} {
		r.Join(node)
	}
	replicas := r.Owners("cart of Alice", 2)
	r.Leave(replicas[0])
	fmt.Println("the second replica takes over:", r.Owners("cart of Alice", 1)[0] == replicas[1])
	// Output: the second replica takes over: true
}
