package labgob

import (
	"encoding/binary"
	"reflect"
	"unicode"
	"unicode/utf8"
)

// A rewriter is the output of a scanner that copies a value into a form that
// gob's decoder reads correctly. Gob's decoder fails in two cases, both when
// the target has no place for a part of the value:
//
//   - Gob cannot skip a nil interface value in a list or a map. The rewriter
//     replaces each such nil by an empty value. To find out where gob will skip,
//     a scanner with a rewriter follows the type of the target.
//   - Gob cannot skip an interface value with a type definition inside. The
//     rewriter leaves these definitions out, and the stream sends them ahead.
type rewriter struct {
	out  []byte
	from []byte // the scanner's input that has not been copied
	into reflect.Type
}

// rewrite copies a checked value for a decode into e. The result is a single
// message. The types include those defined inside the value.
func rewrite(types map[int]*wireType, value []byte, e any) ([]byte, error) {
	n, size, _, _ := header(value)
	first, rest := value[:n+size:n+size], newFrames(&feeder{value[n+size:]})
	r := &rewriter{from: payload(first)}
	if e != nil {
		r.into = reflect.TypeOf(e)
	}
	length := r.reserve()
	scan := scanner{types: types, rewriter: r}
	if _, err := scan.whole(first, &rest); err != nil {
		return nil, err
	}
	r.copy(scan.b)
	r.fill(length)
	return r.out, nil
}

// copy copies the input up to the unread part.
func (r *rewriter) copy(unread []byte) {
	r.out = append(r.out, r.from[:len(r.from)-len(unread)]...)
	r.from = unread
}

// skipTo leaves out the input up to the unread part.
func (r *rewriter) skipTo(unread []byte) { r.from = unread }

// nothing copies a nil interface value. If gob will skip the value, nothing
// turns the value into one of type int and length 0, without a name.
func (r *rewriter) nothing(unread []byte, into reflect.Type) {
	r.copy(unread)
	if into == nil {
		r.out = appendUint(r.out, 2*idInt)
		r.out = appendUint(r.out, 0)
	}
}

// wide is the size of a count that the rewriter fills in later, a length byte
// and eight bytes. Gob accepts leading zeros.
const wide = 9

// reserve makes room for a count and returns the place.
func (r *rewriter) reserve() int {
	r.out = append(r.out, make([]byte, wide)...)
	return len(r.out)
}

// fill writes the number of bytes behind a reserved place.
func (r *rewriter) fill(place int) {
	r.out[place-wide] = 0xf8 // gob's mark for eight bytes
	binary.BigEndian.PutUint64(r.out[place-wide+1:], uint64(len(r.out)-place))
}

// opaque stands for an unknown target type, or for a target that gob will
// refuse.
type opaque struct{}

var opaqueType = reflect.TypeFor[opaque]()

// elemOf returns the type into which gob decodes the elements of a list or map
// in a t. A nil type means that gob skips the value and all its parts.
func elemOf(t reflect.Type) reflect.Type {
	if t == nil {
		return nil
	}
	switch t = baseOf(t); t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return t.Elem()
	}
	return opaqueType
}

// keyOf is elemOf for the keys of a map.
func keyOf(t reflect.Type) reflect.Type {
	if t == nil {
		return nil
	}
	if t = baseOf(t); t.Kind() == reflect.Map {
		return t.Key()
	}
	return opaqueType
}

// fieldOf is elemOf for a field of a struct. Gob skips a field that the target
// lacks.
func fieldOf(t reflect.Type, name string) reflect.Type {
	if t == nil {
		return nil
	}
	if t = baseOf(t); t.Kind() != reflect.Struct || t == opaqueType {
		return opaqueType
	}
	f, ok := t.FieldByName(name)
	if first, _ := utf8.DecodeRuneInString(name); !ok || !unicode.IsUpper(first) {
		return nil
	}
	return f.Type
}

// concreteOf is elemOf for the value in an interface, given the name of the
// value's type.
func concreteOf(t reflect.Type, name []byte) reflect.Type {
	if t == nil {
		return nil
	}
	if concrete, ok := registry.typeOf(name); ok {
		return concrete
	}
	return opaqueType
}
