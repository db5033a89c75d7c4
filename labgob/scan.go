package labgob

import (
	"fmt"
	"maps"
	"reflect"
)

// A wireType holds the parts of a type definition that a scanner needs to walk
// a value.
type wireType struct {
	kind   wireKind
	key    int         // map
	elem   int         // map, slice, array
	fields []wireField // struct
}

// A wireField is a field of a struct as the sender defined the struct.
type wireField struct {
	name string
	id   int // of the field's type
}

type wireKind uint8

const (
	wireNumber    wireKind = iota // one integer: bool, int, uint, float
	wireComplex                   // two
	wireBytes                     // a count and as many bytes: []byte, string, self-encoded
	wireInterface                 // name, type, count, value
	wireList                      // slice or array: a count and as many elements
	wireMap                       // a count and as many pairs
	wireStruct                    // pairs of field distance and value, up to distance 0
)

// Gob's ids of int and of interface types.
const (
	idInt       = 2
	idInterface = 8
)

// builtin holds the predefined types of gob by id.
var builtin = [...]*wireType{
	1: {kind: wireNumber}, 2: {kind: wireNumber}, 3: {kind: wireNumber}, 4: {kind: wireNumber},
	5: {kind: wireBytes}, 6: {kind: wireBytes}, 7: {kind: wireComplex}, idInterface: {kind: wireInterface},
}

// firstID is the lowest id of a type defined in a stream.
const firstID = 64

// A scanner walks encoded values and type definitions without building
// anything, and so protects gob from lying counts. The scanner panics with a
// malformed value, and catch recovers the panic.
type scanner struct {
	b         []byte // the unread part of the message
	types     map[int]*wireType
	owned     bool    // types belongs to this scanner alone
	in        *frames // source of a value's further messages; nil if there are none
	raw       []byte  // all messages of the value
	inline    []byte  // type definitions met inside the value, as messages
	split     bool    // a type definition stood inside the interface value at hand
	nils      bool    // an interface value was nil
	depth     int
	*rewriter // nil: the scanner only checks
}

type malformed struct{ err error }

func fail(format string, args ...any) {
	panic(malformed{fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)})
}

// catch turns a panic of fail into *err.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case malformed:
		*err = r.err
	default:
		panic(r)
	}
}

// message checks a message with a value at top level. The message holds the
// type id, a zero byte unless the type is a struct, and the value.
func (s *scanner) message() (err error) {
	defer catch(&err)
	s.topValue(s.int(), s.target())
	if len(s.b) > 0 {
		fail("%d bytes after a value", len(s.b))
	}
	return nil
}

// whole checks a value and returns all messages of the value. The caller passes
// the first message, and whole reads further messages from in.
func (s *scanner) whole(first []byte, in *frames) ([]byte, error) {
	s.b, s.raw, s.in = payload(first), first, in
	err := s.message()
	if err == nil && in != nil {
		err = in.end()
	}
	return s.raw, err
}

// target returns the type of the target if the scanner rewrites the value.
func (s *scanner) target() reflect.Type {
	if s.rewriter == nil {
		return nil
	}
	return s.into
}

// more goes on with the next message of a value.
func (s *scanner) more() {
	if s.in == nil {
		fail("the value has no further message")
	}
	start := len(s.raw)
	var err error
	if s.raw, err = s.in.next(s.raw); err != nil {
		panic(malformed{unexpected(err)})
	}
	s.b = payload(s.raw[start:])
}

// topValue checks a value at the top of a message or in an interface.
func (s *scanner) topValue(id int, into reflect.Type) {
	t := s.typ(id)
	if t.kind != wireStruct && s.uint() != 0 {
		fail("non-zero delta before a single value")
	}
	s.value(t, into)
}

func (s *scanner) uint() uint64 {
	x, n := uvarint(s.b)
	if n == 0 {
		fail("truncated integer")
	}
	s.b = s.b[n:]
	return x
}

func (s *scanner) int() int { return int(signed(s.uint())) }

// count reads the number of elements that follow. Each element takes at least
// one byte.
func (s *scanner) count() int {
	n := s.uint()
	if n > uint64(len(s.b)) {
		fail("count %d with %d bytes left", n, len(s.b))
	}
	return int(n)
}

func (s *scanner) skip() { s.b = s.b[s.count():] }

func (s *scanner) typ(id int) *wireType {
	if id > 0 && id < len(builtin) {
		return builtin[id]
	}
	t := s.types[id]
	if t == nil {
		fail("type %d is not defined", id)
	}
	return t
}

// value checks a value. A scanner with a rewriter follows the type into which
// gob will decode the value. A nil type means that gob will skip the value.
func (s *scanner) value(t *wireType, into reflect.Type) {
	if s.depth++; s.depth > MaxDepth {
		fail("nested deeper than %d", MaxDepth)
	}
	switch t.kind {
	case wireNumber:
		s.uint()
	case wireComplex:
		s.uint()
		s.uint()
	case wireBytes:
		s.skip()
	case wireInterface:
		s.iface(into)
	case wireList:
		elem, elemInto := s.typ(t.elem), elemOf(into)
		for range s.count() {
			s.value(elem, elemInto)
		}
	case wireMap:
		key, elem := s.typ(t.key), s.typ(t.elem)
		keyInto, elemInto := keyOf(into), elemOf(into)
		for range s.count() {
			s.value(key, keyInto)
			s.value(elem, elemInto)
		}
	case wireStruct:
		s.structure(func(field int) {
			if field >= len(t.fields) {
				fail("field %d of %d", field, len(t.fields))
			}
			s.value(s.typ(t.fields[field].id), fieldOf(into, t.fields[field].name))
		})
	}
	s.depth--
}

// structure calls field for each present field. The end of the message also
// ends a struct, because gob writes a nil pointer to a struct as no bytes at
// all.
func (s *scanner) structure(field func(number int)) {
	number := -1
	for len(s.b) > 0 {
		delta := s.uint()
		if delta == 0 {
			return
		}
		if delta > 1<<16 {
			fail("field distance %d", delta)
		}
		number += int(delta)
		field(number)
	}
}

// iface checks an interface value. A count gives the length of the concrete
// value. If definitions stand inside the value, the count covers only a part.
func (s *scanner) iface(into reflect.Type) {
	n := s.count()
	name := s.b[:n]
	s.b = s.b[n:]
	if n == 0 {
		s.nils = true
		if s.rewriter != nil {
			s.nothing(s.b, into)
		}
		return
	}
	if s.rewriter != nil {
		s.rewriteConcrete(concreteOf(into, name))
		return
	}
	id := s.sequence()
	size := s.count()
	before, split := len(s.b), s.split
	s.split = false
	s.topValue(id, nil)
	if !s.split && before-len(s.b) != size {
		fail("interface value of %d bytes takes %d", size, before-len(s.b))
	}
	s.split = s.split || split
}

// rewriteConcrete copies the concrete value of an interface without the
// definitions inside, and with a new count.
func (s *scanner) rewriteConcrete(into reflect.Type) {
	s.copy(s.b)
	id := s.sequence()
	s.count()
	s.skipTo(s.b)
	s.out = appendUint(s.out, 2*uint64(id))
	length := s.reserve()
	s.topValue(id, into)
	s.copy(s.b)
	s.fill(length)
}

// sequence reads type definitions inside a value and returns the type id behind
// them. After a definition, either the message ends and the value continues in
// the next message, or a redundant count follows.
func (s *scanner) sequence() int {
	for {
		id := s.int()
		if id >= 0 {
			return id
		}
		s.split = true
		definition := s.b
		s.define(-id)
		s.inline = appendDefinition(s.inline, -id, definition[:len(definition)-len(s.b)])
		if len(s.b) > 0 {
			s.uint()
			continue
		}
		s.more()
	}
}

// definitions checks messages with type definitions, and adds the types.
func (s *scanner) definitions(defs []byte) (err error) {
	defer catch(&err)
	for len(defs) > 0 {
		n, size, id, ok := header(defs)
		if !ok || size > len(defs)-n || id >= 0 {
			fail("broken type definition")
		}
		s.b = defs[n : n+size]
		s.int() // the id again
		s.define(-id)
		if len(s.b) > 0 {
			fail("%d bytes after a type definition", len(s.b))
		}
		defs = defs[n+size:]
	}
	return nil
}

// maxTypes bounds the types of one stream.
const maxTypes = 10_000

// define reads the definition of type id.
func (s *scanner) define(id int) {
	t := new(wireType)
	forms := 0
	s.structure(func(form int) {
		forms++
		s.form(t, form)
	})
	if forms != 1 {
		fail("type %d has %d definitions", id, forms)
	}
	if s.rewriter == nil { // otherwise an earlier pass has added the type
		s.add(id, t)
	}
}

func (s *scanner) add(id int, t *wireType) {
	if !s.owned {
		types := make(map[int]*wireType)
		maps.Copy(types, s.types)
		s.types, s.owned = types, true
	}
	if id < firstID || s.types[id] != nil {
		fail("type %d is defined twice", id)
	}
	if len(s.types) >= maxTypes {
		fail("more than %d types", maxTypes)
	}
	s.types[id] = t
}

// form reads one form of a type definition. The forms are gob's arrayType,
// sliceType, structType and mapType, and three for types that encode
// themselves.
func (s *scanner) form(t *wireType, form int) {
	switch form {
	case 0, 1:
		t.kind = wireList
		s.common(func(n int) { s.intField(n, &t.elem, nil) })
	case 2:
		t.kind = wireStruct
		s.common(func(int) { t.fields = s.fieldTypes() })
	case 3:
		t.kind = wireMap
		s.common(func(n int) { s.intField(n, &t.key, &t.elem) })
	case 4, 5, 6:
		t.kind = wireBytes
		s.common(func(n int) { fail("unknown part %d of a type definition", n) })
	default:
		fail("unknown kind of type %d", form)
	}
}

// common reads a form. Part 0 holds the name and the id, and the walk needs
// neither. The function rest reads the other parts.
func (s *scanner) common(rest func(part int)) {
	s.structure(func(part int) {
		if part > 0 {
			rest(part)
			return
		}
		s.structure(func(n int) {
			if n == 0 {
				s.skip()
			} else {
				s.uint()
			}
		})
	})
}

// intField reads part 1 or 2 of a form, both integers.
func (s *scanner) intField(part int, first, second *int) {
	x := s.int()
	switch {
	case part == 1:
		*first = x
	case part == 2 && second != nil:
		*second = x
	case part > 2:
		fail("unknown part %d of a type definition", part)
	}
}

// fieldTypes reads the fields of a struct, each a name and a type id.
func (s *scanner) fieldTypes() []wireField {
	var fields []wireField
	for range s.count() {
		var f wireField
		s.structure(func(part int) {
			switch part {
			case 0:
				n := s.count()
				f.name = string(s.b[:n])
				s.b = s.b[n:]
			case 1:
				f.id = s.int()
			default:
				fail("unknown part %d of a field", part)
			}
		})
		fields = append(fields, f)
	}
	return fields
}
