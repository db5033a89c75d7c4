//go:build !wasip1

package boltstore_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// BenchmarkSave appends entries of 100 bytes, a number of them in one Save.
func BenchmarkSave(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			store := open(b, create(b))
			entries := make([]core.Entry, n)
			next := uint64(1)
			for b.Loop() {
				for i := range entries {
					entries[i] = core.Entry{Index: next, Term: 1, Data: make([]byte, 100)}
					next++
				}
				if err := store.Save(raft.Update{Entries: entries}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkSaveDuringSnapshot measures Save during a SaveSnapshot of 100 MB.
func BenchmarkSaveDuringSnapshot(b *testing.B) {
	store := open(b, create(b))
	data := make([]byte, 100<<20)
	var took []time.Duration
	next := uint64(1)
	save := func() {
		start := time.Now()
		require.NoError(b, store.Save(raft.Update{Entries: run(next, next, 1)}))
		took = append(took, time.Since(start))
		next++
	}
	for b.Loop() {
		save()
		done := make(chan error)
		at := next - 1
		go func() {
			done <- store.SaveSnapshot(core.Snapshot{LastIncludedIndex: at, LastIncludedTerm: 1, Data: data})
		}()
		for saved := false; !saved; {
			select {
			case err := <-done:
				if err != nil {
					b.Fatal(err)
				}
				saved = true
			default:
				save()
			}
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms/save")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms/save")
	b.ReportMetric(float64(len(took))/float64(b.N), "saves/snapshot")
}

// BenchmarkStartToApplied proposes commands of 100 bytes to three servers with a file
// each. Each proposer waits until the leader has applied its command.
func BenchmarkStartToApplied(b *testing.B) {
	for _, proposers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			leader, applied := startThree(b)
			command := make([]byte, 100)
			var next sync.WaitGroup
			work := make(chan struct{})
			for range proposers {
				next.Go(func() {
					for range work {
						index, _, isLeader := leader.Start(command)
						if !isLeader {
							b.Error("leadership was lost")
							return
						}
						applied.wait(index)
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			next.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// appliedIndex is the index of a server's last applied command.
type appliedIndex struct {
	sync.Mutex
	moved *sync.Cond
	index int
}

func (a *appliedIndex) wait(index int) {
	a.Lock()
	defer a.Unlock()
	for a.index < index {
		a.moved.Wait()
	}
}

func (a *appliedIndex) set(index int) {
	a.Lock()
	defer a.Unlock()
	a.index = index
	a.moved.Broadcast()
}

// startThree starts three servers and returns the leader.
func startThree(b *testing.B) (*raft.Raft, *appliedIndex) {
	const n = 3
	net := labrpc.MakeNetwork()
	b.Cleanup(net.Cleanup)
	var servers [n]*raft.Raft
	var applied [n]*appliedIndex
	for i := range n {
		ends := make([]*labrpc.ClientEnd, n)
		for j := range ends {
			name := [2]int{i, j}
			ends[j] = net.MakeEnd(name)
			net.Connect(name, j)
			net.Enable(name, true)
		}
		applyCh := make(chan raft.ApplyMsg)
		store, err := boltstore.Open(create(b), own, boltstore.Options{})
		require.NoError(b, err)
		servers[i], err = raft.Open(ends, i, store, applyCh, raft.Options{})
		require.NoError(b, err)
		applied[i] = new(appliedIndex)
		applied[i].moved = sync.NewCond(applied[i])
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case msg := <-applyCh:
					applied[i].set(msg.CommandIndex)
				case <-stop:
					return
				}
			}
		}()
		b.Cleanup(func() { servers[i].Close(); close(stop) })
		host := labrpc.MakeServer()
		host.AddService(labrpc.MakeService(servers[i]))
		net.AddServer(i, host)
	}
	for {
		for i, rf := range servers {
			if _, leads := rf.GetState(); leads {
				return rf, applied[i]
			}
		}
		time.Sleep(time.Millisecond)
	}
}
