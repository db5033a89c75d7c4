package boltfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// maxDepth bounds the levels of a tree. A tree of 2^64 keys has fewer.
const maxDepth = 64

// Read passes the items of all buckets to do, by bucket and in the order of the keys.
// The slices are valid during the call. An error of do ends Read.
func Read(file io.ReaderAt, size int64, do func(bucket string, key, value []byte) error) error {
	r := &reader{file: file, size: size}
	if err := r.readMeta(); err != nil {
		return err
	}
	return r.tree(r.meta.root, func(flags uint32, name, value []byte) error {
		if flags&bucketFlag == 0 || len(value) < bucketHeader {
			return damaged("the element %q of the root is no bucket", name)
		}
		bucket := string(name)
		each := func(flags uint32, key, value []byte) error {
			if flags&bucketFlag != 0 {
				return damaged("the bucket %s has the bucket %q; want keys", bucket, key)
			}
			return do(bucket, key, value)
		}
		if root := binary.LittleEndian.Uint64(value); root != 0 {
			return r.tree(root, each)
		}
		// A small bucket is inline, as a page behind the header.
		return leaf(value[bucketHeader:], &order{}, each)
	})
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// reader reads the trees of a file.
type reader struct {
	file io.ReaderAt
	size int64
	meta meta
	seen uint64 // pages so far; each page is in one tree, so loops end
}

// order is the last key of a tree so far. Keys ascend.
type order struct{ last []byte }

func (o *order) next(key []byte) error {
	if o.last != nil && bytes.Compare(key, o.last) <= 0 {
		return damaged("the key %q behind the key %q", key, o.last)
	}
	o.last = append(o.last[:0], key...)
	if o.last == nil {
		o.last = []byte{} // an empty key is a key
	}
	return nil
}

// readMeta finds the newer whole description. The second description begins at the size of
// a page, which a damaged first one does not tell.
func (r *reader) readMeta() error {
	found := false
	for offset := int64(0); offset <= 1<<16; offset = max(2*offset, 512) {
		b := make([]byte, pageHeader+metaSize)
		if n, err := r.file.ReadAt(b, offset); err != nil && err != io.EOF {
			return err
		} else if m, ok := decodeMeta(b[min(pageHeader, n):n]); ok && (!found || m.txid > r.meta.txid) &&
			(offset == 0 || offset == int64(m.pageSize)) {
			r.meta, found = m, true
		}
	}
	switch {
	case !found:
		return damaged("the file has no whole description")
	case r.meta.pageSize < pageHeader+metaSize || r.meta.pageSize > 1<<16:
		return damaged("pages of %d bytes", r.meta.pageSize)
	case r.meta.pages > uint64(r.size)/uint64(r.meta.pageSize):
		return damaged("the file has %d bytes; want %d pages of %d bytes", r.size, r.meta.pages, r.meta.pageSize)
	}
	return nil
}

// tree passes the elements of a tree's leaves to do.
func (r *reader) tree(root uint64, do func(flags uint32, key, value []byte) error) error {
	return r.node(root, 0, &order{}, do)
}

func (r *reader) node(id uint64, depth int, o *order, do func(flags uint32, key, value []byte) error) error {
	page, err := r.page(id)
	if err != nil {
		return err
	}
	switch flags := binary.LittleEndian.Uint16(page[8:]); {
	case depth == maxDepth:
		return damaged("a tree with more than %d levels", maxDepth)
	case flags == flagLeaf:
		return leaf(page, o, do)
	case flags != flagBranch:
		return damaged("page %d has flags %#x; want those of a node", id, flags)
	}
	for i := range int(binary.LittleEndian.Uint16(page[10:])) {
		at := pageHeader + i*branchElement
		if at+branchElement > len(page) {
			return damaged("page %d ends within element %d", id, i)
		}
		if err := r.node(binary.LittleEndian.Uint64(page[at+8:]), depth+1, o, do); err != nil {
			return err
		}
	}
	return nil
}

// page reads a page with its overflow pages.
func (r *reader) page(id uint64) ([]byte, error) {
	head := make([]byte, pageHeader)
	if id < 2 || id >= r.meta.pages {
		return nil, damaged("page %d of %d", id, r.meta.pages)
	}
	offset := int64(id) * int64(r.meta.pageSize)
	if _, err := r.file.ReadAt(head, offset); err != nil {
		return nil, err
	}
	pages := 1 + uint64(binary.LittleEndian.Uint32(head[12:]))
	r.seen += pages
	switch own := binary.LittleEndian.Uint64(head); {
	case own != id:
		return nil, damaged("page %d calls itself page %d", id, own)
	case pages > r.meta.pages-id:
		return nil, damaged("page %d with %d more pages, of %d", id, pages-1, r.meta.pages)
	case r.seen > r.meta.pages:
		return nil, damaged("trees with more than %d pages", r.meta.pages)
	}
	page := make([]byte, pages*uint64(r.meta.pageSize))
	_, err := r.file.ReadAt(page, offset)
	return page, err
}

// leaf passes the elements of a leaf to do.
func leaf(page []byte, o *order, do func(flags uint32, key, value []byte) error) error {
	if len(page) < pageHeader {
		return damaged("a leaf of %d bytes", len(page))
	}
	for i := range int(binary.LittleEndian.Uint16(page[10:])) {
		at := pageHeader + i*leafElement
		if at+leafElement > len(page) {
			return damaged("a leaf ends within element %d", i)
		}
		e := page[at:]
		begin := int64(at) + int64(binary.LittleEndian.Uint32(e[4:]))
		middle := begin + int64(binary.LittleEndian.Uint32(e[8:]))
		end := middle + int64(binary.LittleEndian.Uint32(e[12:]))
		if end > int64(len(page)) {
			return damaged("element %d of a leaf ends at %d, of %d bytes", i, end, len(page))
		}
		key := page[begin:middle]
		if err := o.next(key); err != nil {
			return err
		}
		if err := do(binary.LittleEndian.Uint32(e), key, page[middle:end]); err != nil {
			return err
		}
	}
	return nil
}
