package mvcc

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A snapshot is a magic number, and frames. A frame is a kind, the length of the
// payload, the payload, and the CRC-32C of all bytes of the snapshot up to here. The
// frames are one header, leases, versions, and one end with the numbers of both. A
// version begins with the length of its key; length 0 stands for the key of the version
// before. Keys ascend, and so do the revisions of each key's versions.
const (
	snapshotMagic  = "raftlab mvcc\x00\x00\x00"
	snapshotFormat = 1

	// frameBytes is the size from which on a frame is closed. A frame is larger only
	// by the last version in the frame.
	frameBytes = 64 << 10

	frameHeader   = 'H'
	frameLeases   = 'L'
	frameVersions = 'V'
	frameEnd      = 'E'
)

// ErrSnapshot is matched by the error of Restore for damaged data.
var ErrSnapshot = errors.New("mvcc: the snapshot is damaged")

// ErrSnapshotFormat is matched by the error of Restore for a snapshot of a newer format
// than this package reads. The error names both.
var ErrSnapshotFormat = errors.New("mvcc: the snapshot has an unknown format")

// WriteTo writes the view as a snapshot, in memory that does not depend on the size of
// the view.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	f := &frameWriter{out: w}
	f.raw([]byte(snapshotMagic))
	f.payload = append(f.payload, snapshotFormat)
	f.payload = binary.AppendVarint(f.payload, v.state.revision)
	f.payload = binary.AppendVarint(f.payload, v.state.compacted)
	f.close(frameHeader)
	v.state.leases.Scan(func(_ int64, l Lease) bool {
		f.payload = binary.AppendVarint(f.payload, l.ID)
		f.payload = binary.AppendVarint(f.payload, l.TTL)
		f.payload = binary.AppendVarint(f.payload, l.Remaining)
		return f.grown(frameLeases)
	})
	f.close(frameLeases)
	versions := 0
	v.state.keys.Scan(func(key string, r record) bool {
		first := v.state.firstKept(r)
		for i := first; i < r.count() && f.err == nil; i++ {
			if i == first {
				f.payload = binary.AppendUvarint(f.payload, uint64(len(key)))
				f.payload = append(f.payload, key...)
			} else {
				f.payload = append(f.payload, 0)
			}
			e := r.at(i)
			f.payload = e.appendFields(f.payload)
			f.payload = append(f.payload, e.Value...)
			versions++
			f.grown(frameVersions)
		}
		return f.err == nil
	})
	f.close(frameVersions)
	f.payload = binary.AppendUvarint(f.payload, uint64(v.state.leases.Len()))
	f.payload = binary.AppendUvarint(f.payload, uint64(versions))
	f.close(frameEnd)
	return f.written, f.err
}

// appendFields encodes all of a version but the key and the bytes of the value.
func (v *version) appendFields(to []byte) []byte {
	kind := byte(0)
	if v.deleted {
		kind = 1
	}
	to = append(to, kind)
	to = binary.AppendVarint(to, v.ModRevision)
	to = binary.AppendUvarint(to, uint64(v.sub))
	if v.deleted {
		return to
	}
	to = binary.AppendVarint(to, v.CreateRevision)
	to = binary.AppendVarint(to, v.Version)
	to = binary.AppendVarint(to, v.Lease)
	return binary.AppendUvarint(to, uint64(len(v.Value)))
}

// frameWriter writes frames. After an error it writes no more.
type frameWriter struct {
	out     io.Writer
	payload []byte // of the frame to come
	frame   []byte // reused
	sum     uint32
	written int64
	err     error
}

func (f *frameWriter) raw(data []byte) {
	if f.err != nil {
		return
	}
	f.sum = crc32.Update(f.sum, castagnoli, data)
	n, err := f.out.Write(data)
	f.written += int64(n)
	f.err = err
}

// grown closes the frame if the frame is large enough, and reports whether the writer
// works.
func (f *frameWriter) grown(kind byte) bool {
	if len(f.payload) >= frameBytes {
		f.close(kind)
	}
	return f.err == nil
}

// close writes the frame, unless the frame is empty.
func (f *frameWriter) close(kind byte) {
	if len(f.payload) == 0 {
		return
	}
	f.frame = append(f.frame[:0], kind)
	f.frame = binary.AppendUvarint(f.frame, uint64(len(f.payload)))
	f.frame = append(f.frame, f.payload...)
	sum := crc32.Update(f.sum, castagnoli, f.frame)
	f.raw(binary.LittleEndian.AppendUint32(f.frame, sum))
	f.payload = f.payload[:0]
}

// Restore reads a snapshot. Restore checks the checksum of each part before the part is
// used, and that the content is one that a store can have. The error matches
// [ErrSnapshot], [ErrSnapshotFormat], or is the reader's. Bytes behind the end of the
// snapshot may have been read from r.
func Restore(r io.Reader) (*Store, error) {
	d := &restorer{in: frameReader{in: bufio.NewReaderSize(r, frameBytes)}, state: newState()}
	if err := d.run(); err != nil {
		return nil, err
	}
	return &Store{state: d.state}, nil
}

// restorer builds a state from frames.
type restorer struct {
	in       frameReader
	state    state
	last     *version // of the last key so far; its record grows
	record   record
	changes  []*version // not before the compacted revision
	versions uint64
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
}

func (d *restorer) run() error {
	if err := d.in.magic(); err != nil {
		return err
	}
	kind, payload, err := d.in.next()
	if err != nil {
		return err
	}
	if err := d.header(kind, payload); err != nil {
		return err
	}
	for {
		kind, payload, err := d.in.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameLeases:
			err = d.leases(payload)
		case frameVersions:
			err = d.readVersions(payload)
		case frameEnd:
			return d.end(payload)
		default:
			err = damaged("a frame of kind %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

func (d *restorer) header(kind byte, payload []byte) error {
	if kind != frameHeader || len(payload) == 0 {
		return damaged("the first frame has kind %d and %d bytes; want a header", kind, len(payload))
	}
	if payload[0] != snapshotFormat {
		return fmt.Errorf("%w: format %d; this version reads format %d", ErrSnapshotFormat, payload[0], snapshotFormat)
	}
	p := parser{data: payload[1:]}
	revision, compacted := p.varint(), p.varint()
	if err := p.end(); err != nil {
		return damaged("the header: %v", err)
	}
	return d.begin(revision, compacted)
}

// begin takes the revisions of the store.
func (d *restorer) begin(revision, compacted int64) error {
	d.state.revision, d.state.compacted = revision, compacted
	if d.state.revision < 1 || d.state.compacted < -1 || d.state.compacted > d.state.revision {
		return damaged("revision %d, compacted at %d", d.state.revision, d.state.compacted)
	}
	return nil
}

func (d *restorer) leases(payload []byte) error {
	p := parser{data: payload}
	for p.more() {
		l := Lease{ID: p.varint(), TTL: p.varint(), Remaining: p.varint()}
		if p.err != nil {
			break
		}
		if err := d.lease(l); err != nil {
			return err
		}
	}
	if err := p.end(); err != nil {
		return damaged("a lease: %v", err)
	}
	return nil
}

func (d *restorer) lease(l Lease) error {
	if l.ID == 0 || l.TTL < 1 || l.TTL > MaxLeaseTTL || l.Remaining < 0 || l.Remaining > l.TTL {
		return damaged("lease %+v", l)
	}
	if _, twice := d.state.leases.Set(l.ID, l); twice {
		return damaged("lease %d twice", l.ID)
	}
	return nil
}

func (d *restorer) readVersions(payload []byte) error {
	p := parser{data: payload}
	for p.more() {
		key := p.string()
		v := &version{}
		p.version(v)
		if p.err != nil {
			break
		}
		if key == "" {
			if d.last == nil {
				return damaged("a version without a key")
			}
			v.Key = d.last.Key
		} else {
			v.Key = key
		}
		if err := d.add(v); err != nil {
			return err
		}
	}
	if err := p.end(); err != nil {
		return damaged("a version: %v", err)
	}
	return nil
}

// add takes the next version in the order of keys and revisions.
func (d *restorer) add(v *version) error {
	if err := d.check(v); err != nil {
		return err
	}
	if d.last != nil && d.last.Key != v.Key {
		d.closeKey()
	}
	if d.last == nil || d.last.Key != v.Key {
		d.state.bytes += int64(len(v.Key))
	}
	d.record = d.record.with(v)
	d.last = v
	d.state.versions++
	d.state.bytes += int64(len(v.Value))
	d.versions++
	if v.ModRevision >= d.state.compacted {
		d.changes = append(d.changes, v)
	}
	return nil
}

// check returns an error if no store can have the version behind the last one.
func (d *restorer) check(v *version) error {
	if v.ModRevision < 2 || v.ModRevision > d.state.revision {
		return damaged("a version of revision %d in a store of revision %d", v.ModRevision, d.state.revision)
	}
	if !v.deleted && (v.CreateRevision < 2 || v.CreateRevision > v.ModRevision || v.Version < 1) {
		return damaged("version %d of a key, created at %d and written at %d", v.Version, v.CreateRevision, v.ModRevision)
	}
	if v.deleted && v.ModRevision < d.state.compacted {
		return damaged("a tombstone of revision %d in a store compacted at %d", v.ModRevision, d.state.compacted)
	}
	if d.last == nil || v.Key > d.last.Key {
		return nil
	}
	if v.Key < d.last.Key {
		return damaged("the key %q behind %q", v.Key, d.last.Key)
	}
	if v.ModRevision <= d.last.ModRevision {
		return damaged("revision %d behind revision %d of a key", v.ModRevision, d.last.ModRevision)
	}
	if v.ModRevision <= d.state.compacted {
		return damaged("two versions of a key up to the compacted revision %d", d.state.compacted)
	}
	return nil
}

// closeKey puts the versions of the last key into the tree.
func (d *restorer) closeKey() {
	d.state.keys.Load(d.last.Key, d.record)
	d.state.track(nil, d.last)
	d.record = record{}
}

func (d *restorer) end(payload []byte) error {
	p := parser{data: payload}
	leases, versions := p.uvarint(), p.uvarint()
	if err := p.end(); err != nil {
		return damaged("the end: %v", err)
	}
	if leases != uint64(d.state.leases.Len()) || versions != d.versions {
		return damaged("%d leases and %d versions; want %d and %d", d.state.leases.Len(), d.versions, leases, versions)
	}
	return d.finish()
}

// finish completes the state behind the last version.
func (d *restorer) finish() error {
	if d.last != nil {
		d.closeKey()
	}
	d.state.rebuildEvents(d.changes)
	return d.checkLeases()
}

// checkLeases returns an error if a key is attached to a lease that does not exist.
func (d *restorer) checkLeases() (err error) {
	d.state.attached.Scan(func(a attachment) bool {
		if _, ok := d.state.leases.Get(a.lease); !ok {
			err = damaged("the key %q is attached to the unknown lease %d", a.key, a.lease)
		}
		return err == nil
	})
	return err
}

// rebuildEvents fills the log of events.
func (s *state) rebuildEvents(changes []*version) {
	slices.SortFunc(changes, compareChanges)
	for _, v := range changes {
		s.events.append(v)
	}
}

// frameReader reads frames and checks their checksums.
type frameReader struct {
	in    *bufio.Reader
	sum   uint32
	frame bytes.Buffer // reused
}

func (f *frameReader) magic() error {
	got := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(f.in, got); err != nil {
		return truncated(err)
	}
	if string(got) != snapshotMagic {
		return damaged("it begins with %q; want %q", got, snapshotMagic)
	}
	f.sum = crc32.Update(0, castagnoli, got)
	return nil
}

// next returns the kind and the payload of the next frame. The payload is valid until
// the next call.
func (f *frameReader) next() (kind byte, payload []byte, err error) {
	if kind, err = f.in.ReadByte(); err != nil {
		return 0, nil, truncated(err)
	}
	size, err := binary.ReadUvarint(f.in)
	if err != nil {
		return 0, nil, truncated(err)
	}
	f.frame.Reset()
	f.frame.WriteByte(kind)
	f.frame.Write(binary.AppendUvarint(nil, size))
	head := f.frame.Len()
	if size > 1<<40 {
		return 0, nil, damaged("a frame of %d bytes", size)
	}
	// The buffer grows with what is there, so a wrong size takes no memory.
	if _, err := io.CopyN(&f.frame, f.in, int64(size)); err != nil {
		return 0, nil, truncated(err)
	}
	var sum [4]byte
	if _, err := io.ReadFull(f.in, sum[:]); err != nil {
		return 0, nil, truncated(err)
	}
	f.sum = crc32.Update(f.sum, castagnoli, f.frame.Bytes())
	if want := binary.LittleEndian.Uint32(sum[:]); f.sum != want {
		return 0, nil, damaged("checksum %08x of a frame; want %08x", f.sum, want)
	}
	f.sum = crc32.Update(f.sum, castagnoli, sum[:])
	return kind, f.frame.Bytes()[head:], nil
}

// truncated turns the end of the data into damage.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("the data ends too soon")
	}
	return fmt.Errorf("mvcc: reading a snapshot: %w", err)
}
