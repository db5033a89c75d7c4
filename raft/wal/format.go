package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"raftlab/internal/msgpack"
	"raftlab/raft/node"
)

// formatVersion is the version of all formats of this package.
const formatVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The first page of a segment is the header. Batches follow, at multiples of
// batchAlign. Writes end at page ends, so the kernel never has to read a page
// of a recycled file before a write.
const (
	pageBytes  = 4096
	batchAlign = 8
)

// segmentHeader is the header of a segment.
type segmentHeader struct {
	Version uint8
	Cluster string
	Host    uint64
	Number  uint64
	// Salt is drawn at random for each use of a file. Batches carry the salt.
	// So neither a batch of the file's former use nor a forged batch in a
	// client's command counts as a batch of this segment.
	Salt uint64
	// Bytes is the size of the file, 0 in a segment of an earlier version. A file may be
	// larger. A smaller one has lost its end, which nothing else would tell.
	Bytes int64
}

// lockHeader is the content of the lock file.
type lockHeader struct {
	Version uint8
	Cluster string
	Host    uint64
}

// seal returns the length, the checksum and the encoding of a header.
func seal(v any) ([]byte, error) {
	sealed, err := msgpack.Append(make([]byte, 8), v)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(sealed, uint32(len(sealed)-8))
	binary.LittleEndian.PutUint32(sealed[4:], crc32.Checksum(sealed[8:], castagnoli))
	return sealed, nil
}

var errSeal = errors.New("the header does not have its checksum")

// unseal decodes what seal has encoded into v. More bytes may follow.
func unseal(sealed []byte, v any) error {
	if len(sealed) < 8 {
		return errSeal
	}
	n := binary.LittleEndian.Uint32(sealed)
	body := sealed[8:]
	if uint64(n) > uint64(len(body)) || binary.LittleEndian.Uint32(sealed[4:]) != crc32.Checksum(body[:n], castagnoli) {
		return errSeal
	}
	rest, err := msgpack.DecodeVersion(body[:n], formatVersion, v)
	if err == nil && len(rest) > 0 {
		err = &msgpack.TrailingError{Extra: len(rest)}
	}
	return err
}

// batchHeader stands before the records of one write. A batch counts as a whole
// or not at all.
type batchHeader struct {
	length   uint32 // of the records, in bytes
	sequence uint64 // number of the batch, without gaps over all segments
	salt     uint64 // of the segment
	oldest   uint64 // number of the oldest segment that the log still needs
	previous uint32 // checksum of the batch before, the chain
	// checksum is that of the header, continued over the records. The header has
	// one of its own before, so that a length is believed without the records.
	checksum uint32
}

const (
	batchMagic       = 0x4c41_5752 // "RWAL"
	batchHeaderBytes = 44
	// maxBatchBytes bounds the records of one batch.
	maxBatchBytes = 1 << 30
)

// put writes the header into the first bytes of batch. The records follow the
// header.
func (h *batchHeader) put(batch []byte) {
	le := binary.LittleEndian
	le.PutUint32(batch[0:], batchMagic)
	le.PutUint32(batch[4:], h.length)
	le.PutUint64(batch[8:], h.sequence)
	le.PutUint64(batch[16:], h.salt)
	le.PutUint64(batch[24:], h.oldest)
	le.PutUint32(batch[32:], h.previous)
	le.PutUint32(batch[36:], crc32.Checksum(batch[:36], castagnoli))
	h.checksum = batchChecksum(batch)
	le.PutUint32(batch[40:], h.checksum)
}

// batchChecksum returns the checksum of a whole batch.
func batchChecksum(batch []byte) uint32 {
	return crc32.Update(crc32.Checksum(batch[:40], castagnoli), castagnoli, batch[batchHeaderBytes:])
}

// getHeader reads a batch's header. The result is false without a header of
// this salt.
func getHeader(b []byte, salt uint64) (h batchHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) < batchHeaderBytes || le.Uint32(b) != batchMagic || le.Uint64(b[16:]) != salt ||
		le.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli) {
		return h, false
	}
	return batchHeader{
		length:   le.Uint32(b[4:]),
		sequence: le.Uint64(b[8:]),
		salt:     salt,
		oldest:   le.Uint64(b[24:]),
		previous: le.Uint32(b[32:]),
		checksum: le.Uint32(b[40:]),
	}, true
}

// alignUp rounds n up to a multiple of align, a power of two.
func alignUp(n, align int64) int64 { return (n + align - 1) &^ (align - 1) }

// span returns the bytes of a batch with the padding.
func span(length int64) int64 { return alignUp(batchHeaderBytes+length, batchAlign) }

// ErrFormat is matched by the error of a log in another version of the format. The
// error names both versions.
var ErrFormat = errors.New("the log has another format")

// broken returns the error of a header that cannot be decoded: damage, or another
// version of the format.
func broken(path, name string, offset int64, err error) error {
	var version *msgpack.VersionError
	if errors.As(err, &version) {
		return fmt.Errorf("%s/%s: %w: version %d; this version of raftlab reads version %d", path, name, ErrFormat, version.Found, version.Want)
	}
	return damage(path, name, offset, "%v", err)
}

// damage returns an error that names the place and matches [node.ErrDamaged].
func damage(path, name string, offset int64, format string, args ...any) error {
	return fmt.Errorf("%s/%s, offset %d: %w: %s", path, name, offset, node.ErrDamaged, fmt.Sprintf(format, args...))
}
