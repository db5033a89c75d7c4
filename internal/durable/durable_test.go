//go:build !wasip1

package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/durable"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"first", "a longer second", ""} {
		require.NoError(t, durable.WriteFile(path, []byte(content), 0o600))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(got))
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the temporary file must not stay")
}

// A failure leaves the old content and no temporary file.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "inside"), 0o700)) // a file cannot replace a directory
	require.Error(t, durable.WriteFile(path, []byte("x"), 0o600))
	require.DirExists(t, filepath.Join(path, "inside"))
	require.ErrorIs(t, durable.WriteFile(filepath.Join(dir, "no", "file"), nil, 0o600), fs.ErrNotExist)
	require.ErrorIs(t, durable.SyncDir(filepath.Join(dir, "no")), fs.ErrNotExist)
}
