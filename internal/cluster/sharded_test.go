//go:build !wasip1

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftlab/internal/cluster"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/boltstore"
	"raftlab/shardctrler"
)

func openSharded(t *testing.T, dir string, opts cluster.Options) *cluster.Sharded {
	t.Helper()
	c, err := cluster.OpenSharded(dir, opts)
	return opened(t, c, err)
}

func settle(t *testing.T, c *cluster.Sharded) cluster.Layout {
	t.Helper()
	if err := c.Settled(within(t)); err != nil {
		l, _ := c.Layout(within(t))
		t.Fatalf("%v: %+v", err, l)
	}
	l, err := c.Layout(within(t))
	if err != nil {
		t.Fatal(err)
	}
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
		if err != nil {
			t.Fatalf("%s: configuration %d, %v", what, num, err)
		}
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
	if err := c.Stop(leader); err != nil {
		t.Fatal(err)
	}
	num, err := c.Move(within(t), 9, 1)
	change("move", num, err)
	if err := c.Start(leader); err != nil {
		t.Fatal(err)
	}
	l.end()
	verify := func() {
		t.Helper()
		l.verify(t, c)
		if layout := settle(t, c); layout.Shards[9].Group != 1 {
			t.Errorf("shard 9 was moved to group 1; the layout is %+v", layout)
		}
	}
	verify()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	reopened, err := cluster.OpenAny(dir, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer reopened.Close()
	c = reopened.(*cluster.Sharded)
	verify()
}

// An idempotency key makes writes one; scans join the shards.
func TestShardedOnceAndScan(t *testing.T) {
	c := openSharded(t, t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	for range 3 {
		do(t, c, "the key", kv.Append("k", "once"))
	}
	if _, err := c.Do(within(t), "the key", kv.Append("k", "again")); !errors.Is(err, cluster.ErrKeyReused) {
		t.Errorf("another write under the key: %v", err)
	}
	for i := range 20 {
		do(t, c, "", kv.Put(fmt.Sprintf("%d", i), "v"))
	}
	if r := do(t, c, "", kv.Scan("", "", 0)); len(r.Pairs) != 21 || r.Pairs[0].Key != "0" || r.Pairs[20].Value != "once" {
		t.Errorf("scan: %+v", r)
	}
	if r, err := c.Do(within(t), "", kv.Get("nowhere")); err != nil || r.Status != kv.NotFound {
		t.Errorf("a key that is not there: %+v, %v", r, err)
	}
}

// What cannot be is refused, and changes nothing.
func TestShardedErrors(t *testing.T) {
	dir := t.TempDir()
	c := openSharded(t, dir, cluster.Options{Groups: 2, Replicas: 1})
	before := settle(t, c)
	for what, change := range map[string]func() (int, error){
		"join of group 3":  func() (int, error) { return c.Join(within(t), []int{1, 3}) },
		"leave of group 0": func() (int, error) { return c.Leave(within(t), []int{0, 1}) },
		"move to group 9":  func() (int, error) { return c.Move(within(t), 0, 9) },
	} {
		if _, err := change(); !errors.Is(err, cluster.ErrNoGroup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Move(within(t), shardctrler.NShards, 1); !errors.Is(err, shardctrler.ErrInvalid) {
		t.Errorf("move of shard 10: %v", err)
	}
	if num, err := c.Join(within(t), []int{1, 2, 1}); num != before.Config || err != nil {
		t.Errorf("join of members: configuration %d, %v", num, err)
	}
	if after := settle(t, c); after.Config != before.Config {
		t.Errorf("configuration %d has become %d", before.Config, after.Config)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []cluster.Options{{Groups: 3}, {Groups: -1}, {Groups: cluster.MaxGroups + 1}} {
		if _, err := cluster.OpenAny(dir, opts); !errors.Is(err, cluster.ErrGroups) {
			t.Errorf("%d groups: %v", opts.Groups, err)
		}
	}
	if _, err := cluster.Open(dir, cluster.Options{}); !errors.Is(err, cluster.ErrGroups) {
		t.Errorf("as a store without groups: %v", err)
	}
	plain := t.TempDir()
	p := open(t, plain, cluster.Options{Replicas: 1})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.OpenAny(plain, cluster.Options{Groups: 2}); !errors.Is(err, cluster.ErrGroups) {
		t.Errorf("a store without groups, as one of two: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "group-2-replica-1.bolt"), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.OpenAny(dir, cluster.Options{}); !errors.Is(err, boltstore.ErrCorrupt) || !strings.Contains(err.Error(), "group-2-replica-1.bolt") {
		t.Errorf("a damaged file: %v", err)
	}
}

// All groups leave, and one comes back: nothing is lost, and nothing served
// meanwhile.
func TestShardedWithoutGroups(t *testing.T) {
	c := openSharded(t, t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	do(t, c, "", kv.Put("k", "v"))
	if _, err := c.Leave(within(t), []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	settle(t, c) // until then they serve
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if r, err := c.Do(short, "", kv.Get("k")); !errors.Is(err, cluster.ErrNoLeader) {
		t.Errorf("without groups: %+v, %v", r, err)
	}
	if _, err := c.Join(within(t), []int{2}); err != nil {
		t.Fatal(err)
	}
	if got := do(t, c, "", kv.Get("k")).Value; got != "v" {
		t.Errorf("the value is %q", got)
	}
}
