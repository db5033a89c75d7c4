package labrpc_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// TestTaps expects each tap to hear of every event between its start and its
// removal, whatever happens to other taps.
func TestTaps(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, "c")
		heard := make([]int, 3)
		var order []int
		var remove []func()
		for i := range heard {
			remove = append(remove, rn.AddTap(func(labrpc.Event) { heard[i]++; order = append(order, i) }))
		}
		trace := labrpc.Record(rn)
		const events = 4 // of a call: two messages, sent and delivered
		echo(ends[0], 1)
		require.Equal(t, []int{events, events, events}, heard)
		require.Equal(t, []int{0, 1, 2, 0, 1, 2}, order[:6])
		remove[1]()
		remove[1]() // again: harmless
		echo(ends[0], 2)
		require.Equal(t, []int{2 * events, events, 2 * events}, heard)
		require.Len(t, trace.Events(), 2*events)
		for _, r := range remove {
			r()
		}
		trace.Stop()
		echo(ends[0], 3)
		require.Equal(t, []int{2 * events, events, 2 * events}, heard)
		require.Len(t, trace.Events(), 2*events)
	})
}

// TestTraceIsBounded fills a trace.
func TestTraceIsBounded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, "c")
		trace := labrpc.Record(rn)
		trace.SetLimit(1000)
		for i := range 10 {
			echo(ends[0], i)
		}
		kept := len(trace.Events())
		require.Positive(t, kept)
		require.Equal(t, 4*10, kept+trace.Omitted())
		var text strings.Builder
		n, err := trace.WriteTo(&text)
		require.NoError(t, err)
		require.Len(t, text.String(), int(n))
		require.Contains(t, text.String(), "later events exceed 1000 bytes\n")
	})
}
