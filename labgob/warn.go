package labgob

import (
	"encoding"
	"encoding/gob"
	"fmt"
	"os"
	"reflect"
	"sync"
	"unicode"
	"unicode/utf8"
)

var (
	warnMu sync.Mutex
	// errorCount counts warnings for tests that expect a warning. Guarded by
	// warnMu.
	errorCount int
	// warnedTarget holds the target types with a printed warning. Guarded by
	// warnMu.
	warnedTarget = map[reflect.Type]bool{}
	// checkedTypes holds the types that checkType has seen.
	checkedTypes sync.Map
)

// checkType warns about unexported struct fields, anywhere inside t. Gob does
// not send these fields.
func checkType(t reflect.Type) {
	if _, seen := checkedTypes.Load(t); seen {
		return
	}
	if _, seen := checkedTypes.LoadOrStore(t, true); seen || encodesItself(t) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		checkFields(t)
	case reflect.Slice, reflect.Array, reflect.Pointer:
		checkType(t.Elem())
	case reflect.Map:
		checkType(t.Key())
		checkType(t.Elem())
	}
}

func checkFields(t reflect.Type) {
	warned := false
	for i := range t.NumField() {
		f := t.Field(i)
		if first, _ := utf8.DecodeRuneInString(f.Name); unicode.IsUpper(first) {
			checkType(f.Type)
			continue
		}
		if !warned {
			warned = true
			warnField(t, f.Name)
		}
	}
}

func warnField(t reflect.Type, field string) {
	warnMu.Lock()
	defer warnMu.Unlock()
	errorCount++
	fmt.Fprintf(os.Stderr, "labgob error: lower-case field %s of %v in RPC or persist/snapshot will break your Raft\n", field, t)
}

// checkDefault warns if the variable at v is not zero. Gob does not send zero
// values, so old contents would show through.
func checkDefault(v reflect.Value) {
	path, ok := nonDefault(v.Elem(), "", 0)
	if !ok {
		return
	}
	t := v.Type().Elem()
	warnMu.Lock()
	defer warnMu.Unlock()
	errorCount++
	if !warnedTarget[t] {
		warnedTarget[t] = true
		fmt.Fprintf(os.Stderr, "labgob warning: Decoding into a non-default variable/field %v%s may not work\n", t, path)
	}
}

// defaultDepth bounds the search of nonDefault, because pointers may form
// rings.
const defaultDepth = 8

// nonDefault finds a part of v that can show through after a decode, and
// returns the path to the part.
func nonDefault(v reflect.Value, path string, depth int) (string, bool) {
	switch {
	case depth > defaultDepth || v.IsZero():
		return "", false
	case encodesItself(v.Type()):
		return path, true
	}
	switch v.Kind() {
	case reflect.Struct:
		return nonDefaultField(v, path, depth)
	case reflect.Pointer:
		return nonDefault(v.Elem(), path, depth+1)
	case reflect.Map:
		return path, v.Len() > 0
	case reflect.Slice:
		if v.Len() > 0 {
			return path, true
		}
		return staleElement(v, path, depth)
	case reflect.Interface:
		return path, path != "" // gob always sends an interface that is the whole value
	case reflect.Chan, reflect.Func:
		return "", false // not sent
	}
	return path, true
}

func nonDefaultField(v reflect.Value, path string, depth int) (string, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue // gob does not change the field
		}
		if p, bad := nonDefault(v.Field(i), path+"."+f.Name, depth+1); bad {
			return p, true
		}
	}
	return "", false
}

// staleElement finds an element of a list, up to the capacity of a slice, that
// can show through. Gob reuses such elements. Gob sends every element of a
// list, zero or not, so an element is stale only if gob leaves out some of its
// parts.
func staleElement(v reflect.Value, path string, depth int) (string, bool) {
	if v.Kind() == reflect.Slice {
		v = v.Slice(0, v.Cap())
	}
	if !reusesParts(v.Type().Elem(), 0) {
		return "", false
	}
	for i := range v.Len() {
		if p, bad := stale(v.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1); bad {
			return p, true
		}
	}
	return "", false
}

func stale(v reflect.Value, path string, depth int) (string, bool) {
	if depth > defaultDepth || v.IsZero() || encodesItself(v.Type()) {
		return "", false
	}
	switch v.Kind() {
	case reflect.Struct:
		return nonDefaultField(v, path, depth)
	case reflect.Pointer:
		return stale(v.Elem(), path, depth+1)
	case reflect.Map:
		return path, v.Len() > 0
	case reflect.Slice, reflect.Array:
		return staleElement(v, path, depth)
	}
	return "", false
}

// reusesParts reports whether a new value of type t can keep parts of an old
// value after a decode.
func reusesParts(t reflect.Type, depth int) bool {
	switch t = baseOf(t); t.Kind() {
	case reflect.Struct:
		return !encodesItself(t)
	case reflect.Map:
		return true
	case reflect.Slice, reflect.Array:
		return depth > defaultDepth || reusesParts(t.Elem(), depth+1)
	}
	return false
}

var (
	gobEncoderType      = reflect.TypeFor[gob.GobEncoder]()
	binaryMarshalerType = reflect.TypeFor[encoding.BinaryMarshaler]()
	selfEncoding        sync.Map // reflect.Type -> bool
)

// encodesItself reports whether gob calls methods of t instead of encoding the
// fields.
func encodesItself(t reflect.Type) bool {
	if self, ok := selfEncoding.Load(t); ok {
		return self.(bool)
	}
	pt := reflect.PointerTo(t)
	self := pt.Implements(gobEncoderType) || pt.Implements(binaryMarshalerType)
	selfEncoding.Store(t, self)
	return self
}
