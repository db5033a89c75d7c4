//go:build !wasip1

package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// checkPages reads the tree of pages of a bbolt file (format version 2) with plain
// reads, and trusts no page. bbolt itself would follow a damaged page out of the
// file or in a circle. checkPages returns an error unless both meta pages are
// whole, each page of the tree occurs once and has the right id and kind, and the
// keys are in order.
//
// If the newer meta page is damaged, bbolt would use the older one. The older one
// has the state before the last, acknowledged, transaction. So checkPages returns
// an error. A meta page is smaller than a sector of any disk, so a crash never
// leaves half of one.
func checkPages(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	t := &pageTree{file: file}
	m, err := t.newestMeta()
	if err != nil {
		return err
	}
	if m.pages > uint64(info.Size())/t.pageSize {
		return fmt.Errorf("the file is cut short: %d bytes; want at least %d pages of %d", info.Size(), m.pages, t.pageSize)
	}
	t.seen = make([]bool, m.pages)
	return t.walk(m.root, keyRange{}, true)
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
	minPageSize   = 1 << 9
	maxPageSize   = 1 << 16
	firstTreePage = 2
)

var order = binary.NativeEndian

// meta is a part of a meta page.
type meta struct {
	root     uint64
	pages    uint64 // one more than the highest page id
	sequence uint64 // number of the transaction
}

// pageTree is the state of a walk over the tree.
type pageTree struct {
	file     *os.File
	pageSize uint64
	seen     []bool // by page id
}

// newestMeta reads both meta pages.
func (t *pageTree) newestMeta() (meta, error) {
	first := make([]byte, pageHeaderSize+metaSize)
	if _, err := t.file.ReadAt(first, 0); err != nil {
		return meta{}, fmt.Errorf("meta page 0: %w", err)
	}
	a, err := readMeta(first[pageHeaderSize:])
	if err != nil {
		return meta{}, fmt.Errorf("meta page 0: %w", err)
	}
	t.pageSize = uint64(order.Uint32(first[pageHeaderSize+8:]))
	if t.pageSize < minPageSize || t.pageSize > maxPageSize || t.pageSize&(t.pageSize-1) != 0 {
		return meta{}, fmt.Errorf("meta page 0: pages of %d bytes", t.pageSize)
	}
	second := make([]byte, len(first))
	if _, err := t.file.ReadAt(second, int64(t.pageSize)); err != nil {
		return meta{}, fmt.Errorf("meta page 1: %w", err)
	}
	b, err := readMeta(second[pageHeaderSize:])
	if err != nil {
		return meta{}, fmt.Errorf("meta page 1: %w", err)
	}
	// The transactions write the two pages in turn.
	switch {
	case a.sequence%2 != 0 || b.sequence%2 != 1:
	case a.sequence == b.sequence+1:
		return a, nil
	case b.sequence == a.sequence+1:
		return b, nil
	}
	return meta{}, fmt.Errorf("meta pages 0 and 1 are of transactions %d and %d", a.sequence, b.sequence)
}

func readMeta(b []byte) (meta, error) {
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	switch {
	case order.Uint32(b) != metaMagic:
		return meta{}, errors.New("the file is not a bbolt file")
	case order.Uint32(b[4:]) != metaVersion:
		return meta{}, fmt.Errorf("bbolt format %d; this program reads %d", order.Uint32(b[4:]), metaVersion)
	case order.Uint64(b[metaSize-8:]) != h.Sum64():
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
	if _, err := t.file.ReadAt(header, int64(id*t.pageSize)); err != nil {
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
	if _, err := t.file.ReadAt(data, int64(id*t.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	return parsePage(fmt.Sprintf("page %d", id), data)
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
	return p.data[from : from+size], nil
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
		key, value := both[:keySize], both[keySize:]
		if err := p.within(keys, before, key); err != nil {
			return err
		}
		if isBucket := order.Uint32(e) == bucketFlag; isBucket != isRoot || !isBucket && order.Uint32(e) != 0 {
			return fmt.Errorf("%s has a key %x with flags %#x", p.name, key, order.Uint32(e))
		}
		if isRoot {
			if err := t.walkBucket(string(key), value); err != nil {
				return err
			}
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
