//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	var e *httpkv.Error
	if errors.As(err, &e) && e.Code == httpkv.NotFound && acked == 0 {
		return nil // it has not come to write
	}
	if err != nil {
		return fmt.Errorf("%s, of which %d numbers were acknowledged: %w", w.key, acked, err)
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

// startWriters starts writers that write until stop is called.
func startWriters(t *testing.T, s *server) (writers []*writer, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range 8 {
		w := &writer{key: fmt.Sprintf("%d, a writer's", i), client: s.client()} // in eight shards
		writers = append(writers, w)
		running.Go(func() {
			if err := w.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop = func() {
		cancel()
		testkit.AwaitGroup(t, "the clients", &running)
	}
	t.Cleanup(stop)
	return writers, stop
}

// checkAll checks what all writers have written.
func checkAll(t *testing.T, writers []*writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), busyPatience)
	defer cancel()
	for _, w := range writers {
		require.NoError(t, w.check(ctx))
	}
}

// TestSIGKILL kills the server again and again under load. After each start every
// acknowledged write is there, none twice, and it usually serves within 3 s.
func TestSIGKILL(t *testing.T) {
	t.Parallel()
	kills := 3
	if testkit.Soak() {
		kills = 50
	}
	for name, more := range map[string][]string{"one group": nil, "groups": {"--groups", "2"}} {
		t.Run(name, func(t *testing.T) { killAgainAndAgain(t, kills, more...) })
	}
}

func killAgainAndAgain(t *testing.T, kills int, more ...string) {
	rng := testkit.Rand(t)
	args := append(more, "--data", t.TempDir(), "--listen", testkit.FreeAddress(t), "--snapshot-bytes", "20000", "--log-level", "debug")
	s := startServer(t, args...)
	writers, stop := startWriters(t, s)
	var sum, slowest time.Duration
	late := 0 // starts of more than 3 s, as on a machine that is busy for a moment
	for range kills {
		before := total(writers)
		testkit.WaitFor(t, 10*time.Second, "more writes", func() bool { return total(writers) > before+20 })
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		s.end(syscall.SIGKILL)
		start := time.Now()
		s = startServer(t, args...)
		checkAll(t, writers)
		took := time.Since(start)
		if took > 3*time.Second {
			late++
		}
		sum, slowest = sum+took, max(slowest, took)
	}
	t.Logf("%d kills, %d acknowledged writes, served again after %v on average, %v at most",
		kills, total(writers), sum/time.Duration(kills), slowest)
	if 2*late > kills {
		t.Errorf("served later than 3 s after %d of %d kills", late, kills)
	}
	stop()
	if state := s.end(syscall.SIGTERM); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, &s.logs)
	}
	s = startServer(t, args...)
	checkAll(t, writers)
	s.end(syscall.SIGTERM)
}

// TestSignalsUnderLoad ends the server in order in the middle of a load: nothing
// that was acknowledged is missing afterwards.
func TestSignalsUnderLoad(t *testing.T) {
	t.Parallel()
	args := []string{"--data", t.TempDir(), "--listen", testkit.FreeAddress(t)}
	s := startServer(t, args...)
	writers, _ := startWriters(t, s)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		before := total(writers)
		testkit.WaitFor(t, 10*time.Second, "more writes", func() bool { return total(writers) > before+20 })
		if state := s.end(sig); state.ExitCode() != 0 {
			t.Errorf("after %v: %v\n%s", sig, state, &s.logs)
		}
		s = startServer(t, args...)
		checkAll(t, writers)
	}
}

// TestSecondSignal: whoever does not want to wait for the requests that are under
// way sends a second signal.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--patience", "1m")
	for _, n := range []string{"1", "2"} {
		got := s.raftlab(nil, "replica", "stop", n)
		require.Zero(t, got.code, got.err)
	}
	var request sync.WaitGroup
	defer request.Wait()
	request.Go(func() {
		if resp, err := http.Get(s.url + "/v1/kv/waits"); err == nil { // for a leader
			t.Errorf("a request without a leader got %s", resp.Status)
			resp.Body.Close()
		}
	})
	time.Sleep(300 * time.Millisecond) // for it to be under way: without it there is nothing to wait for
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGINT))
	testkit.WaitFor(t, 5*time.Second, "it to begin to stop", func() bool { return strings.Contains(s.logs.String(), "stopping") })
	start := time.Now()
	state := s.end(syscall.SIGINT)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v after the second signal", took)
	}
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v; want by SIGINT", state)
	}
}

func total(writers []*writer) int64 {
	var sum int64
	for _, w := range writers {
		sum += w.acked.Load()
	}
	return sum
}

// TestDiskFull: a server whose files cannot grow says so, and answers 503; its
// replicas can be started again, and when there is room, what was acknowledged is
// there. A limit on the size of files stands for the full disk.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cmd := command("-c", `ulimit -f 4000 && exec "$0" "$@"`, os.Args[0], "serve", "--data", data, "--listen", "127.0.0.1:0", "--patience", "500ms")
	cmd.Path, cmd.Args[0] = "/bin/sh", "/bin/sh"
	s := startAs(t, cmd)
	value := strings.Repeat("v", 1<<19)
	acknowledged := 0
	for ; ; acknowledged++ {
		got := s.raftlab(strings.NewReader(value), "kv", "put", fmt.Sprint(acknowledged), "--timeout", "2s")
		if got.code == exitUnavailable {
			break
		}
		if got.code != 0 || acknowledged > 10 {
			t.Fatalf("write %d: %+v", acknowledged, got)
		}
	}
	failed := 0
	testkit.WaitFor(t, 10*time.Second, "a majority to fail", func() bool {
		status, err := s.client().Status(context.Background())
		require.NoError(t, err)
		n := 0
		for _, r := range status.Replicas {
			if r.State == "failed" && strings.Contains(r.Error, fmt.Sprintf("replica-%d.bolt: file too large", r.Number)) {
				failed = r.Number
				n++
			}
		}
		return n >= 2
	})
	// It may fail again, but is not said to run.
	if got := s.raftlab(nil, "replica", "start", fmt.Sprint(failed)); got.code != 0 {
		t.Errorf("start of a replica that failed: %+v", got)
	}
	if state := s.end(syscall.SIGTERM); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, &s.logs)
	}
	s = startServer(t, "--data", data, "--listen", "127.0.0.1:0")
	for n := range acknowledged {
		if got := s.raftlab(nil, "kv", "get", fmt.Sprint(n)); got.out != value {
			t.Errorf("write %d was acknowledged; get: exit code %d, %d bytes, %s", n, got.code, len(got.out), got.err)
		}
	}
	s.end(syscall.SIGTERM)
}
