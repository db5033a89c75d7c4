package labgob

import (
	"fmt"
	"io"
	"math/bits"
	"reflect"
	"sync"
)

// A message of Marshal holds the length and the bytes of the registered name,
// the type definitions, and the value message, all in gob's encoding. The
// message of nil is an empty name. Messages of one type from one process share
// a prefix, so a log can store the prefix once.

// MaxName is the length of the longest type name in bytes (gob's own limit).
const MaxName = 1024

// names holds the registered types.
type names struct {
	sync.RWMutex
	types map[string]reflect.Type // as registered
	names map[reflect.Type]string // of the type without pointers
}

var registry = func() *names {
	r := &names{types: map[string]reflect.Type{}, names: map[reflect.Type]string{}}
	for _, v := range []any{
		int(0), int8(0), int16(0), int32(0), int64(0),
		uint(0), uint8(0), uint16(0), uint32(0), uint64(0), uintptr(0),
		float32(0), float64(0), complex64(0), complex128(0), false, "",
		[]byte(nil), []int(nil), []int8(nil), []int16(nil), []int32(nil), []int64(nil),
		[]uint(nil), []uint16(nil), []uint32(nil), []uint64(nil), []uintptr(nil),
		[]float32(nil), []float64(nil), []complex64(nil), []complex128(nil), []bool(nil), []string(nil),
	} {
		r.add(gobName(reflect.TypeOf(v)), reflect.TypeOf(v))
	}
	return r
}()

func (r *names) add(name string, t reflect.Type) {
	r.Lock()
	defer r.Unlock()
	r.types[name] = t
	r.names[baseOf(t)] = name
}

func (r *names) nameOf(t reflect.Type) (string, bool) {
	r.RLock()
	defer r.RUnlock()
	name, ok := r.names[baseOf(t)]
	return name, ok
}

func (r *names) typeOf(name []byte) (reflect.Type, bool) {
	r.RLock()
	defer r.RUnlock()
	t, ok := r.types[string(name)]
	return t, ok
}

// baseOf strips pointers, as gob does.
func baseOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer && t.Elem() != t {
		t = t.Elem()
	}
	return t
}

// gobName returns the name that gob.Register gives to a type. A named type has
// the path of its package in front.
func gobName(t reflect.Type) string {
	switch {
	case t.Name() == "" || t.PkgPath() == "":
		return t.String()
	default:
		return t.PkgPath() + "." + t.Name()
	}
}

// Marshal encodes one value of a registered type as a message that names the
// type. Unmarshal returns a value of the same type. Gob's basic types and
// slices of them are registered from the start. As with gob, a pointer counts
// as its target, a nil pointer is an error, and an empty slice comes back nil.
// The value nil takes one byte and comes back as nil.
//
// An int takes 8 to 16 bytes. Messages of one type from one process start with
// the same bytes, the name and the description of the type.
func Marshal(v any) ([]byte, error) {
	if v == nil {
		return []byte{0}, nil
	}
	rv := reflect.ValueOf(v)
	t := rv.Type()
	name, ok := registry.nameOf(t)
	if !ok {
		return nil, fmt.Errorf("%w: %v (call labgob.Register(%v{}))", ErrNotRegistered, t, baseOf(t))
	}
	if nilPointer(rv) {
		return nil, fmt.Errorf("%w: a %v is or points at a nil pointer", ErrNil, t)
	}
	var out []byte
	err := encode(rv, (*plan).all, func(_ *plan, stream []byte) error {
		out = make([]byte, 0, 3+len(name)+len(stream))
		out = appendUint(out, uint64(len(name)))
		out = append(append(out, name...), stream...)
		return nil
	})
	return out, err
}

// Unmarshal decodes a message of Marshal, from this or another process. The
// value has the type that was registered under the message's name. Unmarshal
// does not keep data, and no part of the value aliases data. Errors match
// ErrNotRegistered, ErrMalformed or ErrTrailingBytes, or are gob's own.
func Unmarshal(data []byte) (any, error) {
	name, rest, err := cutName(data)
	if err != nil {
		return nil, err
	}
	if len(name) == 0 {
		if len(rest) > 0 {
			return nil, fmt.Errorf("%w: %d after nil", ErrTrailingBytes, len(rest))
		}
		return nil, nil
	}
	t, ok := registry.typeOf(name)
	if !ok {
		return nil, fmt.Errorf("%w: name %q", ErrNotRegistered, name)
	}
	target := reflect.New(t)
	if err := unmarshal(rest, target.Interface()); err != nil {
		return nil, err
	}
	return target.Elem().Interface(), nil
}

// cutName divides a message of Marshal into the name of the type and the value.
func cutName(data []byte) (name, rest []byte, err error) {
	length, n := uvarint(data)
	if n == 0 || length > uint64(len(data)-n) || length > MaxName {
		return nil, nil, fmt.Errorf("%w: no type name", ErrMalformed)
	}
	return data[n : n+int(length)], data[n+int(length):], nil
}

// Encode encodes one value as a whole stream, like NewEncoder(w).Encode(v).
func Encode(v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return nil, ErrNil
	}
	checkType(rv.Type())
	var out []byte
	err := encode(rv, (*plan).all, func(_ *plan, stream []byte) error {
		out = clone(stream)
		return nil
	})
	return out, err
}

// Decode decodes a stream of exactly one value into the variable at e, like
// LabDecoder.Decode. The stream may come from Encode or from encoding/gob.
// Decode does not keep data.
func Decode(data []byte, e any) error {
	if err := checkTarget(e); err != nil {
		return err
	}
	return unmarshal(data, e)
}

// unmarshal decodes definitions and exactly one value message.
func unmarshal(data []byte, e any) error {
	defs, value, rest, err := cut(data)
	if err != nil {
		return err
	}
	s := stream{defs: defs}
	if len(rest) == 0 {
		return s.decode(value, nil, e)
	}
	feed := &feeder{rest}
	if err = s.decode(value, &frames{feed, feed, feed}, e); err == io.ErrUnexpectedEOF {
		err = errTruncated
	}
	return err
}

var errTruncated = fmt.Errorf("%w: truncated message", ErrMalformed)

// cut divides data into type definitions, the first message of the value, and
// the rest. The rest is empty unless type definitions stand inside the value.
func cut(data []byte) (defs, value, rest []byte, err error) {
	for i := 0; ; {
		n, size, id, ok := header(data[i:])
		if !ok || size > len(data)-i-n {
			return nil, nil, nil, errTruncated
		}
		end := i + n + size
		if id < 0 {
			i = end
			continue
		}
		return data[:i:i], data[i:end:end], data[end:], nil
	}
}

// appendDefinition appends the definition of a type as a message.
func appendDefinition(b []byte, id int, definition []byte) []byte {
	minus := appendUint(nil, uint64(2*id-1)) // gob's form of -id
	b = appendUint(b, uint64(len(minus)+len(definition)))
	return append(append(b, minus...), definition...)
}

// appendUint appends an unsigned integer in gob's encoding.
func appendUint(b []byte, x uint64) []byte {
	if x < 0x80 {
		return append(b, byte(x))
	}
	n := (bits.Len64(x) + 7) / 8
	b = append(b, byte(-n))
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(x>>(8*i)))
	}
	return b
}
