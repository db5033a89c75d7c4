//go:build !wasip1

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/cluster"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/rsm"
)

func open(t *testing.T, dir string, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Open(dir, opts)
	return opened(t, c, err)
}

// opened returns a store whose opening is to succeed, and which is closed when the
// test ends.
func opened[C io.Closer](t *testing.T, c C, err error) C {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// within returns a context of ten seconds.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// do executes an operation that is to succeed.
func do(t *testing.T, c cluster.Store, key string, op kv.Op) kv.Result {
	t.Helper()
	result, err := c.Do(within(t), key, op)
	if err != nil || result.Status != kv.OK {
		t.Fatalf("%v of %q: %v, error %v", op.Kind, op.Key, result.Status, err)
	}
	return result
}

func TestReopen(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	for n, replicas := range []int{5, 0, 5} { // 0: as many as there are
		c, err := cluster.Open(dir, cluster.Options{Replicas: replicas})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.Status()); got != 5 {
			t.Fatalf("%d replicas; want 5", got)
		}
		do(t, c, "", kv.Append("k", fmt.Sprint(n)))
		if got := do(t, c, "", kv.Get("k")).Value; got != "012"[:n+1] {
			t.Fatalf("after %d restarts the value is %q", n, got)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, replicas := range []int{3, 10, -1} {
		if _, err := cluster.Open(dir, cluster.Options{Replicas: replicas}); !errors.Is(err, cluster.ErrReplicas) {
			t.Errorf("%d replicas: error %v; want ErrReplicas", replicas, err)
		}
	}
}

func TestOneProcessADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{Replicas: 1})
	if _, err := cluster.Open(dir, cluster.Options{}); !errors.Is(err, cluster.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v; want ErrInUse with the directory's name", err)
	}
	do(t, c, "", kv.Put("k", "v"))
}

// load is clients that append to a key each, half of them under idempotency keys.
type load struct {
	stop    atomic.Bool
	clients sync.WaitGroup
	counts  [8]int // of the writes that were acknowledged
}

func startLoad(t *testing.T, c cluster.Store) *load {
	l := new(load)
	for i := range l.counts {
		l.clients.Go(func() {
			for n := &l.counts[i]; !l.stop.Load(); *n++ {
				key := ""
				if i%2 == 0 {
					key = fmt.Sprintf("write %d", *n)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				_, err := c.Do(ctx, key, kv.Append(fmt.Sprint(i), "x"))
				cancel()
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	return l
}

func (l *load) end() {
	l.stop.Store(true)
	l.clients.Wait()
}

// verify checks that every write was made, and made once.
func (l *load) verify(t *testing.T, c cluster.Store) {
	t.Helper()
	for i, n := range l.counts {
		if got := do(t, c, "", kv.Get(fmt.Sprint(i))).Value; got != strings.Repeat("x", n) {
			t.Errorf("client %d made %d writes, of which there are %d", i, n, len(got))
		}
	}
}

// TestStopAndStart stops and starts each replica in turn under load, from which
// nobody but the log is to notice.
func TestStopAndStart(t *testing.T) {
	testkit.NoLeaks(t)
	c := open(t, t.TempDir(), cluster.Options{SnapshotBytes: 20000})
	l := startLoad(t, c)
	for n := range 3 {
		if err := c.Stop(n + 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := c.Start(n + 1); err != nil {
			t.Fatal(err)
		}
		testkit.WaitFor(t, 10*time.Second, "it to catch up", func() bool {
			all := c.Status()
			return all[n].State == "running" && all[n].AppliedIndex > 0 && all[n].AppliedIndex+50 > all[(n+1)%3].AppliedIndex
		})
	}
	l.end()
	l.verify(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestReplicaErrors(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), cluster.Options{})
	for _, tt := range []struct {
		do   func(int) error
		n    int
		want error
	}{
		{c.Start, 1, cluster.ErrRunning},
		{c.Start, 0, cluster.ErrNoReplica},
		{c.Stop, 4, cluster.ErrNoReplica},
		{c.Stop, 2, nil},
		{c.Stop, 2, cluster.ErrStopped},
		{c.Start, 2, nil},
	} {
		if err := tt.do(tt.n); !errors.Is(err, tt.want) {
			t.Errorf("replica %d: error %v; want %v", tt.n, err, tt.want)
		}
	}
}

// TestIdempotencyKey: one key is one write, through a restart too.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{SnapshotBytes: 1})
	first := do(t, c, "key", kv.Append("k", "x"))
	for n := range 3 {
		if again := do(t, c, "key", kv.Append("k", "x")); again.Version != first.Version {
			t.Errorf("the same again: version %d; want %d", again.Version, first.Version)
		}
		for _, other := range []kv.Op{kv.Append("k", "y"), kv.Put("k", "x"), kv.Append("k", "x").IfVersion(first.Version)} {
			if _, err := c.Do(t.Context(), "key", other); !errors.Is(err, cluster.ErrKeyReused) {
				t.Errorf("another request: error %v; want ErrKeyReused", err)
			}
		}
		if n == 1 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c = open(t, dir, cluster.Options{})
		}
	}
	if got := do(t, c, "", kv.Get("k")).Value; got != "x" {
		t.Errorf("the value is %q; want x", got)
	}
}

// TestIdempotencyKeyIsOfAKey: with another key it is another, with groups and
// without, whichever shards they are in.
func TestIdempotencyKeyIsOfAKey(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{0, 2} {
		c, err := cluster.OpenAny(t.TempDir(), cluster.Options{Replicas: 1, Groups: groups})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 40 {
			do(t, c, "one key", kv.Append(fmt.Sprint(n%20), "x"))
		}
		for n := range 20 {
			if got := do(t, c, "", kv.Get(fmt.Sprint(n))).Value; got != "x" {
				t.Errorf("%d groups: key %d has %q; want x", groups, n, got)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDuplicatesAtOnce: writes under one key that come at the same time are one,
// and get one answer.
func TestDuplicatesAtOnce(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{0, 2} {
		c, err := cluster.OpenAny(t.TempDir(), cluster.Options{Groups: groups})
		if err != nil {
			t.Fatal(err)
		}
		var versions sync.Map
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				result, err := c.Do(within(t), "key", kv.Append("k", "x"))
				if err != nil {
					t.Error(err)
				}
				versions.Store(result.Version, true)
			})
		}
		clients.Wait()
		n := 0
		versions.Range(func(any, any) bool { n++; return true })
		if got := do(t, c, "", kv.Get("k")).Value; got != "x" || n != 1 {
			t.Errorf("%d groups: the value is %q, and there were %d answers; want x and 1", groups, got, n)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestUnknownIsNotTriedInAnotherSession: a write that may be in the log is not
// made again in a new session because the old one has expired meanwhile.
func TestUnknownIsNotTriedInAnotherSession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first error
		want  error
		tries int
	}{
		{"expired", rsm.ErrSessionExpired, nil, 2},
		{"expired after it was sent", fmt.Errorf("%w: %w", cluster.ErrUnknown, rsm.ErrSessionExpired), cluster.ErrUnknown, 1},
	} {
		clients := map[uint64]bool{}
		_, err := cluster.Once(kv.Put("k", "v"), func(client, seq uint64) (kv.Result, error) {
			clients[client] = true
			if len(clients) == 1 {
				return kv.Result{}, tt.first
			}
			return kv.Result{}, nil
		})
		if !errors.Is(err, tt.want) || len(clients) != tt.tries {
			t.Errorf("%s: error %v after %d sessions; want %v after %d", tt.name, err, len(clients), tt.want, tt.tries)
		}
	}
}

func TestNoLeader(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), cluster.Options{})
	do(t, c, "", kv.Put("k", "1"))
	for _, n := range []int{1, 2} {
		if err := c.Stop(n); err != nil {
			t.Fatal(err)
		}
	}
	testkit.WaitFor(t, 10*time.Second, "the last one to step down", func() bool { return c.Status()[2].Role != "leader" })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	for _, op := range []kv.Op{kv.Get("k"), kv.Put("k", "2")} {
		if _, err := c.Do(ctx, "", op); !errors.Is(err, cluster.ErrNoLeader) {
			t.Errorf("%v: error %v; want ErrNoLeader", op.Kind, err)
		}
	}
	if err := c.Start(1); err != nil {
		t.Fatal(err)
	}
	if got := do(t, c, "", kv.Get("k")).Value; got != "1" {
		t.Errorf("the value is %q; want 1", got)
	}
}

// TestOutcomeUnknown: a write that its leader took in, and then no majority, may
// come to be done later. Under its key it is done once all the same.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), cluster.Options{})
	do(t, c, "", kv.Put("first", ""))
	followers := slices.DeleteFunc(c.Status(), func(s cluster.Status) bool { return s.Role == "leader" })
	for _, s := range followers {
		if err := c.Stop(s.Number); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := c.Do(ctx, "key", kv.Append("k", "x")); !errors.Is(err, cluster.ErrUnknown) {
		t.Errorf("error %v; want ErrUnknown", err)
	}
	if err := c.Start(followers[0].Number); err != nil {
		t.Fatal(err)
	}
	do(t, c, "key", kv.Append("k", "x"))
	if got := do(t, c, "", kv.Get("k")).Value; got != "x" {
		t.Errorf("the value is %q; want x", got)
	}
}
