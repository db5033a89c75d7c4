package etcdapi_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/etcdapi"
	"raftlab/internal/testkit"
	"raftlab/mvcc"
)

// The index finds the same watches as a look at each of them.
func TestRangesOfWatches(t *testing.T) {
	random := testkit.Rand(t)
	key := func() string { return fmt.Sprintf("%02d", random.IntN(40)) }
	var index etcdapi.Ranges
	var all []*etcdapi.Watched
	for range 3000 {
		if len(all) > 0 && random.IntN(100) < 45 {
			i := random.IntN(len(all))
			index.Remove(all[i])
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
		} else {
			end := key()
			if random.IntN(10) == 0 {
				end = mvcc.FromKey
			}
			all = append(all, index.Add(key(), end))
		}
		at := key() + []string{"", "\x00", "x"}[random.IntN(3)]
		want := make(map[*etcdapi.Watched]bool)
		for _, w := range all {
			if w.Covers(at) {
				want[w] = true
			}
		}
		require.Equal(t, want, index.Find(at), "%q among %d watches", at, len(all))
		require.Equal(t, len(all), index.All())
	}
	require.Greater(t, len(all), 100)
}

// Find looks for the one watch of a key among the watches of as many directories.
func BenchmarkRanges(b *testing.B) {
	const watches = 10_000
	prefix := func(i int) string { return fmt.Sprintf("/registry/pods/%05d/", i%watches) }
	var index etcdapi.Ranges
	var all []*etcdapi.Watched
	for i := range watches {
		all = append(all, index.Add(prefix(i), mvcc.PrefixEnd(prefix(i))))
	}
	b.Run("index", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if len(index.Find(prefix(i*7919)+"x")) != 1 {
				b.Fatal("the watch is not found")
			}
		}
	})
	b.Run("each", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			found, key := 0, prefix(i*7919)+"x"
			for _, w := range all {
				if w.Covers(key) {
					found++
				}
			}
			if found != 1 {
				b.Fatal("the watch is not found")
			}
		}
	})
}
