package raft_test

import (
	"fmt"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
	"raftlab/raft"
)

// bench is three servers on a network without latency, whose services only
// count.
type bench struct {
	net     *labrpc.Network
	rafts   []*raft.Raft
	applied []chan int
	stop    chan struct{}
}

func newBench(b *testing.B, persisters []*raft.Persister) *bench {
	n := len(persisters)
	x := &bench{net: labrpc.MakeNetwork(), stop: make(chan struct{})}
	for i := range n {
		ends := make([]*labrpc.ClientEnd, n)
		for j := range ends {
			name := [2]int{i, j}
			ends[j] = x.net.MakeEnd(name)
			x.net.Connect(name, j)
			x.net.Enable(name, true)
		}
		applyCh, applied := make(chan raft.ApplyMsg), make(chan int, 1<<16)
		rf := raft.Make(ends, i, persisters[i], applyCh)
		x.rafts, x.applied = append(x.rafts, rf), append(x.applied, applied)
		srv := labrpc.MakeServer()
		srv.AddService(labrpc.MakeService(rf))
		x.net.AddServer(i, srv)
		go func() {
			for {
				select {
				case m := <-applyCh:
					select {
					case applied <- m.CommandIndex:
					case <-x.stop:
						return
					}
				case <-x.stop:
					return
				}
			}
		}()
	}
	b.Cleanup(func() {
		for _, rf := range x.rafts {
			rf.Kill()
		}
		x.net.Cleanup()
		close(x.stop)
	})
	return x
}

func (x *bench) leader() int {
	for deadline := time.Now().Add(labtest.ElectionLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for i, rf := range x.rafts {
			if _, isLeader := rf.GetState(); isLeader {
				return i
			}
		}
	}
	panic("no leader")
}

// fill proposes commands and waits until all servers have applied them.
func (x *bench) fill(b *testing.B, leader, commands int) {
	last := 0
	for k := range commands {
		index, _, isLeader := x.rafts[leader].Start(k)
		if !isLeader {
			b.Fatal("the leader changed")
		}
		last = index
		if k%1000 == 999 || k == commands-1 {
			x.await(last)
		}
	}
}

// await waits until all servers have applied index, and drops the news.
func (x *bench) await(index int) {
	for _, applied := range x.applied {
		for got := 0; got < index; got = <-applied {
		}
	}
}

func persisters(n int) []*raft.Persister {
	ps := make([]*raft.Persister, n)
	for i := range ps {
		ps[i] = raft.MakePersister()
	}
	return ps
}

// BenchmarkStartToApplied is the time from Start to applyCh on the leader, one
// command at a time, by the length of the log that is kept.
func BenchmarkStartToApplied(b *testing.B) {
	for _, length := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("log=%d", length), func(b *testing.B) {
			x := newBench(b, persisters(3))
			leader := x.leader()
			x.fill(b, leader, length)
			for i := range x.applied { // followers' news is of no interest
				if i != leader {
					go x.discard(i)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for k := range b.N {
				index, _, isLeader := x.rafts[leader].Start(k)
				if !isLeader {
					b.Fatal("the leader changed")
				}
				for got := 0; got < index; got = <-x.applied[leader] {
				}
			}
		})
	}
}

func (x *bench) discard(i int) {
	for {
		select {
		case <-x.applied[i]:
		case <-x.stop:
			return
		}
	}
}

// BenchmarkThroughput keeps many commands under way at once.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{16, 1024} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			const underway = 1000
			x := newBench(b, persisters(3))
			leader := x.leader()
			for i := range x.applied {
				if i != leader {
					go x.discard(i)
				}
			}
			command := string(make([]byte, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			done := 0
			for range b.N {
				index, _, isLeader := x.rafts[leader].Start(command)
				if !isLeader {
					b.Fatal("the leader changed")
				}
				for ; done < index-underway; done = <-x.applied[leader] {
				}
			}
			for ; done < b.N; done = <-x.applied[leader] {
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// BenchmarkSnapshot is the time that a snapshot of 1 KiB takes to compact a log
// of which 10 entries, or 100,000, stay.
func BenchmarkSnapshot(b *testing.B) {
	for _, rest := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("rest=%d", rest), func(b *testing.B) {
			x := newBench(b, persisters(1))
			x.leader()
			x.fill(b, 0, rest+1)
			snapshot := make([]byte, 1024)
			b.ReportAllocs()
			b.ResetTimer()
			for k := range b.N {
				b.StopTimer()
				x.fill(b, 0, 1)
				b.StartTimer()
				x.rafts[0].Snapshot(k+1, snapshot)
			}
		})
	}
}

// BenchmarkRestart is the time that Make takes to read a log from a persister, with
// the end of the server.
func BenchmarkRestart(b *testing.B) {
	for _, length := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("log=%d", length), func(b *testing.B) {
			ps := persisters(1)
			x := newBench(b, ps)
			x.leader()
			x.fill(b, 0, length)
			state := ps[0].Copy()
			b.ReportAllocs()
			ends := []*labrpc.ClientEnd{x.net.MakeEnd("restarted")}
			for b.Loop() {
				raft.Make(ends, 0, state.Copy(), make(chan raft.ApplyMsg)).Kill()
			}
		})
	}
}
