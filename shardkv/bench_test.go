package shardkv_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/kv"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// bench starts a store of some groups on a network without latency, in real time. All
// groups have joined.
func bench(b *testing.B, groups int) (*shardctrler.Clerk, *shardkv.Clerk, [][]string) {
	b.Helper()
	lab := shardlab.New(b)
	b.Cleanup(lab.Close)
	ctrl := lab.Controller(groupSize)
	ctl := shardctrler.MakeClerk(ctrl.Ends())
	var names [][]string
	members := make(map[int][]string)
	for g := range groups {
		group := lab.Group(fmt.Sprintf("g%d", g), groupSize, starter(ctrl, gid(g), 8<<20))
		names = append(names, group.Names())
		members[gid(g)] = group.Names()
	}
	ctl.Join(members)
	return ctl, shardkv.MakeClerk(ctrl.Ends(), lab.End), names
}

// One client makes one write at a time.
func BenchmarkPut(b *testing.B) {
	_, ck, _ := bench(b, 3)
	ck.Put("a", "")
	for i := 0; b.Loop(); i++ {
		ck.Put(fmt.Sprint(i%10), "value")
	}
}

// One client makes one transaction at a time. Each reads and writes two keys, in one
// shard or in two.
func BenchmarkTxn(b *testing.B) {
	for shards, keys := range map[int][2]string{1: {"0a", "0b"}, 2: {"0a", "1b"}} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			_, ck, _ := bench(b, 3)
			for b.Loop() {
				_, err := ck.Txn(context.Background(), shardkv.Txn{Then: []kv.Op{
					kv.Get(keys[0]), kv.Put(keys[0], "v"), kv.Get(keys[1]), kv.Put(keys[1], "v"),
				}})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A shard of 1,000 values of 1,000 bytes moves from one group to another. The time is
// from the change to the first write at the new owner.
func BenchmarkMove(b *testing.B) {
	ctl, ck, _ := bench(b, 2)
	for i := range 1000 {
		ck.Put(fmt.Sprintf("0-%d", i), strings.Repeat("x", 1000))
	}
	shard := shardkv.ShardOf("0")
	b.SetBytes(1_000_000)
	for i := 0; b.Loop(); i++ {
		ctl.Move(shard, gid(i%2))
		ck.Put("0-0", fmt.Sprint(i))
	}
}

// A client writes while half of the shards move, which are small. The metric is the
// longest wait for a write.
func BenchmarkPauseOfAMove(b *testing.B) {
	ctl, ck, names := bench(b, 2)
	for i := range 10 {
		ck.Put(fmt.Sprint(i), "value")
	}
	var longest, sum time.Duration
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			ctl.Leave([]int{gid(1)})
		} else {
			ctl.Join(map[int][]string{gid(1): names[1]})
		}
		begin := time.Now()
		for k := range 10 {
			ck.Put(fmt.Sprint(k), "value")
		}
		longest = max(longest, time.Since(begin))
		sum += time.Since(begin)
	}
	b.ReportMetric(float64(longest.Milliseconds()), "ms-longest")
	b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms-mean")
}

// A large shard moves to and fro while a client writes to another shard of each
// group. The metrics are the time of a move and the slowest of these writes.
func BenchmarkServiceBesideALargeMove(b *testing.B) {
	for _, megabytes := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("MB=%d", megabytes), func(b *testing.B) {
			ctl, ck, _ := bench(b, 2)
			const size = 64 << 10
			value := strings.Repeat("x", size)
			for i := range megabytes << 20 / size {
				ck.Put(fmt.Sprintf("0-%d", i), value)
			}
			owners := ctl.Query(-1).Shards
			slowest := beside(b, owners, func() {
				for i := 0; b.Loop(); i++ {
					ctl.Move(shardkv.ShardOf("0"), gid(i%2))
					ck.Put("0-0", fmt.Sprint(i))
				}
			}, ck)
			b.ReportMetric(float64(slowest.Milliseconds()), "ms-longest-write")
		})
	}
}

// beside returns the time of the slowest write to other shards than that of key "0"
// during work.
func beside(b *testing.B, owners [shardctrler.NShards]int, work func(), ck *shardkv.Clerk) time.Duration {
	var writing sync.WaitGroup
	stop := make(chan struct{})
	longest := make([]time.Duration, 2)
	for g := range longest {
		shard := slices.Index(owners[:], gid(g))
		if shard == shardkv.ShardOf("0") {
			shard++
		}
		key := keyIn(shard)
		writing.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				begin := time.Now()
				ck.Put(key, "value")
				longest[g] = max(longest[g], time.Since(begin))
			}
		})
	}
	work()
	close(stop)
	writing.Wait()
	return slices.Max(longest)
}
