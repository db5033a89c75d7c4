// Package boltfile writes and reads files of bbolt as streams. The writer needs no
// temporary file, and the reader checks all that it follows, so damage is an error and no
// panic. Both know buckets of one level, as etcd has them.
//
// A file is pages of one size. Pages 0 and 1 describe the file, and name the root page.
// Pages are nodes of B+ trees: the tree of the root has a bucket's name and root page for
// each bucket, and the tree of a bucket has its keys and values. Keys ascend. A page that
// does not suffice for a large value is followed by overflow pages.
package boltfile

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// ErrDamaged is matched by the error of a file that is no file of bbolt, or a damaged one.
var ErrDamaged = errors.New("boltfile: the file is damaged")

// Sizes and numbers of the format.
const (
	pageSize      = 4096 // that the writer uses
	pageHeader    = 16   // id, flags, number of elements, number of overflow pages
	leafElement   = 16   // flags, offset, sizes of key and value
	branchElement = 16   // offset, size of the key, page
	bucketHeader  = 16   // root page, sequence
	metaSize      = 64

	magic   = 0xED0CDAED
	version = 2

	flagBranch   = 1
	flagLeaf     = 2
	flagMeta     = 4
	flagFreelist = 16

	bucketFlag = 1 // of an element whose value is a bucket
)

// meta is the description of a file.
type meta struct {
	pageSize uint32
	root     uint64
	pages    uint64 // the first page beyond the used ones
	txid     uint64
}

// encode returns the content of a page with the description.
func (m *meta) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, m.pageSize)
	b = binary.LittleEndian.AppendUint32(b, 0) // flags
	b = binary.LittleEndian.AppendUint64(b, m.root)
	b = binary.LittleEndian.AppendUint64(b, 0) // sequence of the root
	b = binary.LittleEndian.AppendUint64(b, freelistPage)
	b = binary.LittleEndian.AppendUint64(b, m.pages)
	b = binary.LittleEndian.AppendUint64(b, m.txid)
	return binary.LittleEndian.AppendUint64(b, checksum(b))
}

// decodeMeta decodes a description, and reports whether the description is whole.
func decodeMeta(b []byte) (m meta, ok bool) {
	if len(b) < metaSize || binary.LittleEndian.Uint32(b) != magic || binary.LittleEndian.Uint32(b[4:]) != version ||
		binary.LittleEndian.Uint64(b[metaSize-8:]) != checksum(b[:metaSize-8]) {
		return meta{}, false
	}
	m = meta{
		pageSize: binary.LittleEndian.Uint32(b[8:]), root: binary.LittleEndian.Uint64(b[16:]),
		pages: binary.LittleEndian.Uint64(b[40:]), txid: binary.LittleEndian.Uint64(b[48:]),
	}
	return m, true
}

func checksum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// Is reports whether the first bytes of a file are those of a file of bbolt.
func Is(begin []byte) bool {
	return len(begin) >= pageHeader+4 && binary.LittleEndian.Uint32(begin[pageHeader:]) == magic
}
