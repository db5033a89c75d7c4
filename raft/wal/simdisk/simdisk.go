// Package simdisk simulates a disk that loses power, hangs, fills up and fails.
// Tests of a log ([raftlab/raft/wal]) and of hosts with a log use the package.
//
//	disk := simdisk.New()
//	err := wal.CreateIn(disk, opts)
//	store, err := wal.OpenIn(disk, opts)
//	...
//	disk = disk.Crash(simdisk.Loss{Writes: simdisk.Scatter, Names: simdisk.Tear, Rand: rng})
//	store, err = wal.OpenIn(disk, opts)
//
// In a crash the disk may lose a file's writes since the last Sync of the file,
// and changes of names since the last Sync of the directory. A sector of 512
// bytes is written whole or not at all.
package simdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"

	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// ErrCrashed is the error of a disk after [Disk.Crash].
var ErrCrashed = errors.New("the disk has lost power")

// Disk is a directory in memory. Methods may be called from any goroutine.
type Disk struct {
	mu      sync.Mutex // never held while the disk hangs
	content content
	locked  map[int]bool // files by number
	crashed bool
	hangs   chan struct{} // closed when the disk goes on; nil if it does not hang
	room    int64         // capacity in bytes, -1 for no limit
	sync    error         // of each Sync, nil if it succeeds
	names   error         // of each creation and renaming, nil if it succeeds
	read    func(name string, offset int64, n int) error
	journal []Op // since Record, nil before
	left    int  // changes before the disk stops, -1 for no limit
}

var _ wal.Directory = (*Disk)(nil)

// content is the state of a disk and of the cache in front.
type content struct {
	files   map[int]*file
	names   map[string]int // as programs see them
	durable map[string]int // as they were at the last Sync
	changes []Op           // of names, since then
	last    int            // number of the newest file
}

// file is a file's content. The content stays while a program has the file
// open.
type file struct {
	data    []byte // as programs see it
	durable []byte // as it was at the last Sync
	writes  []Op   // since then
}

// Kind is the kind of an [Op].
type Kind uint8

// The kinds of operations.
const (
	CreateFile Kind = iota
	RenameFile
	RemoveFile
	SyncNames
	WriteFile
	SyncFile
)

// Op is a change of the disk.
type Op struct {
	Kind   Kind
	Name   string // of the file when the operation was done
	To     string // its new name
	Offset int64
	Data   []byte
	file   int
}

// String names the operation and the file.
func (o Op) String() string {
	switch o.Kind {
	case CreateFile:
		return "create " + o.Name
	case RenameFile:
		return "rename " + o.Name + " to " + o.To
	case RemoveFile:
		return "remove " + o.Name
	case SyncNames:
		return "sync the directory"
	case WriteFile:
		return fmt.Sprintf("write %d bytes at %d of %s", len(o.Data), o.Offset, o.Name)
	}
	return "sync " + o.Name
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{room: -1, left: -1, locked: make(map[int]bool), content: content{
		files: make(map[int]*file), names: make(map[string]int), durable: make(map[string]int),
	}}
}

// Record starts a journal of all changes.
func (d *Disk) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal = []Op{}
}

// Journal returns the operations since Record was called, in their order.
func (d *Disk) Journal() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.journal)
}

// Apply does an operation of another disk's journal.
func (d *Disk) Apply(op Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.content.apply(op)
}

// Hang makes all operations wait until Resume is called.
func (d *Disk) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hangs == nil {
		d.hangs = make(chan struct{})
	}
}

// Resume ends Hang.
func (d *Disk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hangs != nil {
		close(d.hangs)
		d.hangs = nil
	}
}

// StopAfter lets n more changes pass. Then all operations fail with [ErrCrashed], as
// after a crash. [Disk.Crash] returns the remains.
func (d *Disk) StopAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = n
}

// SetCapacity limits the size of all files together. A write beyond the limit
// fails with syscall.ENOSPC. A negative number ends the limit.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

// FailSync makes each Sync of a file fail with err, and makes nothing durable.
// Like a kernel, the disk goes on to show the unsynced data, and a later Sync
// does not make the data durable either. nil ends the failures.
func (d *Disk) FailSync(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sync = err
}

// FailNames makes each creation and each renaming of a file fail with err, as on a disk
// without room for the directory. nil ends the failures.
func (d *Disk) FailNames(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = err
}

// FailRead makes a read fail if f returns an error for the file's name, the
// offset and the length. nil ends the failures.
func (d *Disk) FailRead(f func(name string, offset int64, n int) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read = f
}

// Damage changes bytes of a file, as rot on the disk does.
func (d *Disk) Damage(name string, offset int64, change func([]byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.content.files[d.content.names[name]]
	change(f.data[offset:])
	f.durable = slices.Clone(f.data)
	f.writes = nil
}

// Truncate cuts the end of a file off, as a copy that was interrupted does.
func (d *Disk) Truncate(name string, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.content.files[d.content.names[name]]
	f.data = slices.Clone(f.data[:size])
	f.durable = slices.Clone(f.data)
	f.writes = nil
}

// begin locks the disk. begin waits while the disk hangs, and fails after a
// crash.
func (d *Disk) begin() error {
	for {
		d.mu.Lock()
		hangs := d.hangs
		if d.crashed || d.left == 0 {
			d.mu.Unlock()
			return ErrCrashed
		}
		if hangs == nil {
			return nil
		}
		d.mu.Unlock()
		<-hangs
	}
}

// do does an operation and adds the operation to the journal. The caller has
// called begin.
func (d *Disk) do(op Op) {
	if d.left > 0 {
		d.left--
	}
	d.content.apply(op)
	if d.journal != nil {
		d.journal = append(d.journal, op)
	}
}

func (c *content) apply(op Op) {
	switch op.Kind {
	case CreateFile:
		c.last = max(c.last, op.file)
		c.files[op.file] = &file{}
	case WriteFile:
		f := c.files[op.file]
		if f == nil {
			return // removed for good, and still open
		}
		f.data = overlay(f.data, op)
		f.writes = append(f.writes, op)
		return
	case SyncFile:
		if f := c.files[op.file]; f != nil {
			f.sync()
		}
		return
	case SyncNames:
		c.durable = maps.Clone(c.names)
		c.changes = nil
		c.collect()
		return
	}
	rename(c.names, op)
	c.changes = append(c.changes, op)
}

// rename changes names as an operation says.
func rename(names map[string]int, op Op) {
	switch op.Kind {
	case CreateFile:
		names[op.Name] = op.file
	case RenameFile:
		delete(names, op.Name)
		names[op.To] = op.file
	case RemoveFile:
		delete(names, op.Name)
	}
}

// collect frees the content of files without a name. Open handles keep the
// content of such a file.
func (c *content) collect() {
	used := make(map[int]bool)
	for _, names := range []map[string]int{c.names, c.durable} {
		for _, number := range names {
			used[number] = true
		}
	}
	maps.DeleteFunc(c.files, func(number int, f *file) bool { return !used[number] && len(f.writes) == 0 })
}

func (f *file) sync() {
	for _, w := range f.writes {
		f.durable = overlay(f.durable, w)
	}
	f.writes = nil
}

// overlay writes into data and grows data if necessary.
func overlay(data []byte, w Op) []byte {
	if end := int(w.Offset) + len(w.Data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.Offset:], w.Data)
	return data
}

// Path implements [wal.Directory].
func (d *Disk) Path() string { return "simdisk" }

// List implements [wal.Directory].
func (d *Disk) List() ([]string, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.content.names)), nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: "simdisk/" + name, Err: err}
}

// Create implements [wal.Directory].
func (d *Disk) Create(name string) (wal.File, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if _, exists := d.content.names[name]; exists {
		return nil, pathError("create", name, syscall.EEXIST)
	}
	if d.names != nil {
		return nil, pathError("create", name, d.names)
	}
	return d.create(name), nil
}

func (d *Disk) create(name string) *handle {
	number := d.content.last + 1
	d.do(Op{Kind: CreateFile, Name: name, file: number})
	return &handle{disk: d, number: number, name: name, file: d.content.files[number]}
}

// Open implements [wal.Directory].
func (d *Disk) Open(name string) (wal.File, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	number, exists := d.content.names[name]
	if !exists {
		return nil, pathError("open", name, syscall.ENOENT)
	}
	return &handle{disk: d, number: number, name: name, file: d.content.files[number]}, nil
}

// Lock implements [wal.Directory].
func (d *Disk) Lock(name string) (wal.File, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	number, exists := d.content.names[name]
	if d.locked[number] {
		return nil, pathError("lock", name, node.ErrInUse)
	}
	var h *handle
	if exists {
		h = &handle{disk: d, number: number, name: name, file: d.content.files[number]}
	} else {
		h = d.create(name)
	}
	h.locks = true
	d.locked[h.number] = true
	return h, nil
}

// Rename implements [wal.Directory].
func (d *Disk) Rename(from, to string) error {
	if err := d.begin(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	number, exists := d.content.names[from]
	if !exists {
		return pathError("rename", from, syscall.ENOENT)
	}
	if d.names != nil {
		return pathError("rename", from, d.names)
	}
	d.do(Op{Kind: RenameFile, Name: from, To: to, file: number})
	return nil
}

// Remove implements [wal.Directory].
func (d *Disk) Remove(name string) error {
	if err := d.begin(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	number, exists := d.content.names[name]
	if !exists {
		return pathError("remove", name, syscall.ENOENT)
	}
	d.do(Op{Kind: RemoveFile, Name: name, file: number})
	return nil
}

// Sync implements [wal.Directory].
func (d *Disk) Sync() error {
	if err := d.begin(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	d.do(Op{Kind: SyncNames})
	return nil
}

// handle is an open file.
type handle struct {
	disk   *Disk
	number int
	name   string
	file   *file
	locks  bool
	closed bool
}

func (h *handle) begin() error {
	if err := h.disk.begin(); err != nil {
		return err
	}
	if h.closed {
		h.disk.mu.Unlock()
		return pathError("use", h.name, fs.ErrClosed)
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (h *handle) ReadAt(p []byte, offset int64) (int, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	defer h.disk.mu.Unlock()
	if h.disk.read != nil {
		if err := h.disk.read(h.name, offset, len(p)); err != nil {
			return 0, pathError("read", h.name, err)
		}
	}
	if offset > int64(len(h.file.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.file.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [io.WriterAt].
func (h *handle) WriteAt(p []byte, offset int64) (int, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	defer h.disk.mu.Unlock()
	if more := offset + int64(len(p)) - int64(len(h.file.data)); more > 0 && h.disk.room >= 0 && h.disk.used()+more > h.disk.room {
		return 0, pathError("write", h.name, syscall.ENOSPC)
	}
	h.disk.do(Op{Kind: WriteFile, Name: h.name, Offset: offset, Data: slices.Clone(p), file: h.number})
	return len(p), nil
}

// Used returns the size of all files together.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() int64 {
	n := int64(0)
	for _, number := range d.content.names {
		n += int64(len(d.content.files[number].data))
	}
	return n
}

// Size implements [wal.File].
func (h *handle) Size() (int64, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	defer h.disk.mu.Unlock()
	return int64(len(h.file.data)), nil
}

// Sync implements [wal.File].
func (h *handle) Sync() error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.disk.mu.Unlock()
	if h.disk.sync != nil {
		h.file.writes = nil // shown, and never durable
		return pathError("sync", h.name, h.disk.sync)
	}
	h.disk.do(Op{Kind: SyncFile, Name: h.name, file: h.number})
	return nil
}

// Close implements [io.Closer].
func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return pathError("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	if h.locks {
		delete(h.disk.locked, h.number)
	}
	return nil
}
