package grade

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tarOf makes an archive of headers with one content.
func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Mode = 0o644
		if h.Typeflag == 0 {
			h.Size = int64(len("package raft\n"))
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == 0 {
			_, err := w.Write([]byte("package raft\n"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte("package raft\n"))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gzipOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestReadSubmission(t *testing.T) {
	file := tar.Header{Name: "s/raft/raft.go"}
	plain := tarOf(t, file)
	for name, data := range map[string][]byte{"a.tar": plain, "a.tgz": gzipOf(t, plain), "a.zip": zipOf(t, "s/raft/raft.go", "s/raft/._raft.go", "__MACOSX/s/raft/raft.go", "s/notes.txt")} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		s, err := readSubmission(path)
		require.NoError(t, err, name)
		require.Equal(t, map[string][]byte{"s/raft/raft.go": []byte("package raft\n")}, s.files, name)
	}
}

// Nothing of a hostile archive leaves the submission or is followed.
func TestHostileArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(path, tarOf(t,
		tar.Header{Name: "raft/raft.go"},
		tar.Header{Name: "../escape.go"},
		tar.Header{Name: "/etc/cron.d/x.go"},
		tar.Header{Name: `..\windows.go`},
		tar.Header{Name: "raft/link.go", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "raft/hard.go", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		tar.Header{Name: "raft/pipe.go", Typeflag: tar.TypeFifo},
		tar.Header{Name: "raft/.git/x.go"},
		tar.Header{Name: "raft/evil.s"},
	), 0o644))
	s, err := readSubmission(path)
	require.NoError(t, err)
	require.Len(t, s.files, 1)
	require.Equal(t, []string{"raft/evil.s"}, s.other)
	notes := strings.Join(s.notes, "\n")
	for _, want := range []string{"../escape.go", "/etc/cron.d/x.go", "raft/link.go is not a regular", "raft/hard.go is not a regular", "raft/pipe.go is not a regular"} {
		require.Contains(t, notes, want)
	}
}

func TestSubmissionLimits(t *testing.T) {
	dir := t.TempDir()
	_, err := readSubmission(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, ErrSubmission)
	_, err = readSubmission(dir)
	require.ErrorContains(t, err, "has no Go file")
	broken := filepath.Join(dir, "broken.zip")
	require.NoError(t, os.WriteFile(broken, []byte("PK\x03\x04 and no more"), 0o644))
	_, err = readSubmission(broken)
	require.ErrorIs(t, err, ErrSubmission)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "raft"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raft", "raft.go"), make([]byte, maxGoFile+1), 0o644))
	_, err = readSubmission(dir)
	require.ErrorContains(t, err, "has more than 2097152 bytes")
}

// A link to a Go file of the submission is a copy of the file, and no other link is followed.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "src", "raft"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "src", "common.go"), []byte("package raft\n"), 0o644))
	links := map[string]string{"common.go": "../common.go", "twice.go": "common.go", "out.go": "../../../x.go", "up.go": "..", "absolute.go": "/src/common.go"}
	headers := []tar.Header{{Name: "src/common.go"}}
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, "src", "raft", link)); err != nil {
			t.Skip("no symbolic links here")
		}
		headers = append(headers, tar.Header{Name: "src/raft/" + link, Typeflag: tar.TypeSymlink, Linkname: target})
	}
	archive := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(archive, tarOf(t, headers...), 0o644))
	for _, name := range []string{dir, archive} {
		s, err := readSubmission(name)
		require.NoError(t, err)
		require.Equal(t, map[string][]byte{"src/common.go": []byte("package raft\n"), "src/raft/common.go": []byte("package raft\n")}, s.files)
		require.Contains(t, s.notes, "src/raft/common.go is a link to src/common.go")
		require.Len(t, s.notes, len(links))
	}
}

// A directory's links to other places are not followed.
func TestLinkInDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raft.go"), []byte("package raft\n"), 0o644))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.go")); err != nil {
		t.Skip("no symbolic links here")
	}
	s, err := readSubmission(dir)
	require.NoError(t, err)
	require.Len(t, s.files, 1)
	require.Equal(t, []string{"link.go is not a regular file, and is left out"}, s.notes)
}

// The submission itself may be a link to a directory.
func TestLinkToASubmission(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "version2"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version2", "raft.go"), []byte("package raft\n"), 0o644))
	link := filepath.Join(dir, "current")
	if err := os.Symlink("version2", link); err != nil {
		t.Skip("no symbolic links here")
	}
	s, err := readSubmission(link)
	require.NoError(t, err)
	require.Contains(t, s.files, "raft.go")
}
