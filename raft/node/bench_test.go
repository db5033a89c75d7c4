//go:build unix && !wasip1

package node_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// sink is a state machine that does nothing.
type sink struct{ journal }

func (*sink) Apply(commands []node.Command) {
	for i := range commands {
		commands[i].Result = commands[i].Data[:8]
	}
}

// direct is a memstore whose Save the host calls on the core's goroutine.
type direct struct{ *memstore.Store }

func (direct) Volatile() bool { return true }

// benchGroup starts three members in one process. The result leads.
func benchGroup(b *testing.B, config node.Config) *node.Node {
	network := memnet.New(memnet.Options{})
	for id := core.NodeID(1); id <= 3; id++ {
		config.Members = append(config.Members, node.Member{ID: id})
	}
	var nodes []*node.Node
	for id := core.NodeID(1); id <= 3; id++ {
		config.StateMachine = &sink{}
		config.SnapshotBytes = 256 << 20
		config.ElectionTimeout = 3 * time.Second
		n, err := node.Start(node.HostConfig{
			Storage:   direct{memstore.New(node.Identity{Cluster: "bench", Host: id})},
			Transport: network.Join(id),
		}, config)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, n.Close()) })
		nodes = append(nodes, n)
	}
	for {
		for _, n := range nodes {
			if n.IsLeader() {
				if _, err := n.Propose(ctx, make([]byte, 8)); err == nil {
					return n
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkPropose measures proposals of 128 bytes through three members in memory.
func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n := benchGroup(b, node.Config{})
			command := make([]byte, 128)
			b.ReportAllocs()
			cpu := processorTime()
			b.ResetTimer()
			var running sync.WaitGroup
			for c := range clients {
				running.Go(func() {
					for range (b.N + c) / clients {
						if _, err := n.Propose(ctx, command); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
