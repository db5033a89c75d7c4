//go:build !wasip1

package boltstore

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// pieceSize bounds the values of the file, in bytes. A longer value is stored in
// pieces. bbolt keeps two to four values in a leaf, whatever their size, and writes
// the whole leaf again when a value is added. Without pieces, appending entries
// of 1 MiB would write five times their size.
const pieceSize = 16 << 10

// put stores a value under key, and the rest of a long value under the next keys. put
// returns the bytes of all keys and pieces.
func put(b *bbolt.Bucket, key, value []byte) (stored int, err error) {
	for n := uint32(0); ; n++ {
		k, size := pieceKey(key, n), min(len(value), pieceSize)
		if err := b.Put(k, value[:size]); err != nil {
			return stored, err
		}
		stored += len(k) + size
		if value = value[size:]; len(value) == 0 {
			return stored, nil
		}
	}
}

// pieceKey returns the key of piece n of the value under key.
func pieceKey(key []byte, n uint32) []byte {
	if n == 0 {
		return key
	}
	return binary.BigEndian.AppendUint32(bytes.Clone(key), n)
}

// get returns the value under key, or nil. The value is valid during the
// transaction.
func get(b *bbolt.Bucket, key []byte) []byte {
	c := b.Cursor()
	found, first := c.Seek(key)
	if !bytes.Equal(found, key) {
		return nil
	}
	value, _, _ := join(c, key, first)
	return value
}

// join returns the value under key, and the key and the piece after the value. The
// cursor stands at the first piece, first.
func join(c *bbolt.Cursor, key, first []byte) (value, nextKey, next []byte) {
	value = first
	for n := uint32(1); ; n++ {
		nextKey, next = c.Next()
		if nextKey == nil || !bytes.Equal(nextKey, pieceKey(key, n)) {
			return value, nextKey, next
		}
		if n == 1 {
			value = bytes.Clone(value) // the first piece lies in the mapped file
		}
		value = append(value, next...)
	}
}
