package harness_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/harness"
)

// A Counter counts what reaches a node.
type Counter struct{ sum atomic.Int64 }

// Add takes one-way messages.
func (c *Counter) Add(by int) { c.sum.Add(int64(by)) }

// Sum takes calls.
func (c *Counter) Sum(_ int, reply *int64) { *reply = c.sum.Load() }

// serve starts a counter on each node.
func serve(c *harness.Cluster) []*Counter {
	counters := make([]*Counter, c.Size())
	for i := range counters {
		counters[i] = &Counter{}
		c.Serve(i, counters[i])
	}
	return counters
}

// Messages reach the nodes of the same part, and no crashed node.
func TestReach(t *testing.T) {
	harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
		counters := serve(c)
		reached := func() (all [4]int64) {
			for i, counter := range counters {
				counter.sum.Store(0)
				c.Ends(0)[i].Send("Counter.Add", 1)
			}
			time.Sleep(time.Second)
			for i, counter := range counters {
				all[i] = counter.sum.Load()
			}
			return all
		}
		require.Equal(t, [4]int64{1, 1, 1, 1}, reached())
		c.Partition([]int{0, 1}, []int{2})
		require.Equal(t, [4]int64{1, 1, 0, 0}, reached())
		c.Heal()
		c.Crash(3)
		require.Equal(t, [4]int64{1, 1, 1, 0}, reached())
		c.Serve(3, counters[3])
		require.Equal(t, [4]int64{1, 1, 1, 1}, reached())
		c.Partition([]int{0})
		var sum int64
		require.True(t, c.Client("client")[2].Call("Counter.Sum", 0, &sum), "a client reaches all nodes")
		require.EqualValues(t, 1, sum)
	})
}

// Each test writes a page on demand.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(harness.PagesDir, dir)
	t.Run("sub", func(t *testing.T) {
		harness.Run(t, 2, func(t *testing.T, c *harness.Cluster) {
			serve(c)
			c.Ends(0)[1].Send("Counter.Add", 1)
			var sum int64
			require.True(t, c.Client("client")[1].Call("Counter.Sum", 0, &sum))
			time.Sleep(time.Second)
		})
	})
	page, err := os.ReadFile(filepath.Join(dir, "TestPages-sub.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Counter.Add")
	require.Contains(t, string(page), "client")
}
