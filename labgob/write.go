package labgob

import (
	"encoding/gob"
	"math"
	"math/bits"
	"reflect"
	"sync"
)

// A writer writes the value message of a value, as gob does, several times faster. Most of
// gob's time goes into interface values. Gob looks up each one's type in three global maps,
// and copies each one twice. A server that encodes its whole log writes many of them.
//
// A writer gives up on a value that gob refuses, and on a type that encodes itself.
// Package gob then encodes the value.
type writer struct {
	out   []byte // of the caller: definitions and the message
	b     []byte // the message under construction
	depth int
	found []*dynamicType // types in interfaces, each once

	// recent remembers some types, because the entries of a log alternate between few.
	recent [4]*dynamicType
	next   int // the place in recent to overwrite next
}

// maxPlainDepth bounds the nesting of a value that a writer writes. Gob and dynamics treat
// deeper values, with the limit MaxDepth.
const maxPlainDepth = 500

// A layout says how a writer writes the values of a type.
type layout struct {
	kind   reflect.Kind
	indir  int     // pointers in front of the value
	elem   *layout // of a slice, an array or a map
	key    *layout // of a map
	bytes  bool    // a slice of bytes
	fields []layoutField
}

// A layoutField is a field that gob sends.
type layoutField struct {
	index int
	*layout
}

// A rootLayout is the layout of a type at the top of a message.
type rootLayout struct {
	*layout
	id int // gob's number of the type

	free freeList[writer]
}

// A dynamicType is a registered type of values in interfaces.
type dynamicType struct {
	t      reflect.Type
	number uint32
	head   []byte // name and type number, in front of each value
	*layout
}

// layouts caches layouts by type. A nil layout says that gob encodes the type.
var layouts = struct {
	sync.RWMutex
	roots    map[reflect.Type]*rootLayout
	dynamics map[reflect.Type]*dynamicType
}{roots: make(map[reflect.Type]*rootLayout), dynamics: make(map[reflect.Type]*dynamicType)}

// rootOf returns the layout of a type, or nil.
func rootOf(t reflect.Type) *rootLayout {
	layouts.RLock()
	r, ok := layouts.roots[t]
	layouts.RUnlock()
	if ok {
		return r
	}
	r = newRoot(t)
	layouts.Lock()
	defer layouts.Unlock()
	if have, ok := layouts.roots[t]; ok {
		return have
	}
	layouts.roots[t] = r
	return r
}

func newRoot(t reflect.Type) *rootLayout {
	base := baseOf(t)
	if base.Kind() == reflect.Pointer || base.Kind() == reflect.Interface {
		return nil
	}
	id, ok := gobNumber(base)
	if !ok {
		return nil
	}
	l := newLayout(t, make(map[reflect.Type]*layout))
	if l == nil {
		return nil
	}
	return &rootLayout{layout: l, id: id}
}

// gobNumber returns gob's number of a type. ok is false if gob cannot encode the type's
// zero value.
func gobNumber(t reflect.Type) (id int, ok bool) {
	var w warmEncoder
	if gob.NewEncoder(&w).EncodeValue(reflect.Zero(t)) != nil {
		return 0, false
	}
	for rest := w.out; ; {
		n, size, id, ok := header(rest)
		if !ok || id >= 0 {
			return id, ok
		}
		rest = rest[n+size:]
	}
}

// newLayout returns the layout of a type that gob encodes, or nil if a part of the type
// encodes itself.
func newLayout(t reflect.Type, known map[reflect.Type]*layout) *layout {
	if l, ok := known[t]; ok {
		return l
	}
	l := new(layout)
	known[t] = l
	base := t
	for ; base.Kind() == reflect.Pointer; base = base.Elem() {
		if encodesItself(base) || l.indir == maxPointers {
			return nil
		}
		l.indir++
	}
	if encodesItself(base) {
		return nil
	}
	l.kind = base.Kind()
	switch l.kind {
	case reflect.Slice, reflect.Array:
		l.bytes = l.kind == reflect.Slice && base.Elem().Kind() == reflect.Uint8
		if l.elem = newLayout(base.Elem(), known); l.elem == nil {
			return nil
		}
	case reflect.Map:
		l.key, l.elem = newLayout(base.Key(), known), newLayout(base.Elem(), known)
		if l.key == nil || l.elem == nil {
			return nil
		}
	case reflect.Struct:
		for i := range base.NumField() {
			f := base.Field(i)
			if k := baseOf(f.Type).Kind(); !f.IsExported() || k == reflect.Chan || k == reflect.Func {
				continue
			}
			field := newLayout(f.Type, known)
			if field == nil {
				return nil
			}
			l.fields = append(l.fields, layoutField{i, field})
		}
	}
	return l
}

// dynamicOf returns the entry of a type, or nil.
func dynamicOf(t reflect.Type) *dynamicType {
	layouts.RLock()
	d := layouts.dynamics[t]
	layouts.RUnlock()
	if d != nil {
		return d
	}
	name, registered := registry.nameOf(t)
	root := rootOf(t)
	if !registered || root == nil {
		return nil
	}
	head := append(appendUint(nil, uint64(len(name))), name...)
	d = &dynamicType{t: t, number: numberOf(t), head: appendInt(head, int64(root.id)), layout: root.layout}
	layouts.Lock()
	defer layouts.Unlock()
	layouts.dynamics[t] = d
	return d
}

// write encodes v behind the bytes that head returns for the plan of v, and passes the
// output to use. done is false if gob must encode v.
func write(v reflect.Value, head func(*plan) []byte, use func(*plan, []byte) error) (done bool, err error) {
	root := rootOf(v.Type())
	if root == nil {
		return false, nil
	}
	w := root.get()
	w.b, w.found, w.depth = appendInt(w.b[:0], int64(root.id)), w.found[:0], 0
	if !w.top(root.layout, v) || len(w.b) >= maxMessage {
		return false, nil
	}
	key := planKey{v.Type(), numbersKey(w.found, func(d *dynamicType) uint32 { return d.number })}
	plans.RLock()
	p := plans.m[key]
	plans.RUnlock()
	if p == nil {
		return false, nil
	}
	w.out = appendUint(append(w.out[:0], head(p)...), uint64(len(w.b)))
	w.out = append(w.out, w.b...)
	err = use(p, w.out)
	root.put(w)
	return true, err
}

func (r *rootLayout) get() *writer {
	if w := r.free.get(); w != nil {
		return w
	}
	return new(writer)
}

func (r *rootLayout) put(w *writer) {
	if cap(w.out) <= maxKept {
		r.free.put(w)
	}
}

// top writes a value that no struct, slice, array or map holds.
func (w *writer) top(l *layout, v reflect.Value) bool {
	if l.indir > 0 {
		if v = l.target(v); !v.IsValid() {
			return false
		}
	}
	if l.kind != reflect.Struct {
		w.b = append(w.b, 0)
	}
	return w.value(l, v)
}

// target follows pointers, and returns the zero Value at a nil pointer.
func (l *layout) target(v reflect.Value) reflect.Value {
	for range l.indir {
		if v.IsNil() {
			return reflect.Value{}
		}
		v = v.Elem()
	}
	return v
}

// value writes a value without its pointers. The result is false if gob must encode the
// message.
func (w *writer) value(l *layout, v reflect.Value) bool {
	switch l.kind {
	case reflect.Bool:
		w.b = append(w.b, 0)
		if v.Bool() {
			w.b[len(w.b)-1] = 1
		}
		return true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.b = appendInt(w.b, v.Int())
		return true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		w.b = appendUint(w.b, v.Uint())
		return true
	case reflect.Float32, reflect.Float64:
		w.b = appendFloat(w.b, v.Float())
		return true
	case reflect.Complex64, reflect.Complex128:
		c := v.Complex()
		w.b = appendFloat(appendFloat(w.b, real(c)), imag(c))
		return true
	case reflect.String:
		text := v.String()
		w.b = append(appendUint(w.b, uint64(len(text))), text...)
		return true
	}
	if w.depth == maxPlainDepth {
		return false
	}
	w.depth++
	ok := false
	switch l.kind {
	case reflect.Struct:
		ok = w.structure(l, v)
	case reflect.Slice, reflect.Array:
		ok = w.list(l, v)
	case reflect.Map:
		ok = w.pairs(l, v)
	case reflect.Interface:
		ok = w.dynamic(v)
	}
	w.depth--
	return ok
}

// structure writes the fields that are not zero, each behind the distance to the field
// before.
func (w *writer) structure(l *layout, v reflect.Value) bool {
	last := -1
	for i := range l.fields {
		f := &l.fields[i]
		part := v.Field(f.index)
		if f.indir > 0 {
			if part = f.target(part); !part.IsValid() {
				continue
			}
		}
		distance := byte(i - last)
		if i-last > 127 {
			return false
		}
		switch f.kind {
		case reflect.Int, reflect.Int64:
			n := part.Int()
			if n == 0 {
				continue
			}
			w.b = appendInt(append(w.b, distance), n)
		case reflect.String:
			text := part.String()
			if text == "" {
				continue
			}
			w.b = append(appendUint(append(w.b, distance), uint64(len(text))), text...)
		default:
			if f.omits(part) {
				continue
			}
			w.b = append(w.b, distance)
			if !w.value(f.layout, part) {
				return false
			}
		}
		last = i
	}
	w.b = append(w.b, 0)
	return true
}

// omits reports whether gob leaves a value out of a struct.
func (l *layout) omits(v reflect.Value) bool {
	switch l.kind {
	case reflect.Struct, reflect.Array:
		return false
	case reflect.Slice:
		return v.Len() == 0
	case reflect.Interface, reflect.Map:
		return v.IsNil()
	}
	return v.IsZero() // also for a negative zero
}

func (w *writer) list(l *layout, v reflect.Value) bool {
	n := v.Len()
	w.b = appendUint(w.b, uint64(n))
	if l.bytes {
		w.b = append(w.b, v.Bytes()...)
		return true
	}
	for i := range n {
		if !w.element(l.elem, v.Index(i)) {
			return false
		}
	}
	return true
}

func (w *writer) pairs(l *layout, v reflect.Value) bool {
	w.b = appendUint(w.b, uint64(v.Len()))
	for it := v.MapRange(); it.Next(); {
		if !w.element(l.key, it.Key()) || !w.element(l.elem, it.Value()) {
			return false
		}
	}
	return true
}

// element writes a part of a list or a map. Gob refuses a nil pointer there.
func (w *writer) element(l *layout, v reflect.Value) bool {
	if l.indir > 0 {
		if v = l.target(v); !v.IsValid() {
			return false
		}
	}
	return w.value(l, v)
}

// dynamic writes an interface value: name, type number, length, value.
func (w *writer) dynamic(v reflect.Value) bool {
	v = v.Elem()
	if !v.IsValid() {
		w.b = append(w.b, 0)
		return true
	}
	d := w.typeOf(v.Type())
	if d == nil {
		return false
	}
	w.b = append(w.b, d.head...)
	start := len(w.b)
	w.b = append(w.b, 0) // the length, if it is below 128
	if !w.top(d.layout, v) {
		return false
	}
	if n := len(w.b) - start - 1; n < 128 {
		w.b[start] = byte(n)
	} else {
		w.lengthen(start, n)
	}
	return true
}

// lengthen replaces the byte at start, before the last n bytes, by the length n.
func (w *writer) lengthen(start, n int) {
	var size [9]byte
	length := appendUint(size[:0], uint64(n))
	w.b = append(w.b, length[1:]...)
	copy(w.b[start+len(length):], w.b[start+1:start+1+n])
	copy(w.b[start:], length)
}

// typeOf returns the entry of a type, or nil, and notes that the message has the type.
func (w *writer) typeOf(t reflect.Type) *dynamicType {
	for _, d := range w.recent {
		if d != nil && d.t == t {
			return w.note(d)
		}
	}
	d := dynamicOf(t)
	if d == nil {
		return nil
	}
	w.recent[w.next%len(w.recent)] = d
	w.next++
	return w.note(d)
}

func (w *writer) note(d *dynamicType) *dynamicType {
	for _, have := range w.found {
		if have.number == d.number {
			return d
		}
	}
	w.found = append(w.found, d)
	return d
}

// appendInt appends a signed integer in gob's encoding.
func appendInt(b []byte, i int64) []byte { return appendUint(b, uint64(i)<<1^uint64(i>>63)) }

// appendFloat appends a floating-point number in gob's encoding.
func appendFloat(b []byte, f float64) []byte {
	return appendUint(b, bits.ReverseBytes64(math.Float64bits(f)))
}
