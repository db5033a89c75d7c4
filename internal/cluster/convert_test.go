//go:build !wasip1

package cluster_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/kv"
	"raftlab/raft/boltstore"
)

// formerDir makes a data directory of the former format with some keys.
func formerDir(t *testing.T) string {
	dir := t.TempDir()
	ops := []kv.Op{kv.Put("a", "1"), kv.Append("a", "2"), kv.Put("gone", "x"), kv.Put("b", "\x00\xff"), kv.Delete("gone")}
	for i := range 6 { // more than a page of a scan
		ops = append(ops, kv.Put(fmt.Sprintf("key %d", i), large(i)))
	}
	require.NoError(t, cluster.WriteFormer(dir, 3, ops...))
	return dir
}

// large returns a value of which few fit into a page of a scan.
func large(i int) string { return strings.Repeat(fmt.Sprint(i), kv.MaxScanBytes/4) }

// checkConverted checks the content of formerDir after the conversion.
func checkConverted(t *testing.T, dir string) {
	t.Helper()
	c := open(t, dir, cluster.Options{})
	require.Equal(t, kv.Result{Value: "12", Version: 2}, do(t, c, "", kv.Get("a")))
	require.Equal(t, kv.Result{Value: "\x00\xff", Version: 4}, do(t, c, "", kv.Get("b")))
	require.Equal(t, kv.Result{Value: large(5), Version: 11}, do(t, c, "", kv.Get("key 5")))
	require.Greater(t, do(t, c, "", kv.Put("b", "new").IfVersion(4)).Version, uint64(11))
	require.Equal(t, 8, c.Status()[0].Keys)
	require.NoError(t, c.Close())
	c = open(t, dir, cluster.Options{})
	require.Equal(t, "new", do(t, c, "", kv.Get("b")).Value)
	require.NoError(t, c.Close())
	require.FileExists(t, filepath.Join(dir, "replica-2.bolt.former"))
}

// A data directory of the former format is converted, with its versions. A lost data
// file of a minority does not matter.
func TestConvert(t *testing.T) {
	t.Parallel()
	dir := formerDir(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "replica-1.bolt")))
	checkConverted(t, dir)
	require.NoFileExists(t, filepath.Join(dir, "replica-1.bolt.former"))
}

// names describes a data directory: for each file the store that the file belongs to.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var all strings.Builder
	for _, e := range entries {
		if e.IsDir() || e.Name() == "lock" {
			continue
		}
		_, part, err := boltstore.Identify(filepath.Join(dir, e.Name()))
		fmt.Fprintln(&all, e.Name(), part, err == nil)
	}
	return all.String()
}

// A conversion that is interrupted before any of its steps, any number of times, begins
// anew with the former files. In the end the former files are those of the beginning, also
// for a replica whose file was lost before.
func TestInterruptedConversion(t *testing.T) {
	t.Parallel()
	begin, copies := t.TempDir(), t.TempDir()
	require.NoError(t, cluster.WriteFormer(begin, 3, kv.Put("a", "1"), kv.Append("a", "2")))
	require.NoError(t, os.Remove(filepath.Join(begin, "replica-1.bolt")))
	writeFile(t, filepath.Join(begin, "replica-3.bolt.converted"), []byte("half"))
	var mu sync.Mutex
	seen := map[string]bool{}
	for crashed := []string{begin}; len(crashed) > 0; {
		dirs := crashed
		crashed = nil
		crash := func(t *testing.T, dir string) {
			mu.Lock()
			defer mu.Unlock()
			if state := names(t, dir); !seen[state] {
				seen[state] = true
				crashed = append(crashed, filepath.Join(copies, fmt.Sprint(len(seen))))
				require.NoError(t, os.CopyFS(crashed[len(crashed)-1], os.DirFS(dir)))
			}
		}
		t.Run("", func(t *testing.T) {
			for _, dir := range dirs {
				t.Run("", func(t *testing.T) {
					t.Parallel()
					completeConversion(t, dir, crash)
				})
			}
		})
	}
	require.Greater(t, len(seen), 10)
}

// completeConversion converts a directory, calls before with the directory before each
// step, and checks the files and the content in the end.
func completeConversion(t *testing.T, dir string, before func(*testing.T, string)) {
	t.Logf("before:\n%s", names(t, dir))
	c := open(t, dir, cluster.WithStep(cluster.Options{}, func() { before(t, dir) }))
	require.Equal(t, kv.Result{Value: "12", Version: 2}, do(t, c, "", kv.Get("a")))
	require.NoError(t, c.Close())
	const former, converted = `group "" of 3 replicas`, `store of 3 replicas`
	for name, want := range map[string]string{
		"replica-1.bolt": converted, "replica-2.bolt": converted, "replica-3.bolt": converted,
		"replica-1.bolt.former": "", "replica-2.bolt.former": former, "replica-3.bolt.former": former,
		"replica-1.bolt.converted": "", "replica-2.bolt.converted": "", "replica-3.bolt.converted": "",
	} {
		_, part, err := boltstore.Identify(filepath.Join(dir, name))
		require.Equal(t, want, part, "%s: %v", name, err)
		require.Equal(t, want == "", errors.Is(err, fs.ErrNotExist), "%s: %v", name, err)
	}
}

// A data file that has served the converted store is not taken for one of an interrupted
// conversion, although the manifest is the former one again.
func TestConversionBesideServedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, cluster.WriteFormer(dir, 1, kv.Put("a", "1")))
	former := readFile(t, filepath.Join(dir, "raftlab.json"))
	c := open(t, dir, cluster.Options{})
	do(t, c, "", kv.Put("a", "2"))
	require.NoError(t, c.Close())
	served := readFile(t, filepath.Join(dir, "raftlab.json"))
	writeFile(t, filepath.Join(dir, "raftlab.json"), former)
	before := contents(t, dir)
	err := failure(cluster.Open(dir, cluster.Options{}))
	require.ErrorContains(t, err, "replica-1.bolt has served the converted store: restore the manifest; by its data files it was {")
	require.Equal(t, before, contents(t, dir))
	writeFile(t, filepath.Join(dir, "raftlab.json"), served)
	require.Equal(t, "2", do(t, open(t, dir, cluster.Options{}), "", kv.Get("a")).Value)
}

// An operator who copies the former files back, with the former manifest, goes on with the
// former program. The next conversion takes what that program has written, and not the
// former files of the first conversion, which still lie beside.
func TestConversionBesideFormerFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "replica-1.bolt")
	require.NoError(t, cluster.WriteFormer(dir, 1, kv.Put("a", "1")))
	first := readFile(t, file)
	require.NoError(t, os.Remove(file))
	require.NoError(t, cluster.WriteFormer(dir, 1, kv.Put("a", "1"), kv.Put("a", "2")))
	writeFile(t, file+".former", first)
	c := open(t, dir, cluster.Options{})
	require.Equal(t, kv.Result{Value: "2", Version: 2}, do(t, c, "", kv.Get("a")))
	require.NoError(t, c.Close())
	_, part, err := boltstore.Identify(file + ".former")
	require.NoError(t, err)
	require.Equal(t, `group "" of 1 replicas`, part)
	require.NotEqual(t, first, readFile(t, file+".former"))
}

// Without a majority of the former files nothing is converted.
func TestConversionWithoutMajority(t *testing.T) {
	t.Parallel()
	dir := formerDir(t)
	for _, name := range []string{"replica-1.bolt", "replica-2.bolt"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	before := readFile(t, filepath.Join(dir, "replica-3.bolt"))
	manifest := readFile(t, filepath.Join(dir, "raftlab.json"))
	err := failure(cluster.Open(dir, cluster.Options{}))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "nothing was changed")
	require.Equal(t, before, readFile(t, filepath.Join(dir, "replica-3.bolt")))
	require.Equal(t, manifest, readFile(t, filepath.Join(dir, "raftlab.json")))
}
