//go:build !wasip1

package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/boltstore"
	"raftlab/raft/node"
)

// filled makes a data directory with some keys, and closes the cluster.
func filled(t *testing.T, opts cluster.Options) string {
	t.Helper()
	dir := t.TempDir()
	c := open(t, dir, opts)
	for n := range 50 {
		do(t, c, "", kv.Put(fmt.Sprint(n), "value"))
	}
	for i := range c.Status() {
		waitApplied(t, c, i+1) // a replica may lack the last write, which a majority has
	}
	require.NoError(t, c.Close())
	return dir
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// copyInUse copies the data directory of a running store. A file that changes while
// the copying goes on may get pages of different transactions. So a copy counts when
// the next one equals it.
func copyInUse(t *testing.T, dir string) string {
	t.Helper()
	before, now := t.TempDir(), t.TempDir()
	require.NoError(t, os.CopyFS(before, os.DirFS(dir)))
	for {
		require.NoError(t, os.CopyFS(now, os.DirFS(dir)))
		if contents(t, before) == contents(t, now) {
			return before
		}
		before, now = now, t.TempDir()
	}
}

// contents returns the names and the contents of the files in a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var all strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&all, "%s %q\n", e.Name(), readFile(t, filepath.Join(dir, e.Name())))
	}
	return all.String()
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

// A replica whose file is damaged, lost, of another replica, or an older copy does
// not start. The others serve, the status says why and what to do, and the repair
// brings the replica back.
func TestUnusableFile(t *testing.T) {
	t.Parallel()
	dir := filled(t, cluster.Options{})
	healthy := readFile(t, filepath.Join(dir, "replica-2.bolt"))
	c := open(t, dir, cluster.Options{}) // after this run healthy is an older copy
	do(t, c, "", kv.Put("later", "value"))
	require.NoError(t, c.Close())
	for _, tt := range []struct {
		name string
		file []byte // nil: none
		want error
	}{
		{"cut", healthy[:9000], node.ErrDamaged},
		{"empty", []byte{}, node.ErrDamaged},
		{"garbage", bytes.Repeat([]byte("garbage "), 5000), node.ErrDamaged},
		{"missing", nil, fs.ErrNotExist},
		{"of another replica", readFile(t, filepath.Join(dir, "replica-1.bolt")), node.ErrStranger},
		{"of another store", readFile(t, filepath.Join(filled(t, cluster.Options{}), "replica-2.bolt")), node.ErrStranger},
		{"of a store of another size", readFile(t, filepath.Join(filled(t, cluster.Options{Replicas: 5}), "replica-2.bolt")), node.ErrStranger},
		{"older", healthy, cluster.ErrRolledBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			own := t.TempDir()
			require.NoError(t, os.CopyFS(own, os.DirFS(dir)))
			repairUnusable(t, own, tt.file, tt.want)
		})
	}
}

// repairUnusable gives replica 2 an unusable file, none if file is nil, and has the
// file repaired.
func repairUnusable(t *testing.T, dir string, file []byte, want error) {
	path := filepath.Join(dir, "replica-2.bolt")
	require.NoError(t, os.Remove(path))
	if file != nil {
		writeFile(t, path, file)
	}
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Append("later", "+"))
	st := c.Status()[1]
	require.Equal(t, "failed", st.State)
	require.Contains(t, st.Error, path)
	require.Contains(t, st.Error, "raftlab replica repair 2")
	err := c.Start(2)
	require.ErrorIs(t, err, want)
	require.ErrorContains(t, err, "repair 2")
	if file != nil {
		require.True(t, bytes.Equal(readFile(t, path), file), "the file was changed")
	}
	require.NoError(t, c.Repair(2))
	waitApplied(t, c, 2)
	if file != nil {
		require.True(t, bytes.Equal(readFile(t, path+".old"), file), "the old file is not kept")
	}
	require.NoError(t, c.Stop(1), "now the repaired replica is needed")
	do(t, c, "", kv.Append("later", "+"))
	require.NoError(t, c.Close())
	if file != nil {
		repairAgain(t, dir, file)
	}
	// The repaired file is one like any other.
	c = open(t, dir, cluster.Options{})
	require.Equal(t, "running", c.Status()[1].State, c.Status()[1].Error)
	require.NoError(t, c.Close())
}

// repairAgain repairs replica 2 for the second time, which keeps both former files.
func repairAgain(t *testing.T, dir string, first []byte) {
	path := filepath.Join(dir, "replica-2.bolt")
	writeFile(t, path, []byte("second"))
	c := open(t, dir, cluster.Options{})
	require.NoError(t, c.Repair(2))
	require.NoError(t, c.Close())
	require.True(t, bytes.Equal(readFile(t, path+".old"), first), "the first file is not kept")
	require.Equal(t, "second", string(readFile(t, path+".old-2")))
}

// waitApplied waits until a replica has applied as much as the leader.
func waitApplied(t *testing.T, c *cluster.Cluster, number int) {
	t.Helper()
	testkit.WaitFor(t, 10*time.Second, fmt.Sprintf("replica %d to catch up", number), func() bool {
		all := c.Status()
		for _, st := range all {
			if st.Role == "leader" && all[number-1].State == "running" && all[number-1].AppliedIndex >= st.CommitIndex {
				return true
			}
		}
		return false
	})
}

// Without a majority of usable files nothing starts, and nothing is changed.
func TestNoMajorityOfFiles(t *testing.T) {
	t.Parallel()
	dir := filled(t, cluster.Options{})
	require.NoError(t, os.Remove(filepath.Join(dir, "replica-1.bolt")))
	require.NoError(t, os.Truncate(filepath.Join(dir, "replica-3.bolt"), 9000))
	before := snapshotOf(t, dir)
	_, err := cluster.Open(dir, cluster.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, node.ErrDamaged)
	for _, part := range []string{"replica-1.bolt", "replica-3.bolt", "no majority"} {
		require.ErrorContains(t, err, part)
	}
	require.True(t, before == snapshotOf(t, dir), "the directory was changed")
}

// Recover makes one file the truth of its group, even an older copy. With a majority
// of usable files Recover refuses.
func TestRecover(t *testing.T) {
	t.Parallel()
	dir := filled(t, cluster.Options{})
	older := readFile(t, filepath.Join(dir, "replica-2.bolt"))
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Put("later", "value"))
	waitApplied(t, c, 3)
	require.NoError(t, c.Close())
	require.ErrorIs(t, cluster.Recover(dir, 3, cluster.Options{}), cluster.ErrHealthy)
	require.ErrorIs(t, cluster.Recover(dir, 4, cluster.Options{}), cluster.ErrNoReplica)
	writeFile(t, filepath.Join(dir, "replica-2.bolt"), older)
	require.NoError(t, os.Truncate(filepath.Join(dir, "replica-1.bolt"), 9000))
	for _, tt := range []struct {
		from  int
		later kv.Code
	}{{3, kv.OK}, {2, kv.NotFound}} {
		lost := t.TempDir()
		require.NoError(t, os.CopyFS(lost, os.DirFS(dir)))
		require.ErrorIs(t, failure(cluster.Open(lost, cluster.Options{})), cluster.ErrRolledBack)
		require.ErrorIs(t, cluster.Recover(lost, 1, cluster.Options{}), node.ErrDamaged)
		require.NoError(t, cluster.Recover(lost, tt.from, cluster.Options{}))
		c := open(t, lost, cluster.Options{})
		for _, st := range c.Status() {
			require.Equal(t, "running", st.State, st.Error)
		}
		require.Equal(t, "value", do(t, c, "", kv.Get("49")).Value)
		result, err := c.Do(within(t), "", kv.Get("later"))
		require.NoError(t, err)
		require.Equal(t, tt.later, result.Code, "from replica %d", tt.from)
		do(t, c, "", kv.Put("more", "value"))
		require.NoError(t, c.Close())
		require.NoError(t, open(t, lost, cluster.Options{}).Close())
	}
}

// One replica alone has nobody to be repaired from.
func TestRepairRefused(t *testing.T) {
	t.Parallel()
	dir := filled(t, cluster.Options{})
	c := open(t, dir, cluster.Options{})
	require.ErrorIs(t, c.Repair(2), cluster.ErrRunning)
	require.ErrorIs(t, c.Repair(4), cluster.ErrNoReplica)
	require.NoError(t, c.Stop(2))
	require.ErrorIs(t, c.Repair(2), cluster.ErrHealthy)
	require.NoError(t, os.Remove(filepath.Join(dir, "replica-2.bolt")))
	require.NoError(t, c.Stop(3))
	require.ErrorIs(t, c.Repair(2), cluster.ErrNoMajority)
	require.NoError(t, c.Start(3))
	require.NoError(t, c.Repair(2))
	waitApplied(t, c, 2)
}

// A file that another process holds is in order and needs no repair.
func TestFileInUse(t *testing.T) {
	t.Parallel()
	dir := filled(t, cluster.Options{})
	path := filepath.Join(dir, "replica-2.bolt")
	id, part, err := boltstore.Identify(path)
	require.NoError(t, err)
	store, err := boltstore.Open(path, boltstore.Options{Identity: id, Part: part})
	require.NoError(t, err)
	defer store.Close()
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Get("1"))
	require.Contains(t, c.Status()[1].Error, path)
	require.NotContains(t, c.Status()[1].Error, "repair")
	require.ErrorIs(t, c.Repair(2), node.ErrInUse)
	require.NoError(t, store.Close())
	require.NoError(t, c.Start(2))
	waitApplied(t, c, 2)
}

// An older copy is found by the states of the others, also after the process was
// killed, and while it runs.
func TestRolledBackFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Put("k", "1"))
	require.NoError(t, c.Stop(2))
	path := filepath.Join(dir, "replica-2.bolt")
	older := readFile(t, path)
	require.NoError(t, c.Start(2))
	for range 5 {
		do(t, c, "", kv.Append("k", "2"))
		waitApplied(t, c, 2)
	}
	require.NoError(t, c.Stop(2))
	writeFile(t, path, older)
	require.ErrorIs(t, c.Start(2), cluster.ErrRolledBack)

	// The files as a kill leaves them.
	killed := copyInUse(t, dir)
	c2 := open(t, killed, cluster.Options{})
	require.Contains(t, c2.Status()[1].Error, "older copy")
	require.Equal(t, "122222", do(t, c2, "", kv.Get("k")).Value)
}

// The data directory is removed under a running store: no replica goes on as if
// its writes were kept.
func TestDirectoryRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Put("k", "v"))
	require.NoError(t, os.RemoveAll(dir))
	testkit.WaitFor(t, 5*time.Second, "all replicas to fail", func() bool {
		for _, st := range c.Status() {
			if st.State != "failed" || !strings.Contains(st.Error, dir) {
				return false
			}
		}
		return true
	})
}

// A file is cut under load: its replica stops with the cause, and the others serve.
func TestFileCutUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{})
	l := startLoad(t, c)
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, os.Truncate(filepath.Join(dir, "replica-2.bolt"), 8192))
	testkit.WaitFor(t, 5*time.Second, "the replica to stop", func() bool { return c.Status()[1].State == "failed" })
	time.Sleep(100 * time.Millisecond)
	l.end(t)
	l.verify(t, c)
	require.Contains(t, c.Status()[1].Error, "was cut")
	require.NoError(t, c.Repair(2))
	waitApplied(t, c, 2)
	l.verify(t, c)
}

func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, cluster.Options{SnapshotBytes: 4 << 20})
	put := func(key, value string) {
		do(t, c, "", kv.Put(key, value))
		for number := range 3 { // a replica that gets the leader's snapshot has a small file
			waitApplied(t, c, number+1)
		}
	}
	large := strings.Repeat("x", 1<<20)
	for n := range 12 {
		put("k", large[n:])
	}
	put("k", "small")
	for n := range 12 { // the log, and so the next snapshot
		put("other", large[n:])
	}
	put("other", "small")
	require.NoError(t, c.Stop(3))
	for number := 1; number <= 3; number++ {
		// A snapshot on its way to the file is there beside the former one, and no page is free.
		testkit.WaitFor(t, 20*time.Second, fmt.Sprintf("the file of replica %d to shrink", number), func() bool {
			before := c.Status()[number-1].FileBytes
			require.NoError(t, c.Compact(number))
			if c.Status()[number-1].FileBytes < before {
				return true
			}
			if number == 3 { // stopped with such a snapshot, which only a start finishes or drops
				require.NoError(t, c.Start(3))
				waitApplied(t, c, 3)
				require.NoError(t, c.Stop(3))
			}
			return false
		})
	}
	require.NoError(t, c.Start(3))
	require.Equal(t, "small", do(t, c, "", kv.Get("k")).Value)
	require.ErrorIs(t, c.Compact(4), cluster.ErrNoReplica)
}

// snapshotOf returns all files of a directory in one string.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		fmt.Fprintf(&all, "%s %x\n", e.Name(), readFile(t, filepath.Join(dir, e.Name())))
	}
	return all.String()
}

// Data files without a manifest are refused, whatever the directory's name, and
// the error has the manifest that was lost.
func TestLostManifest(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{0, 2} {
		dir := filepath.Join(t.TempDir(), "d[1]")
		c, err := cluster.OpenAny(dir, cluster.Options{Replicas: 1, Groups: groups})
		require.NoError(t, err)
		do(t, c, "", kv.Put("k", "v"))
		require.NoError(t, c.Close())
		path := filepath.Join(dir, "raftlab.json")
		lost := readFile(t, path)
		for _, content := range []string{"", "{", `{"format":3,"replicas":3}`, `{"format":3,"cluster":"x","replicas":10}`} {
			writeFile(t, path, []byte(content))
			_, err := cluster.OpenAny(dir, cluster.Options{})
			require.ErrorContains(t, err, path, content)
			require.ErrorContains(t, err, compact(t, lost), content)
		}
		require.NoError(t, os.Remove(path))
		_, err = cluster.OpenAny(dir, cluster.Options{})
		require.ErrorContains(t, err, "no manifest")
		_, found, _ := strings.Cut(err.Error(), "it was ")
		require.JSONEq(t, string(lost), found)
		writeFile(t, path, []byte(found))
		c, err = cluster.OpenAny(dir, cluster.Options{})
		require.NoError(t, err)
		require.Equal(t, "v", do(t, c, "", kv.Get("k")).Value)
		require.NoError(t, c.Close())
	}
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}

// A manifest that contradicts the data files is not believed.
func TestChangedManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := cluster.OpenSharded(dir, cluster.Options{Replicas: 3, Groups: 2})
	require.NoError(t, err)
	do(t, c, "", kv.Put("k", "v"))
	require.NoError(t, c.Close())
	path := filepath.Join(dir, "raftlab.json")
	right := string(readFile(t, path))
	before := snapshotOf(t, dir)
	for _, change := range [][2]string{
		{`"groups": 2`, `"groups": 1`},
		{`"groups": 2`, `"groups": 3`},
		{`"groups": 2`, `"groups": 0`},
		{`"replicas": 3`, `"replicas": 1`},
		{`"replicas": 3`, `"replicas": 5`},
		{`"complete": true`, `"complete": false`},
	} {
		changed := strings.Replace(right, change[0], change[1], 1)
		require.NotEqual(t, right, changed)
		writeFile(t, path, []byte(changed))
		_, err := cluster.OpenAny(dir, cluster.Options{})
		require.Error(t, err, change[1])
		writeFile(t, path, []byte(right))
		require.True(t, before == snapshotOf(t, dir), "%s: the directory was changed", change[1])
	}
}

// A directory that was begun and not finished is finished.
func TestUnfinishedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "raftlab.json"), []byte(`{"format":4,"cluster":"c","replicas":3}`))
	require.NoError(t, boltstore.Create(filepath.Join(dir, "replica-2.bolt"), cluster.FileOptions("c", "", 2, 3)))
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Put("k", "v"))
}
