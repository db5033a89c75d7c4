package kvraft_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// BenchmarkSnapshot shows what clients notice of a snapshot of 1,000,000 small
// keys: the latency of writes, from 4 clients one after another each, while none
// is taken and while one is, of one server and of three in one process.
func BenchmarkSnapshot(b *testing.B) {
	const keys = 1_000_000
	for _, servers := range []int{1, 3} {
		s := newLoaded(b, servers, keys)
		for _, taken := range []bool{false, true} {
			b.Run(fmt.Sprintf("servers=%d/taken=%v", servers, taken), func(b *testing.B) {
				var all []time.Duration
				var busy time.Duration
				for b.Loop() {
					begin := time.Now()
					all = append(all, s.writeDuring(taken)...)
					busy += time.Since(begin)
				}
				slices.Sort(all)
				at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
				b.ReportMetric(float64(at(0.5).Microseconds()), "p50-us")
				b.ReportMetric(float64(at(0.99).Microseconds()), "p99-us")
				b.ReportMetric(float64(at(1).Microseconds())/1000, "max-ms")
				b.ReportMetric(float64(len(all))/busy.Seconds(), "writes/s")
				b.ReportMetric(0, "ns/op")
			})
		}
		s.stop()
	}
}

// loaded is a service whose store was filled without a log, and that takes
// snapshots on demand.
type loaded struct {
	net        *labrpc.Network
	replicas   []*rsm.Replica[kv.Op, kv.Result]
	persisters []*raft.Persister
	rafts      []*counted
}

// counted is any lab's Raft, and counts the snapshots that it was given.
type counted struct {
	*raft.Raft
	snapshots atomic.Int64
}

func (c *counted) Snapshot(index int, snapshot []byte) {
	c.Raft.Snapshot(index, snapshot)
	c.snapshots.Add(1)
}

func newLoaded(b *testing.B, servers, keys int) *loaded {
	s := &loaded{net: labrpc.MakeNetwork()}
	filled := kv.NewStore(kv.Limits{})
	for i := range keys {
		filled.Apply(kv.Put(fmt.Sprintf("key-%08d", i), fmt.Sprintf("value-%08d", i)))
	}
	for i := range servers {
		replica, err := rsm.New(filled.Copy(), nil, rsm.Options{})
		require.NoError(b, err)
		s.replicas = append(s.replicas, replica)
		s.persisters = append(s.persisters, raft.MakePersister())
		applyCh := make(chan raft.ApplyMsg)
		s.rafts = append(s.rafts, &counted{Raft: raft.Make(benchEnds(s.net, i, servers), i, s.persisters[i], applyCh)})
		server := labrpc.MakeServer()
		server.AddService(labrpc.MakeService(s.rafts[i].Raft))
		s.net.AddServer(i, server)
		replica.Run(labraft.New(s.rafts[i], applyCh))
	}
	return s
}

func benchEnds(net *labrpc.Network, from any, servers int) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, servers)
	for to := range ends {
		name := fmt.Sprint(from, " to ", to)
		ends[to] = net.MakeEnd(name)
		net.Connect(name, to)
		net.Enable(name, true)
	}
	return ends
}

func (s *loaded) stop() {
	for _, r := range s.replicas {
		r.Kill()
		r.Wait()
	}
	s.net.Cleanup()
}

func (s *loaded) leader() int {
	for {
		for i, rf := range s.rafts {
			if _, isLeader := rf.GetState(); isLeader {
				return i
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// writeDuring writes for as long as snapshots on all servers take, or half a
// second if none is to be taken, and returns the latencies.
func (s *loaded) writeDuring(taken bool) []time.Duration {
	leader := s.replicas[s.leader()]
	var stop atomic.Bool
	var mu sync.Mutex
	var all []time.Duration
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			var mine []time.Duration
			for i := 0; !stop.Load(); i++ {
				begin := time.Now()
				if _, err := leader.Submit(context.Background(), 0, 0, kv.Put(fmt.Sprintf("key-%08d", (i*7919+c)%1_000_000), "changed")); err == nil {
					mine = append(mine, time.Since(begin))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	if taken {
		s.takeSnapshots()
	} else {
		time.Sleep(500 * time.Millisecond)
	}
	stop.Store(true)
	clients.Wait()
	return all
}

// takeSnapshots lets every server take one, and waits for them.
func (s *loaded) takeSnapshots() {
	before := make([]int64, len(s.rafts))
	for i, rf := range s.rafts {
		before[i] = rf.snapshots.Load()
		s.replicas[i].Snapshot()
	}
	for i, rf := range s.rafts {
		for rf.snapshots.Load() == before[i] {
			time.Sleep(time.Millisecond)
		}
	}
}
