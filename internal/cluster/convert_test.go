//go:build !wasip1

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/kv"
)

// formerDir makes a data directory of the former format with some keys.
func formerDir(t *testing.T) string {
	dir := t.TempDir()
	ops := []kv.Op{kv.Put("a", "1"), kv.Append("a", "2"), kv.Put("gone", "x"), kv.Put("b", "\x00\xff"), kv.Delete("gone")}
	for i := range 1500 { // more than a page of a scan
		ops = append(ops, kv.Put(fmt.Sprintf("key %04d", i), fmt.Sprint(i)))
	}
	require.NoError(t, cluster.WriteFormer(dir, 3, ops...))
	return dir
}

// checkConverted checks the content of formerDir after the conversion.
func checkConverted(t *testing.T, dir string) {
	t.Helper()
	c := open(t, dir, cluster.Options{})
	require.Equal(t, kv.Result{Value: "12", Version: 2}, do(t, c, "", kv.Get("a")))
	require.Equal(t, kv.Result{Value: "\x00\xff", Version: 4}, do(t, c, "", kv.Get("b")))
	require.Equal(t, kv.Result{Value: "1499", Version: 1505}, do(t, c, "", kv.Get("key 1499")))
	require.Greater(t, do(t, c, "", kv.Put("b", "new").IfVersion(4)).Version, uint64(1505))
	require.Equal(t, 1502, c.Status()[0].Keys)
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

// A conversion that was interrupted begins anew with the former files.
func TestInterruptedConversion(t *testing.T) {
	t.Parallel()
	dir := formerDir(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Rename(file("replica-1.bolt"), file("replica-1.bolt.former")))
	writeFile(t, file("replica-1.bolt"), []byte("half"))
	writeFile(t, file("replica-2.bolt.converted"), []byte("half"))
	checkConverted(t, dir)
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
