package lease_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/harness"
	"raftlab/protocols/lease"
)

const (
	span  = 2 * time.Second
	drift = 0.05 // the bound that clients count on
)

// overlaps lets two clients with clocks of some rates compete for the lease, and counts the looks
// at which both believe to hold it, and the looks at which one does.
func overlaps(c *harness.Cluster, service float64, rates [2]float64) (both, one int) {
	c.Serve(0, lease.NewService(lease.NewClock(service), span))
	var clients [2]*lease.Client
	for i, rate := range rates {
		name := fmt.Sprint("client ", i)
		clients[i] = lease.NewClient(c.Client(name)[0], name, lease.NewClock(rate), span, drift)
	}
	last := 1 // the newest holder, which lets the other client try first
	for range 5000 {
		if c.Rand.IntN(8) == 0 && clients[1-last].Acquire() {
			last = 1 - last
		}
		switch first, second := clients[0].Holds(), clients[1].Holds(); {
		case first && second:
			both++
		case first || second:
			one++
		}
		time.Sleep(5 * time.Millisecond)
	}
	return both, one
}

// Within the bound of drift the lease has one holder, on a lossy network too. A holder whose clock
// is slower than the bound believes in a lease that another client has.
func TestOneHolder(t *testing.T) {
	for _, tt := range []struct {
		service float64
		rates   [2]float64
		safe    bool
	}{
		{1, [2]float64{1, 1}, true},
		{1 + drift, [2]float64{1 - drift, 1 + drift}, true}, // the worst case
		{1, [2]float64{0.7, 1}, false},
	} {
		harness.Run(t, 1, func(t *testing.T, c *harness.Cluster) {
			c.SetFaults(harness.Lossy)
			both, one := overlaps(c, tt.service, tt.rates)
			require.Positive(t, one)
			require.Equal(t, tt.safe, both == 0, "two holders at %d of %d looks", both, one)
		})
	}
}

// A holder checks its lease, pauses, and writes after another client has the lease. Good clocks
// do not help. The token does.
func TestFencing(t *testing.T) {
	for _, fences := range []bool{false, true} {
		harness.Run(t, 2, func(t *testing.T, c *harness.Cluster) {
			store := &lease.Store{Fences: fences}
			c.Serve(0, lease.NewService(lease.NewClock(1), span))
			c.Serve(1, store)
			slow, quick := c.Client("slow"), c.Client("quick")
			first := lease.NewClient(slow[0], "slow", lease.NewClock(1), span, drift)
			second := lease.NewClient(quick[0], "quick", lease.NewClock(1), span, drift)

			require.True(t, first.Acquire())
			require.False(t, second.Acquire())
			require.True(t, first.Holds()) // the check before the write
			time.Sleep(2 * span)           // the pause

			require.True(t, second.Acquire())
			require.Greater(t, second.Token(), first.Token())
			var ok bool
			require.True(t, quick[1].Call("Store.Put", lease.Write{Token: second.Token(), Value: "new"}, &ok))
			require.True(t, ok)
			ok = false
			require.True(t, slow[1].Call("Store.Put", lease.Write{Token: first.Token(), Value: "stale"}, &ok))
			require.Equal(t, !fences, ok)
			require.Equal(t, map[bool]string{false: "stale", true: "new"}[fences], store.Value().Value)
		})
	}
}
