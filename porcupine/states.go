package porcupine

import (
	"math/bits"
	"reflect"
	"slices"
)

// stateID is the number of an interned state. Equal states have equal numbers, except in a table
// that scans (see stateTable).
type stateID int32

// refused is the result of a transition that Step refuses.
const refused stateID = -1

// stateTable interns and steps the states of one search.
//
// The table finds equal states by == if Equal is nil and == can compare the states, or else by the
// model's Hash. Otherwise only a comparison with every state would find an equal one. The table
// then scans. Each new state gets a new number, and the visited set compares the states within one
// of its buckets.
type stateTable struct {
	model   *Model
	budget  *budget
	ops     []op
	states  []any
	byValue map[any]stateID
	byHash  map[uint64][]stateID
	scan    bool
	bytes   int64 // estimates the memory of the states
	steps   int64 // counts the calls of Step
	// cache remembers transitions. A new transition replaces the old one in its place, so the cache
	// never grows.
	cache []transition
	guess *pendingOutputs
}

type transition struct {
	state stateID
	op    int32
	next  stateID
}

// maxCache bounds the number of remembered transitions.
const maxCache = 1 << 16

func newStateTable(b *budget, model *Model, p *part) *stateTable {
	size := min(maxCache, 1<<bits.Len(uint(4*len(p.ops))))
	t := &stateTable{model: model, budget: b, ops: p.ops, cache: make([]transition, size)}
	for i := range t.cache {
		t.cache[i].state = refused
	}
	t.scan = model.Hash == nil && model.Equal != nil
	if model.Hash != nil {
		t.byHash = make(map[uint64][]stateID)
	} else {
		t.byValue = make(map[any]stateID)
	}
	t.guess = newPendingOutputs(p, b)
	return t
}

// intern returns the id of a state.
func (t *stateTable) intern(state any) stateID {
	if t.byHash != nil {
		h := t.model.Hash(state)
		for _, id := range t.byHash[h] {
			if t.model.equalStates(t.states[id], state) {
				return id
			}
		}
		id := t.add(state)
		t.byHash[h] = append(t.byHash[h], id)
		return id
	}
	if !hashable(state) {
		t.scan = true
		return t.add(state)
	}
	if id, ok := t.byValue[state]; ok {
		return id
	}
	id := t.add(state)
	t.byValue[state] = id
	return id
}

func (t *stateTable) add(state any) stateID {
	t.states = append(t.states, state)
	t.bytes += stateOverhead + sizeOf(state)
	return stateID(len(t.states) - 1)
}

// equal says whether two numbers stand for equal states.
func (t *stateTable) equal(a, b stateID) bool {
	return a == b || t.scan && t.model.equalStates(t.states[a], t.states[b])
}

// next returns the state after operation id takes effect in state s.
func (t *stateTable) next(s stateID, id int32) stateID {
	place := &t.cache[(uint32(s)*0x9e3779b1+uint32(id)*0x85ebca6b)>>7&uint32(len(t.cache)-1)]
	if place.state == s && place.op == id {
		return place.next
	}
	o := &t.ops[id]
	next := t.step(s, o.Input, o.Output)
	*place = transition{s, id, next}
	return next
}

// try is next for a state in which the operation may never take effect (see Model.tryStep).
func (t *stateTable) try(s stateID, id int32) (next stateID) {
	defer func() {
		if recover() != nil {
			next = refused
		}
	}()
	return t.next(s, id)
}

func (t *stateTable) step(s stateID, input, output any) stateID {
	t.steps++
	ok, state := t.model.StepContext(t.budget.ctx, t.states[s], input, output)
	if !ok {
		return refused
	}
	return t.internAfter(s, state)
}

// internAfter interns a state that follows s. The two are often equal, so if the table cannot find
// equal states, one comparison is worth the cost.
func (t *stateTable) internAfter(s stateID, state any) stateID {
	if (t.scan || !hashable(state)) && t.model.equalStates(t.states[s], state) {
		return s
	}
	return t.intern(state)
}

// nextPending returns the states that may follow when the pending operation id takes effect in s.
// States equal to s are left out. A pending operation need not take effect, and an effect that
// changes nothing can be left out too.
func (t *stateTable) nextPending(s stateID, id int32) []stateID {
	o := &t.ops[id]
	var next []stateID
	add := func(n stateID) {
		known := func(seen stateID) bool { return t.equal(seen, n) }
		if n != refused && !t.equal(n, s) && !slices.ContainsFunc(next, known) {
			next = append(next, n)
		}
	}
	if t.model.StepPending != nil {
		for _, state := range t.model.StepPending(t.states[s], o.Input) {
			add(t.internAfter(s, state))
		}
		return next
	}
	if n, ok := t.guess.try(t, s, o.Input, o.Output); ok && n != refused {
		add(n)
		return next
	}
	for _, output := range t.guess.outputs {
		if n, ok := t.guess.try(t, s, o.Input, output); ok {
			add(n)
		}
	}
	return next
}

// pendingOutputs are guesses at the output of a pending operation, for models without StepPending.
// The guesses are the outputs of completed operations of the part and the zero values of their
// types. The specification allows every output that Step accepts, so a guess never makes an illegal
// history legal.
type pendingOutputs struct {
	outputs []any
	panics  bool // Step panics on a nil output, because it expects another type
}

// maxPendingOutputs bounds the number of guesses.
const maxPendingOutputs = 64

func newPendingOutputs(p *part, b *budget) *pendingOutputs {
	g := &pendingOutputs{}
	recorded := p.answers
	if recorded == nil && len(p.returns) < len(p.ops) {
		recorded = p.outputs(b)
	}
	types := make(map[reflect.Type]bool)
	seen := make(map[any]bool)
	add := func(output any) {
		if len(g.outputs) >= maxPendingOutputs || hashable(output) && seen[output] {
			return
		}
		if hashable(output) {
			seen[output] = true
		}
		g.outputs = append(g.outputs, output)
	}
	for i, output := range recorded {
		b.poll(i)
		if typ := reflect.TypeOf(output); typ != nil && !types[typ] {
			types[typ] = true
			add(reflect.Zero(typ).Interface())
		}
	}
	for i, output := range recorded {
		b.poll(i)
		add(output)
	}
	return g
}

// try steps with a guessed output. A model may panic on an output of an unexpected type, above all
// on nil. Such an output was not possible.
func (g *pendingOutputs) try(t *stateTable, s stateID, input, output any) (next stateID, ok bool) {
	if output == nil && g.panics {
		return refused, false
	}
	defer func() {
		if e := recover(); e != nil {
			if output == nil {
				g.panics = true
			}
			next, ok = refused, false
		}
	}()
	return t.step(s, input, output), true
}

// stateOverhead is the memory for interning one state: the interface, the map entry and a share of
// the map's spare room.
const stateOverhead = 96

// sizeOf estimates the memory that only the state keeps alive.
func sizeOf(state any) int64 {
	switch s := state.(type) {
	case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return 8
	case string:
		return int64(len(s)) + 16
	}
	return sizeOfValue(reflect.ValueOf(state), 3)
}

// sizeOfValue follows the parts of a value to the given depth. One element of a slice or map stands
// for all of them.
func sizeOfValue(v reflect.Value, depth int) int64 {
	if !v.IsValid() {
		return 8
	}
	size := int64(v.Type().Size())
	if depth == 0 {
		return size
	}
	switch v.Kind() {
	case reflect.String:
		return size + int64(v.Len())
	case reflect.Slice:
		if v.Len() > 0 {
			size += int64(v.Len()) * sizeOfValue(v.Index(0), depth-1)
		}
	case reflect.Map:
		for iter := v.MapRange(); iter.Next(); {
			return size + int64(v.Len())*(16+sizeOfValue(iter.Key(), depth-1)+sizeOfValue(iter.Value(), depth-1))
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			size += sizeOfValue(v.Elem(), depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			size += sizeOfValue(field, depth-1) - int64(field.Type().Size())
		}
	}
	return size
}
