package labgob

import (
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// A typeDef is one type definition message as gob writes it, with its count.
type typeDef struct {
	id    int
	bytes []byte
}

// A plan encodes values of one type whose interfaces hold values of a certain
// set of types. The plan has the definitions of all these types, and a free
// list of encoders that have already sent the definitions. Such an encoder
// writes one message with the value alone.
type plan struct {
	defs   []typeDef
	prefix []byte // all of defs

	free freeList[warmEncoder]
}

// all returns every definition.
func (p *plan) all() []byte { return p.prefix }

// maxKept bounds the messages after which an encoder or a decoder returns to
// its free list. Encoders and decoders hold on to their buffers.
const maxKept = 256 << 10

type warmEncoder struct {
	enc *gob.Encoder
	out []byte
}

func (w *warmEncoder) Write(b []byte) (int, error) {
	w.out = append(w.out, b...)
	return len(b), nil
}

// planKey identifies a plan by the type and the numbers of the dynamic types in
// order.
type planKey struct {
	root    reflect.Type
	dynamic string
}

// maxPlans bounds the cache of plans. A full cache is emptied. Only values with
// ever different sets of types in their interfaces fill the cache.
const maxPlans = 4096

var plans struct {
	sync.RWMutex
	m map[planKey]*plan
}

// encode encodes v behind the bytes that head returns for the plan of v, and passes the
// output to use.
func encode(v reflect.Value, head func(*plan) []byte, use func(*plan, []byte) error) error {
	if done, err := write(v, head, use); done {
		return err
	}
	p, warm, err := encodeWarm(v, head)
	if err != nil {
		return err
	}
	err = use(p, warm.out)
	p.put(warm)
	return err
}

// encodeWarm encodes v with gob, behind the bytes that head returns for the plan of v.
// The returned encoder holds the output. The caller returns the encoder with put.
func encodeWarm(v reflect.Value, head func(*plan) []byte) (*plan, *warmEncoder, error) {
	if err := checkPointers(v); err != nil {
		return nil, nil, err
	}
	var dyn dynamics
	if needsWalk(v.Type()) {
		dyn.collect(v, 1)
		if dyn.err != nil {
			return nil, nil, dyn.err
		}
	}
	p, err := planFor(v, &dyn)
	if err != nil {
		return nil, nil, err
	}
	w, err := p.get(v, &dyn)
	if err != nil {
		return nil, nil, err
	}
	w.out = append(w.out[:0], head(p)...)
	if err := w.enc.EncodeValue(v); err != nil {
		return nil, nil, err // and w is dropped with it
	}
	return p, w, nil
}

// checkPointers refuses a pointer to a nil pointer, because no decoder can read
// gob's message. A pointer to a nil pointer to a struct is fine, because gob
// writes an empty struct.
func checkPointers(v reflect.Value) error {
	if v.Kind() != reflect.Pointer || v.IsNil() || !nilPointer(v.Elem()) {
		return nil
	}
	if t := baseOf(v.Type()); t.Kind() == reflect.Struct && !encodesItself(t) {
		return nil
	}
	return fmt.Errorf("%w: a %v points at a nil pointer", ErrNil, v.Type())
}

// maxPointers bounds nilPointer, because pointers may form a ring. Gob refuses
// the types of longer chains.
const maxPointers = 100

// nilPointer reports whether v is a pointer that is nil or leads to nil.
func nilPointer(v reflect.Value) bool {
	for range maxPointers {
		if v.Kind() != reflect.Pointer {
			return false
		}
		if v.IsNil() {
			return true
		}
		v = v.Elem()
	}
	return false
}

func planFor(v reflect.Value, dyn *dynamics) (*plan, error) {
	key := planKey{v.Type(), numbersKey(dyn.found, func(d dynamic) uint32 { return d.number })}
	plans.RLock()
	p := plans.m[key]
	plans.RUnlock()
	if p != nil {
		return p, nil
	}
	w, err := primed(v, dyn)
	if err != nil {
		return nil, err
	}
	p = new(plan)
	p.free.put(w)
	if p.defs, err = definitions(w.out); err != nil {
		return nil, err
	}
	for _, d := range p.defs {
		p.prefix = append(p.prefix, d.bytes...)
	}
	p.prefix = slices.Clip(p.prefix)
	plans.Lock()
	defer plans.Unlock()
	if q := plans.m[key]; q != nil {
		return q, nil
	}
	if plans.m == nil || len(plans.m) >= maxPlans {
		plans.m = make(map[planKey]*plan)
	}
	plans.m[key] = p
	return p, nil
}

// primed returns an encoder that has sent the definitions of v's type and of
// all dynamic types in v. The output of the encoder holds the definitions.
func primed(v reflect.Value, dyn *dynamics) (*warmEncoder, error) {
	w := new(warmEncoder)
	w.enc = gob.NewEncoder(w)
	for _, d := range dyn.found {
		if err := w.enc.EncodeValue(d.value); err != nil {
			return nil, err
		}
	}
	if err := w.enc.EncodeValue(v); err != nil {
		return nil, err
	}
	return w, nil
}

// get takes an encoder from the free list, or primes a new encoder with the
// value.
func (p *plan) get(v reflect.Value, dyn *dynamics) (*warmEncoder, error) {
	if w := p.free.get(); w != nil {
		return w, nil
	}
	return primed(v, dyn)
}

func (p *plan) put(w *warmEncoder) {
	if cap(w.out) <= maxKept {
		p.free.put(w)
	}
}

// definitions returns the type definitions in the output of an encoder.
func definitions(stream []byte) ([]typeDef, error) {
	var defs []typeDef
	for len(stream) > 0 {
		n, size, id, ok := header(stream)
		if !ok || n+size > len(stream) {
			return nil, errors.New("labgob: cannot read what gob wrote")
		}
		if id < 0 {
			defs = append(defs, typeDef{-id, clone(stream[:n+size])})
		}
		stream = stream[n+size:]
	}
	return defs, nil
}

// A dynamics is the set of types in the interfaces of a value.
type dynamics struct {
	found []dynamic // inner ones before those that hold them
	err   error

	// recent remembers some types, because the entries of a log alternate between few.
	recent [4]recentType
	next   int // the place in recent to overwrite next
}

type recentType struct {
	*shape
	number   uint32 // if numbered
	numbered bool
}

// typeOf returns the entry of a type in recent.
func (d *dynamics) typeOf(t reflect.Type) *recentType {
	for i := range d.recent {
		if r := &d.recent[i]; r.shape != nil && r.t == t {
			return r
		}
	}
	r := &d.recent[d.next%len(d.recent)]
	d.next++
	*r = recentType{shape: shapeOf(t)}
	return r
}

// numberOf is the function numberOf, without its lock for a recent type.
func (d *dynamics) numberOf(t reflect.Type) uint32 {
	r := d.typeOf(t)
	if !r.numbered {
		r.number, r.numbered = numberOf(t), true
	}
	return r.number
}

type dynamic struct {
	number uint32 // of its type
	value  reflect.Value
}

// collect walks the parts of v that may hold interfaces or may be nested too
// deep. As in the scanner, pointers do not add to the depth.
func (d *dynamics) collect(v reflect.Value, depth int) {
	if depth > MaxDepth {
		d.err = ErrTooDeep
	}
	if d.err != nil {
		return
	}
	s := d.typeOf(v.Type()).shape
	if !s.walk {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.collect(v.Elem(), depth)
		}
	case reflect.Interface:
		d.collectDynamic(v.Elem(), depth)
	case reflect.Struct:
		if s.exported && depth+1 > MaxDepth {
			d.err = ErrTooDeep
		}
		for _, i := range s.fields {
			d.collect(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			d.collect(v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			d.collect(it.Key(), depth+1)
			d.collect(it.Value(), depth+1)
		}
	}
}

// collectDynamic adds the type of the value in an interface.
func (d *dynamics) collectDynamic(v reflect.Value, depth int) {
	if !v.IsValid() {
		return
	}
	if nilPointer(v) {
		d.err = fmt.Errorf("%w: a %v in an interface is or points at a nil pointer", ErrNil, v.Type())
		return
	}
	d.collect(v, depth+1)
	number := d.numberOf(v.Type())
	for _, have := range d.found {
		if have.number == number {
			return
		}
	}
	d.found = append(d.found, dynamic{number, v})
}

// numbersKey identifies a set of types by their numbers, in whatever order they were found.
func numbersKey[T any](found []T, number func(T) uint32) string {
	if len(found) == 0 {
		return ""
	}
	var numbers [8]uint32
	sorted := numbers[:0]
	for _, f := range found {
		sorted = append(sorted, number(f))
	}
	slices.Sort(sorted)
	var bytes [32]byte
	key := bytes[:0]
	for _, n := range sorted {
		key = binary.LittleEndian.AppendUint32(key, n)
	}
	return string(key)
}

var typeNumbers struct {
	sync.RWMutex
	m map[reflect.Type]uint32
}

// numberOf numbers types in the order of their first use.
func numberOf(t reflect.Type) uint32 {
	typeNumbers.RLock()
	n, ok := typeNumbers.m[t]
	typeNumbers.RUnlock()
	if ok {
		return n
	}
	typeNumbers.Lock()
	defer typeNumbers.Unlock()
	if n, ok = typeNumbers.m[t]; ok {
		return n
	}
	if typeNumbers.m == nil {
		typeNumbers.m = make(map[reflect.Type]uint32)
	}
	n = uint32(len(typeNumbers.m))
	typeNumbers.m[t] = n
	return n
}

// A shape is what collect needs to know of a type.
type shape struct {
	t        reflect.Type
	walk     bool  // as needsWalk
	fields   []int // of a struct that need a walk
	exported bool  // a struct has exported fields
}

var shapes sync.Map // reflect.Type -> *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{t: t, walk: openEnded(t, nil)}
	if s.walk && t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			f := t.Field(i)
			s.exported = s.exported || f.IsExported()
			if f.IsExported() && openEnded(f.Type, nil) {
				s.fields = append(s.fields, i)
			}
		}
	}
	shapes.Store(t, s)
	return s
}

// needsWalk reports whether a value of type t may hold interface values that
// gob encodes, or may be nested without bound.
func needsWalk(t reflect.Type) bool { return shapeOf(t).walk }

// openEnded reports whether t holds an interface, or a type on the path from t
// holds itself.
func openEnded(t reflect.Type, path []reflect.Type) bool {
	if encodesItself(t) {
		return false
	}
	if slices.Contains(path, t) {
		return true
	}
	path = append(path, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return openEnded(t.Elem(), path)
	case reflect.Map:
		return openEnded(t.Key(), path) || openEnded(t.Elem(), path)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && openEnded(f.Type, path) {
				return true
			}
		}
	}
	return false
}
