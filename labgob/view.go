package labgob

import (
	"math"
	"math/bits"
)

// A Struct is a struct value of [View], with the fields in the sender's order.
type Struct []Field

// A Field is a field of a Struct.
type Field struct {
	Name  string
	Value any
}

// A Map is a map value of [View], in the order of the encoding.
type Map []Pair

// A Pair is an element of a Map.
type Pair struct{ Key, Value any }

// A Named is a value that an interface held. Name is the registered name of the type.
type Named struct {
	Name  string
	Value any
}

// View decodes data of [Encode] without the Go type of the value, for tools that show
// messages of programs that they do not know. The result consists of bool, int64, uint64,
// float64, complex128, string, []byte, []any, Struct, Map, Named and nil. A field that the
// encoding leaves out has the zero value, or nil if the field's type is not basic. A type
// that encodes itself becomes a []byte.
func View(data []byte) (value any, err error) {
	defs, first, rest, err := cut(data)
	if err != nil {
		return nil, err
	}
	v := viewer{scanner{owned: true, types: make(map[int]*wireType)}}
	if err := v.definitions(defs); err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		feed := &feeder{rest}
		v.in = &frames{feed, feed, feed}
	}
	v.b, v.raw = payload(first), first
	defer catch(&err)
	return v.top(v.int()), nil
}

// A viewer builds a value while it scans.
type viewer struct{ scanner }

func (v *viewer) top(id int) any {
	if v.typ(id).kind != wireStruct && v.uint() != 0 {
		fail("non-zero delta before a single value")
	}
	return v.view(id)
}

func (v *viewer) view(id int) any {
	if v.depth++; v.depth > MaxDepth {
		fail("nested deeper than %d", MaxDepth)
	}
	defer func() { v.depth-- }()
	t := v.typ(id)
	switch t.kind {
	case wireNumber:
		return number(id, v.uint())
	case wireComplex:
		re := real64(v.uint())
		return complex(re, real64(v.uint()))
	case wireBytes:
		n := v.count()
		raw := clone(v.b[:n])
		v.b = v.b[n:]
		if id == idString {
			return string(raw)
		}
		return raw
	case wireInterface:
		return v.concrete()
	case wireList:
		list := []any{}
		for range v.count() {
			list = append(list, v.view(t.elem))
		}
		return list
	case wireMap:
		m := Map{}
		for range v.count() {
			key := v.view(t.key)
			m = append(m, Pair{key, v.view(t.elem)})
		}
		return m
	}
	return v.fields(t)
}

// idString is gob's id of string.
const idString = 6

func (v *viewer) fields(t *wireType) Struct {
	s := make(Struct, len(t.fields))
	for i, f := range t.fields {
		s[i] = Field{f.name, zero(f.id)}
	}
	v.structure(func(n int) {
		if n >= len(s) {
			fail("field %d of %d", n, len(s))
		}
		s[n].Value = v.view(t.fields[n].id)
	})
	return s
}

func (v *viewer) concrete() any {
	n := v.count()
	name := string(v.b[:n])
	v.b = v.b[n:]
	if n == 0 {
		return nil
	}
	id := v.sequence()
	v.count()
	return Named{name, v.top(id)}
}

// number converts an integer of the encoding to the basic type id.
func number(id int, x uint64) any {
	switch id {
	case 1:
		return x != 0
	case idInt:
		return signed(x)
	case 4:
		return real64(x)
	}
	return x
}

// real64 undoes gob's form of a floating-point number.
func real64(x uint64) float64 { return math.Float64frombits(bits.ReverseBytes64(x)) }

// zero returns the zero value of a basic type, and nil for other types.
func zero(id int) any {
	switch id {
	case 1, 2, 3, 4:
		return number(id, 0)
	case 5:
		return []byte{}
	case idString:
		return ""
	}
	return nil
}

// ViewMessage is View for a message of [Marshal].
func ViewMessage(data []byte) (Named, error) {
	name, rest, err := cutName(data)
	if err != nil || len(name) == 0 {
		return Named{}, err
	}
	value, err := View(rest)
	return Named{string(name), value}, err
}
