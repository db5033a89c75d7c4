//go:build !wasip1

package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/datadir"
	"raftlab/internal/kvstore"
	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/node"
	"raftlab/shardctrler"
)

func openSharded(t *testing.T, dir string, opts cluster.Options) *cluster.Sharded {
	t.Helper()
	c, err := cluster.OpenSharded(dir, opts)
	return opened(t, c, err)
}

func settle(t *testing.T, c *cluster.Sharded) shardstore.Layout {
	t.Helper()
	if err := c.Settled(within(t)); err != nil {
		l, _ := c.Layout(within(t))
		t.Fatalf("%v: %+v", err, l)
	}
	l, err := c.Layout(within(t))
	require.NoError(t, err)
	return l
}

// Groups leave and join, and replicas stop, under load, of which no request
// fails and no write is lost or made twice. It is all there after a restart.
func TestShardedUnderLoad(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	c := openSharded(t, dir, cluster.Options{Groups: 3, SnapshotBytes: 20000})
	l := startLoad(t, c)
	change := func(what string, num int, err error) {
		t.Helper()
		require.NoError(t, err, "%s: configuration %d", what, num)
		settle(t, c)
	}
	settle(t, c)
	for gid := 1; gid <= 3; gid++ {
		num, err := c.Leave(within(t), []int{gid})
		change("leave", num, err)
		num, err = c.Join(within(t), []int{gid})
		change("join", num, err)
	}
	leader := c.Status()[0].Leader
	require.NoError(t, c.Stop(leader))
	num, err := c.Move(within(t), 9, 1)
	change("move", num, err)
	require.NoError(t, c.Start(leader))
	l.end(t)
	verify := func() {
		t.Helper()
		l.verify(t, c)
		require.Equal(t, 1, settle(t, c).Shards[9].Group, "shard 9 was moved to group 1")
	}
	verify()
	require.NoError(t, c.Close())
	reopened, err := cluster.OpenAny(dir, cluster.Options{})
	require.NoError(t, err)
	defer reopened.Close()
	c = reopened.(*cluster.Sharded)
	verify()
}

// An idempotency key makes writes one; scans join the shards.
func TestShardedOnceAndScan(t *testing.T) {
	t.Parallel()
	c := openSharded(t, t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	for range 3 {
		do(t, c, "the key", kv.Append("k", "once"))
	}
	require.ErrorIs(t, failure(c.Do(within(t), "the key", kv.Append("k", "again"))), kvstore.ErrKeyReused)
	for i := range 20 {
		do(t, c, "", kv.Put(fmt.Sprintf("%d", i), "v"))
	}
	r := do(t, c, "", kv.Scan("", "", 0))
	require.Len(t, r.Pairs, 21)
	require.Equal(t, "0", r.Pairs[0].Key)
	require.Equal(t, "once", r.Pairs[20].Value)
	r, err := c.Do(within(t), "", kv.Get("nowhere"))
	require.NoError(t, err)
	require.Equal(t, kv.NotFound, r.Code)
}

// What cannot be is refused, and changes nothing.
func TestShardedErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openSharded(t, dir, cluster.Options{Groups: 2, Replicas: 1})
	before := settle(t, c)
	for what, change := range map[string]func() (int, error){
		"join of group 3":  func() (int, error) { return c.Join(within(t), []int{1, 3}) },
		"leave of group 0": func() (int, error) { return c.Leave(within(t), []int{0, 1}) },
		"move to group 9":  func() (int, error) { return c.Move(within(t), 0, 9) },
	} {
		require.ErrorIs(t, failure(change()), shardstore.ErrNoGroup, what)
	}
	require.ErrorIs(t, failure(c.Move(within(t), shardctrler.NShards, 1)), shardctrler.ErrInvalid)
	num, err := c.Join(within(t), []int{1, 2, 1})
	require.NoError(t, err)
	require.Equal(t, before.Config, num, "a join of members makes no configuration")
	require.Equal(t, before.Config, settle(t, c).Config)
	require.NoError(t, c.Close())
	for _, opts := range []cluster.Options{{Groups: 3}, {Groups: -1}, {Groups: cluster.MaxGroups + 1}} {
		require.ErrorIs(t, failure(cluster.OpenAny(dir, opts)), cluster.ErrGroups)
	}
	require.ErrorIs(t, failure(cluster.Open(dir, cluster.Options{})), cluster.ErrGroups)
	plain := t.TempDir()
	p := open(t, plain, cluster.Options{Replicas: 1})
	require.NoError(t, p.Close())
	require.ErrorIs(t, failure(cluster.OpenAny(plain, cluster.Options{Groups: 2})), cluster.ErrGroups)
	require.NoError(t, os.Truncate(filepath.Join(dir, "group-2-replica-1.bolt"), 100))
	err = failure(cluster.OpenAny(dir, cluster.Options{}))
	require.ErrorIs(t, err, node.ErrDamaged)
	require.ErrorContains(t, err, "group-2-replica-1.bolt")
}

// The data directory of a member of a cluster is left as it is.
func TestMembersDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, datadir.ManifestName), []byte("format: 1\n"), 0o600))
	for groups := range 2 {
		require.ErrorIs(t, failure(cluster.OpenAny(dir, cluster.Options{Groups: groups})), cluster.ErrMember)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.bolt"))
	require.NoError(t, err)
	require.Empty(t, found)
}

// All groups leave, and one comes back: nothing is lost, and nothing served
// meanwhile.
func TestShardedWithoutGroups(t *testing.T) {
	t.Parallel()
	c := openSharded(t, t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	do(t, c, "", kv.Put("k", "v"))
	require.NoError(t, failure(c.Leave(within(t), []int{1, 2})))
	settle(t, c) // until then they serve
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, failure(c.Do(short, "", kv.Get("k"))), kvstore.ErrNoLeader)
	require.NoError(t, failure(c.Join(within(t), []int{2})))
	require.Equal(t, "v", do(t, c, "", kv.Get("k")).Value)
}
