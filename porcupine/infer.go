package porcupine

import (
	"math"
	"reflect"
	"slices"
	"strings"
)

// inferred is a guess at the hint of a model, from the steps of its operations on a few states.
// Step must confirm an order found with the guess, and a violation counts only if the guess is
// certified.
type inferred struct {
	states   *stateTable
	part     *part
	initial  any
	accesses []Access
	probes   []any
	written  map[any]bool // the values of writes, and the initial value
	appends  bool
}

// infer guesses the accesses of a part. The result is false if some operation does not look like a
// read, write or append of one value.
func infer(states *stateTable, p *part) (*inferred, bool) {
	f := &inferred{states: states, part: p, initial: states.model.Init(), accesses: make([]Access, len(p.ops)), written: make(map[any]bool)}
	if !hashable(f.initial) || !f.choose() {
		return nil, false
	}
	f.written[f.initial] = true
	var reads []int32
	for id := range p.ops {
		states.budget.poll(id)
		a, ok := f.classify(int32(id))
		if !ok {
			return nil, false
		}
		f.accesses[id] = a
		switch {
		case a.Kind == AccessRead:
			reads = append(reads, int32(id))
		case a.Kind == AccessWrite:
			f.written[a.Value] = true
		}
		f.appends = f.appends || a.Kind == AccessAppend
	}
	for i, id := range reads {
		states.budget.poll(i)
		if !p.ops[id].pending() && !f.findRead(id) {
			return nil, false
		}
	}
	return f, true
}

// maxInferProbes is the number of states on which an operation is tried.
const maxInferProbes = 3

// choose selects the states to try operations on: the initial state, and states that a few
// operations lead to from there.
func (f *inferred) choose() bool {
	f.probes = []any{f.initial}
	for i := 0; i < len(f.part.ops) && len(f.probes) < maxInferProbes; i++ {
		ok, next := f.step(f.initial, int32(i))
		if ok && !hashable(next) {
			return false
		}
		if ok && !slices.Contains(f.probes, next) && next != "" {
			f.probes = append(f.probes, next)
		}
	}
	return true
}

// step steps an operation. A pending operation is stepped with its own output, or if Step refuses
// that, with an output of another operation.
func (f *inferred) step(state any, id int32) (bool, any) {
	o := &f.part.ops[id]
	if !o.pending() {
		return f.states.model.tryStep(f.states.budget.ctx, state, o.Input, o.Output)
	}
	next := f.states.nextPending(f.states.intern(state), id)
	if len(next) != 1 {
		return len(next) == 0, state
	}
	return true, f.states.states[next[0]]
}

// classify derives the access of an operation from the probes. The value of a read is found later.
func (f *inferred) classify(id int32) (Access, bool) {
	var results []any
	unchanged := true
	for _, probe := range f.probes {
		ok, next := f.step(probe, id)
		if !ok {
			continue
		}
		if !hashable(next) {
			return Access{}, false
		}
		unchanged = unchanged && next == probe
		results = append(results, next)
	}
	if unchanged && (len(results) < 2 || f.part.ops[id].pending()) {
		return Access{Kind: AccessRead}, true // a write of one probe's value would change the others
	}
	if len(results) != len(f.probes) {
		return Access{}, false
	}
	if !slices.ContainsFunc(results, func(r any) bool { return r != results[0] }) {
		return Access{Kind: AccessWrite, Value: results[0]}, true
	}
	return f.classifyAppend(results)
}

func (f *inferred) classifyAppend(results []any) (Access, bool) {
	var suffix string
	for i, probe := range f.probes {
		before, ok1 := probe.(string)
		after, ok2 := results[i].(string)
		added, ok3 := strings.CutPrefix(after, before)
		if !ok1 || !ok2 || !ok3 || i > 0 && added != suffix {
			return Access{}, false
		}
		suffix = added
	}
	return Access{Kind: AccessAppend, Value: suffix}, true
}

// findRead finds the value of a read. The value is in the output, and Step accepts the value as the
// state.
func (f *inferred) findRead(id int32) bool {
	a := &f.accesses[id]
	for _, value := range valuesIn(f.part.ops[id].Output) {
		if f.written[value] || f.appends {
			if reflect.TypeOf(value) != reflect.TypeOf(f.initial) && !f.written[value] {
				continue
			}
			if ok, next := f.step(value, id); ok && hashable(next) && next == value {
				a.Value = value
				return true
			}
		}
	}
	return false
}

// valuesIn returns an output, and the readable fields of a struct.
func valuesIn(output any) []any {
	if !hashable(output) {
		return nil
	}
	values := []any{output}
	v := reflect.ValueOf(output)
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if value, ok := fieldValue(v.Field(i)); ok {
				values = append(values, value)
			}
		}
	}
	return values
}

// fieldValue returns the value of a field. Reflection does not return the value of an unexported
// field directly.
func fieldValue(v reflect.Value) (any, bool) {
	switch {
	case v.CanInterface():
		return v.Interface(), hashable(v.Interface())
	case v.Kind() == reflect.String && v.Type() == reflect.TypeFor[string]():
		return v.String(), true
	case v.Kind() == reflect.Int && v.Type() == reflect.TypeFor[int]():
		return int(v.Int()), true
	case v.Kind() == reflect.Int64 && v.Type() == reflect.TypeFor[int64]():
		return v.Int(), true
	}
	return nil, false
}

// maxCertifySteps bounds the steps of a certificate.
const maxCertifySteps = 4 << 20

// certified proves the guess at reads and writes in every relevant state. A violation found with a
// certified guess counts.
//
// In every linearization, operation o takes effect in the state that the last write before it made,
// or in the initial state. By induction along the linearization, this state is the inferred value.
// A write w cannot be the last before o if another write was called after the return of w and
// returned before the call of o. Suppose that Step agrees with the guess for every o and every
// remaining w, and in the initial state for every o without a necessary earlier write. Then Step
// agrees in every reachable state.
func (f *inferred) certified() bool {
	if f.appends || len(f.part.returns) < len(f.part.ops) {
		return false // appends reach too many states, and effects of pending operations are guesses
	}
	var writes []int32 // sorted by return
	for _, id := range f.part.returns {
		if f.accesses[id].Kind == AccessWrite {
			writes = append(writes, id)
		}
	}
	minCall := make([]int32, len(writes)+1) // the first call of this write and the later ones
	minCall[len(writes)] = math.MaxInt32
	for i := len(writes) - 1; i >= 0; i-- {
		minCall[i] = min(minCall[i+1], f.part.ops[writes[i]].call)
	}
	lastCall := f.lastWriteCalls(writes)
	steps := 0
	for id := range f.part.ops {
		f.states.budget.poll(id)
		o := &f.part.ops[id]
		if lastCall[id] < 0 && !f.conforms(int32(id), f.initial) {
			return false
		}
		from, _ := slices.BinarySearchFunc(writes, lastCall[id], func(w, rank int32) int { return int(f.part.ops[w].ret - rank) })
		for i := from; i < len(writes) && minCall[i] < o.ret; i++ {
			steps++
			f.states.budget.poll(steps)
			if steps > maxCertifySteps {
				return false
			}
			if w := &f.part.ops[writes[i]]; w.call < o.ret && int(writes[i]) != id && !f.conforms(int32(id), f.accesses[writes[i]].Value) {
				return false
			}
		}
	}
	return true
}

// lastWriteCalls returns, for each operation, the last call among the writes that returned before
// the operation's call, or -1.
func (f *inferred) lastWriteCalls(writes []int32) []int32 {
	last := make([]int32, len(f.part.ops))
	next, call := 0, int32(-1)
	for _, id := range f.part.calls {
		for ; next < len(writes) && f.part.ops[writes[next]].ret < f.part.ops[id].call; next++ {
			call = max(call, f.part.ops[writes[next]].call)
		}
		last[id] = call
	}
	return last
}

// conforms says whether Step agrees with the guess in a state.
func (f *inferred) conforms(id int32, state any) bool {
	ok, next := f.step(state, id)
	possible, after := f.accesses[id].applies(state)
	return ok == possible && (!ok || hashable(next) && next == after)
}
