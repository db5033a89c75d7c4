//go:build !wasip1

package handler_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv"
	"raftlab/internal/httpkv/handler"
	"raftlab/kv"
)

// BenchmarkWrites puts values of 100 bytes through HTTP into three replicas on
// disk. Each client waits for its answer before the next write. The latency of a
// write is in ms.
func BenchmarkWrites(b *testing.B) {
	value := string(make([]byte, 100))
	benchmarkClients(b, "writes/s", func(client *httpkv.Client, n int) error {
		_, err := client.Do(b.Context(), httpkv.Write{Op: kv.Put(fmt.Sprintf("key %d", n%10000), value)})
		return err
	})
}

// BenchmarkReads gets a value through HTTP, as BenchmarkWrites puts values.
func BenchmarkReads(b *testing.B) {
	benchmarkClients(b, "reads/s", func(client *httpkv.Client, _ int) error {
		_, err := client.Get(b.Context(), "first")
		return err
	})
}

// benchmarkClients has some clients make requests, and reports their rate and their
// latency.
func benchmarkClients(b *testing.B, rate string, request func(client *httpkv.Client, n int) error) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			client := serveCluster(b, clients)
			var mu sync.Mutex
			var latencies []time.Duration
			work := make(chan int)
			var running sync.WaitGroup
			for range clients {
				running.Go(func() {
					for n := range work {
						start := time.Now()
						if err := request(client, n); err != nil {
							b.Error(err)
						}
						took := time.Since(start)
						mu.Lock()
						latencies = append(latencies, took)
						mu.Unlock()
					}
				})
			}
			n := 0
			for b.Loop() {
				work <- n
				n++
			}
			close(work)
			running.Wait()
			slices.Sort(latencies)
			ms := func(q float64) float64 {
				return float64(latencies[int(q*float64(len(latencies)-1))].Microseconds()) / 1000
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), rate)
			b.ReportMetric(ms(0.5), "p50-ms")
			b.ReportMetric(ms(0.99), "p99-ms")
		})
	}
}

// serveCluster serves a cluster that has a leader.
func serveCluster(b *testing.B, clients int) *httpkv.Client {
	c, err := cluster.Open(b.TempDir(), cluster.Options{})
	require.NoError(b, err)
	server := httptest.NewServer(handler.New(c, handler.Options{}))
	b.Cleanup(func() {
		server.Close()
		require.NoError(b, c.Close())
	})
	client := &httpkv.Client{
		BaseURL: server.URL,
		HTTP:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	_, err = client.Do(b.Context(), httpkv.Write{Op: kv.Put("first", "")})
	require.NoError(b, err)
	return client
}
