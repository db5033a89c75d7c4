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
	// errorCount counts warnings, for tests that expect one; guarded by warnMu.
	errorCount int
	// warnedTarget holds the target types whose warning has been printed;
	// guarded by warnMu.
	warnedTarget = map[reflect.Type]bool{}
	// checkedTypes holds the types that checkType has seen.
	checkedTypes sync.Map
)

// checkType warns about struct fields, anywhere inside t, that gob will not
// send because their name is not exported.
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

// checkDefault warns when the value that v points at is not what a variable of
// its type starts with: gob leaves out zero values, so old contents shine
// through.
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

// defaultDepth bounds how far nonDefault follows pointers, which may form
// rings.
const defaultDepth = 8

// nonDefault finds a part of v that is neither zero nor empty.
func nonDefault(v reflect.Value, path string, depth int) (string, bool) {
	switch {
	case depth > defaultDepth || v.IsZero():
		return "", false
	case encodesItself(v.Type()):
		return path, true
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue // gob does not touch it
			}
			if p, bad := nonDefault(v.Field(i), path+"."+f.Name, depth+1); bad {
				return p, true
			}
		}
		return "", false
	case reflect.Pointer:
		return nonDefault(v.Elem(), path, depth+1)
	case reflect.Slice, reflect.Map:
		return path, v.Len() > 0
	case reflect.Interface, reflect.Chan, reflect.Func:
		return "", false // replaced as a whole, or not sent
	}
	return path, true
}

var (
	gobEncoderType      = reflect.TypeFor[gob.GobEncoder]()
	binaryMarshalerType = reflect.TypeFor[encoding.BinaryMarshaler]()
	selfEncoding        sync.Map // reflect.Type -> bool
)

// encodesItself says whether gob hands t to its own methods instead of looking
// at its fields.
func encodesItself(t reflect.Type) bool {
	if self, ok := selfEncoding.Load(t); ok {
		return self.(bool)
	}
	pt := reflect.PointerTo(t)
	self := pt.Implements(gobEncoderType) || pt.Implements(binaryMarshalerType)
	selfEncoding.Store(t, self)
	return self
}
