package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/examples/labs-on-the-wire/disk"
	_ "raftlab/internal/testkit" // -seed is a flag of every test package
)

// A Disk opens with what was flushed last.
func TestDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	d, err := disk.Open(path)
	require.NoError(t, err)
	require.Empty(t, d.Persister().ReadRaftState())
	require.NoError(t, d.Flush())
	require.NoFileExists(t, path, "nothing has changed")
	d.Persister().Save([]byte("state"), []byte("snapshot"))
	require.NoError(t, d.Flush())
	d.Persister().SaveRaftState([]byte("unseen"))

	d, err = disk.Open(path)
	require.NoError(t, err)
	require.Equal(t, "state", string(d.Persister().ReadRaftState()))
	require.Equal(t, "snapshot", string(d.Persister().ReadSnapshot()))

	require.NoError(t, os.WriteFile(path, []byte("damage"), 0o600))
	_, err = disk.Open(path)
	require.ErrorContains(t, err, "is damaged")
}

// A failed write is never taken for a later success.
func TestFailedWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	d, err := disk.Open(filepath.Join(dir, "file"))
	require.NoError(t, err)
	d.Persister().SaveRaftState([]byte("state"))
	require.ErrorIs(t, d.Flush(), os.ErrNotExist)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.ErrorIs(t, d.Flush(), os.ErrNotExist)
}
