//go:build !wasip1

package cluster_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/kv"
)

var benchValue = string(make([]byte, 100))

// put makes so many writes of so many keys, with so many clients. It returns how
// long the slowest took.
func put(b *testing.B, c *cluster.Cluster, clients, writes, keys int) time.Duration {
	work := make(chan int)
	var slowest atomic.Int64
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for n := range work {
				start := time.Now()
				if _, err := c.Do(context.Background(), "", kv.Put(fmt.Sprintf("key %d", n%keys), benchValue)); err != nil {
					b.Error(err)
				}
				took := int64(time.Since(start))
				for was := slowest.Load(); was < took && !slowest.CompareAndSwap(was, took); was = slowest.Load() {
				}
			}
		})
	}
	for n := range writes {
		work <- n
	}
	close(work)
	running.Wait()
	return time.Duration(slowest.Load())
}

// BenchmarkOverwrite writes 100 keys again and again, with a snapshot after each
// MiB of log, and reports the size of the largest data file (MB).
func BenchmarkOverwrite(b *testing.B) {
	c, err := cluster.Open(b.TempDir(), cluster.Options{SnapshotBytes: 1 << 20})
	require.NoError(b, err)
	defer c.Close()
	for b.Loop() {
		put(b, c, 256, 10_000, 100)
	}
	size := int64(0)
	for _, r := range c.Status() {
		size = max(size, r.FileBytes)
	}
	b.ReportMetric(float64(size)/1e6, "file-MB")
}

// BenchmarkMillionKeys loads 1,000,000 keys with values of 100 bytes, lets 16 clients
// write 300,000 more values, during which each replica takes some snapshots, and opens
// the cluster again. It reports the slowest write of those clients, the live heap (MB)
// and the time from the opening to the first answer.
func BenchmarkMillionKeys(b *testing.B) {
	const keys = 1_000_000
	for b.Loop() {
		dir := b.TempDir()
		c, err := cluster.Open(dir, cluster.Options{})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		put(b, c, 256, keys, keys)
		b.ReportMetric(keys/time.Since(start).Seconds(), "writes/s")
		b.ReportMetric(put(b, c, 16, 300_000, keys).Seconds(), "slowest-s")
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		b.ReportMetric(float64(mem.HeapAlloc)/1e6, "heap-MB")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		start = time.Now()
		if c, err = cluster.Open(dir, cluster.Options{}); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Do(context.Background(), "", kv.Get("key 999999")); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "restart-s")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestart opens a cluster that holds 100,000 keys with values of 100 bytes,
// until it answers.
func BenchmarkRestart(b *testing.B) {
	const keys = 100_000
	dir := b.TempDir()
	c, err := cluster.Open(dir, cluster.Options{})
	require.NoError(b, err)
	put(b, c, 256, keys, keys)
	for b.Loop() {
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		if c, err = cluster.Open(dir, cluster.Options{}); err != nil {
			b.Fatal(err)
		}
		result, err := c.Do(context.Background(), "", kv.Get("key 99999"))
		if err != nil || result.Value != benchValue {
			b.Fatalf("%v, error %v", result.Code, err)
		}
	}
	require.NoError(b, c.Close())
}
