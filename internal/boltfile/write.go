package boltfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
)

// Bucket is a bucket to be written. Items passes the keys in ascending order, with their
// values, and passes the same ones each time. The slices are valid until the next item.
type Bucket struct {
	Name  string
	Items iter.Seq2[[]byte, []byte]
}

// The pages of a new file: two descriptions, the list of free pages, and the trees.
const (
	freelistPage = 2
	firstPage    = 3
)

// File is the layout of a new file.
type File struct {
	buckets []*tree // sorted by name
	root    node    // the names of the buckets
	meta    meta
}

// tree is the tree of a bucket.
type tree struct {
	Bucket
	first  uint64   // page
	pages  uint64   // of the whole tree
	levels [][]node // the branches, from the leaves' parents to the root
	root   uint64
}

// node is a page with elements, and the pages behind it.
type node struct {
	page     uint64
	overflow uint32
	children []child
}

// child is a page below a branch, with its first key.
type child struct {
	page uint64
	key  []byte
}

// maxElements bounds the elements of a page, whose header has 16 bits for their number.
const maxElements = 1<<16 - 2

// Layout computes the layout of a file, which takes one pass over all items.
func Layout(buckets ...Bucket) (*File, error) {
	f := &File{}
	next := uint64(firstPage)
	for _, b := range buckets {
		t := &tree{Bucket: b, first: next}
		if err := t.layout(); err != nil {
			return nil, fmt.Errorf("boltfile: the bucket %s: %w", b.Name, err)
		}
		next += t.pages
		f.buckets = append(f.buckets, t)
	}
	slices.SortFunc(f.buckets, func(a, b *tree) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	size := pageHeader
	for _, t := range f.buckets {
		size += leafElement + len(t.Name) + bucketHeader
	}
	f.root = node{page: next, overflow: overflow(size)}
	next += 1 + uint64(f.root.overflow)
	f.meta = meta{pageSize: pageSize, root: f.root.page, pages: next}
	return f, nil
}

// Size returns the size of the file.
func (f *File) Size() int64 { return int64(f.meta.pages) * pageSize }

// overflow returns the number of pages behind the first one for a node of a size.
func overflow(size int) uint32 { return uint32((size - 1) / pageSize) }

// layout computes the pages of the tree.
func (t *tree) layout() error {
	page := t.first
	var leaves []child
	var last []byte
	p := packer{close: func(p *packer) error {
		leaves = append(leaves, child{page, p.first})
		page += 1 + uint64(overflow(p.size))
		return nil
	}}
	for key, value := range t.Items {
		if len(key) == 0 || last != nil && bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("the key %q behind the key %q", key, last)
		}
		last = append(last[:0], key...)
		if err := p.add(key, value); err != nil {
			return err
		}
	}
	if p.count > 0 || len(leaves) == 0 { // an empty bucket has an empty leaf
		if err := p.close(&p); err != nil {
			return err
		}
	}
	below := leaves
	for len(below) > 1 {
		level := branches(below, page)
		t.levels = append(t.levels, level)
		below = nil
		for _, n := range level {
			below = append(below, child{n.page, n.children[0].key})
			page += 1 + uint64(n.overflow)
		}
	}
	t.root, t.pages = below[0].page, page-t.first
	return nil
}

// branches puts pages below branches, whose pages begin with page.
func branches(below []child, page uint64) (level []node) {
	n, size := node{page: page}, pageHeader
	finish := func() {
		n.overflow = overflow(size)
		level = append(level, n)
		n, size = node{page: n.page + 1 + uint64(n.overflow)}, pageHeader
	}
	for _, c := range below {
		more := branchElement + len(c.key)
		if len(n.children) >= 2 && (size+more > pageSize || len(n.children) == maxElements) {
			finish()
		}
		n.children = append(n.children, c)
		size += more
	}
	finish()
	return level
}

// packer distributes items over leaves.
type packer struct {
	first []byte // key
	size  int
	count int
	items []byte // of the leaf, if keep is set: the sizes
	data  []byte
	keep  bool
	close func(*packer) error
}

// add adds an item, and closes the leaf before if the item does not fit.
func (p *packer) add(key, value []byte) error {
	more := leafElement + len(key) + len(value)
	if p.count > 0 && (p.size+more > pageSize || p.count == maxElements) {
		if err := p.close(p); err != nil {
			return err
		}
		p.count, p.items, p.data = 0, p.items[:0], p.data[:0]
	}
	if p.count == 0 {
		p.size = pageHeader
		p.first = bytes.Clone(key)
	}
	p.size += more
	p.count++
	if p.keep {
		p.items = binary.LittleEndian.AppendUint32(p.items, uint32(len(key)))
		p.items = binary.LittleEndian.AppendUint32(p.items, uint32(len(value)))
		p.data = append(append(p.data, key...), value...)
	}
	return nil
}

// WriteTo writes the file, which takes another pass over all items.
func (f *File) WriteTo(to io.Writer) (int64, error) {
	w := &pageWriter{out: to}
	for txid := range uint64(2) {
		m := f.meta
		m.txid = txid
		w.write(txid, flagMeta, 0, m.encode())
	}
	w.write(freelistPage, flagFreelist, 0, nil)
	byPage := slices.Clone(f.buckets)
	slices.SortFunc(byPage, func(a, b *tree) int { return int(a.first) - int(b.first) })
	for _, t := range byPage {
		if err := t.write(w); err != nil {
			return w.written, err
		}
	}
	var names, values []byte
	data := leafElement * len(f.buckets)
	for i, t := range f.buckets {
		names = appendLeafElement(names, bucketFlag, data+len(values)-i*leafElement, len(t.Name), bucketHeader)
		values = append(values, t.Name...)
		values = binary.LittleEndian.AppendUint64(values, t.root)
		values = binary.LittleEndian.AppendUint64(values, 0) // sequence
	}
	w.write(f.root.page, flagLeaf, len(f.buckets), append(names, values...))
	return w.written, w.err
}

func appendLeafElement(to []byte, flags, offset, key, value int) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(flags))
	to = binary.LittleEndian.AppendUint32(to, uint32(offset))
	to = binary.LittleEndian.AppendUint32(to, uint32(key))
	return binary.LittleEndian.AppendUint32(to, uint32(value))
}

// write writes the pages of the tree.
func (t *tree) write(w *pageWriter) error {
	page := t.first
	var elements []byte
	p := packer{keep: true, close: func(p *packer) error {
		elements = elements[:0]
		offset := leafElement * p.count
		for i := range p.count {
			key := int(binary.LittleEndian.Uint32(p.items[8*i:]))
			value := int(binary.LittleEndian.Uint32(p.items[8*i+4:]))
			elements = appendLeafElement(elements, 0, offset-i*leafElement, key, value)
			offset += key + value
		}
		page += w.write(page, flagLeaf, p.count, append(elements, p.data...))
		return w.err
	}}
	for key, value := range t.Items {
		if err := p.add(key, value); err != nil {
			return err
		}
	}
	if p.count > 0 || page == t.first {
		if err := p.close(&p); err != nil {
			return err
		}
	}
	for _, level := range t.levels {
		for _, n := range level {
			page += w.write(n.page, flagBranch, len(n.children), n.encode())
		}
	}
	if w.err == nil && page != t.first+t.pages {
		return fmt.Errorf("boltfile: the bucket %s: the items have changed", t.Name)
	}
	return w.err
}

// encode returns the elements of a branch.
func (n *node) encode() []byte {
	var elements, keys []byte
	data := branchElement * len(n.children)
	for i, c := range n.children {
		elements = binary.LittleEndian.AppendUint32(elements, uint32(data+len(keys)-i*branchElement))
		elements = binary.LittleEndian.AppendUint32(elements, uint32(len(c.key)))
		elements = binary.LittleEndian.AppendUint64(elements, c.page)
		keys = append(keys, c.key...)
	}
	return append(elements, keys...)
}

// pageWriter writes pages. After an error it writes no more.
type pageWriter struct {
	out     io.Writer
	page    []byte // reused
	written int64
	err     error
}

// write writes a node, and returns the number of its pages.
func (w *pageWriter) write(id uint64, flags uint16, count int, content []byte) uint64 {
	more := overflow(pageHeader + len(content))
	if w.err != nil {
		return 1 + uint64(more)
	}
	w.page = binary.LittleEndian.AppendUint64(w.page[:0], id)
	w.page = binary.LittleEndian.AppendUint16(w.page, flags)
	w.page = binary.LittleEndian.AppendUint16(w.page, uint16(count))
	w.page = binary.LittleEndian.AppendUint32(w.page, more)
	w.page = append(w.page, content...)
	w.page = append(w.page, make([]byte, int(1+more)*pageSize-len(w.page))...)
	n, err := w.out.Write(w.page)
	w.written += int64(n)
	w.err = err
	return 1 + uint64(more)
}
