package porcupine

import (
	"math"
	"reflect"
	"slices"
	"strings"
)

// inferred is a guess at a model's hint, from how its operations step a few
// states. An order that it leads to is stepped through with Step before it is
// believed; a violation only if certified.
type inferred struct {
	states   *stateTable
	part     *part
	initial  any
	accesses []Access
	probes   []any
	written  map[any]bool // the values that writes make, and the initial one
	appends  bool
}

// infer guesses what the operations of a part do. It reports false if they do
// not all look like reads, writes and appends of one value.
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

// maxInferProbes is how many states an operation is tried on.
const maxInferProbes = 3

// choose finds states to try operations on: the initial one, and those that a
// few operations lead to from there.
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

// step steps an operation; a pending one with the output it has, or, if Step
// does not take that, with one that another operation had.
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

// classify tells by the probes what an operation does; the value of a read is found later.
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
		return Access{Kind: AccessRead}, true // a write of a probe's value changes the others
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

// findRead finds the value that a read saw: one that is in its output and
// that Step takes for the state.
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

// valuesIn returns an output and, of a struct, the fields that can be read.
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

// fieldValue returns a field's value, which reflection does not hand out as it
// is if the field is not exported.
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

// maxCertifySteps bounds the steps that a certificate may take.
const maxCertifySteps = 4 << 20

// certified proves, for reads and writes, that the operations do what was
// inferred wherever it matters, so that a violation found by the guess is one.
//
// In every linearization, the state in which operation o takes effect is that
// which the last write before it made, or the initial one; by induction along
// the linearization it is the value inferred. A write w cannot be the last if
// another one certainly came between: was called after w returned and returned before o was
// called. If Step does as inferred for every o and every w that remains, and for the
// initial state where no write certainly came before o, then it does so everywhere that a
// linearization can lead.
func (f *inferred) certified() bool {
	if f.appends || len(f.part.returns) < len(f.part.ops) {
		return false // an append's states are too many; what a pending operation does was guessed
	}
	var writes []int32 // in the order of their returns
	for _, id := range f.part.returns {
		if f.accesses[id].Kind == AccessWrite {
			writes = append(writes, id)
		}
	}
	minCall := make([]int32, len(writes)+1) // the first call of this and later writes
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

// lastWriteCalls returns, for each operation, the last call of the writes that
// returned before it was called; -1 if there is none.
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

// conforms says whether an operation does what was inferred in a state.
func (f *inferred) conforms(id int32, state any) bool {
	ok, next := f.step(state, id)
	possible, after := f.accesses[id].applies(state)
	return ok == possible && (!ok || hashable(next) && next == after)
}
