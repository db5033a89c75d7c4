//go:build !wasip1

package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"os"
)

// pageFile is a bbolt file (format version 2), read page by page with plain reads.
// A reader of pages trusts no page. bbolt itself would follow a damaged page out
// of the file or in a circle.
type pageFile struct {
	file     *os.File
	pageSize uint64
	newest   meta
	before   meta      // of the transaction before the newest one
	walked   *pageTree // the last tree that walkBuckets has read
}

// readAt reads the pages of a tree, and writeAt writes them again. Tests replace
// both.
var (
	readAt  = (*os.File).ReadAt
	writeAt = (*os.File).WriteAt
)

// openPages opens the file at path and reads the meta pages. openPages returns an
// error unless both are whole. If the newer meta page is damaged, bbolt would use
// the older one, without the last, acknowledged, transaction. A meta page is
// smaller than a sector of any disk, so a crash never leaves half of one.
func openPages(path string) (*pageFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &pageFile{file: file}
	if err := f.readMetas(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

func (f *pageFile) close() error { return f.file.Close() }

// visitor receives the keys and values of a bucket, in the order of the keys. visit
// may keep the slices. end, if set, is called at the end of the bucket.
type visitor struct {
	bucket []byte
	visit  func(key, value []byte) error
	end    func() error
}

// walkBuckets reads the tree of a meta page and passes the content of buckets to
// visitors, one after the other. walkBuckets returns an error unless each page of the
// buckets occurs once and has the right id and kind, and the keys are in order.
// Buckets without a visitor are an error if all is set.
func (f *pageFile) walkBuckets(m meta, all bool, visitors ...visitor) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if m.pages > uint64(info.Size())/f.pageSize {
		return fmt.Errorf("the file is cut short: %d bytes; want at least %d pages of %d", info.Size(), m.pages, f.pageSize)
	}
	t := f.tree(m)
	f.walked = t
	found := make(map[string][]byte)
	t.visit = func(name, bucket []byte) error {
		found[string(name)] = bucket
		return nil
	}
	if err := t.walk(m.root, keyRange{}, true); err != nil {
		return err
	}
	for _, v := range visitors {
		bucket, ok := found[string(v.bucket)]
		if !ok {
			return fmt.Errorf("there is no bucket %q", v.bucket)
		}
		delete(found, string(v.bucket))
		t.visit = v.visit
		if err := t.walkBucket(string(v.bucket), bucket); err != nil {
			return err
		}
		if v.end == nil {
			continue
		}
		if err := v.end(); err != nil {
			return err
		}
	}
	for name := range found {
		if all {
			return fmt.Errorf("there is a bucket %q", name)
		}
	}
	return nil
}

// The layout of a bbolt file. Numbers are in the machine's byte order.
const (
	pageHeaderSize    = 16 // id uint64, kind uint16, count uint16, overflow uint32
	branchElementSize = 16 // position uint32, key size uint32, page uint64
	leafElementSize   = 16 // flags uint32, position uint32, key size uint32, value size uint32
	bucketHeaderSize  = 16 // root uint64, sequence uint64

	branchPage = 0x01
	leafPage   = 0x02
	bucketFlag = 0x01

	metaMagic     = 0xED0CDAED
	metaVersion   = 2
	metaSize      = 64 // up to and with its checksum
	minPageSize   = 1 << 10
	maxPageSize   = 1 << 16
	firstTreePage = 2
)

var order = binary.NativeEndian

// meta is a part of a meta page.
type meta struct {
	root     uint64
	pages    uint64 // one more than the highest page id
	sequence uint64 // number of the transaction
	marked   bool   // the transaction was synced
	sum      uint32 // of the read part of the page
}

// pageTree is the state of a walk over a tree.
type pageTree struct {
	*pageFile
	seen  []bool   // by page id
	sums  []uint32 // of the pages with their overflow pages, by page id
	visit func(key, value []byte) error
}

func (f *pageFile) tree(m meta) *pageTree {
	return &pageTree{pageFile: f, seen: make([]bool, m.pages), sums: make([]uint32, m.pages)}
}

func (f *pageFile) readMetas() error {
	first := make([]byte, minPageSize)
	if _, err := f.file.ReadAt(first, 0); err != nil {
		return fmt.Errorf("meta page 0: %w", err)
	}
	a, err := readMeta(first[pageHeaderSize:])
	if err != nil {
		return fmt.Errorf("meta page 0: %w", err)
	}
	f.pageSize = uint64(order.Uint32(first[pageHeaderSize+8:]))
	if f.pageSize < minPageSize || f.pageSize > maxPageSize || f.pageSize&(f.pageSize-1) != 0 {
		return fmt.Errorf("meta page 0: pages of %d bytes", f.pageSize)
	}
	second := make([]byte, len(first))
	if _, err := f.file.ReadAt(second, int64(f.pageSize)); err != nil {
		return fmt.Errorf("meta page 1: %w", err)
	}
	b, err := readMeta(second[pageHeaderSize:])
	if err != nil {
		return fmt.Errorf("meta page 1: %w", err)
	}
	a.marked = bytes.Equal(first[markPlace:][:markSize], mark(a.sequence))
	b.marked = bytes.Equal(second[markPlace:][:markSize], mark(b.sequence))
	a.sum, b.sum = crc32.Checksum(first, castagnoli), crc32.Checksum(second, castagnoli)
	// The transactions write the two pages in turn.
	switch {
	case a.sequence%2 != 0 || b.sequence%2 != 1:
	case a.sequence == b.sequence+1:
		f.newest, f.before = a, b
		return nil
	case b.sequence == a.sequence+1:
		f.newest, f.before = b, a
		return nil
	}
	return fmt.Errorf("meta pages 0 and 1 are of transactions %d and %d", a.sequence, b.sequence)
}

// The mark of a synced transaction is in the transaction's meta page, behind
// bbolt's part and in a sector of its own. bbolt writes the whole page with each
// meta, so a mark goes with its meta.
const (
	markPlace = 512
	markSize  = 16
)

// mark returns the mark of a transaction.
func mark(transaction uint64) []byte {
	b := append([]byte("raft"), 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, transaction)
	order.PutUint32(b[4:], crc32.Checksum(b, castagnoli))
	return b
}

func markOffset(transaction uint64, pageSize int) int64 {
	return int64(transaction%2)*int64(pageSize) + markPlace
}

// goBack makes the transaction before the newest one the newest. goBack replaces
// the newest meta page by the older one under the number before. bbolt's next
// transaction then has the number of the dropped one.
func (f *pageFile) goBack() error {
	page := make([]byte, minPageSize)
	if _, err := f.file.ReadAt(page, int64(f.before.sequence%2*f.pageSize)); err != nil {
		return err
	}
	place := f.newest.sequence % 2
	order.PutUint64(page, place)
	m := page[pageHeaderSize:]
	order.PutUint64(m[48:], f.before.sequence-1)
	order.PutUint64(m[metaSize-8:], metaChecksum(m))
	clear(page[markPlace:])
	file, err := os.OpenFile(f.file.Name(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(page, int64(place*f.pageSize))
	return errors.Join(err, file.Sync(), file.Close())
}

func metaChecksum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	return h.Sum64()
}

func readMeta(b []byte) (meta, error) {
	switch {
	case order.Uint32(b) != metaMagic:
		return meta{}, errors.New("the file is not a bbolt file")
	case order.Uint32(b[4:]) != metaVersion:
		return meta{}, fmt.Errorf("bbolt format %d; this program reads %d", order.Uint32(b[4:]), metaVersion)
	case order.Uint64(b[metaSize-8:]) != metaChecksum(b):
		return meta{}, errors.New("wrong checksum")
	}
	return meta{root: order.Uint64(b[16:]), pages: order.Uint64(b[40:]), sequence: order.Uint64(b[48:])}, nil
}

// keyRange bounds the keys of a page, from low on and below high. A nil high is no
// bound.
type keyRange struct{ low, high []byte }

// page is a page with its overflow pages, or an inlined page in a value.
type page struct {
	name  string
	kind  uint16
	count int
	data  []byte // with the header
}

// walk checks page id and all pages below. Only the keys of the root bucket are
// names of buckets.
func (t *pageTree) walk(id uint64, keys keyRange, isRoot bool) error {
	p, err := t.read(id)
	if err != nil {
		return err
	}
	if p.kind == branchPage {
		return t.walkBranch(p, keys, isRoot)
	}
	return t.walkLeaf(p, keys, isRoot)
}

// read reads a page of the tree and marks the page as seen.
func (t *pageTree) read(id uint64) (page, error) {
	if id < firstTreePage || id >= uint64(len(t.seen)) {
		return page{}, fmt.Errorf("there is no page %d among %d", id, len(t.seen))
	}
	header := make([]byte, pageHeaderSize)
	if _, err := readAt(t.file, header, int64(id*t.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(order.Uint32(header[12:]))
	if own := order.Uint64(header); own != id || overflow >= uint64(len(t.seen))-id {
		return page{}, fmt.Errorf("page %d calls itself page %d with %d more, of %d", id, own, overflow, len(t.seen))
	}
	for i := id; i <= id+overflow; i++ {
		if t.seen[i] {
			return page{}, fmt.Errorf("page %d is used twice", i)
		}
		t.seen[i] = true
	}
	data := make([]byte, (overflow+1)*t.pageSize)
	if _, err := readAt(t.file, data, int64(id*t.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	t.sums[id] = crc32.Checksum(data, castagnoli)
	return parsePage(fmt.Sprintf("page %d (offset %d)", id, id*t.pageSize), data)
}

func parsePage(name string, data []byte) (page, error) {
	if len(data) < pageHeaderSize {
		return page{}, fmt.Errorf("%s is cut short", name)
	}
	p := page{name: name, kind: order.Uint16(data[8:]), count: int(order.Uint16(data[10:])), data: data}
	if p.kind != branchPage && p.kind != leafPage {
		return page{}, fmt.Errorf("%s is of kind %#x", name, p.kind)
	}
	if pageHeaderSize+p.count*leafElementSize > len(data) {
		return page{}, fmt.Errorf("%s claims %d elements", name, p.count)
	}
	return p, nil
}

// element returns the fixed part of element i, and its offset in the page.
func (p page) element(i int) ([]byte, uint64) {
	at := pageHeaderSize + i*leafElementSize // as long as a branch element
	return p.data[at : at+leafElementSize], uint64(at)
}

// slice returns the bytes of an element.
func (p page) slice(from, size uint64) ([]byte, error) {
	low := uint64(pageHeaderSize + p.count*leafElementSize)
	if from < low || from+size > uint64(len(p.data)) {
		return nil, fmt.Errorf("%s has an element outside it, at %d with %d bytes", p.name, from, size)
	}
	return p.data[from : from+size : from+size], nil
}

// within checks the order of a key, after the key before and in the page's range.
func (p page) within(keys keyRange, before, key []byte) error {
	switch {
	case before != nil && bytes.Compare(before, key) >= 0,
		bytes.Compare(key, keys.low) < 0,
		keys.high != nil && bytes.Compare(key, keys.high) >= 0:
		return fmt.Errorf("%s has the key %x out of order", p.name, key)
	}
	return nil
}

func (t *pageTree) walkBranch(p page, keys keyRange, isRoot bool) error {
	if p.count == 0 {
		return fmt.Errorf("%s is a branch without leaves", p.name)
	}
	starts, children := make([][]byte, p.count), make([]uint64, p.count)
	var before []byte
	for i := range p.count {
		e, at := p.element(i)
		key, err := p.slice(at+uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])))
		if err != nil {
			return err
		}
		if err := p.within(keys, before, key); err != nil {
			return err
		}
		starts[i], children[i], before = key, order.Uint64(e[8:]), key
	}
	for i, child := range children {
		below := keyRange{low: starts[i], high: keys.high}
		if i+1 < len(starts) {
			below.high = starts[i+1]
		}
		if err := t.walk(child, below, isRoot); err != nil {
			return err
		}
	}
	return nil
}

func (t *pageTree) walkLeaf(p page, keys keyRange, isRoot bool) error {
	var before []byte
	for i := range p.count {
		e, at := p.element(i)
		keySize := uint64(order.Uint32(e[8:]))
		from := at + uint64(order.Uint32(e[4:]))
		both, err := p.slice(from, keySize+uint64(order.Uint32(e[12:])))
		if err != nil {
			return err
		}
		key, value := both[:keySize:keySize], both[keySize:]
		if err := p.within(keys, before, key); err != nil {
			return err
		}
		if isBucket := order.Uint32(e) == bucketFlag; isBucket != isRoot || !isBucket && order.Uint32(e) != 0 {
			return fmt.Errorf("%s has a key %x with flags %#x", p.name, key, order.Uint32(e))
		}
		if err := t.visit(key, value); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		before = key
	}
	return nil
}

// walkBucket checks the pages of a bucket. The page of a small bucket is inlined in
// the value.
func (t *pageTree) walkBucket(name string, value []byte) error {
	if len(value) < bucketHeaderSize {
		return fmt.Errorf("bucket %q is cut short", name)
	}
	if root := order.Uint64(value); root != 0 {
		return t.walk(root, keyRange{}, false)
	}
	p, err := parsePage(fmt.Sprintf("the page of bucket %q", name), value[bucketHeaderSize:])
	if err != nil {
		return err
	}
	if p.kind != leafPage {
		return fmt.Errorf("%s is a branch", p.name)
	}
	return t.walkLeaf(p, keyRange{}, false)
}
