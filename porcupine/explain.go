package porcupine

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// An Explanation says why one partition of a history is illegal. Operations are named
// by their ids, as in [LinearizationInfo.PartialLinearizations].
type Explanation struct {
	Partition int
	// Operation is the first operation, in the order of returns, that cannot be placed:
	// up to right before its return, the history is legal.
	Operation int
	// Core is a small part of the history that is illegal on its own, in the order
	// of calls. It has Operation, and without the answer of that one it is legal: it
	// is illegal for the same reason as the whole. No operation can be taken
	// out of it, unless the search for it ran out of time (which takes at most 2 s).
	Core []int
	// Possible holds the states in which the core's other operations can have left
	// the system when Operation takes effect; at most 10.
	Possible []Possibility
	// Reason says all this in a sentence.
	Reason string

	lines []string // the core, an operation a line
}

// A Possibility is a state and what it would have answered.
type Possibility struct {
	State  string // as the model describes it
	Answer string // the operation with an answer that the state allows, if one is known
}

// String returns the reason and the core.
func (e Explanation) String() string {
	return e.Reason + "\n\nThese operations alone cannot be ordered:\n" + strings.Join(e.lines, "\n") + "\n"
}

// explainTime bounds the search for a small core.
const explainTime = 2 * time.Second

// maxLines bounds the operations that an explanation lists.
const maxLines = 100

// maxPossible bounds the possible states in an explanation.
const maxPossible = 10

// Explain says why a history is illegal: one explanation for each partition that
// the check found to be so, none if it found none. The info is that of a verbose check.
func Explain(model Model, info LinearizationInfo) []Explanation {
	given := model.withDefaults()
	model = given
	model.StepContext = given.tryStep // a part of a history may take an operation to any state
	ctx, cancel := context.WithTimeout(context.Background(), explainTime)
	defer cancel()
	var all []Explanation
	for i := range info.parts {
		p := &info.parts[i]
		if p.result != Illegal || p.stuck == noOperation {
			continue
		}
		b := newBudget(ctx, 0)
		e := &explainer{model: &model, partInfo: p, budget: b, stuck: int(p.stuck)}
		all = append(all, e.explain(i))
		b.cancel(nil)
	}
	return all
}

// explainer looks for the reason why a part is illegal.
type explainer struct {
	*partInfo
	model  *Model
	budget *budget
	stuck  int
	table  *stateTable // for what pending operations may do
}

func (e *explainer) explain(partition int) Explanation {
	e.settle()
	x := Explanation{Partition: partition, Operation: e.stuck}
	x.Core = e.shrink()
	x.Possible = e.possible(x.Core)
	x.Reason = e.reason(x.Possible)
	for _, id := range x.Core[:min(len(x.Core), maxLines)] {
		x.lines = append(x.lines, e.line(id))
	}
	if more := len(x.Core) - len(x.lines); more > 0 {
		x.lines = append(x.lines, fmt.Sprintf("  and %d more", more))
	}
	return x
}

func (e *explainer) describe(id int) string {
	return e.model.describe(&e.ops[id])
}

func (e *explainer) line(id int) string {
	o := &e.ops[id]
	ret := "never"
	if !o.pending() {
		ret = fmt.Sprint(o.Return)
	}
	return fmt.Sprintf("  client %d, %d to %s: %s", o.ClientId, o.Call, ret, e.describe(id))
}

func (e *explainer) reason(possible []Possibility) string {
	o := &e.ops[e.stuck]
	text := fmt.Sprintf("%s by client %d, from %d to %d, cannot be placed", e.describe(e.stuck), o.ClientId, o.Call, o.Return)
	if len(possible) == 0 {
		return text + "."
	}
	var states []string
	for _, p := range possible {
		if p.Answer != "" {
			states = append(states, fmt.Sprintf("%s (%s)", p.State, p.Answer))
		} else {
			states = append(states, p.State)
		}
	}
	return text + ": when it takes effect, the state can only be " + strings.Join(states, " or ") + "."
}

// settle moves stuck to the first operation with whose return the history is illegal. The
// check came near: it may have gone by what operations would answer later, or have passed
// over a swap that failed.
func (e *explainer) settle() {
	if e.settled {
		return
	}
	at := e.returnIndex(int32(e.stuck))
	now := e.beginning(at)
	if now == illegal && (at == 0 || e.beginning(at-1) != illegal) {
		return
	}
	legalAt, illegalAt := -1, len(e.returns)-1
	for ; now == legal || now == illegal; now = e.beginning(at) {
		if now == legal {
			legalAt = at
		} else {
			illegalAt = at
		}
		if legalAt+1 >= illegalAt {
			e.stuck = int(e.returns[illegalAt])
			return
		}
		at = (legalAt + illegalAt) / 2
	}
}

// beginning decides the history as it was right after a return.
func (e *explainer) beginning(at int) verdict {
	last := e.returns[at]
	beginning := explainer{partInfo: e.partInfo, model: e.model, budget: e.budget, stuck: int(last)}
	var ids []int
	for _, id := range e.calls {
		if e.ops[id].call < e.ops[last].ret {
			ids = append(ids, int(id))
		}
	}
	return beginning.check(ids, false)
}

// shrink looks for a core: operations that were called before the return of the one that
// cannot be placed, illegal together, yet legal if that one had not returned. It keeps what
// made its answer possible at some time: without the write of a stale value, any read of it
// would be illegal, and that would explain nothing. Of the others it takes the latest,
// twice as many each time until they are enough, and then out as many as it can.
func (e *explainer) shrink() []int {
	core := append([]int{e.stuck}, e.witness()...)
	others := e.others(core)
	few := others
	for n := 0; n < len(others) && !e.budget.stopped(); n = 2*n + 8 {
		if e.explains(slices.Concat(core, others[len(others)-n:])) {
			few = others[len(others)-n:]
			break
		}
	}
	core = append(core, e.minimize(few, func(left []int) bool {
		return e.explains(slices.Concat(core, left))
	})...)
	slices.SortFunc(core, func(a, b int) int { return int(e.ops[a].call - e.ops[b].call) })
	return core
}

// others returns the operations that may be in a core besides those that are: first those
// that did not change the state in the longest partial linearization, which are needed
// least.
func (e *explainer) others(core []int) []int {
	changes := make([]bool, len(e.ops))
	for id := range e.ops {
		changes[id] = true // what the linearization does not have may
	}
	e.replay(e.longest(), func(id int, before, after any) { changes[id] = !e.model.equalStates(before, after) })
	var changing, rest []int
	for _, id := range e.calls {
		switch id := int(id); {
		case e.ops[id].call > e.ops[e.stuck].ret || slices.Contains(core, id):
		case changes[id]:
			changing = append(changing, id)
		default:
			rest = append(rest, id)
		}
	}
	return append(rest, changing...)
}

// minimize takes elements out of a list as long as what is left is good: halves
// first, then smaller runs, down to single ones, until none can be taken out.
func (e *explainer) minimize(list []int, good func([]int) bool) []int {
	for size := len(list); size > 0; {
		taken := false
		for at := 0; at < len(list) && !e.budget.stopped(); {
			left := slices.Concat(list[:at], list[min(at+size, len(list)):])
			if good(left) {
				list, taken = left, true
			} else {
				at += size
			}
		}
		if size == 1 && taken && !e.budget.stopped() {
			continue
		}
		size /= 2
	}
	return list
}

// explains says whether the operations are illegal, and legal if the one that cannot be
// placed had not returned.
func (e *explainer) explains(ids []int) bool {
	return !e.budget.stopped() && e.check(ids, false) == illegal && e.check(ids, true) == legal
}

// check decides the operations alone, as they were before the return of the one that
// cannot be placed: what had not returned is pending.
func (e *explainer) check(ids []int, stuckPending bool) verdict {
	end := e.ops[e.stuck].Return
	history := make([]Operation, 0, len(ids))
	for _, id := range ids {
		o := e.ops[id].Operation
		if e.ops[id].ret > e.ops[e.stuck].ret || stuckPending && id == e.stuck {
			o.Return, o.Output = Pending, nil
		}
		history = append(history, o)
	}
	p, err := fromOperations(e.budget, history)
	if err != nil || end == Pending {
		return unknown
	}
	return decideWithin(e.model, p, e.budget)
}

// explainSlices bounds the check of one sub-history.
const explainSlices = 8

// decideWithin checks a part for a while.
func decideWithin(model *Model, p *part, b *budget) verdict {
	c := &checker{model: model, budget: b}
	t := &task{part: p}
	defer t.end()
	for range explainSlices {
		r, done := c.advance(t)
		switch {
		case b.stopped():
			return unknown
		case done && r.result == Ok:
			return legal
		case done && r.result == Illegal:
			return illegal
		}
	}
	return undecided
}

// longest returns the longest partial linearization.
func (e *explainer) longest() []int {
	if len(e.partials) == 0 {
		return nil
	}
	return e.partials[0]
}

// replay steps through operations from the initial state and calls visit with each
// operation and the states around it. It reports false if Step refuses one.
func (e *explainer) replay(ids []int, visit func(id int, before, after any)) (any, bool) {
	state := e.model.Init()
	for i, id := range ids {
		if i%1024 == 0 && e.budget.stopped() {
			return nil, false
		}
		next := e.after(state, id, e.ops[id].pending())
		if len(next) == 0 {
			return nil, false
		}
		if visit != nil {
			visit(id, state, next[0])
		}
		state = next[0]
	}
	return state, true
}

// after returns the states that may follow when an operation takes effect, which, if it is
// pending, may be several.
func (e *explainer) after(state any, id int, pending bool) []any {
	o := &e.ops[id]
	if !pending {
		if ok, next := e.model.StepContext(e.budget.ctx, state, o.Input, o.Output); ok {
			return []any{next}
		}
		return nil
	}
	if e.table == nil {
		e.table = newStateTable(e.budget, e.model, e.part)
	}
	var all []any
	for _, next := range e.table.nextPending(e.table.intern(state), int32(id)) {
		all = append(all, e.table.states[next])
	}
	return all
}

// witness returns operations after which, in their order, the answer of the one that
// cannot be placed would be right: the fewest that are found, none if it never is.
func (e *explainer) witness() []int {
	path := e.longest()
	at := -1
	accepts := func(state any) bool {
		o := &e.ops[e.stuck]
		ok, _ := e.model.StepContext(e.budget.ctx, state, o.Input, o.Output)
		return ok
	}
	if accepts(e.model.Init()) {
		return nil
	}
	n := 0
	e.replay(path, func(_ int, _, after any) {
		n++
		if accepts(after) {
			at = n
		}
	})
	if at < 0 {
		return nil
	}
	return e.minimize(path[:at], func(left []int) bool {
		state, ok := e.replay(left, nil)
		return ok && accepts(state)
	})
}

// possible returns the states that the core's other operations can leave when
// the one that cannot be placed takes effect.
func (e *explainer) possible(core []int) []Possibility {
	if len(core) > maxEnumerated {
		return nil
	}
	var found []any
	e.enumerate(core, make(map[int]bool), e.model.Init(), func(state any) {
		for _, f := range found {
			if e.model.equalStates(f, state) {
				return
			}
		}
		found = append(found, state)
	})
	var result []Possibility
	for _, state := range found[:min(len(found), maxPossible)] {
		result = append(result, Possibility{State: e.model.DescribeState(state), Answer: e.answerIn(state)})
	}
	return result
}

// maxEnumerated is the size up to which all orders of a core are gone through.
const maxEnumerated = 14

// enumerate goes through all orders of the core and reports the states in which the one that
// cannot be placed may take effect.
func (e *explainer) enumerate(core []int, done map[int]bool, state any, report func(any)) {
	if e.budget.stopped() {
		return
	}
	for _, id := range core {
		if done[id] || !e.next(core, done, id) {
			continue
		}
		if id == e.stuck {
			report(state)
			continue
		}
		done[id] = true
		for _, after := range e.after(state, id, e.ops[id].ret > e.ops[e.stuck].ret) {
			e.enumerate(core, done, after, report)
		}
		delete(done, id)
	}
}

// next says whether no other operation of the core has to come before id.
func (e *explainer) next(core []int, done map[int]bool, id int) bool {
	for _, other := range core {
		if !done[other] && e.ops[other].precedes(&e.ops[id]) {
			return false
		}
	}
	return true
}

// answerIn describes the operation that cannot be placed with an answer that is
// right in the state: one that some operation of the history had.
func (e *explainer) answerIn(state any) string {
	o := &e.ops[e.stuck]
	answers := func(output any) bool {
		ok, _ := e.model.StepContext(e.budget.ctx, state, o.Input, output)
		return ok
	}
	for i := len(e.ops) - 1; i >= 0 && !e.budget.stopped(); i-- {
		other := &e.ops[i]
		if !other.pending() && sameKind(o.Input, other.Input) && answers(other.Output) {
			return e.model.DescribeOperation(o.Input, other.Output)
		}
	}
	return ""
}

// sameKind says whether two inputs are of one type, so that their outputs are likely to be.
func sameKind(a, b any) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
