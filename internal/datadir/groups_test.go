//go:build unix

package datadir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/member"
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
	for i := 20; i < 40; i++ {
		put(i)
	}
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
	most := 0
	for _, path := range paths {
		r, err := datadir.Verify(path)
		require.NoError(t, err)
		require.False(t, r.InUse)
		require.Equal(t, []string{"n1", "n2", "n3"}, r.Processes)
		require.Len(t, r.Groups, 3)
		require.Equal(t, "controller", r.Groups[2].Group)
		require.Equal(t, 2, r.Groups[2].Config)
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

	_, err = datadir.Backup(paths[0], filepath.Join(dir, "backup"), false)
	require.ErrorIs(t, err, datadir.ErrGroups)
	require.ErrorContains(t, err, "copy all data directories")
	_, err = datadir.PlanRecovery(paths[0])
	require.ErrorIs(t, err, datadir.ErrGroups)
	require.NoFileExists(t, filepath.Join(dir, "backup"))

	segments, err := filepath.Glob(filepath.Join(paths[0], "log", "*.wal"))
	require.NoError(t, err)
	damage(t, segments[len(segments)-2])
	r, err := datadir.Verify(paths[0])
	require.ErrorIs(t, err, datadir.ErrDamaged)
	require.Equal(t, "n1", r.Name)
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
