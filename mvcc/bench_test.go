package mvcc_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/mvcc"
)

const million = 1_000_000

// fill puts keys in a random order, or in the order of the keys.
func fill(b testing.TB, keys int, shuffled bool, valueBytes int) *mvcc.Store {
	s := mvcc.New()
	order := rand.New(rand.NewPCG(1, 2)).Perm(keys)
	if !shuffled {
		slices.Sort(order)
	}
	for _, n := range order {
		_, err := s.Put(mvcc.PutRequest{Key: benchKey(n), Value: strings.Repeat("v", valueBytes)})
		require.NoError(b, err)
	}
	return s
}

func benchKey(n int) string { return fmt.Sprintf("/registry/pods/ns/%08d", n) }

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Memory states the live heap of 1,000,000 versions beside their bytes.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name       string
		keys       int
		shuffled   bool
		valueBytes int
	}{
		{"ascending", million, false, 100}, {"random", million, true, 100}, {"empty-values", million, true, 0},
		{"hot", 1000, true, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				before := heap()
				s := fill(b, c.keys, c.shuffled, c.valueBytes)
				for i := c.keys; i < million; i++ {
					_, err := s.Put(mvcc.PutRequest{Key: benchKey(i % c.keys), Value: strings.Repeat("v", c.valueBytes)})
					require.NoError(b, err)
				}
				used := heap() - before
				v := s.View()
				require.Equal(b, million, v.Versions())
				content := v.Size() - 160*million
				b.ReportMetric(float64(used)/million, "heap-B/version")
				b.ReportMetric(float64(content)/million, "content-B/version")
				b.ReportMetric(float64(used)/float64(v.Size()), "heap/Size")
				require.Less(b, float64(used), 1.3*float64(content)+200*million)
				runtime.KeepAlive(s)
			}
		})
	}
}

// Put writes to 1,000,000 keys; each write, or each batch of 64, takes a view as a
// server does.
func BenchmarkPut(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("view-each-%d", batch), func(b *testing.B) {
			s := fill(b, million, false, 100)
			value := strings.Repeat("w", 100)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				_, err := s.Put(mvcc.PutRequest{Key: benchKey(i * 7919 % million), Value: value})
				if err != nil {
					b.Fatal(err)
				}
				if i++; i%batch == 0 {
					s.View()
				}
			}
		})
	}
}

func BenchmarkRange(b *testing.B) {
	v := fill(b, million, false, 100).View()
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			i := 0
			for b.Loop() {
				r := mvcc.RangeRequest{Key: benchKey(i * 7919 % (million - keys))}
				if keys > 1 {
					r.End = benchKey(i*7919%(million-keys) + keys)
				}
				if got, err := v.Range(r); err != nil || got.Count != int64(keys) {
					b.Fatal(got.Count, err)
				}
				i++
			}
		})
	}
}

// Count counts half of 1,000,000 keys: alone, beside a page of them, and as of a revision
// that 1,000 changes have followed.
func BenchmarkCount(b *testing.B) {
	s := fill(b, million, false, 100)
	before := s.Revision()
	for i := range 1000 {
		_, err := s.Delete(mvcc.DeleteRequest{Key: benchKey(i * 7919 % million)})
		require.NoError(b, err)
	}
	v := s.View()
	half := mvcc.RangeRequest{Key: benchKey(million / 4), End: benchKey(million / 4 * 3)}
	only, page, early := half, half, half
	only.CountOnly = true
	page.Limit = 500
	early.Limit, early.Revision = 500, before
	for _, c := range []struct {
		name    string
		request mvcc.RangeRequest
	}{{"only", only}, {"page", page}, {"earlier-page", early}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if got, err := v.Range(c.request); err != nil || got.Count < million/2-1000 || got.Count > million/2 {
					b.Fatal(got.Count, err)
				}
			}
		})
	}
}

// Snapshot writes 1,000,000 keys while puts go on, and states the longest put.
func BenchmarkSnapshot(b *testing.B) {
	s := fill(b, million, false, 100)
	var longest time.Duration
	puts := 0
	for b.Loop() {
		v := s.View()
		done := make(chan error)
		go func() {
			_, err := v.WriteTo(io.Discard)
			done <- err
		}()
		for running := true; running; puts++ {
			begun := time.Now()
			_, err := s.Put(mvcc.PutRequest{Key: benchKey(puts % million), Value: "w"})
			longest = max(longest, time.Since(begun))
			select {
			case werr := <-done:
				err = werr
				running = false
			default:
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-put-µs")
	b.ReportMetric(float64(puts)/float64(b.N), "puts/op")
}

// Restore reads 1,000,000 keys.
func BenchmarkRestore(b *testing.B) {
	s := fill(b, million, false, 100)
	for b.Loop() {
		r, w := io.Pipe()
		go func() {
			_, err := s.View().WriteTo(w)
			w.CloseWithError(err)
		}()
		if _, err := mvcc.Restore(r); err != nil {
			b.Fatal(err)
		}
	}
}

// Compact gives up 1,000,000 versions, and states the longest write meanwhile.
func BenchmarkCompact(b *testing.B) {
	var longest, whole time.Duration
	for range b.N {
		s := fill(b, 100_000, false, 100)
		for i := range million {
			_, err := s.Put(mvcc.PutRequest{Key: benchKey(i % 100_000), Value: "w"})
			require.NoError(b, err)
		}
		begun := time.Now()
		require.NoError(b, s.Compact(s.Revision()))
		for more := true; more; {
			step := time.Now()
			more = s.Scavenge(1000)
			longest = max(longest, time.Since(step))
		}
		whole += time.Since(begun)
		require.Equal(b, 100_000, s.View().Versions())
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-1000-µs")
	b.ReportMetric(whole.Seconds()/float64(b.N), "s/million")
}
