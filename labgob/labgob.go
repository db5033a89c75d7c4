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
	// ErrMalformed is returned for input that is not a gob stream. Examples are
	// an end in the middle of a count, a count beyond the end of the input, an
	// undefined type, and nesting deeper than MaxDepth.
	ErrMalformed = errors.New("labgob: malformed input")
	// ErrTooDeep is returned for a value nested deeper than MaxDepth. Decoding
	// would refuse such a value.
	ErrTooDeep = fmt.Errorf("labgob: value nested deeper than %d", MaxDepth)
	// ErrNotRegistered is returned by Marshal for an unregistered type, and by
	// Unmarshal for an unregistered type name. Register and RegisterName
	// register a type.
	ErrNotRegistered = errors.New("labgob: type not registered")
	// ErrNil is returned for nil and for a pointer that leads to a nil pointer,
	// with two exceptions of gob. Encode panics on a nil pointer. Encode writes
	// a pointer to a nil pointer to a struct as an empty struct.
	ErrNil = errors.New("labgob: cannot encode nil")
	// ErrTrailingBytes is returned by Unmarshal when something follows the
	// value.
	ErrTrailingBytes = errors.New("labgob: bytes after the value")
)

// MaxDepth bounds the nesting of an encoded value. Gob has the same limit for
// values that gob skips.
const MaxDepth = 10_000

// A LabEncoder writes a stream of values. A LabEncoder may be used
// concurrently.
type LabEncoder struct {
	mu   sync.Mutex
	w    io.Writer
	last *plan        // of the value before
	sent map[int]bool // type definitions on the stream, once there was a second plan
}

// NewEncoder returns an encoder for w. The encoder writes each value with a
// single call of w.Write.
func NewEncoder(w io.Writer) *LabEncoder {
	return &LabEncoder{w: w}
}

// Encode writes e to the stream, preceded by type definitions that the stream
// lacks. Encode warns about struct types with lower-case fields. After an error
// of the encoding, nothing was written. Like gob, Encode panics on a nil
// pointer and returns an error for nil.
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
	return encode(v, enc.missing, func(p *plan, out []byte) error {
		enc.commit(p)
		_, err := enc.w.Write(out)
		return err
	})
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

// A LabDecoder reads a stream of values. A LabDecoder may be used concurrently.
type LabDecoder struct {
	mu    sync.Mutex
	in    frames
	value []byte // the first message of the current value
	stream
}

// NewDecoder returns a decoder for r. Like gob's decoder, the decoder may read
// ahead if r is not an io.ByteReader.
func NewDecoder(r io.Reader) *LabDecoder {
	return &LabDecoder{in: newFrames(r)}
}

// Decode reads the next value of the stream into the variable at e. Decode
// warns if the variable is not zero. A nil e skips the value. Decode returns
// io.EOF at the end of the stream and io.ErrUnexpectedEOF in the middle of a
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
		return fmt.Errorf("labgob: cannot decode into a %T: want a pointer to a variable", e)
	}
	checkType(v.Type())
	checkDefault(v)
	return nil
}

// Register registers the type of value under the name that encoding/gob uses. A
// registered type can travel inside an interface and through Marshal. Register
// warns about lower-case fields. A second registration of the same type is
// harmless. Register panics if the name belongs to another type, or if the type
// has another name.
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

// clone returns a non-nil copy of b.
func clone(b []byte) []byte { return append([]byte{}, b...) }
