//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// A transaction without a mark may not be durable. The process may have ended
// before the sync, or the sync may have failed. After a failed sync the kernel may
// keep the unwritten pages in memory and call them clean. The next sync then
// succeeds without writing the pages, and the kernel forgets them later. So Open
// writes the pages of an unmarked transaction again before it syncs them.

// span is a part of the file, with the checksum of the part at the check.
type span struct {
	offset int64
	size   int
	sum    uint32
}

// unsettled returns the parts of the file that the newest transaction has written.
// The tree of the newest transaction was the last to be walked.
func (f *pageFile) unsettled() ([]span, error) {
	newest := f.walked
	// A transaction leaves the pages of the tree before alone. Below a page of both
	// trees the trees are therefore equal.
	shared := make(map[uint64]bool)
	err := f.tree(f.before).visitPages(f.before.root, true, func(id uint64) bool {
		shared[id] = id < uint64(len(newest.seen)) && newest.seen[id]
		return !shared[id]
	}, nil)
	if err != nil {
		clear(shared) // nobody needs the tree before; all pages count as written
	}
	spans := []span{{offset: int64(f.newest.sequence % 2 * f.pageSize), size: minPageSize, sum: f.newest.sum}}
	err = f.tree(f.newest).visitPages(f.newest.root, true, func(id uint64) bool { return !shared[id] }, func(id uint64, p page) {
		spans = append(spans, span{offset: int64(id * f.pageSize), size: len(p.data), sum: newest.sums[id]})
	})
	return spans, err
}

// visitPages calls visit for page id and the pages below. visitPages leaves out a
// page, and the pages below, if enter returns false.
func (t *pageTree) visitPages(id uint64, isRoot bool, enter func(id uint64) bool, visit func(id uint64, p page)) error {
	if !enter(id) {
		return nil
	}
	p, err := t.read(id)
	if err != nil {
		return err
	}
	if visit != nil {
		visit(id, p)
	}
	for i := range p.count {
		child, isBucket, err := p.child(i, isRoot)
		if err != nil {
			return err
		}
		if child == 0 {
			continue
		}
		if err := t.visitPages(child, isRoot && !isBucket, enter, visit); err != nil {
			return err
		}
	}
	return nil
}

// child returns the page below element i, or 0 if there is none. Below a leaf of
// the root bucket is the root page of a bucket, unless the bucket is inlined.
func (p page) child(i int, isRoot bool) (id uint64, isBucket bool, err error) {
	e, at := p.element(i)
	switch {
	case p.kind == branchPage:
		return order.Uint64(e[8:]), false, nil
	case !isRoot:
		return 0, false, nil
	}
	value, err := p.slice(at+uint64(order.Uint32(e[4:]))+uint64(order.Uint32(e[8:])), bucketHeaderSize)
	if err != nil {
		return 0, false, err
	}
	return order.Uint64(value), true, nil
}

// errForgotten is the error of settle if a page no longer has the content that the
// check has read.
var errForgotten = errors.New("the kernel has forgotten an unwritten page")

// settle makes a transaction durable. The pages in spans are written again.
func (f *pageFile) settle(transaction uint64, spans []span) error {
	file, err := openFile(f.file.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = rewrite(file, spans)
	if err == nil {
		err = syncData(file)
	}
	if err == nil {
		_, err = file.WriteAt(mark(transaction), markOffset(transaction, int(f.pageSize)))
	}
	return errors.Join(err, file.Close())
}

// rewrite writes parts of a file again, with their own content.
func rewrite(file *os.File, spans []span) error {
	for _, s := range spans {
		data := make([]byte, s.size)
		if _, err := readAt(file, data, s.offset); err != nil {
			return err
		}
		if crc32.Checksum(data, castagnoli) != s.sum {
			return fmt.Errorf("%w at %d", errForgotten, s.offset)
		}
		if _, err := writeAt(file, data, s.offset); err != nil {
			return err
		}
	}
	return nil
}
