//go:build unix

package datadir_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/member"
	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
)

// groupMembers starts three members of a store with two groups, which hold 40 keys, some
// of them moved. The logs have snapshots.
func groupMembers(t *testing.T, dir string) []*member.Member {
	peers := make(map[string]string)
	for i := range 3 {
		peers[fmt.Sprint("n", i+1)] = testkit.FreeAddress(t)
	}
	var members []*member.Member
	for i := range 3 {
		o := options(dir, fmt.Sprint("n", i+1))
		o.ListenPeer, o.Cluster, o.Groups, o.SnapshotEntries, o.SnapshotBytes = peers[o.Name], peers, 2, 0, 1000
		m, err := member.Start(o)
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		members = append(members, m)
	}
	client := &httpkv.Client{BaseURL: "http://" + members[0].Address().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	put := func(i int) {
		testkit.WaitFor(t, 20*time.Second, "a write", func() bool {
			_, err := client.Do(ctx, httpkv.Write{Op: kv.Put(fmt.Sprintf("%d-key", i), "value"), IdempotencyKey: fmt.Sprint(i)})
			return err == nil
		})
	}
	for i := range 20 {
		put(i)
	}
	_, err := client.ChangeGroups(ctx, "leave", []int{1})
	require.NoError(t, err)
	testkit.WaitFor(t, 20*time.Second, "the moves of the shards", func() bool {
		layout, err := client.Layout(ctx)
		return err == nil && !slices.ContainsFunc(layout.Shards, func(s httpkv.ShardPlace) bool {
			return s.Group != 2 || s.State != "served" || s.From != 0
		})
	})
	for i := 20; i < 40; i++ {
		put(i)
	}
	testkit.WaitFor(t, 20*time.Second, "the replicas of n3 to have the writes", func() bool {
		resp, err := http.Get("http://" + members[2].Address().String() + "/readyz")
		if err == nil {
			err = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	require.NoError(t, members[2].Close()) // the others have later entries
	for i := 40; i < 43; i++ {
		put(i)
	}
	return members
}

func keysOf(r *datadir.Report) int {
	n := 0
	for _, g := range r.Groups {
		n += g.Keys
	}
	return n
}

// Inspect and Verify read the directory of a process with groups, which may run, and change
// nothing. The groups of the processes are compared.
func TestGroupsAreInspectedAndVerified(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	members := groupMembers(t, dir)
	var paths []string
	for i := range members {
		paths = append(paths, filepath.Join(dir, fmt.Sprint("n", i+1)))
	}
	running, err := datadir.Inspect(paths[0])
	require.NoError(t, err)
	require.True(t, running.InUse)
	for _, m := range members {
		require.NoError(t, m.Close())
	}
	before := digestOf(t, paths[0])
	var reports []*datadir.Report
	most, config := 0, 0
	for _, path := range paths {
		r, err := datadir.Verify(path)
		require.NoError(t, err)
		require.False(t, r.InUse)
		require.Equal(t, []string{"n1", "n2", "n3"}, r.Processes)
		require.Len(t, r.Groups, 3)
		require.Equal(t, "controller", r.Groups[2].Group)
		config = max(config, r.Groups[2].Config) // a follower may not know yet that the last entry is committed
		for _, g := range r.Groups {
			require.Len(t, g.Members, 3)
			require.Equal(t, "voter", g.Members[0].Role)
			require.Contains(t, []string{"n1", "n2", "n3"}, g.Members[0].Name)
			require.Positive(t, g.LastIndex)
			require.NotEmpty(t, g.Hash)
		}
		most = max(most, keysOf(r))
		reports = append(reports, r)
	}
	require.Equal(t, before, digestOf(t, paths[0]), "not a byte changes")
	require.GreaterOrEqual(t, most, 40)
	require.Equal(t, 2, config)
	require.NoError(t, datadir.Compare(reports))

	listed := 0
	for i := range reports[0].Groups {
		reports[0].Groups[i].Pairs(func(shard int, p kv.Pair) {
			require.Contains(t, p.Key, "-key")
			require.Equal(t, "value", p.Value)
			require.Equal(t, int(p.Key[0])%10, shard)
			listed++
		})
	}
	require.Equal(t, keysOf(reports[0]), listed)

	for i := range reports { // a hash that no other report has
		reports[i].Groups[1].Hash = fmt.Sprint("another", i)
	}
	err = datadir.Compare(reports)
	require.ErrorIs(t, err, datadir.ErrDamaged)
	require.ErrorContains(t, err, "group 2: ")
	require.ErrorContains(t, err, "after entry")

	segments, err := filepath.Glob(filepath.Join(paths[0], "log", "*.wal"))
	require.NoError(t, err)
	damage(t, segments[len(segments)-2])
	r, err := datadir.Verify(paths[0])
	require.ErrorIs(t, err, datadir.ErrDamaged)
	require.Equal(t, "n1", r.Name)
}

// A backup is made from the directories of a majority, and becomes a store of other
// processes. From less than a majority a store is recovered.
func TestGroupsBackupRestoreAndRecovery(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	members := groupMembers(t, dir)
	file := filepath.Join(dir, "backup")
	_, err := datadir.Backup(pathsOf(dir, "n1", "n3"), file, false)
	require.ErrorIs(t, err, datadir.ErrInUse)
	for _, m := range members {
		require.NoError(t, m.Close())
	}
	require.NoError(t, os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(filepath.Join(dir, "n3"))))
	_, err = datadir.Backup(pathsOf(dir, "n1"), file, false)
	require.ErrorIs(t, err, datadir.ErrMinority)
	require.ErrorContains(t, err, "1 of 3 processes; a backup needs those of 2")
	_, err = datadir.Backup(pathsOf(dir, "n3", "copy"), file, false)
	require.ErrorContains(t, err, "are both of the process n3")
	require.NoFileExists(t, file)

	report, err := datadir.Backup(pathsOf(dir, "n3", "n1"), file, false) // n3 lacks the last writes
	require.NoError(t, err)
	require.Equal(t, 43, report.Keys)
	require.Equal(t, 2, report.Groups)
	require.Len(t, report.Shards, 10)
	for _, s := range report.Shards {
		require.Equal(t, "2", s.Group, "group 1 has left")
	}
	again, err := datadir.VerifyBackup(file)
	require.NoError(t, err)
	require.Equal(t, report.SHA256, again.SHA256)
	listed := 0
	again.Pairs(func(_ string, _ int, p kv.Pair) { listed++ })
	require.Equal(t, 43, listed)

	peers := map[string]string{"a": testkit.FreeAddress(t), "b": testkit.FreeAddress(t)}
	var running []*member.Member
	for name := range peers {
		o := options(dir, name)
		o.ListenPeer, o.Cluster, o.SnapshotEntries = peers[name], peers, 0
		r := datadir.RestoreOptions{Name: name, Cluster: "test", Members: peers, Groups: 3}
		m, err := datadir.Restore(file, o.Data, r)
		require.NoError(t, err)
		require.Equal(t, 4, m.Format)
		require.Equal(t, []string{"a", "b"}, m.Members)
		_, err = datadir.Restore(file, o.Data, r)
		require.ErrorIs(t, err, datadir.ErrNotEmpty)
		require.ErrorContains(t, datadir.Compare([]*datadir.Report{verified(t, o.Data), verified(t, filepath.Join(dir, "n1"))}), "is of cluster")
		started, err := member.Start(o)
		require.NoError(t, err)
		t.Cleanup(func() { started.Close() })
		running = append(running, started)
	}
	for _, m := range running {
		require.Len(t, keysAt(t, m), 43)
	}

	for says, o := range map[string]datadir.RestoreOptions{
		"no revisions": {Name: "x", Cluster: "test", Members: map[string]string{"x": "h:1"}, Advance: 9, Compact: true},
		"11 groups":    {Name: "x", Cluster: "test", Members: map[string]string{"x": "h:1"}, Groups: 11},
		"has a slash":  {Name: "x/y", Cluster: "test", Members: map[string]string{"x/y": "h:1"}},
		"is not among": {Name: "x", Cluster: "test", Members: map[string]string{"y": "h:1"}},
	} {
		_, err := datadir.Restore(file, filepath.Join(dir, "x"), o)
		require.ErrorContains(t, err, says)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(file, data, 0o600))
	_, err = datadir.VerifyBackup(file)
	require.ErrorIs(t, err, shardstore.ErrBackup)
	recoverGroups(t, dir)
}

func verified(t *testing.T, dir string) *datadir.Report {
	t.Helper()
	r, err := datadir.Verify(dir)
	require.NoError(t, err)
	return r
}

// recoverGroups recovers the store from n3, which lacks the last writes.
func recoverGroups(t *testing.T, dir string) {
	t.Helper()
	_, err := datadir.PlanRecovery(pathsOf(dir, "n1", "n2"))
	require.ErrorIs(t, err, datadir.ErrMajority)
	path := filepath.Join(dir, "n3")
	before := digestOf(t, path)
	plan, err := datadir.PlanRecovery([]string{path})
	require.NoError(t, err)
	require.Equal(t, before, digestOf(t, path), "nothing changes before Run")
	require.LessOrEqual(t, plan.Groups.Keys, 40)
	require.Greater(t, plan.Groups.Keys, 20)
	require.Empty(t, plan.Groups.Lost)
	require.Zero(t, plan.Groups.Torn)
	require.Len(t, plan.Groups.Sources, 3)
	require.ErrorIs(t, plan.Run(9, true), datadir.ErrGroups)
	require.NoError(t, plan.Run(0, false))
	require.NoError(t, plan.Close())
	require.FileExists(t, filepath.Join(path, plan.Kept))
	o := options(dir, "n3")
	o.ListenPeer, o.SnapshotEntries = testkit.FreeAddress(t), 0
	m, err := member.Start(o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.Len(t, keysAt(t, m), plan.Groups.Keys)
}

// pathsOf returns the directories of processes.
func pathsOf(dir string, names ...string) (paths []string) {
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}

// keysAt returns the keys that a running process serves.
func keysAt(t *testing.T, m *member.Member) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := &httpkv.Client{BaseURL: "http://" + m.Address().String()}
	all := make(map[string]string)
	pairs, next, err := client.Scan(ctx, "", "", "", 100)
	require.NoError(t, err)
	require.Empty(t, next)
	for _, p := range pairs {
		all[p.Key] = p.Value
	}
	return all
}

// digestOf returns the names and the contents of all files.
func digestOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", path, data)
		return err
	})
	require.NoError(t, err)
	return all.String()
}

// damage changes a byte of the first batch of a segment.
func damage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[4096+40] ^= 0x20
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
