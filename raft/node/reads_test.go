package node_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/node"
)

// runTraced runs a cluster of three that counts the leaders' requests without entries.
func runTraced(t *testing.T, body func(c *cluster, rounds *atomic.Int64)) {
	var sent atomic.Int64
	trace := &node.Trace{Sent: func(m node.TraceMessage) {
		if b, ok := m.Body.(*core.AppendEntries); ok && len(b.Entries) == 0 {
			sent.Add(1)
		}
	}}
	run(t, 3, node.Config{}, func(c *cluster) {
		c.host.Trace = trace
		for id := range c.nodes {
			c.stop(id)
			c.start(id)
		}
		body(c, &sent)
	})
}

// Reads that begin during a round of messages share the next one.
func TestWaitingReadsShareARound(t *testing.T) {
	runTraced(t, func(c *cluster, sent *atomic.Int64) {
		leader := c.leader()
		c.propose("x")
		const readers, least = 100, 2 * 2 // two rounds to two followers
		try := func() int64 {
			before := sent.Load()
			var running sync.WaitGroup
			for i := range readers {
				running.Go(func() {
					time.Sleep(time.Duration(i) * latency / readers)
					if _, err := leader.ReadIndex(ctx); err != nil {
						c.Error(err)
					}
				})
			}
			running.Wait()
			return sent.Load() - before
		}
		messages := try()
		for range 5 { // a tick or a heartbeat may come between
			messages = min(messages, try())
		}
		require.LessOrEqual(c, messages, int64(least))
	})
}

// Reads do not wait longer than a tick for a round whose messages are lost.
func TestReadsDoNotWaitForALostRound(t *testing.T) {
	runTraced(t, func(c *cluster, _ *atomic.Int64) {
		leader := c.leader()
		c.propose("x")
		for range 10 {
			c.network.SetFaults(memnet.Faults{Latency: latency, Drop: 1})
			lost := make(chan error)
			go func() { _, err := leader.ReadIndex(ctx); lost <- err }()
			time.Sleep(latency)
			c.network.SetFaults(memnet.Faults{Latency: latency})
			begun := time.Now()
			_, err := leader.ReadIndex(ctx)
			require.NoError(c, err)
			require.LessOrEqual(c, time.Since(begun), 10*time.Millisecond+3*latency)
			require.NoError(c, <-lost)
		}
	})
}
