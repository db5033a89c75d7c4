//go:build !wasip1

package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"raftlab/internal/cluster"
	"raftlab/kv"
)

// BenchmarkRestart opens a cluster that holds 100,000 keys with values of 100 bytes,
// until it answers.
func BenchmarkRestart(b *testing.B) {
	const keys = 100_000
	dir := b.TempDir()
	c, err := cluster.Open(dir, cluster.Options{})
	if err != nil {
		b.Fatal(err)
	}
	value := string(make([]byte, 100))
	work := make(chan int)
	var running sync.WaitGroup
	for range 256 {
		running.Go(func() {
			for n := range work {
				if _, err := c.Do(context.Background(), "", kv.Put(fmt.Sprintf("key %d", n), value)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := range keys {
		work <- n
	}
	close(work)
	running.Wait()
	for b.Loop() {
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		if c, err = cluster.Open(dir, cluster.Options{}); err != nil {
			b.Fatal(err)
		}
		result, err := c.Do(context.Background(), "", kv.Get("key 99999"))
		if err != nil || result.Value != value {
			b.Fatalf("%v, error %v", result.Status, err)
		}
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}
