package porcupine

import "slices"

// task is the check of one part, in slices, so that parts get their turns and
// the violation of one is found however long another takes.
type task struct {
	part  *part
	index int
	// searches take turns. A part with pending operations gets two: see levels.
	searches []*search
	slices   int
}

// slice is how many steps a task makes before it is another's turn.
const slice = 8192

// advance gives a task its turn and returns the result, if there is one.
//
// With the model's hint, the near-linear check comes first. Without, a search
// comes first, which is as quick wherever few operations overlap; where it is
// not done soon, a hint is guessed.
func (c *checker) advance(t *task) (partResult, bool) {
	if t.searches == nil {
		t.searches = c.newSearches(t.part)
		if r, ok := c.tryHint(t); ok {
			return r, true
		}
	}
	steps := int64(slice)
	if t.slices == 0 {
		steps = 200 + 4*int64(len(t.part.ops))
	}
	s := t.turn()
	t.slices++
	v := s.run(steps)
	if v == undecided && t.slices == 1 {
		if r, ok := c.tryGuess(t); ok {
			return r, true
		}
	}
	return t.result(s, v), v != undecided
}

// turn returns the search whose turn it is. The one in depth comes first; if luck
// has not helped it for a while, it gets less of the time.
func (t *task) turn() *search {
	const alike, rare = 8, 4
	if t.slices < alike {
		return t.searches[t.slices%len(t.searches)]
	}
	if t.slices%rare == 0 {
		return t.searches[0]
	}
	return t.searches[len(t.searches)-1]
}

func (c *checker) newSearches(p *part) []*search {
	searches := []*search{newSearch(c.model, p, c.budget)}
	if len(p.returns) < len(p.ops) {
		byLevels := newSearch(c.model, p, c.budget)
		byLevels.levels = newLevels()
		searches = append(searches, byLevels)
	}
	if c.opts.Verbose {
		searches[0].record = &recorder{}
	}
	return searches
}

// end gives the memory of a task back and returns what it knows if it was stopped.
func (t *task) end() partResult {
	for _, s := range t.searches {
		s.budget.claim(s.claimed, 0)
	}
	return t.result(t.searches[0], unknown)
}

// result is the answer that a search of the task gives.
func (t *task) result(s *search, v verdict) partResult {
	if v == legal {
		return t.resultOf(s.wholePath())
	}
	r := partResult{result: Unknown, stuck: noOperation}
	if v == illegal {
		r.result = Illegal
	}
	first := t.searches[0]
	if first.record == nil || v == undecided {
		return r
	}
	r.partials = first.record.partials(len(s.ops))
	if s.levels != nil && s.deepest > first.deepest {
		r.partials = append([][]int{ints(s.levels.operations(s.levels.deepest))}, r.partials...)
	}
	if deepest := max(s.deepest, first.deepest); int(deepest) < len(s.returns) {
		r.stuck = s.returns[deepest]
	}
	return r
}

// resultOf is the answer when a linearization was found.
func (t *task) resultOf(order []int32) partResult {
	r := partResult{result: Ok, stuck: noOperation}
	if t.searches[0].record != nil {
		r.partials = [][]int{ints(order)}
	}
	return r
}

func (c *checker) tryHint(t *task) (partResult, bool) {
	s := t.searches[0]
	hint := c.model.Hint
	if hint == nil {
		return partResult{}, false
	}
	accesses, ok := hint.accesses(s.part)
	if !ok {
		return partResult{}, false
	}
	order, v := decideByBlocks(s.part, hint.Initial, accesses)
	switch {
	case v == blocksLegal && s.confirms(order):
		return t.resultOf(order), true
	case v == blocksIllegal && !s.states.contradicted(s.part, hint.Initial, accesses):
		return c.illegalByBlocks(s, hint.Initial, accesses), true
	}
	return partResult{}, false
}

func (c *checker) tryGuess(t *task) (partResult, bool) {
	s := t.searches[0]
	if c.model.Hint != nil {
		return partResult{}, false
	}
	guess, ok := infer(s.states, s.part)
	if !ok {
		return partResult{}, false
	}
	order, v := decideByBlocks(s.part, guess.initial, guess.accesses)
	switch {
	case v == blocksLegal && s.confirms(order):
		return t.resultOf(order), true
	case v == blocksIllegal && guess.certified():
		return c.illegalByBlocks(s, guess.initial, guess.accesses), true
	}
	return partResult{}, false
}

// confirms steps through an order and reports whether it is a linearization.
func (s *search) confirms(order []int32) bool {
	if !s.respectsTime(order) {
		return false
	}
	state := s.states.model.Init()
	for i, id := range order {
		if i%1024 == 0 && s.budget.stopped() {
			return false
		}
		o := &s.ops[id]
		if o.pending() {
			next := s.states.nextPending(s.states.intern(state), id)
			if len(next) == 0 {
				return false
			}
			state = s.states.states[next[0]]
			continue
		}
		ok, next := s.states.model.StepContext(s.states.ctx, state, o.Input, o.Output)
		if !ok {
			return false
		}
		state = next
	}
	return true
}

// illegalByBlocks is the result for a part that is illegal by what its
// operations do. If the caller wants to see it, the longest beginning that is
// legal is found by bisection.
func (c *checker) illegalByBlocks(s *search, initial any, accesses []Access) partResult {
	r := partResult{result: Illegal, stuck: noOperation}
	if !c.opts.Verbose {
		return r
	}
	var order []int32
	good, bad := 0, len(s.returns)
	for good+1 < bad && !s.budget.stopped() {
		middle := (good + bad) / 2
		p, a := s.part.until(middle, accesses)
		if o, verdict := decideByBlocks(p, initial, a); verdict == blocksIllegal {
			bad = middle
		} else {
			good, order = middle, o
		}
	}
	r.stuck = s.returns[bad-1]
	r.partials = [][]int{ints(order)}
	return r
}

// until returns the part as it was right before its n-th return, from 0: what was not
// called by then is gone, and what had not returned is pending.
func (p *part) until(n int, accesses []Access) (*part, []Access) {
	end := p.ops[p.returns[n]].ret
	sub := &part{ops: slices.Clone(p.ops), returns: p.returns[:n], last: p.last}
	accesses = slices.Clone(accesses)
	for i := range sub.ops {
		o := &sub.ops[i]
		if o.ret >= end {
			o.ret = never
		}
		if o.call > end {
			accesses[i] = Access{Kind: AccessRead} // pending, so it is as if it were not there
		}
	}
	for _, id := range p.calls {
		if p.ops[id].call < end {
			sub.calls = append(sub.calls, id)
		}
	}
	return sub, accesses
}
