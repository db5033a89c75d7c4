// Package msgpack is the encoding of the project's own wire and disk formats. The
// package holds the only go-msgpack handle of the house, reuses encoders and
// decoders, and checks format versions.
//
// A struct is encoded as the array of its exported fields, in their order. A
// map is encoded in the order of its keys. So a field may be added at the end of
// a struct, no field may be removed or moved, and equal values have equal
// encodings.
//
// A format with versions starts with a struct. The first field of the struct is
// the version, a uint8. [DecodeVersion] checks the version before anything else
// is decoded.
package msgpack

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// handle is shared by all encoders and decoders and never changes.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true} // strings and bytes differ on the wire
	h.StructToArray = true
	h.Canonical = true
	return h
}()

// encoder encodes one value at a time into buf. Making an encoder costs more than
// encoding a typical value, so encoders are reused.
type encoder struct {
	codec *codec.Encoder
	buf   []byte
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{buf: make([]byte, 0, 256)}
	e.codec = codec.NewEncoderBytes(&e.buf, handle)
	return e
}}

var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}

// maxReusedBuffer bounds the buffer of an idle encoder, in bytes.
const maxReusedBuffer = 64 << 10

// with encodes v and passes the encoding to use. use may keep the encoding only if
// keep is true.
func with(v any, use func(encoded []byte, keep bool) error) error {
	e := encoders.Get().(*encoder)
	e.codec.ResetBytes(&e.buf)
	if err := e.codec.Encode(v); err != nil {
		return fmt.Errorf("msgpack: encoding a %T: %w", v, err) // e is dropped: it may hold half a value
	}
	reuse := cap(e.buf) <= maxReusedBuffer
	err := use(e.buf, !reuse)
	if reuse {
		encoders.Put(e)
	}
	return err
}

// Encode returns the encoding of v. Encode fails if a type in v has no encoding, as
// functions have none, or if a MarshalBinary method fails.
func Encode(v any) (encoded []byte, err error) {
	err = with(v, func(data []byte, keep bool) error {
		if encoded = data; !keep {
			encoded = append([]byte(nil), data...)
		}
		return nil
	})
	return encoded, err
}

// Append appends the encoding of v to dst. After an error, Append returns dst
// unchanged.
func Append(dst []byte, v any) ([]byte, error) {
	err := with(v, func(data []byte, _ bool) error {
		dst = append(dst, data...)
		return nil
	})
	return dst, err
}

// Write writes the encoding of v to w in one call.
func Write(w io.Writer, v any) error {
	return with(v, func(data []byte, _ bool) error {
		_, err := w.Write(data)
		return err
	})
}

// TrailingError reports bytes after the only value in the data.
type TrailingError struct {
	Extra int // number of bytes
}

func (e *TrailingError) Error() string {
	return fmt.Sprintf("msgpack: %d bytes follow the value", e.Extra)
}

// VersionError reports data in another version of a format.
type VersionError struct {
	Found uint64
	Want  uint8
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("format %d; this program reads %d", e.Found, e.Want)
}

// Decode decodes the only value in data into v, a pointer. If bytes follow the
// value, the error is a [TrailingError]. v shares no memory with data.
func Decode(data []byte, v any) error {
	rest, err := DecodePrefix(data, v)
	if err == nil && len(rest) > 0 {
		err = &TrailingError{Extra: len(rest)}
	}
	return err
}

// DecodePrefix decodes the value at the beginning of data into v, a pointer, and
// returns the bytes after that value. v shares no memory with data.
func DecodePrefix(data []byte, v any) (rest []byte, err error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("msgpack: decoding a %T: %w", v, io.ErrUnexpectedEOF)
	}
	d := decoders.Get().(*codec.Decoder)
	d.ResetBytes(data)
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a value was begun, so the end is never in order
		}
		return nil, fmt.Errorf("msgpack: decoding a %T: %w", v, err)
	}
	rest = data[d.NumBytesRead():]
	d.ResetBytes(empty) // the pool must not keep data alive
	decoders.Put(d)
	return rest, nil
}

var empty = []byte{}

// DecodeVersion decodes the struct at the beginning of data into v, a pointer to a
// struct, and returns the bytes after the struct. The first field of the struct
// is the version of the format. If the version is not want, the error is a
// [VersionError] and v is unchanged.
func DecodeVersion(data []byte, want uint8, v any) (rest []byte, err error) {
	found, err := version(data)
	if err != nil {
		return nil, fmt.Errorf("msgpack: decoding a %T: %w", v, err)
	}
	if found != uint64(want) {
		return nil, &VersionError{Found: found, Want: want}
	}
	return DecodePrefix(data, v)
}

// First bytes of an array in the msgpack specification.
const (
	fixArray = 0x90 // to 0x9f: an array of up to 15 elements
	array16  = 0xdc
	array32  = 0xdd
)

// version returns the first element, an unsigned integer, of the array at the
// beginning of data.
func version(data []byte) (uint64, error) {
	if len(data) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	head := 1
	switch first := data[0]; {
	case first > fixArray && first < fixArray+16:
	case first == array16:
		head += 2
	case first == array32:
		head += 4
	default:
		return 0, fmt.Errorf("the first byte is %#02x; want an array that begins with a format version", first)
	}
	if len(data) <= head {
		return 0, io.ErrUnexpectedEOF
	}
	var found uint64
	_, err := DecodePrefix(data[head:], &found)
	return found, err
}
