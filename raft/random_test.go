package raft_test

import (
	"fmt"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// TestRandomFaults2C runs random faults of all kinds, and then requires agreement
// within the limit on a network that is still bad. RAFTLAB_SOAK=1 makes the test ten
// times longer.
func TestRandomFaults2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) { randomFaults(t) })
}

// TestRandomFaults2D is TestRandomFaults2C with snapshots.
func TestRandomFaults2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) { randomFaults(t, labtest.SnapshotEvery(snapshotEvery)) })
}

func randomFaults(t *testing.T, options ...labtest.Option) {
	for round := range 6 * testkit.SoakFactor() {
		n := 3 + 2*(round%2)
		c := labtest.New(t, n, append([]labtest.Option{labtest.Round(round)}, options...)...)
		for step := range 150 {
			misfortune(c)
			for i := range c.N {
				for k := range c.Rand.IntN(4) {
					c.Start(i, fmt.Sprint("step", step, "-", k))
				}
			}
			pause := c.Rand.IntN(50)
			if c.Rand.IntN(5) == 0 {
				pause = c.Rand.IntN(1000)
			}
			c.Sleep(time.Duration(pause) * time.Millisecond)
		}
		mend(c)
		c.One("last", n)
		c.Shutdown()
	}
}

// misfortune does one thing to the cluster, bad or good.
func misfortune(c *labtest.Cluster) {
	a, b := c.Rand.IntN(c.N), c.Rand.IntN(c.N)
	switch c.Rand.IntN(12) {
	case 0, 1:
		c.Crash(a)
	case 2, 3, 4:
		c.Restart(a)
	case 5:
		c.Disconnect(a)
	case 6:
		c.Connect(a, b)
	case 7:
		order := c.Rand.Perm(c.N)
		k := 1 + c.Rand.IntN(c.N-1)
		c.Partition(order[:k], order[k:])
	case 8:
		c.Heal()
	case 9:
		c.CutRequests(a, b, c.Rand.IntN(3) > 0)
	case 10:
		c.Net.Reliable(c.Rand.IntN(2) == 0)
		c.Net.LongReordering(c.Rand.IntN(3) == 0)
	case 11:
		c.Net.SetFaults(labrpc.Faults{
			RequestLoss: 0.3 * c.Rand.Float64(),
			Duplicate:   0.3 * c.Rand.Float64(),
			MaxDelay:    time.Duration(c.Rand.IntN(100)) * time.Millisecond,
		})
	}
}

// mend brings all servers back and connects them, on a network that loses and
// reorders messages.
func mend(c *labtest.Cluster) {
	c.Net.SetFaults(labrpc.Faults{})
	c.Net.Reliable(false)
	c.Net.LongReordering(true)
	c.Heal()
	for i := range c.N {
		if !c.Up(i) {
			c.Restart(i)
		}
		for j := range c.N {
			c.CutRequests(i, j, false)
		}
	}
}
