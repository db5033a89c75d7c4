package shardkv_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/kv"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// bench starts a store of some groups, all of which have joined, on a network
// without latency, in real time.
func bench(b *testing.B, groups int) (*shardctrler.Clerk, *shardkv.Clerk, [][]string) {
	b.Helper()
	lab := shardlab.New(b)
	b.Cleanup(lab.Close)
	ctrl := lab.Controller(groupSize)
	ctl := shardctrler.MakeClerk(ctrl.Ends())
	var names [][]string
	members := make(map[int][]string)
	for g := range groups {
		group := lab.Group(fmt.Sprintf("g%d", g), groupSize, starter(ctrl, gid(g), 1<<20))
		names = append(names, group.Names())
		members[gid(g)] = group.Names()
	}
	ctl.Join(members)
	return ctl, shardkv.MakeClerk(ctrl.Ends(), lab.End), names
}

// One client, one write at a time.
func BenchmarkPut(b *testing.B) {
	_, ck, _ := bench(b, 3)
	ck.Put("a", "")
	for i := 0; b.Loop(); i++ {
		ck.Put(fmt.Sprint(i%10), "value")
	}
}

// One client; each transaction reads two keys and writes them, in as many shards
// as its name says.
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

// A shard of 1,000 values of 1,000 bytes moves from one group to another; the
// time is from the change to the first write at the new owner.
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

// The longest that a client waits for a write while half of the shards move; the
// shards are small.
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
