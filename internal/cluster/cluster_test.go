//go:build !wasip1

package cluster_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/kvstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
)

func TestMain(m *testing.M) {
	testkit.AtOnce(8)
	m.Run()
}

func open(t *testing.T, dir string, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Open(dir, opts)
	return opened(t, c, err)
}

// opened returns a store that must have opened, and closes the store at the end of
// the test.
func opened[C io.Closer](t *testing.T, c C, err error) C {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// failure returns the error of a call.
func failure[T any](_ T, err error) error { return err }

// within returns a context of ten seconds.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// do executes an operation that must succeed.
func do(t *testing.T, c cluster.Store, key string, op kv.Op) kv.Result {
	t.Helper()
	result, err := c.Do(within(t), key, op)
	require.NoError(t, err, "%v of %q", op.Kind, op.Key)
	require.Equal(t, kv.OK, result.Code, "%v of %q", op.Kind, op.Key)
	return result
}

func TestReopen(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	for n, replicas := range []int{5, 0, 5} { // 0: as many as there are
		c, err := cluster.Open(dir, cluster.Options{Replicas: replicas})
		require.NoError(t, err)
		require.Equal(t, 5, len(c.Status()))
		do(t, c, "", kv.Append("k", fmt.Sprint(n)))
		require.Equal(t, "012"[:n+1], do(t, c, "", kv.Get("k")).Value)
		require.NoError(t, c.Close())
	}
	for _, replicas := range []int{3, 10, -1} {
		require.ErrorIs(t, failure(cluster.Open(dir, cluster.Options{Replicas: replicas})), cluster.ErrReplicas)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{Replicas: 1})
	err := failure(cluster.Open(dir, cluster.Options{}))
	require.ErrorIs(t, err, cluster.ErrInUse)
	require.ErrorContains(t, err, dir)
	do(t, c, "", kv.Put("k", "v"))
}

// load is a number of clients. Each appends to its own key, half of them under
// idempotency keys.
type load struct {
	stop    atomic.Bool
	clients sync.WaitGroup
	counts  [8]int // of acknowledged writes
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

func (l *load) end(t *testing.T) {
	l.stop.Store(true)
	testkit.AwaitGroup(t, "the clients", &l.clients)
}

// verify checks that every write has taken effect once.
func (l *load) verify(t *testing.T, c cluster.Store) {
	t.Helper()
	for i, n := range l.counts {
		require.Equal(t, strings.Repeat("x", n), do(t, c, "", kv.Get(fmt.Sprint(i))).Value)
	}
}

// TestStopAndStart stops and starts each replica in turn under load. The clients
// must not notice.
func TestStopAndStart(t *testing.T) {
	testkit.NoLeaks(t)
	c := open(t, t.TempDir(), cluster.Options{SnapshotBytes: 20000})
	l := startLoad(t, c)
	for n := range 3 {
		require.NoError(t, c.Stop(n+1))
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, c.Start(n+1))
		testkit.WaitFor(t, 10*time.Second, "it to catch up", func() bool {
			all := c.Status()
			return all[n].State == "running" && all[n].AppliedIndex > 0 && all[n].AppliedIndex+50 > all[(n+1)%3].AppliedIndex
		})
	}
	l.end(t)
	l.verify(t, c)
	require.NoError(t, c.Close())
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
		require.ErrorIs(t, tt.do(tt.n), tt.want)
	}
}

// Writes under one idempotency key are one write, also after a restart.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{SnapshotBytes: 1})
	first := do(t, c, "key", kv.Append("k", "x"))
	for n := range 3 {
		require.Equal(t, first.Version, do(t, c, "key", kv.Append("k", "x")).Version)
		for _, other := range []kv.Op{kv.Append("k", "y"), kv.Put("k", "x"), kv.Append("k", "x").IfVersion(first.Version)} {
			require.ErrorIs(t, failure(c.Do(t.Context(), "key", other)), kvstore.ErrKeyReused)
		}
		if n == 1 {
			require.NoError(t, c.Close())
			c = open(t, dir, cluster.Options{})
		}
	}
	require.Equal(t, "x", do(t, c, "", kv.Get("k")).Value)
}

// An idempotency key belongs to the key of the write, with groups and without,
// whatever the shards.
func TestIdempotencyKeyIsOfAKey(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{0, 2} {
		c, err := cluster.OpenAny(t.TempDir(), cluster.Options{Replicas: 1, Groups: groups})
		require.NoError(t, err)
		for n := range 40 {
			do(t, c, "one key", kv.Append(fmt.Sprint(n%20), "x"))
		}
		for n := range 20 {
			require.Equal(t, "x", do(t, c, "", kv.Get(fmt.Sprint(n))).Value)
		}
		require.NoError(t, c.Close())
	}
}

// Simultaneous writes under one idempotency key are one write with one answer.
func TestDuplicatesAtOnce(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{0, 2} {
		c, err := cluster.OpenAny(t.TempDir(), cluster.Options{Groups: groups})
		require.NoError(t, err)
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
		testkit.AwaitGroup(t, "the clients", &clients)
		n := 0
		versions.Range(func(any, any) bool { n++; return true })
		require.Equal(t, "x", do(t, c, "", kv.Get("k")).Value, "%d groups", groups)
		require.Equal(t, 1, n, "different answers with %d groups", groups)
		require.NoError(t, c.Close())
	}
}

func TestNoLeader(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), cluster.Options{})
	do(t, c, "", kv.Put("k", "1"))
	for _, n := range []int{1, 2} {
		require.NoError(t, c.Stop(n))
	}
	testkit.WaitFor(t, 10*time.Second, "the last one to step down", func() bool { return c.Status()[2].Role != "leader" })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	for _, op := range []kv.Op{kv.Get("k"), kv.Put("k", "2")} {
		require.ErrorIs(t, failure(c.Do(ctx, "", op)), kvstore.ErrNoLeader)
	}
	require.NoError(t, c.Start(1))
	require.Equal(t, "1", do(t, c, "", kv.Get("k")).Value)
}

// A write with a leader and without a majority may take effect later. Under an
// idempotency key the write takes effect once all the same.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), cluster.Options{})
	do(t, c, "", kv.Put("first", ""))
	followers := slices.DeleteFunc(c.Status(), func(s cluster.Status) bool { return s.Role == "leader" })
	for _, s := range followers {
		require.NoError(t, c.Stop(s.Number))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	require.ErrorIs(t, failure(c.Do(ctx, "key", kv.Append("k", "x"))), kvstore.ErrUnknown)
	require.NoError(t, c.Start(followers[0].Number))
	do(t, c, "key", kv.Append("k", "x"))
	require.Equal(t, "x", do(t, c, "", kv.Get("k")).Value)
}

// A leader that is disconnected loses its place, and the others go on. The replica comes
// back, also after a restart in between. A stream of a client of etcd's API ends with the
// replica.
func TestDisconnect(t *testing.T) {
	testkit.NoLeaks(t)
	c := open(t, t.TempDir(), cluster.Options{})
	do(t, c, "", kv.Put("k", "1"))
	leader := 0
	for _, s := range c.Status() {
		if s.Role == "leader" {
			leader = s.Number
		}
	}
	require.NoError(t, c.Disconnect(leader))
	require.ErrorIs(t, c.Disconnect(leader), cluster.ErrDisconnected)
	do(t, c, "key", kv.Append("k", "2"))
	require.Equal(t, "12", do(t, c, "", kv.Get("k")).Value)
	s := c.Status()[leader-1]
	require.True(t, s.Disconnected)
	require.NotEqual(t, leader, int(c.Serving().Node().ID()))
	require.NoError(t, c.Stop(leader))
	require.NoError(t, c.Start(leader))
	do(t, c, "", kv.Append("k", "3"))
	testkit.WaitFor(t, 10*time.Second, "the replica to stay behind", func() bool { return c.Status()[leader-1].State == "running" })
	require.NoError(t, c.Connect(leader))
	require.ErrorIs(t, c.Connect(leader), cluster.ErrConnected)
	testkit.WaitFor(t, 10*time.Second, "the replica to catch up", func() bool {
		all := c.Status()
		return all[leader-1].AppliedIndex == all[leader%3].AppliedIndex
	})
	require.NoError(t, c.Close())
}
