//go:build unix

package datadir_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/member"
	"raftlab/internal/testkit"
)

// spoiled is a way to spoil a file of a data directory. other is the same directory of
// another member.
type spoiled struct {
	what string
	do   func(path string, data, other []byte) error
}

func truncated(share func(data []byte) int) func(string, []byte, []byte) error {
	return func(path string, data, _ []byte) error { return os.Truncate(path, int64(share(data))) }
}

func changed(place func(data []byte) int) func(string, []byte, []byte) error {
	return func(path string, data, _ []byte) error {
		at := place(data)
		data = bytes.Clone(data)
		data[at] ^= 0x10
		return os.WriteFile(path, data, 0o600)
	}
}

// used returns the end of the file's content.
func used(data []byte) int { return len(bytes.TrimRight(data, "\x00")) }

var ways = []spoiled{
	{"missing", func(path string, _, _ []byte) error { return os.Remove(path) }},
	{"renamed", func(path string, _, _ []byte) error { return os.Rename(path, path+".old") }},
	{"empty", truncated(func([]byte) int { return 0 })},
	{"cut to a half", truncated(func(data []byte) int { return used(data) / 2 })},
	{"without the last byte", truncated(func(data []byte) int { return used(data) - 1 })},
	{"cut to its content", truncated(used)},
	{"changed at the begin", changed(func([]byte) int { return 0 })},
	{"changed in the middle", changed(func(data []byte) int { return used(data) / 2 })},
	{"changed at the end", changed(func(data []byte) int { return used(data) - 1 })},
	{"of another member", func(path string, _, other []byte) error { return os.WriteFile(path, other, 0o600) }},
	{"a directory", func(path string, _, _ []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
}

// A spoiled file of a data directory leads to an error with the file's name, or nothing is
// lost. verify, inspect and the member agree.
func TestSpoiledFiles(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string]int{"a log": 1000, "a log and a snapshot": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, other := single(t), single(t)
			other.Name, other.Cluster = "n2", map[string]string{"n2": other.ListenPeer}
			for _, one := range []*member.Options{&o, &other} {
				one.SnapshotEntries = entries
				require.NoError(t, filled(t, *one).Close())
			}
			whole, err := datadir.Verify(o.Data)
			require.NoError(t, err)
			s := spoiler{t, o, other.Data, whole, 0}
			for path := range tree(t, o.Data) {
				rel, err := filepath.Rel(o.Data, path)
				require.NoError(t, err)
				for _, way := range ways {
					s.spoil(rel, way)
				}
			}
			require.NotZero(t, s.harmless) // the end of a segment that was made ahead, for one
		})
	}
}

// spoiler spoils copies of a data directory.
type spoiler struct {
	*testing.T
	options  member.Options
	other    string // data directory of another member
	whole    *datadir.Report
	harmless int
}

func (s *spoiler) spoil(name string, way spoiled) {
	s.Helper()
	data, err := os.ReadFile(filepath.Join(s.options.Data, name))
	require.NoError(s, err)
	other, err := os.ReadFile(filepath.Join(s.other, name))
	if os.IsNotExist(err) { // of another number
		var same []string
		same, err = filepath.Glob(filepath.Join(s.other, filepath.Dir(name), "*"+filepath.Ext(name)))
		require.NoError(s, err)
		require.NotEmpty(s, same)
		other, err = os.ReadFile(same[0])
	}
	require.NoError(s, err)
	dir := s.TempDir()
	require.NoError(s, os.CopyFS(dir, os.DirFS(s.options.Data)))
	require.NoError(s, way.do(filepath.Join(dir, name), data, other))

	verified, err := datadir.Verify(dir)
	_, inspected := datadir.Inspect(dir)
	require.Equal(s, fmt.Sprint(err), fmt.Sprint(inspected), "%s %s", name, way.what)
	o := s.options
	o.Data, o.ElectionTimeout = dir, 200*time.Millisecond
	m, started := member.Start(o)
	if err != nil {
		require.ErrorContains(s, err, filepath.Base(name), way.what)
		require.ErrorContains(s, started, filepath.Base(name), way.what)
		require.NoError(s, os.RemoveAll(dir))
		return
	}
	s.harmless++
	require.NoError(s, started, "%s %s", name, way.what)
	testkit.WaitFor(s.T, 20*time.Second, "the member", func() bool {
		select {
		case <-m.Ready():
			return true
		default:
			return false
		}
	})
	require.Equal(s, s.whole.Store.Revision, m.Server().Stats().Revision, "%s %s", name, way.what)
	require.NoError(s, m.Close())
	require.Equal(s, s.whole.Store.Hash, verified.Store.Hash, "%s %s", name, way.what)
	require.Equal(s, s.whole.Log.LastIndex, verified.Log.LastIndex, "%s %s", name, way.what)
	require.NoError(s, os.RemoveAll(dir))
}

// A manifest that an operator has edited is refused, and read again without its checksum. The
// next Write adds one.
func TestEditedManifest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, datadir.ManifestName)
	want := datadir.Manifest{Cluster: "c", Name: "n1", ID: 1, Ready: true}
	require.NoError(t, want.Write(dir))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for what, edited := range map[string]string{
		"other ends of lines": strings.ReplaceAll(string(whole), "\n", "\r\n"),
		"a line more":         string(whole) + "# moved to the new machine\n",
		"a value":             strings.Replace(string(whole), "ready: true", "ready:  true", 1),
	} {
		require.NoError(t, os.WriteFile(path, []byte(edited), 0o600))
		_, err = datadir.Read(dir)
		require.ErrorIs(t, err, datadir.ErrManifest, what)
		require.ErrorContains(t, err, "remove that line", what)
		_, rest, _ := strings.Cut(edited, "\n")
		require.NoError(t, os.WriteFile(path, []byte(rest), 0o600))
		got, err := datadir.Read(dir)
		require.NoError(t, err, what)
		require.Equal(t, want, got, what)
		require.NoError(t, got.Write(dir))
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(whole), string(again), what)
	}
}
