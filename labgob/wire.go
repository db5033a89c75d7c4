package labgob

import (
	"bufio"
	"fmt"
	"io"
)

// The gob format, after the documentation of encoding/gob. A stream consists of
// messages, each a count and as many bytes. A message starts with a type id. A
// negative id precedes the definition of the type with the negated id, and a
// positive id precedes a value. An unsigned integer below 128 takes one byte.
// For a larger integer, the first byte is the negated number of the big-endian
// bytes that follow.

// maxMessage is gob's limit for a message on this machine.
const maxMessage = (1 << 30) << (^uint(0) >> 62)

// uvarint reads an unsigned integer and returns its size in bytes. The size is
// 0 if b does not start with an integer.
func uvarint(b []byte) (x uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	n = -int(int8(b[0]))
	if n > 8 || n >= len(b) {
		return 0, 0
	}
	for _, c := range b[1 : 1+n] {
		x = x<<8 | uint64(c)
	}
	return x, 1 + n
}

// signed undoes gob's mapping of signed to unsigned integers.
func signed(x uint64) int64 {
	if x&1 != 0 {
		return ^int64(x >> 1)
	}
	return int64(x >> 1)
}

// header reads the start of a message. It returns the size of the count, the
// length of the rest, and the type id.
func header(b []byte) (n, size int, id int, ok bool) {
	length, n := uvarint(b)
	if n == 0 || length >= maxMessage {
		return 0, 0, 0, false
	}
	x, m := uvarint(b[n:])
	if m == 0 || uint64(m) > length {
		return 0, 0, 0, false
	}
	return n, int(length), int(signed(x)), true
}

// frames cuts a reader into messages.
type frames struct {
	r io.Reader
	b io.ByteReader
	// data is the input if a single value must take up all of the input.
	data *feeder
}

func newFrames(r io.Reader) frames {
	b, ok := r.(io.ByteReader)
	if !ok {
		br := bufio.NewReader(r)
		r, b = br, br
	}
	return frames{r: r, b: b}
}

// end is called behind a value, and returns an error if nothing may follow.
func (f *frames) end() error {
	if f.data != nil && len(f.data.b) > 0 {
		return fmt.Errorf("%w: %d", ErrTrailingBytes, len(f.data.b))
	}
	return nil
}

// next appends the next message with its count to dst. The error is io.EOF only
// at the end of the input.
func (f *frames) next(dst []byte) (_ []byte, err error) {
	first, err := f.b.ReadByte()
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, first)
	if first >= 0x80 {
		if dst, err = f.read(dst, -int(int8(first))); err != nil {
			return dst, err
		}
	}
	size, n := uvarint(dst[start:])
	if n == 0 || size >= maxMessage {
		return dst, fmt.Errorf("%w: impossible message length", ErrMalformed)
	}
	return f.read(dst, int(size))
}

// chunk bounds the memory that read allocates ahead of the bytes that have
// arrived.
const chunk = 64 << 10

// read appends n bytes to dst.
func (f *frames) read(dst []byte, n int) ([]byte, error) {
	for step := chunk; n > 0; step *= 2 {
		k := min(n, step)
		start := len(dst)
		dst = append(dst, make([]byte, k)...)
		if _, err := io.ReadFull(f.r, dst[start:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return dst[:start], err
		}
		n -= k
	}
	return dst, nil
}

// feeder hands a gob decoder one message and nothing more.
type feeder struct{ b []byte }

func (f *feeder) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

func (f *feeder) ReadByte() (byte, error) {
	if len(f.b) == 0 {
		return 0, io.EOF
	}
	c := f.b[0]
	f.b = f.b[1:]
	return c, nil
}
