package grade

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of a submission.
const (
	maxEntries   = 50_000   // files of a directory or an archive
	maxGoFiles   = 2_000    // files kept
	maxGoFile    = 2 << 20  // bytes of a file
	maxGoBytes   = 32 << 20 // bytes of all files
	maxArchive   = 1 << 30  // bytes of an archive after decompression
	maxPathBytes = 500
)

// ErrSubmission is returned for a submission that cannot be read or exceeds a limit.
var ErrSubmission = errors.New("grade: the submission cannot be read")

func badSubmission(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSubmission, fmt.Errorf(format, args...))
}

// A source is a submission as it was handed in.
type source struct {
	files map[string][]byte // Go files and go.mod files, by slash-separated path
	links map[string]string // targets of symbolic links, by path
	other []string          // paths of other files that the go command would use
	notes []string          // decisions
	bytes int
	seen  int
}

// compiled are extensions of files that the go command compiles or links with Go.
var compiled = []string{".s", ".S", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".m", ".f", ".F", ".for", ".f90", ".swig", ".swigcxx", ".syso"}

// readSubmission reads a directory or an archive. Only Go files and go.mod files are
// kept. A symbolic link to such a file of the submission is a copy of the file. Other links,
// devices and paths that leave the submission are left out.
func readSubmission(name string) (*source, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, badSubmission("%w", err)
	}
	s := &source{files: make(map[string][]byte), links: make(map[string]string)}
	if info.IsDir() {
		err = s.readDir(name)
	} else {
		err = s.readArchive(name)
	}
	if err != nil && !errors.Is(err, ErrSubmission) {
		err = badSubmission("%s: %w", name, err)
	}
	if err == nil {
		err = s.follow()
	}
	if err == nil && len(s.files) == 0 {
		err = badSubmission("%s has no Go file", name)
	}
	slices.Sort(s.other)
	return s, err
}

func (s *source) readDir(root string) error {
	root, err := filepath.EvalSymlinks(root) // WalkDir does not follow a link
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && hidden(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return s.add(rel, d.Type(), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(target)), nil })
		}
		return s.add(rel, d.Type(), func() (io.ReadCloser, error) { return os.Open(name) })
	})
}

// follow copies the files to which symbolic links lead. A link to a link is left out.
func (s *source) follow() error {
	found := make(map[string][]byte)
	for _, link := range slices.Sorted(maps.Keys(s.links)) {
		target := path.Join(path.Dir(link), s.links[link])
		data, ok := s.files[target]
		if !ok || path.IsAbs(s.links[link]) {
			s.note("%s is not a regular file, and is left out", link)
			continue
		}
		found[link] = data
		s.note("%s is a link to %s", link, target)
		if s.bytes += len(data); s.bytes > maxGoBytes || len(s.files)+len(found) > maxGoFiles {
			return badSubmission("the Go files and the links to them are more than %d bytes or %d files", maxGoBytes, maxGoFiles)
		}
	}
	maps.Copy(s.files, found)
	return nil
}

// hidden reports whether the go command ignores a directory or a Go file with a name.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor"
}

// add keeps a file if the grader needs the file. A symbolic link opens as its target.
func (s *source) add(name string, mode fs.FileMode, open func() (io.ReadCloser, error)) error {
	if s.seen++; s.seen > maxEntries {
		return badSubmission("more than %d files", maxEntries)
	}
	clean := path.Clean(strings.ReplaceAll(name, `\`, "/"))
	keep := path.Ext(clean) == ".go" || path.Base(clean) == "go.mod"
	if !keep {
		if slices.Contains(compiled, path.Ext(clean)) {
			s.other = append(s.other, clean)
		}
		return nil
	}
	link := mode.Type() == fs.ModeSymlink
	switch {
	case !mode.IsRegular() && !link:
		s.note("%s is not a regular file, and is left out", clean)
		return nil
	case !fs.ValidPath(clean) || len(clean) > maxPathBytes:
		s.note("%.100q is not a path within the submission, and is left out", name)
		return nil
	}
	for part := range strings.SplitSeq(clean, "/") {
		if hidden(part) {
			return nil
		}
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxGoFile+1))
	if err != nil {
		return err
	}
	if link {
		s.links[clean] = string(data)
		return nil
	}
	s.bytes += len(data)
	s.files[clean] = data
	switch {
	case len(data) > maxGoFile:
		return badSubmission("%s has more than %d bytes", clean, maxGoFile)
	case s.bytes > maxGoBytes:
		return badSubmission("the Go files have more than %d bytes", maxGoBytes)
	case len(s.files) > maxGoFiles:
		return badSubmission("more than %d Go files", maxGoFiles)
	}
	return nil
}

func (s *source) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// readArchive reads a zip or tar file, the latter perhaps with gzip or bzip2.
func (s *source) readArchive(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, _ := io.ReadFull(f, head)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("PK")):
		return s.readZip(f)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		return s.readTar(r)
	case bytes.HasPrefix(head, []byte("BZh")):
		return s.readTar(bzip2.NewReader(f))
	}
	return s.readTar(f)
}

func (s *source) readZip(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return err
	}
	for _, entry := range z.File {
		if entry.FileInfo().IsDir() {
			continue
		}
		if err := s.add(entry.Name, entry.Mode(), entry.Open); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) readTar(r io.Reader) error {
	limited := &io.LimitedReader{R: r, N: maxArchive}
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		switch {
		case limited.N <= 0:
			return badSubmission("the archive has more than %d bytes", int64(maxArchive))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		mode, content := h.FileInfo().Mode(), io.Reader(t)
		switch h.Typeflag {
		case tar.TypeLink:
			mode |= fs.ModeIrregular // a hard link has no content of its own
		case tar.TypeSymlink:
			content = strings.NewReader(h.Linkname)
		}
		if err := s.add(h.Name, mode, func() (io.ReadCloser, error) { return io.NopCloser(content), nil }); err != nil {
			return err
		}
	}
}

// digest identifies the content of a submission.
func (s *source) digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(h, "%q %d\n", name, len(s.files[name]))
		h.Write(s.files[name])
	}
	fmt.Fprintf(h, "%q\n", s.other)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// SubmissionName returns the name of a submission, which is the last part of its path
// without the extension of an archive.
func SubmissionName(name string) string {
	base := filepath.Base(name)
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		for _, ext := range []string{".gz", ".bz2", ".tgz", ".tbz2", ".tar", ".zip"} {
			base = strings.TrimSuffix(base, ext)
		}
	}
	return base
}

// Sources returns the Go files of a submission, by path.
func Sources(name string) (map[string][]byte, error) {
	s, err := readSubmission(name)
	if err != nil {
		return nil, err
	}
	return s.files, nil
}
