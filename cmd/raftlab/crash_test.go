//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
	"raftlab/kv"
)

// writer appends 0, 1, 2, ... to a key of its own, and goes on with the same
// number, under the same Idempotency-Key, until it is acknowledged.
type writer struct {
	key    string
	client *httpkv.Client
	acked  atomic.Int64 // numbers below it are acknowledged
}

func token(n int64) string { return fmt.Sprintf("%d,", n) }

func (w *writer) run(ctx context.Context) error {
	for n := int64(0); ; n++ {
		_, err := w.client.Do(ctx, httpkv.Write{Op: kv.Append(w.key, token(n))})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.key, err)
		}
		w.acked.Store(n + 1)
	}
}

// check compares what is stored with what was acknowledged before it was read: the
// numbers in order, none twice, none of those missing.
func (w *writer) check(ctx context.Context) error {
	acked := w.acked.Load()
	pair, err := w.client.Get(ctx, w.key)
	if err != nil {
		return fmt.Errorf("%s: %w", w.key, err)
	}
	found := int64(strings.Count(pair.Value, ","))
	var want strings.Builder
	for n := range found {
		want.WriteString(token(n))
	}
	if pair.Value != want.String() {
		return fmt.Errorf("%s holds %.200q..., which is not each number once", w.key, pair.Value)
	}
	if found < acked {
		return fmt.Errorf("%s holds %d numbers, and %d were acknowledged", w.key, found, acked)
	}
	return nil
}

// TestSIGKILL kills the server again and again under load. After each start every
// acknowledged write is there, none twice, and it serves within 3 s.
func TestSIGKILL(t *testing.T) {
	t.Parallel()
	kills := 3
	if testkit.Soak() {
		kills = 50
	}
	rng := testkit.Rand(t)
	args := []string{"--data", t.TempDir(), "--listen", freeAddress(t), "--snapshot-bytes", "20000", "--log-level", "debug"}
	s := startServer(t, args...)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	writers := make([]*writer, 8)
	for i := range writers {
		w := &writer{key: fmt.Sprintf("writer-%d", i), client: s.client()}
		writers[i] = w
		running.Go(func() {
			if err := w.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	var sum, slowest time.Duration
	for kill := range kills {
		before := total(writers)
		testkit.WaitFor(t, 10*time.Second, "more writes", func() bool { return total(writers) > before+20 })
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		s.end(syscall.SIGKILL)
		start := time.Now()
		s = startServer(t, args...)
		if _, err := s.client().Get(ctx, writers[0].key); err != nil {
			t.Fatalf("after kill %d: %v", kill+1, err)
		}
		took := time.Since(start)
		if took > 3*time.Second {
			t.Errorf("after kill %d: served after %v; want 3 s at most\n%s", kill+1, took, &s.logs)
		}
		sum, slowest = sum+took, max(slowest, took)
		for _, w := range writers {
			if err := w.check(ctx); err != nil {
				t.Fatalf("after kill %d: %v", kill+1, err)
			}
		}
	}
	t.Logf("%d kills, %d acknowledged writes, served again after %v on average, %v at most",
		kills, total(writers), sum/time.Duration(kills), slowest)
	cancel()
	running.Wait()
	if state := s.end(syscall.SIGTERM); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, &s.logs)
	}
	s = startServer(t, args...)
	for _, w := range writers {
		if err := w.check(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s.end(syscall.SIGTERM)
}

func total(writers []*writer) int64 {
	var sum int64
	for _, w := range writers {
		sum += w.acked.Load()
	}
	return sum
}
