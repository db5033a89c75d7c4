//go:build linux

package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
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

// BenchmarkPropose measures proposals of 128 bytes through three members in memory.
func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n := leaderOf(b, benchHosts(b, 1, node.Config{ElectionTimeout: 3 * time.Second}), 1)
			propose(b, clients, func(int) *node.Node { return n })
		})
	}
}

// BenchmarkTrace measures proposals without hooks and with them. Hooks that are not set
// cost a comparison for each message.
func BenchmarkTrace(b *testing.B) {
	ignore := func(node.TraceMessage) {}
	for name, trace := range map[string]*node.Trace{"unset": nil, "set": {Sent: ignore, Received: ignore}} {
		b.Run(name, func(b *testing.B) {
			n := leaderOf(b, tracedHosts(b, 1, node.Config{ElectionTimeout: 3 * time.Second}, trace), 1)
			propose(b, 16, func(int) *node.Node { return n })
		})
	}
}

// BenchmarkDurable measures the same with logs on disk and loopback TCP between
// the members. The disk's own time for a write and a sync comes first.
func BenchmarkDurable(b *testing.B) {
	b.Run("sync", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "file"))
		require.NoError(b, err)
		defer f.Close()
		_, err = f.Write(make([]byte, 16<<20))
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		b.ResetTimer()
		for i := range b.N {
			_, err := f.WriteAt(make([]byte, 256), int64(i*256)%(16<<20))
			require.NoError(b, err)
			require.NoError(b, syscall.Fdatasync(int(f.Fd())))
		}
	})
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n := leaderOf(b, durableHosts(b, node.Config{ElectionTimeout: 3 * time.Second}), 1)
			propose(b, clients, func(int) *node.Node { return n })
		})
	}
}

// propose lets clients propose b.N commands, each to a member that choose names.
func propose(b *testing.B, clients int, choose func(i int) *node.Node) {
	command := make([]byte, 128)
	b.ReportAllocs()
	cpu := processorTime()
	b.ResetTimer()
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			for i := range (b.N + c) / clients {
				if _, err := choose(c+i*clients).Propose(ctx, command); err != nil {
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
}

// durableHosts starts three hosts on disks and ports.
func durableHosts(b *testing.B, config node.Config) []*node.Host {
	dir := b.TempDir()
	transports := make(map[core.NodeID]*tcp.Transport)
	for id := core.NodeID(1); id <= 3; id++ {
		var err error
		transports[id], err = tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true})
		require.NoError(b, err)
		config.Members = append(config.Members, node.Member{ID: id, Address: transports[id].Address()})
	}
	var hosts []*node.Host
	for id := core.NodeID(1); id <= 3; id++ {
		opts := wal.Options{Identity: node.Identity{Cluster: "bench", Host: id}}
		path := filepath.Join(dir, fmt.Sprint(id))
		require.NoError(b, wal.Create(path, opts))
		storage, err := wal.Open(path, opts)
		require.NoError(b, err)
		h, err := node.NewHost(node.HostConfig{Storage: storage, Transport: transports[id]})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, h.Close()) })
		config.StateMachine = &sink{}
		_, err = h.Start(config)
		require.NoError(b, err)
		hosts = append(hosts, h)
	}
	return hosts
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdleGroups measures what 1,000 idle groups of three members in one
// process cost: the share of a processor, and memory for each member.
func BenchmarkIdleGroups(b *testing.B) {
	const groups = 1000
	before := heapBytes()
	hosts := benchHosts(b, groups, node.Config{Quiesce: true})
	for {
		silent := 0
		for _, h := range hosts {
			for g := node.GroupID(1); g <= groups; g++ {
				if st, err := h.Group(g).Status(ctx); err == nil && st.Quiescent {
					silent++
				}
			}
		}
		if silent == groups*len(hosts) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	bytes := heapBytes() - before
	b.ResetTimer()
	for range b.N {
		cpu, begun := processorTime(), time.Now()
		time.Sleep(2 * time.Second)
		b.ReportMetric(100*float64(processorTime()-cpu)/float64(time.Since(begun)), "%cpu")
	}
	b.ReportMetric(float64(bytes)/(3*groups), "B/member")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
}

// BenchmarkGroups measures proposals of 128 bytes by 256 clients that are spread
// over some groups of three members in one process.
func BenchmarkGroups(b *testing.B) {
	for _, groups := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			hosts := benchHosts(b, groups, node.Config{Quiesce: true})
			leaders := make([]*node.Node, groups)
			for g := range leaders {
				leaders[g] = leaderOf(b, hosts, node.GroupID(g+1))
			}
			propose(b, 256, func(i int) *node.Node { return leaders[i%groups] })
		})
	}
}

// benchHosts starts three hosts with members of all groups.
func benchHosts(b *testing.B, groups int, config node.Config) []*node.Host {
	return tracedHosts(b, groups, config, nil)
}

func tracedHosts(b *testing.B, groups int, config node.Config, trace *node.Trace) []*node.Host {
	network := memnet.New(memnet.Options{})
	for id := core.NodeID(1); id <= 3; id++ {
		config.Members = append(config.Members, node.Member{ID: id})
	}
	config.SnapshotBytes = 256 << 20
	var hosts []*node.Host
	for id := core.NodeID(1); id <= 3; id++ {
		h, err := node.NewHost(node.HostConfig{
			Storage:   direct{memstore.New(node.Identity{Cluster: "bench", Host: id})},
			Transport: network.Join(id),
			Trace:     trace,
		})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, h.Close()) })
		hosts = append(hosts, h)
	}
	for g := 1; g <= groups; g++ {
		for _, h := range hosts {
			config.Group, config.StateMachine = node.GroupID(g), &sink{}
			_, err := h.Start(config)
			require.NoError(b, err)
		}
	}
	return hosts
}

func leaderOf(b *testing.B, hosts []*node.Host, group node.GroupID) *node.Node {
	for {
		for _, h := range hosts {
			if n := h.Group(group); n.IsLeader() {
				if _, err := n.Propose(ctx, make([]byte, 8)); err == nil {
					return n
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
