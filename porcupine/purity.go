package porcupine

import "math/bits"

// purity finds operations that never change the state, such as reads, in a
// model that does not say so. Such an operation is linearized as soon as Step
// accepts it, which spares the search all orders in which it could come later.
//
// Why that is exact: let a completion of a configuration linearize a pure
// operation later, in some state t. Taken out there and put first, it changes
// neither the states that the others see nor, being pure, the one it left. (An operation that
// has to wait for others, by precedence.go, is left alone until they are linearized.)
//
// "Did not change the state here" is not "is pure": a put of the value that is
// already there leaves the state and may be needed again later. So purity is
// only assumed, until the operation is seen to change a state; and when a
// search that made use of it finds nothing, each such operation is stepped
// from every state that the search reached in its reach (see audit). If one
// changes the state there, it is impure, and the search begins again.
type purity struct {
	impure []bool
	probed []bool
	used   []bool
	// watched is the last stage at which the states visited matter to the audit.
	watched int32
	visits  []visit
	probes  []stateID // a few different states to try operations on
	// lastReturn holds, for each number of calls, the last stage at which one of
	// those first calls returns.
	lastReturn []int32
	retStage   []int32 // operation -> the stage of its return
	search     *search
}

// visit is a state that an operation, linearized at the stage, led to.
type visit struct {
	stage int32
	state stateID
}

// maxProbes is the number of states on which an operation is tried before it
// is taken to be pure. More make a wrong guess, and so a repeated search, rarer.
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
			last = int32(len(s.returns)) // its effect may come at any later stage
		} else {
			last = max(last, u.retStage[id])
		}
		u.lastReturn[i+1] = last
	}
	return u
}

// linearize linearizes the pure operations among those that are open and
// not yet linearized, in the current state, which does not change.
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

// accepts says whether id may be linearized at once.
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

// observe notes what a step of the operation did to a state.
func (u *purity) observe(id int32, from, to stateID) {
	if to != refused && to != from && !u.search.states.equal(from, to) {
		u.impure[id] = true
	}
}

// probe keeps the current state, if it is new, for trying operations on.
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

// reach is the last stage at which the search may linearize an operation that leads
// to a state in which a completion could have linearized id, had it not been
// linearized at once: such a completion puts only operations called before id's return in front of
// it, and the search linearizes each of them no later than at its return.
func (u *purity) reach(id int32) int32 {
	calls := u.search.ops[id].ret - u.retStage[id] // the calls before its return
	return u.lastReturn[calls]
}

// refuted is asked when a search has found no linearization. It reports
// whether an operation that was taken to be pure is not, so that the
// search must be repeated without that assumption.
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

// audit steps every operation that was linearized at once from every state
// visited in its reach, and reports whether one changed.
//
// That is enough: let the search miss a completion from a configuration C that it visited,
// as it linearized o there at once, while the completion does so in a state t that o
// changes. From C with o linearized, the search follows the completion's operations before
// o one by one, up to t: each step is made, or dropped for a configuration with the same
// state, or preceded by another pure operation, of which the same can be said with fewer
// steps to go. So t is visited, by a step at a stage within reach of o. (The stage that the
// search goes on to from there may be a much later one, if operations linearized early
// return next; so it is the stage of the step that counts.)
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
	// The returns before its call are all ranks before it that are not calls.
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

// callIndex returns the place of an operation in the order of calls.
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
