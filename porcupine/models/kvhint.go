package models

import (
	"reflect"
	"strings"
	"sync"

	"raftlab/porcupine"
)

// WithKVHint returns a model of the labs' key/value store, such as the KvModel that a
// course brings, with the hint of [KV], so that histories in which many clients append to
// one key are decided in near-linear time:
//
//	porcupine.CheckOperationsVerbose(models.WithKVHint(course.KvModel), history, timeout)
//
// The model is told by the names of its fields, in upper or lower case: its inputs are
// structs with Op, Key and Value, its outputs structs with Value or strings. Op is 0 or
// "get", 1 or "put", 2 or "append"; a key that was never written has the value "".
// Operations that look otherwise make the hint useless, and nothing worse. Of a model that
// looks like this and does something else, it is not true; see [porcupine.Hint].
func WithKVHint(m porcupine.Model) porcupine.Model {
	var fields fieldsByName
	m.Hint = &porcupine.Hint{Initial: "", Access: func(input, output any) porcupine.Access {
		op, known := fields.get(input, "op")
		value, ok := fields.text(input, "value")
		if !known || !ok {
			return porcupine.Access{}
		}
		switch kvOpOf(op) {
		case KVGet:
			read, ok := fields.text(output, "value")
			if !ok && output != nil {
				return porcupine.Access{}
			}
			return porcupine.Access{Kind: porcupine.AccessRead, Value: read}
		case KVPut:
			return porcupine.Access{Kind: porcupine.AccessWrite, Value: value}
		case KVAppend:
			return porcupine.Access{Kind: porcupine.AccessAppend, Value: value}
		}
		return porcupine.Access{}
	}}
	return m
}

// notKVOp is what an op that KV does not have is taken for.
const notKVOp = KVAppend + 1

// kvOpOf reads an op, which is a number or a name.
func kvOpOf(op reflect.Value) KVOp {
	switch {
	case op.CanUint():
		return KVOp(min(op.Uint(), uint64(notKVOp)))
	case op.CanInt() && op.Int() >= 0:
		return KVOp(min(op.Int(), int64(notKVOp)))
	case op.Kind() == reflect.String:
		for i, name := range []string{"get", "put", "append"} {
			if strings.EqualFold(op.String(), name) {
				return KVOp(i)
			}
		}
	}
	return notKVOp
}

// fieldsByName finds fields of structs by name and remembers where they were.
type fieldsByName struct{ known sync.Map }

type fieldName struct {
	of   reflect.Type
	name string
}

func (f *fieldsByName) get(v any, name string) (reflect.Value, bool) {
	value := reflect.ValueOf(v)
	if value.Kind() != reflect.Struct {
		return value, false
	}
	key := fieldName{value.Type(), name}
	at, ok := f.known.Load(key)
	if !ok {
		at = -1
		for i := range value.NumField() {
			if strings.EqualFold(value.Type().Field(i).Name, name) {
				at = i
			}
		}
		f.known.Store(key, at)
	}
	if at.(int) < 0 {
		return value, false
	}
	return value.Field(at.(int)), true
}

// text returns a field that is a string, or v itself if that is one.
func (f *fieldsByName) text(v any, name string) (string, bool) {
	if s, ok := v.(string); ok {
		return s, true
	}
	field, ok := f.get(v, name)
	if !ok || field.Kind() != reflect.String {
		return "", false
	}
	return field.String(), true
}
