package porcupine

import "math/bits"

// purity finds operations that never change the state, such as reads, although the model does not
// declare them. The search linearizes a pure operation as soon as Step accepts it, and tries no
// later place.
//
// The early place is exact. Suppose that a completion linearizes a pure operation later, in some
// state t. Moving the operation to the front changes neither the states of the other operations
// nor, as the operation is pure, the state t. (An operation that must wait for others, by
// precedence.go, is moved only after them.)
//
// An operation that did not change one state may change another. A put of the current value changes
// nothing, and may be needed again later. Purity is therefore an assumption until the operation is
// seen to change a state. When a search relied on the assumption and finds nothing, an audit steps
// each such operation from every state within reach (see audit). If the operation changes one of
// them, the operation is impure, and the search starts again.
type purity struct {
	impure []bool
	probed []bool
	used   []bool
	// watched is the last stage whose visited states matter to the audit.
	watched int32
	visits  []visit
	probes  []stateID // a few different states to try operations on
	// lastReturn holds, for each number n of calls, the last stage at which one of the first n
	// calls returns.
	lastReturn []int32
	retStage   []int32 // operation -> the stage of the return
	search     *search
}

// visit is a state after an operation linearized at the stage.
type visit struct {
	stage int32
	state stateID
}

// maxProbes is the number of states on which an operation is tried before purity is assumed. More
// probes make a repeated search rarer.
const maxProbes = 4

func newPurity(s *search) *purity {
	n := len(s.ops)
	u := &purity{search: s, impure: make([]bool, n), probed: make([]bool, n), used: make([]bool, n), watched: -1,
		retStage: make([]int32, n), lastReturn: make([]int32, n+1)}
	for stage, id := range s.returns {
		s.budget.poll(stage)
		u.retStage[id] = int32(stage)
	}
	last := int32(-1)
	for i, id := range s.calls {
		s.budget.poll(i)
		if s.ops[id].pending() {
			last = int32(len(s.returns)) // the operation may take effect at any later stage
		} else {
			last = max(last, u.retStage[id])
		}
		u.lastReturn[i+1] = last
	}
	return u
}

// linearize linearizes the open pure operations in the current state, which does not change.
func (u *purity) linearize(s *search) {
	if len(s.returns) == int(s.stage) || s.slots.choices(s) <= 1 {
		return
	}
	for word, mask := range s.slots.occupied {
		for mask &^= s.done[word]; mask != 0; mask &= mask - 1 {
			slot := word*64 + bits.TrailingZeros64(mask)
			id := s.slots.holder[slot]
			if u.accepts(s, id) {
				s.done[word] |= 1 << (slot % 64)
				s.path = append(s.path, id)
				u.used[id] = true
				u.watched = max(u.watched, u.reach(id))
			}
		}
	}
}

// accepts says whether the search may linearize id at once.
func (u *purity) accepts(s *search, id int32) bool {
	if u.impure[id] || s.order.forbids(s, id) {
		return false
	}
	if !u.probed[id] {
		u.probed[id] = true
		for _, state := range u.probes {
			u.observe(id, state, s.states.try(state, id))
		}
	}
	next := s.states.next(s.state, id)
	u.observe(id, s.state, next)
	return !u.impure[id] && next != refused
}

// observe notes whether a step of the operation changed the state.
func (u *purity) observe(id int32, from, to stateID) {
	if to != refused && to != from && !u.search.states.equal(from, to) {
		u.impure[id] = true
	}
}

// probe keeps the current state as a probe, if the state is new.
func (u *purity) probe(s *search) {
	if len(u.probes) == maxProbes {
		return
	}
	for _, state := range u.probes {
		if state == s.state {
			return
		}
	}
	u.probes = append(u.probes, s.state)
}

// note keeps a visit for the audit. Most repetitions come soon after each other.
func (u *purity) note(stage int32, state stateID) {
	const soon = 8
	for i := len(u.visits) - 1; i >= max(0, len(u.visits)-soon); i-- {
		if u.visits[i] == (visit{stage, state}) {
			return
		}
	}
	u.visits = append(u.visits, visit{stage, state})
}

// reach returns the last stage at which a completion could have linearized id. The operations
// before id in such a completion were called before the return of id, and the search linearizes
// each of them no later than at its return.
func (u *purity) reach(id int32) int32 {
	calls := u.search.ops[id].ret - u.retStage[id] // the calls before the return
	return u.lastReturn[calls]
}

// refuted reports, after a search without a result, whether an operation that was assumed pure is
// impure. The search must then start again.
func (u *purity) refuted() bool {
	again := false
	for id, used := range u.used {
		again = again || used && u.impure[id]
	}
	again = again || u.audit()
	clear(u.used)
	u.watched, u.visits = -1, nil
	return again
}

// audit steps every operation linearized at once from every visited state within reach, and reports
// whether a state changed.
//
// The audit is sufficient. Suppose that the search visits a configuration C, linearizes o there at
// once, and therefore misses a completion from C. In the completion, o takes effect in a state t,
// and changes t. From C with o linearized, the search follows the operations of the completion
// before o, up to t. Each step is made, or is dropped for a configuration with an equal state, or
// comes after another pure operation, for which the same argument holds with fewer steps left. So
// the search visits t by a step at a stage within the reach of o. (The next stage may be much
// later, if operations that were linearized early return next. So the stage of the step counts.)
func (u *purity) audit() bool {
	byStage := make(map[int32][]stateID)
	seen := make(map[visit]bool)
	for i, v := range u.visits {
		u.search.budget.poll(i)
		if !seen[v] {
			seen[v] = true
			byStage[v.stage] = append(byStage[v.stage], v.state)
		}
	}
	found := false
	for id, used := range u.used {
		u.search.budget.poll(id)
		if used && u.changesAny(int32(id), byStage) {
			u.impure[id] = true
			found = true
		}
	}
	return found
}

func (u *purity) changesAny(id int32, byStage map[int32][]stateID) bool {
	s := u.search
	stepped := make(map[stateID]bool)
	// The ranks before the call belong to calls or to returns.
	first := s.ops[id].call - int32(callIndex(s.part, id))
	for stage := first; stage <= min(u.reach(id), s.deepest); stage++ {
		for i, state := range byStage[stage] {
			s.budget.poll(i)
			if stepped[state] {
				continue
			}
			stepped[state] = true
			next := s.states.try(state, id)
			if next != refused && !s.states.equal(next, state) {
				return true
			}
		}
	}
	return false
}

// callIndex returns the index of an operation in the order of calls.
func callIndex(p *part, id int32) int {
	lo, hi := 0, len(p.calls)
	for lo < hi {
		if mid := (lo + hi) / 2; p.ops[p.calls[mid]].call < p.ops[id].call {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
