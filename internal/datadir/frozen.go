package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"raftlab/raft/wal"
)

// frozen is a [wal.Directory] over the files of a directory. All changes stay in memory.
// So a log opens as after a crash, and the disk does not change.
type frozen struct {
	path string

	mu      sync.Mutex
	files   map[string]*overlay // changed files, and made ones
	removed map[string]bool
}

func freeze(path string) (*frozen, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", path)
	}
	return &frozen{path: path, files: make(map[string]*overlay), removed: make(map[string]bool)}, nil
}

// Path implements wal.Directory.
func (d *frozen) Path() string { return d.path }

// List implements wal.Directory.
func (d *frozen) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !d.removed[e.Name()] && d.files[e.Name()] == nil {
			names = append(names, e.Name())
		}
	}
	for name := range d.files {
		names = append(names, name)
	}
	return names, nil
}

// Create implements wal.Directory.
func (d *frozen) Create(name string) (wal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	o := &overlay{pages: make(map[int64][]byte)}
	d.files[name] = o
	delete(d.removed, name)
	return frozenFile{o, nil}, nil
}

// Open implements wal.Directory. A handle reads the file on disk that had the name at
// the time, beneath the changes.
func (d *frozen) Open(name string) (wal.File, error) {
	d.mu.Lock()
	o := d.files[name]
	removed := d.removed[name]
	d.mu.Unlock()
	if o != nil && o.base == "" {
		return frozenFile{o, nil}, nil
	}
	if o == nil && removed {
		return nil, &os.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if o == nil {
		info, err := os.Stat(filepath.Join(d.path, name))
		if err != nil {
			return nil, err
		}
		o = d.adopt(name, info.Size())
	}
	f, err := os.Open(filepath.Join(d.path, o.base))
	if err != nil {
		return nil, err
	}
	return frozenFile{o, f}, nil
}

// adopt makes the overlay of a file on disk.
func (d *frozen) adopt(name string, size int64) *overlay {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		d.files[name] = &overlay{base: name, size: size, pages: make(map[int64][]byte)}
	}
	return d.files[name]
}

// Lock implements wal.Directory. The lock of the disk is neither needed nor taken.
func (d *frozen) Lock(name string) (wal.File, error) { return d.Open(name) }

// Rename implements wal.Directory.
func (d *frozen) Rename(from, to string) error {
	f, err := d.Open(from)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.files[to] = f.(frozenFile).overlay
	delete(d.files, from)
	d.removed[from] = true
	d.mu.Unlock()
	return f.Close()
}

// Remove implements wal.Directory.
func (d *frozen) Remove(name string) error {
	f, err := d.Open(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.files, name)
	d.removed[name] = true
	d.mu.Unlock()
	return f.Close()
}

// Sync implements wal.Directory.
func (d *frozen) Sync() error { return nil }

// overlayPage is the size of the pieces in which changes are kept.
const overlayPage = 4096

// overlay is the changes of a file.
type overlay struct {
	base string // name of the file on disk, "" for a made one

	mu    sync.Mutex
	size  int64
	pages map[int64][]byte // by number; missing ones of a made file are zeros
}

// frozenFile is an open file.
type frozenFile struct {
	*overlay
	disk *os.File // nil for a made file
}

// ReadAt implements io.ReaderAt.
func (f frozenFile) ReadAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at >= f.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.size-at))
	if err := f.under(p[:n], at); err != nil {
		return 0, err
	}
	for number := at / overlayPage; len(f.pages) > 0 && number*overlayPage < at+int64(n); number++ {
		if page := f.pages[number]; page != nil {
			skip := max(number*overlayPage-at, 0)
			copy(p[skip:n], page[max(at-number*overlayPage, 0):])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// under reads what the disk has, and zeros beyond.
func (f frozenFile) under(p []byte, at int64) error {
	if f.disk == nil {
		clear(p)
		return nil
	}
	n, err := f.disk.ReadAt(p, at)
	clear(p[n:])
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// WriteAt implements io.WriterAt. Zeros that a made file has already cost no memory.
func (f frozenFile) WriteAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written := len(p)
	for len(p) > 0 {
		number := at / overlayPage
		n := min(int64(len(p)), (number+1)*overlayPage-at)
		if page := f.pages[number]; page != nil || f.disk != nil || !isZero(p[:n]) {
			if page == nil {
				page = make([]byte, overlayPage)
				if err := f.under(page, number*overlayPage); err != nil {
					return 0, err
				}
				f.pages[number] = page
			}
			copy(page[at-number*overlayPage:], p[:n])
		}
		p, at = p[n:], at+n
		f.size = max(f.size, at)
	}
	return written, nil
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Size implements wal.File.
func (f frozenFile) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, nil
}

// Sync implements wal.File.
func (f frozenFile) Sync() error { return nil }

// Close implements io.Closer.
func (f frozenFile) Close() error {
	if f.disk == nil {
		return nil
	}
	return f.disk.Close()
}
