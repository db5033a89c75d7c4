package hat_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/protocols/harness"
	"raftlab/protocols/hat"
)

// load runs random transactions of four clients over three nodes.
func load(c *harness.Cluster, level hat.Level) (history []hat.Transaction) {
	keys := []string{"x", "y", "z"}
	for i := range keys {
		c.Serve(i, hat.NewNode())
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	for id := range 4 {
		ends := c.Client(fmt.Sprint("client ", id))
		nodeOf := func(key string) *labrpc.ClientEnd { return ends[key[0]-'x'] }
		choose := rand.New(rand.NewPCG(uint64(c.Net.Seed()), uint64(id)))
		wg.Go(func() {
			for range 60 {
				mu.Lock()
				next++
				s := hat.Begin(level, next, nodeOf)
				mu.Unlock()
				writer := choose.IntN(2) == 0
				for range 6 {
					if key := keys[choose.IntN(3)]; writer && choose.IntN(3) > 0 {
						s.Write(key)
					} else {
						s.Read(key)
					}
				}
				end := s.Commit
				if choose.IntN(4) == 0 {
					end = s.Abort
				}
				t := end()
				mu.Lock()
				history = append(history, t)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

// Each level excludes its anomalies and those of the levels before under loss and delay. The level
// before has the anomalies of the level.
func TestLevels(t *testing.T) {
	var excluded []hat.Anomaly
	for level, excludes := range [][]hat.Anomaly{
		hat.Dirty:               nil,
		hat.ReadCommitted:       {hat.AbortedRead, hat.IntermediateRead},
		hat.MonotonicAtomicView: {hat.VanishingRead},
		hat.ItemCut:             {hat.FuzzyRead},
	} {
		var before, found map[hat.Anomaly]int
		for _, run := range []int{max(level-1, 0), level} {
			harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
				c.SetFaults(harness.Lossy)
				before, found = found, hat.Check(load(c, hat.Level(run)))
			})
		}
		for _, a := range excludes {
			require.Positive(t, before[a], "%s at level %d", a, level-1)
		}
		excluded = append(excluded, excludes...)
		for _, a := range excluded {
			require.Zero(t, found[a], "%s at level %d", a, level)
		}
	}
}

// Example checks a history by hand. Transaction 2 reads x of transaction 1, and then the initial y,
// although transaction 1 wrote both.
func Example() {
	w := func(key string, n int) hat.Op {
		return hat.Op{Key: key, Write: true, Of: hat.Write{Transaction: 1, Number: n}}
	}
	fmt.Println(hat.Check([]hat.Transaction{
		{ID: 1, Committed: true, Ops: []hat.Op{w("x", 1), w("y", 2)}},
		{ID: 2, Committed: true, Ops: []hat.Op{{Key: "x", Of: hat.Write{Transaction: 1, Number: 1}}, {Key: "y"}}},
	}))
	// Output: map[vanishing transaction (monotonic atomic view):1]
}
