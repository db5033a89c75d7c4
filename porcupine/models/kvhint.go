package models

import (
	"context"
	"reflect"
	"strings"
	"sync"

	"raftlab/porcupine"
)

// WithKVHint returns a model of the labs' key/value store, such as the KvModel of a course, with
// the hint of [KV]. The checker then decides histories with many concurrent appends to one key in
// near-linear time:
//
//	porcupine.CheckOperationsVerbose(models.WithKVHint(course.KvModel), history, timeout)
//
// The hint covers models of this form:
//
//   - A state is a string, the value of one key. The model is partitioned by key.
//   - An input is a struct of Op, Value and perhaps Key. Op is 0 or "get", 1 or "put", 2 or "append".
//   - An output is a string, or a struct with Value alone. A put and an append answer "".
//
// Field names may begin with a lower-case letter. An operation with any other field, type or answer
// gets no hint. The hint also steps each operation on a few states, and covers the operation only
// if Step does the same as KV. Without a hint, a check takes longer and the answer stays right. A
// model whose states are not strings is returned unchanged.
func WithKVHint(m porcupine.Model) porcupine.Model {
	if m.Init == nil {
		return m
	}
	initial, ok := m.Init().(string)
	if !ok {
		return m
	}
	h := kvHint{step: stepOf(m)}
	m.Hint = &porcupine.Hint{Initial: initial, Access: h.access}
	return m
}

// stepOf returns the step function of the model. A panic counts as a refusal.
func stepOf(m porcupine.Model) func(state, input, output any) (bool, any) {
	step := m.Step
	if m.StepContext != nil {
		step = func(state, input, output any) (bool, any) {
			return m.StepContext(context.Background(), state, input, output)
		}
	}
	return func(state, input, output any) (ok bool, next any) {
		defer func() {
			if recover() != nil {
				ok, next = false, nil
			}
		}()
		return step(state, input, output)
	}
}

// kvHint finds the fields of inputs and outputs by name.
type kvHint struct {
	step   func(state, input, output any) (bool, any)
	shapes sync.Map // reflect.Type -> shape
}

// access returns the access of an operation, or AccessOther if the hint does not cover it.
func (h *kvHint) access(input, output any) porcupine.Access {
	op, value, ok := h.input(input)
	answer, understood := h.output(output)
	if !ok || !understood {
		return porcupine.Access{}
	}
	a := porcupine.Access{Kind: porcupine.AccessRead, Value: answer}
	switch {
	case op == KVPut && answer == "":
		a = porcupine.Access{Kind: porcupine.AccessWrite, Value: value}
	case op == KVAppend && answer == "":
		a = porcupine.Access{Kind: porcupine.AccessAppend, Value: value}
	case op != KVGet:
		return porcupine.Access{}
	}
	if !h.confirms(a, input, output) {
		return porcupine.Access{}
	}
	return a
}

// confirms compares Step with the access on the empty state, on a state that no operation made, and
// on the value of a read. A nil output may belong to a pending operation, which Step may refuse
// everywhere.
func (h *kvHint) confirms(a porcupine.Access, input, output any) bool {
	const odd = "\x00another value\x00"
	value := a.Value.(string)
	accepted, wrong := false, false
	for _, state := range []string{"", odd, value} {
		ok, next := h.step(state, input, output)
		want, after := true, state
		switch a.Kind {
		case porcupine.AccessRead:
			want = state == value
		case porcupine.AccessWrite:
			after = value
		case porcupine.AccessAppend:
			after = state + value
		}
		accepted = accepted || ok
		wrong = wrong || ok != want || ok && next != any(after)
	}
	return !wrong || output == nil && !accepted
}

// shape holds the places of the known fields of a struct.
type shape struct {
	op, value int  // indexes of fields, or -1
	other     bool // there are other fields than those of KV
}

// shapeOf returns the shape of a struct, or false for another value.
func (h *kvHint) shapeOf(v any) (shape, reflect.Value, bool) {
	value := reflect.ValueOf(v)
	if value.Kind() != reflect.Struct {
		return shape{}, value, false
	}
	known, ok := h.shapes.Load(value.Type())
	if !ok {
		known, _ = h.shapes.LoadOrStore(value.Type(), newShape(value.Type()))
	}
	return known.(shape), value, true
}

func newShape(t reflect.Type) shape {
	s := shape{op: -1, value: -1}
	for i := range t.NumField() {
		switch name := t.Field(i).Name; {
		case strings.EqualFold(name, "op"):
			s.op = i
		case strings.EqualFold(name, "value"):
			s.value = i
		case !strings.EqualFold(name, "key") && name != "_":
			s.other = true
		}
	}
	return s
}

func (h *kvHint) input(input any) (op KVOp, value string, ok bool) {
	s, v, ok := h.shapeOf(input)
	if !ok || s.other || s.op < 0 || s.value < 0 || v.Field(s.value).Kind() != reflect.String {
		return 0, "", false
	}
	op, ok = kvOpOf(v.Field(s.op))
	return op, v.Field(s.value).String(), ok
}

func (h *kvHint) output(output any) (value string, ok bool) {
	switch text := output.(type) {
	case nil:
		return "", true
	case string:
		return text, true
	}
	s, v, ok := h.shapeOf(output)
	if !ok || s.other || s.op >= 0 || s.value < 0 || v.Field(s.value).Kind() != reflect.String {
		return "", false
	}
	return v.Field(s.value).String(), true
}

// kvOpOf reads an op from a number or a name. The result is false if KV has no such op.
func kvOpOf(op reflect.Value) (KVOp, bool) {
	switch {
	case op.CanUint():
		return KVOp(op.Uint()), op.Uint() <= uint64(KVAppend)
	case op.CanInt():
		return KVOp(op.Int()), op.Int() >= 0 && op.Int() <= int64(KVAppend)
	case op.Kind() == reflect.String:
		for i, name := range []string{"get", "put", "append"} {
			if strings.EqualFold(op.String(), name) {
				return KVOp(i), true
			}
		}
	}
	return 0, false
}
