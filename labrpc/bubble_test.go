package labrpc_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
)

func TestLatencyInBubbleOnly(t *testing.T) {
	require.Zero(t, labrpc.MakeNetwork().Latency(), "outside a bubble")
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, labrpc.DefaultLatency, labrpc.MakeNetwork().Latency())
		made := make(chan *labrpc.Network)
		go func() { made <- labrpc.MakeNetwork() }()
		require.Equal(t, labrpc.DefaultLatency, (<-made).Latency(), "second goroutine")
	})
}

// TestBroadcastArrivesAtDifferentInstants sends one message to many servers at one
// instant. Servers that seed random numbers with the clock must not get equal seeds.
func TestBroadcastArrivesAtDifferentInstants(t *testing.T) {
	const servers = 5
	broadcast := func(seed int64) (took []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			rn := labrpc.MakeNetworkSeed(seed)
			defer rn.Cleanup()
			took = make([]time.Duration, servers)
			start := time.Now()
			var calls sync.WaitGroup
			for i := range servers {
				server := labrpc.MakeServer()
				server.AddService(labrpc.MakeService(&clock{func() { took[i] = time.Since(start) }}))
				rn.AddServer(i, server)
				end := rn.MakeEnd(i)
				rn.Connect(i, i)
				rn.Enable(i, true)
				calls.Go(func() { var reply int; end.Call("clock.Look", 0, &reply) })
			}
			calls.Wait()
		})
		return took
	}
	took := broadcast(1)
	seen := make(map[time.Duration]bool)
	for _, d := range took {
		require.False(t, seen[d], "two messages arrive after %v", d)
		require.GreaterOrEqual(t, d, labrpc.DefaultLatency)
		require.LessOrEqual(t, d, labrpc.DefaultLatency*11/10)
		seen[d] = true
	}
	require.Equal(t, took, broadcast(1), "the seed decides")
}

// A clock is a service that notes the time of each call.
type clock struct{ look func() }

func (c *clock) Look(_ int, _ *int) { c.look() }
