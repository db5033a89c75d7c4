package porcupine

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// An Explanation is the reason why one partition of a history is illegal. Operations have the ids
// of [LinearizationInfo.PartialLinearizations].
type Explanation struct {
	Partition int
	// Operation is the first operation, in the order of returns, that cannot be placed. Right
	// before its return, the history is still legal.
	Operation int
	// Core is a small set of operations, in the order of calls. Core alone is illegal. Core
	// contains Operation. Without the answer of Operation, Core would be legal, so Core has the
	// same fault as the whole partition. No operation can be removed from Core, unless the time of
	// the search (2 s) was up. If no small core was found in time, Core is the whole partition.
	Core []int
	// Before holds operations in the longest known order of the partition, without those that leave
	// the state as it is, if Core is Operation alone. No order gives the answer of Operation then,
	// and After is the state after Before.
	Before []int
	After  Possibility
	// Possible holds up to 10 states in which Operation can take effect, with another answer, after
	// other operations of the core.
	Possible []Possibility
	// Reason is the explanation as a sentence.
	Reason string

	lines []string // the core, one operation a line
}

// A Possibility is a state and the answer that Operation would have there.
type Possibility struct {
	State  string // the state, as DescribeState describes it
	Answer string // Operation with an answer that the state allows, if one is known
}

func (p Possibility) String() string {
	if p.Answer == "" {
		return p.State
	}
	return fmt.Sprintf("%s (%s)", p.State, p.Answer)
}

// Operations returns the operations of the core. The info is the one that was explained.
func (e Explanation) Operations(info LinearizationInfo) []Operation { return e.pick(e.Core, info) }

// Earlier returns the operations of Before. The info is the one that was explained.
func (e Explanation) Earlier(info LinearizationInfo) []Operation { return e.pick(e.Before, info) }

func (e Explanation) pick(ids []int, info LinearizationInfo) []Operation {
	operations := make([]Operation, len(ids))
	for i, id := range ids {
		operations[i] = info.parts[e.Partition].ops[id].Operation
	}
	return operations
}

// String returns the reason and the core.
func (e Explanation) String() string {
	return e.Reason + "\n\nThese operations alone cannot be ordered:\n" + strings.Join(e.lines, "\n") + "\n"
}

// explainTime bounds the search for small cores.
const explainTime = 2 * time.Second

// maxLines bounds the listed operations of an explanation.
const maxLines = 100

// maxPossible bounds the possible states of an explanation.
const maxPossible = 10

// Explain returns one explanation for each partition that the check found illegal. The info is the
// result of a verbose check.
func Explain(model Model, info LinearizationInfo) []Explanation {
	ctx, cancel := context.WithTimeout(context.Background(), explainTime)
	defer cancel()
	return explain(ctx, model, info)
}

// explain is Explain until the context ends.
func explain(ctx context.Context, model Model, info LinearizationInfo) []Explanation {
	given := model.withDefaults()
	model = given
	model.StepContext = given.tryStep // a subset of a history may reach states that the model does not expect
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

// explainer looks for the reason why a part is illegal. The stuck operation is the first one, in
// the order of returns, that cannot be placed.
type explainer struct {
	*partInfo
	model  *Model
	budget *budget
	stuck  int
	table  *stateTable // steps pending operations
	// recorded holds the outputs of the part, for a model without StepPending.
	recorded []any
}

func (e *explainer) explain(partition int) Explanation {
	e.settle()
	x := Explanation{Partition: partition, Operation: e.stuck}
	x.Core = e.shrink()
	possible, more := e.possible(x.Core)
	x.Possible = possible
	if len(x.Core) == 1 {
		x.Before, x.After = e.before()
	}
	x.Reason = e.reason(&x, more)
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

func (e *explainer) reason(x *Explanation, more bool) string {
	core, possible := x.Core, x.Possible
	o := &e.ops[e.stuck]
	text := fmt.Sprintf("%s by client %d, from %d to %d, cannot be placed", e.describe(e.stuck), o.ClientId, o.Call, o.Return)
	if len(x.Before) > 0 {
		return fmt.Sprintf("%s, because no order of the operations gives this answer. In the longest order, the state is then %v.", text, x.After)
	}
	if len(possible) == 0 {
		return text + "."
	}
	var states []string
	for _, p := range possible {
		states = append(states, p.String())
	}
	if more {
		states = append(states, "another one")
	}
	if len(core) == 1 {
		return text + ", even alone: the state can only be " + strings.Join(states, " or ") + "."
	}
	return text + ": with the operations of the core alone, the state can only be " + strings.Join(states, " or ") + "."
}

// settle moves stuck to the first operation whose return makes the history illegal. The check may
// have stopped nearby, because it used later answers or left out failed swaps.
func (e *explainer) settle() {
	if e.settled {
		return
	}
	middle := e.returnIndex(int32(e.stuck))
	now := e.beginning(middle)
	if now == illegal && (middle == 0 || e.beginning(middle-1) != illegal) {
		return
	}
	legalAt, illegalAt := -1, len(e.returns)-1
	for ; now == legal || now == illegal; now = e.beginning(middle) {
		if now == legal {
			legalAt = middle
		} else {
			illegalAt = middle
		}
		if legalAt+1 >= illegalAt {
			e.stuck = int(e.returns[illegalAt])
			return
		}
		middle = (legalAt + illegalAt) / 2
	}
}

// beginning decides the history right after a return.
func (e *explainer) beginning(index int) verdict {
	last := e.returns[index]
	beginning := explainer{partInfo: e.partInfo, model: e.model, budget: e.budget, stuck: int(last)}
	var ids []int
	for _, id := range e.calls {
		if e.ops[id].call < e.ops[last].ret {
			ids = append(ids, int(id))
		}
	}
	return beginning.check(ids, false)
}

// shrink looks for a core. A core consists of operations called before the return of the stuck one,
// is illegal, and would be legal without this return. The core keeps a witness of the stuck answer,
// because without the write of a stale value, any read of the value would be illegal, which
// explains nothing. Of the other operations, shrink adds the latest ones, twice as many each time
// until they suffice, and then removes as many as possible.
func (e *explainer) shrink() []int {
	core := append([]int{e.stuck}, e.witness()...)
	few, good := e.enough(core, e.others(core))
	if good == nil {
		return e.whole()
	}
	core = append(core, e.minimize(few, func(left []int) bool {
		return good(slices.Concat(core, left))
	})...)
	slices.SortFunc(core, func(a, b int) int { return int(e.ops[a].call - e.ops[b].call) })
	return core
}

// enough returns operations among the others. Together with the core, they suffice for an
// explanation. The second result is the property to keep while the core shrinks. The property is
// nil if nothing is known to suffice.
func (e *explainer) enough(core, others []int) (few []int, good func(ids []int) bool) {
	for n := 0; n < len(others) && !e.budget.stopped(); n = 2*n + 8 {
		if few := others[len(others)-n:]; e.explains(slices.Concat(core, few)) {
			return few, e.explains
		}
	}
	all := slices.Concat(core, others)
	switch {
	case e.explains(all):
		return others, e.explains
	case e.illegal(all):
		return others, e.illegal // no answer is known that would make the stuck operation legal
	}
	return nil, nil
}

// whole returns all operations of the part, which is illegal as a whole.
func (e *explainer) whole() []int { return ints(e.calls) }

// others returns the further candidates for a core. Operations that did not change the state in the
// longest partial linearization come first, because a core needs them least.
func (e *explainer) others(core []int) []int {
	changes := make([]bool, len(e.ops))
	for id := range e.ops {
		changes[id] = true // operations outside the linearization may change the state
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

// minimize removes elements from a list while the rest is good. Halves are tried first, then
// smaller runs, and at last single elements.
func (e *explainer) minimize(list []int, good func([]int) bool) []int {
	for size := len(list); size > 0; {
		taken := false
		for start := 0; start < len(list) && !e.budget.stopped(); {
			left := slices.Concat(list[:start], list[min(start+size, len(list)):])
			if good(left) {
				list, taken = left, true
			} else {
				start += size
			}
		}
		if size == 1 && taken && !e.budget.stopped() {
			continue
		}
		size /= 2
	}
	return list
}

// explains says whether the operations are illegal, but legal if the stuck operation had not
// returned.
func (e *explainer) explains(ids []int) bool {
	return e.illegal(ids) && e.check(ids, true) == legal
}

// illegal says whether the operations are illegal.
func (e *explainer) illegal(ids []int) bool {
	return !e.budget.stopped() && e.check(ids, false) == illegal
}

// check decides the operations alone, right after the return of the stuck one. An operation that
// returned later is then pending.
//
// A model with StepPending knows every effect of a pending operation. For a model without
// StepPending, the later answer is the best guess at the effect, so the pending operation keeps its
// answer. Without the answer, the check could call legal operations illegal.
func (e *explainer) check(ids []int, stuckPending bool) verdict {
	v := unknown
	e.budget.completes(func() {
		if p := e.alone(ids, stuckPending); p != nil {
			v = decideWithin(e.model, p, e.budget)
		}
	})
	return v
}

// alone returns a part of only the given operations, for check.
func (e *explainer) alone(ids []int, stuckPending bool) *part {
	history := make([]Operation, 0, len(ids))
	for _, id := range ids {
		o := e.ops[id].Operation
		stuck := stuckPending && id == e.stuck
		if e.returnsLater(id) || stuck {
			o.Return = Pending
			if stuck || e.model.StepPending != nil {
				o.Output = nil
			}
		}
		history = append(history, o)
	}
	p, err := fromOperations(e.budget, history)
	if err != nil {
		return nil
	}
	p.answers = e.answers(ids)
	return p
}

// answers returns outputs that a pending operation may have had. The outputs of the given
// operations come first, and then those of the whole part, so that a check of a subset has all
// guesses of a plain check of the subset.
func (e *explainer) answers(ids []int) []any {
	if e.model.StepPending != nil {
		return nil
	}
	byReturn := func(a, b int) int { return cmp.Compare(e.ops[a].ret, e.ops[b].ret) }
	var outputs []any
	for _, id := range slices.SortedFunc(slices.Values(ids), byReturn) {
		if !e.ops[id].pending() {
			outputs = append(outputs, e.ops[id].Output)
		}
	}
	if e.recorded == nil {
		e.recorded = e.part.outputs(e.budget)
	}
	return append(outputs, e.recorded...)
}

// explainSlices bounds the check of one subset.
const explainSlices = 8

// decideWithin checks a part for a bounded time.
func decideWithin(model *Model, p *part, b *budget) verdict {
	c := &checker{model: model, budget: b}
	t := &task{given: p}
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

// replay steps through operations from the initial state. Visit receives each operation and the
// states before and after. The result is false if Step refuses an operation.
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

// after returns the states that may follow when an operation takes effect. A pending operation may
// have several.
func (e *explainer) after(state any, id int, pending bool) []any {
	o := &e.ops[id]
	if !pending {
		if ok, next := e.model.StepContext(e.budget.ctx, state, o.Input, o.Output); ok {
			return []any{next}
		}
		return nil
	}
	if e.table == nil && !e.budget.completes(e.makeTable) {
		return nil
	}
	var all []any
	for _, next := range e.table.nextPending(e.table.intern(state), int32(id)) {
		all = append(all, e.table.states[next])
	}
	return all
}

func (e *explainer) makeTable() {
	p := *e.part
	p.answers = e.answers(nil)
	e.table = newStateTable(e.budget, e.model, &p)
}

// witness returns a sequence of operations after which the answer of the stuck one would be right,
// as short as possible. The result is empty if the answer is never right.
func (e *explainer) witness() []int {
	path := e.longest()
	cut := -1
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
			cut = n
		}
	})
	if cut < 0 {
		return nil
	}
	return e.minimize(path[:cut], func(left []int) bool {
		state, ok := e.replay(left, nil)
		return ok && accepts(state)
	})
}

// before returns the operations of the longest order that change the state, and the state in the
// end.
func (e *explainer) before() (ids []int, after Possibility) {
	if e.budget.stopped() {
		return nil, after
	}
	state, ok := e.replay(e.longest(), func(id int, before, after any) {
		if !e.model.equalStates(before, after) {
			ids = append(ids, id)
		}
	})
	if !ok {
		return nil, after
	}
	return ids, Possibility{State: e.model.DescribeState(state), Answer: e.answerIn(state)}
}

// possible returns the states in which the stuck operation can take effect so that the rest of the
// core completes, and whether there are more states.
func (e *explainer) possible(core []int) (found []Possibility, more bool) {
	if len(core) > maxEnumerated {
		return nil, false
	}
	e.enumerate(core, make(map[int]bool), e.model.Init(), func(state any) {
		p := Possibility{State: e.model.DescribeState(state), Answer: e.answerIn(state)}
		switch {
		case slices.Contains(found, p):
		case len(found) == maxPossible:
			more = true
		default:
			found = append(found, p)
		}
	})
	if e.budget.stopped() {
		return nil, false // an incomplete list would mislead the reader
	}
	return found, more
}

// maxEnumerated is the largest core whose orders are all enumerated.
const maxEnumerated = 14

// enumerate reports the states in which the stuck operation can take effect, over all orders of the
// core.
func (e *explainer) enumerate(core []int, done map[int]bool, state any, report func(any)) {
	if e.budget.stopped() {
		return
	}
	for _, id := range core {
		if done[id] || !e.next(core, done, id) {
			continue
		}
		done[id] = true
		if id != e.stuck {
			for _, after := range e.after(state, id, e.returnsLater(id)) {
				e.enumerate(core, done, after, report)
			}
		} else if e.fits(core, done, state) {
			report(state)
		}
		delete(done, id)
	}
}

// fits says whether the rest of the core completes if the stuck operation takes effect in the state
// with another answer. With its own answer the rest never completes, because the core is illegal.
func (e *explainer) fits(core []int, done map[int]bool, state any) bool {
	if len(e.after(state, e.stuck, false)) > 0 {
		return false
	}
	effects := e.after(state, e.stuck, true)
	if len(effects) == 0 {
		effects = []any{state} // no answer changes the state
	}
	return slices.ContainsFunc(effects, func(after any) bool { return e.completes(core, done, after) })
}

// completes says whether all operations of the core that returned before the stuck one can still
// take effect.
func (e *explainer) completes(core []int, done map[int]bool, state any) bool {
	left := slices.ContainsFunc(core, func(id int) bool { return !done[id] && !e.returnsLater(id) })
	if !left {
		return true
	}
	for _, id := range core {
		if done[id] || e.budget.stopped() || !e.next(core, done, id) {
			continue
		}
		done[id] = true
		complete := slices.ContainsFunc(e.after(state, id, e.returnsLater(id)), func(after any) bool {
			return e.completes(core, done, after)
		})
		delete(done, id)
		if complete {
			return true
		}
	}
	return false
}

// returnsLater says whether the operation returned after the stuck one, or never.
func (e *explainer) returnsLater(id int) bool { return e.ops[id].ret > e.ops[e.stuck].ret }

// next says whether the operation may be the next one in the order of time.
func (e *explainer) next(core []int, done map[int]bool, id int) bool {
	for _, other := range core {
		if !done[other] && e.ops[other].precedes(&e.ops[id]) {
			return false
		}
	}
	return true
}

// answerIn describes the stuck operation with a recorded answer that the state allows.
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

// sameKind says whether two inputs have one type. Their outputs then probably have one type too.
func sameKind(a, b any) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
