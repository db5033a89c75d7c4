package labgob

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
)

// Errors that callers may match with errors.Is.
var (
	// ErrMalformed is returned for input that is not a gob stream: truncated in
	// the middle of a count, counts that the input does not cover, types that
	// are not defined, nesting deeper than MaxDepth.
	ErrMalformed = errors.New("labgob: malformed input")
	// ErrTooDeep is returned for a value nested deeper than MaxDepth, which
	// decoding would refuse.
	ErrTooDeep = fmt.Errorf("labgob: value nested deeper than %d", MaxDepth)
	// ErrNotRegistered is returned by Marshal for a value whose type, and by
	// Unmarshal for a message whose type name, was not given to Register or
	// RegisterName.
	ErrNotRegistered = errors.New("labgob: type not registered")
	// ErrNil is returned for nil and for a pointer that leads to a nil pointer.
	// There are two exceptions, both gob's: Encode panics on a nil pointer, and
	// encodes a pointer to a nil pointer to a struct as an empty struct.
	ErrNil = errors.New("labgob: cannot encode nil")
	// ErrTrailingBytes is returned by Unmarshal when something follows the
	// value.
	ErrTrailingBytes = errors.New("labgob: bytes after the value")
)

// MaxDepth is how deep values may be nested in an encoded value (gob's
// own limit for values that it skips).
const MaxDepth = 10_000

// A LabEncoder writes a stream of values. It may be used concurrently.
type LabEncoder struct {
	mu   sync.Mutex
	w    io.Writer
	last *plan        // of the value before
	sent map[int]bool // type definitions on the stream, once there was a second plan
}

// NewEncoder returns an encoder that writes to w, each value with a single
// call of Write.
func NewEncoder(w io.Writer) *LabEncoder {
	return &LabEncoder{w: w}
}

// Encode writes e to the stream, preceded by the definitions of types that the
// stream does not hold yet. It warns about struct types with lower-case
// fields. When it returns an error other than the writer's, nothing was
// written. Like gob, it panics on a nil pointer and returns an error for nil.
func (enc *LabEncoder) Encode(e any) error {
	return enc.EncodeValue(reflect.ValueOf(e))
}

// EncodeValue is Encode for a reflect.Value.
func (enc *LabEncoder) EncodeValue(v reflect.Value) error {
	if !v.IsValid() {
		return ErrNil
	}
	enc.mu.Lock()
	defer enc.mu.Unlock()
	checkType(v.Type())
	p, warm, err := encodeWarm(v, enc.missing)
	if err != nil {
		return err
	}
	enc.commit(p)
	_, err = enc.w.Write(warm.out)
	p.put(warm)
	return err
}

// missing returns the definitions that p needs and the stream lacks.
func (enc *LabEncoder) missing(p *plan) []byte {
	if enc.last == nil {
		return p.prefix
	}
	if enc.last == p {
		return nil
	}
	var need []byte
	for _, d := range p.defs {
		if !enc.hasSent(d.id) {
			need = append(need, d.bytes...)
		}
	}
	return need
}

func (enc *LabEncoder) hasSent(id int) bool {
	if enc.sent != nil {
		return enc.sent[id]
	}
	return slices.ContainsFunc(enc.last.defs, func(d typeDef) bool { return d.id == id })
}

// commit notes that the definitions of p are on the stream.
func (enc *LabEncoder) commit(p *plan) {
	if enc.last == nil || enc.last == p {
		enc.last = p
		return
	}
	if enc.sent == nil {
		enc.sent = make(map[int]bool)
		for _, d := range enc.last.defs {
			enc.sent[d.id] = true
		}
	}
	for _, d := range p.defs {
		enc.sent[d.id] = true
	}
	enc.last = p
}

// A LabDecoder reads a stream of values. It may be used concurrently.
type LabDecoder struct {
	mu    sync.Mutex
	in    frames
	value []byte // the first message of the current value
	stream
}

// NewDecoder returns a decoder that reads from r. If r is not an io.ByteReader,
// it may read ahead, as gob's does.
func NewDecoder(r io.Reader) *LabDecoder {
	return &LabDecoder{in: newFrames(r)}
}

// Decode reads the next value of the stream into what e points at, which
// should be zero: it warns when it is not. At the end of the stream it returns
// io.EOF, and io.ErrUnexpectedEOF in the middle of a value. A nil e skips the
// value. After an error the target may hold parts of the value.
func (dec *LabDecoder) Decode(e any) error {
	if e != nil {
		if err := checkTarget(e); err != nil {
			return err
		}
	}
	dec.mu.Lock()
	defer dec.mu.Unlock()
	if err := dec.next(); err != nil {
		return err
	}
	return dec.stream.decode(dec.value, &dec.in, e)
}

// checkTarget says whether values can be decoded into e, and warns if they
// should not be.
func checkTarget(e any) error {
	v := reflect.ValueOf(e)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("labgob: attempt to decode into a %T, which does not point at a variable", e)
	}
	checkType(v.Type())
	checkDefault(v)
	return nil
}

// Register makes the type of value known, under the name that encoding/gob
// gives it, so that it can travel inside an interface and through Marshal. It
// warns about lower-case fields. Registering the same type again is harmless;
// it panics when the name stands for another type, or the type has another
// name.
func Register(value any) {
	t := reflect.TypeOf(value)
	if t == nil {
		panic("labgob: cannot register nil")
	}
	RegisterName(gobName(t), value)
}

// RegisterName is Register with a name of the caller's choice.
func RegisterName(name string, value any) {
	t := reflect.TypeOf(value)
	if t == nil {
		panic("labgob: cannot register nil")
	}
	checkType(t)
	gob.RegisterName(name, value) // panics on a conflict
	registry.add(name, t)
}

// clone returns a copy that shares nothing with b and is not nil.
func clone(b []byte) []byte { return append([]byte{}, b...) }
