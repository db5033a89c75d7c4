//go:build !wasip1

package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/node"
)

// disks hang and answer at a test's command.
type disks struct {
	mu   sync.Mutex
	hung map[int]chan struct{} // by replica; closed when the disk answers again
}

func (d *disks) wrap(replica int, s node.Storage) node.Storage { return &disk{s, d, replica} }

func (d *disks) hang(t *testing.T, replica int) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answers := make(chan struct{})
	d.hung[replica] = answers
	release = sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.hung, replica)
		close(answers)
	})
	t.Cleanup(release)
	return release
}

type disk struct {
	node.Storage
	all     *disks
	replica int
}

func (d *disk) Save(u []node.Update) error {
	d.all.mu.Lock()
	answers := d.all.hung[d.replica]
	d.all.mu.Unlock()
	if answers != nil {
		<-answers
	}
	return d.Storage.Save(u)
}

func openOnDisks(t *testing.T, dir string) (*cluster.Cluster, *disks) {
	d := &disks{hung: map[int]chan struct{}{}}
	return open(t, dir, cluster.WithStorage(cluster.Options{}, d.wrap)), d
}

func leaderOf(t *testing.T, c *cluster.Cluster) (leader int) {
	t.Helper()
	testkit.WaitFor(t, 10*time.Second, "a leader", func() bool {
		for _, st := range c.Status() {
			if st.Role == "leader" && st.State == "running" {
				leader = st.Number
				return true
			}
		}
		return false
	})
	return leader
}

// The leader's disk hangs: another replica leads soon, the status says why, and
// stopping the replica does not wait for the disk.
func TestHungDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, d := openOnDisks(t, dir)
	do(t, c, "", kv.Put("k", ""))
	hung := leaderOf(t, c)
	release := d.hang(t, hung)
	for range 20 {
		do(t, c, "", kv.Append("k", "x"))
	}
	st := c.Status()[hung-1]
	require.Equal(t, "stalled", st.State)
	require.Contains(t, st.Error, "does not answer")
	require.ErrorIs(t, c.Start(hung), cluster.ErrRunning)

	begun := time.Now()
	require.NoError(t, c.Stop(hung))
	require.Less(t, time.Since(begun), 5*time.Second)
	require.Equal(t, "stopped", c.Status()[hung-1].State)
	require.Contains(t, c.Status()[hung-1].Error, "does not answer")
	require.ErrorContains(t, c.Start(hung), "does not answer")
	do(t, c, "", kv.Append("k", "x"))

	release()
	require.NoError(t, c.Start(hung))
	waitApplied(t, c, hung)
	require.Len(t, do(t, c, "", kv.Get("k")).Value, 21)
}

// A disk that answers again: the replica follows without being started.
func TestDiskAnswersAgain(t *testing.T) {
	t.Parallel()
	c, d := openOnDisks(t, t.TempDir())
	do(t, c, "", kv.Put("k", "v"))
	hung := leaderOf(t, c)
	release := d.hang(t, hung)
	do(t, c, "", kv.Put("k", "w"))
	testkit.WaitFor(t, 10*time.Second, "the replica to stall", func() bool { return c.Status()[hung-1].State == "stalled" })
	release()
	waitApplied(t, c, hung)
	require.Empty(t, c.Status()[hung-1].Error)
}

// Close leaves a replica behind whose disk hangs, and says so.
func TestCloseWithHungDisk(t *testing.T) {
	t.Parallel()
	c, d := openOnDisks(t, t.TempDir())
	do(t, c, "", kv.Put("k", "v"))
	hung := leaderOf(t, c)
	release := d.hang(t, hung)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Do(ctx, "", kv.Put("k", "w"))
	require.NoError(t, err)
	begun := time.Now()
	require.ErrorContains(t, c.Close(), fmt.Sprintf("replica %d: the disk does not answer", hung))
	require.Less(t, time.Since(begun), 10*time.Second)
	release()
}

// Stopping and starting a replica makes no new ends, which the network would keep.
func TestRestartsMakeNoEnds(t *testing.T) {
	t.Parallel()
	c, err := cluster.OpenSharded(t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	opened(t, c, err)
	require.NoError(t, c.Settled(within(t)))
	restart := func() {
		require.NoError(t, c.Stop(1))
		require.NoError(t, c.Start(1))
		do(t, c, "", kv.Put("k", "v"))
		require.NoError(t, c.Settled(within(t)))
	}
	restart()
	before := cluster.Ends(c)
	for range 2 {
		restart()
	}
	require.Equal(t, before, cluster.Ends(c))
}
