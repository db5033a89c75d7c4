package porcupine

import "slices"

// task is the check of one part, in slices, so that parts get their turns and
// the violation of one is found however long another takes.
type task struct {
	part  *part // as the model's Hint.Resolve returned the given part
	given *part
	index int
	// searches take turns. A part with pending operations gets two: see levels.
	searches []*search
	slices   int
	hinted   bool // the model's hint said what each operation does, so there is nothing to guess
}

// slice is how many steps a task makes before it is another's turn.
const slice = 8192

// advance gives a task its turn and returns the result, if there is one.
func (c *checker) advance(t *task) (r partResult, done bool) {
	c.budget.completes(func() { r, done = c.takeTurn(t) })
	return t.ofGiven(r), done
}

// takeTurn makes the next slice of a task.
//
// With the model's hint, the near-linear check comes first. Without, a search
// comes first, which is as quick wherever few operations overlap; where it is
// not done soon, a hint is guessed.
func (c *checker) takeTurn(t *task) (partResult, bool) {
	if t.searches == nil {
		t.part = c.model.resolve(t.given, c.budget)
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
		if s.order != nil && s.order.misplaced != noOperation {
			r := t.result(s, illegal)
			r.stuck, r.settled = s.order.misplaced, false
			return r, true
		}
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
	if t.searches == nil {
		return partResult{result: Unknown, stuck: noOperation} // stopped before there was a search
	}
	for _, s := range t.searches {
		s.budget.claim(s.claimed, 0)
	}
	return t.ofGiven(t.result(t.searches[0], unknown))
}

// resolve returns the part as Hint.Resolve leaves it, or the part itself if nothing changes.
func (m *Model) resolve(p *part, b *budget) *part {
	if m.Hint == nil || m.Hint.Resolve == nil || len(p.returns) == len(p.ops) {
		return p
	}
	history := make([]Operation, len(p.ops))
	for i := range p.ops {
		b.poll(i)
		history[i] = p.ops[i].Operation
	}
	resolved, err := fromOperations(b, m.Hint.Resolve(history))
	if err != nil || len(resolved.ops) != len(p.ops) {
		return p
	}
	return resolved
}

// ofGiven turns the result of the resolved part into one of the given part. A resolved
// operation may be the one that cannot be placed, while the given one never returned. Then the
// next one that did return stands for it, and Explain looks for the exact one.
func (t *task) ofGiven(r partResult) partResult {
	if t.part == t.given || r.result != Illegal || r.stuck == noOperation {
		return r
	}
	r.settled = false
	for next := t.part.returnIndex(r.stuck); t.given.ops[r.stuck].pending(); next++ {
		if next == len(t.part.returns) {
			r.stuck = t.given.returns[len(t.given.returns)-1]
			break
		}
		r.stuck = t.part.returns[next]
	}
	return r
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
		r.settled = s.slots.aloneAt(s.part, deepest)
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
	hint := c.model.Hint
	if hint == nil {
		return partResult{}, false
	}
	s := t.searches[0]
	accesses, ok := hint.accesses(s.part, c.budget)
	if t.hinted = ok; !ok {
		return partResult{}, false
	}
	return c.tryBlocks(t, newBlocks(s.part, c.budget, hint.Initial, accesses), func() bool {
		return !s.states.contradicted(s.part, hint.Initial, accesses)
	})
}

func (c *checker) tryGuess(t *task) (partResult, bool) {
	if t.hinted {
		return partResult{}, false
	}
	guess, ok := infer(t.searches[0].states, t.part)
	if !ok {
		return partResult{}, false
	}
	return c.tryBlocks(t, newBlocks(t.part, c.budget, guess.initial, guess.accesses), func() bool {
		c.suspect()
		return guess.certified()
	})
}

// tryBlocks decides a part by blocks. Before a violation is believed, believed is asked.
func (c *checker) tryBlocks(t *task, b *blocks, believed func() bool) (partResult, bool) {
	switch order, v := t.searches[0].byBlocks(b, believed); v {
	case legal:
		return t.resultOf(order), true
	case illegal:
		return c.illegalByBlocks(b), true
	}
	return partResult{}, false
}

// byBlocks is what can be believed of what the blocks say.
func (s *search) byBlocks(b *blocks, believed func() bool) ([]int32, verdict) {
	order, v := b.decide()
	switch {
	case v == blocksLegal && s.confirms(order):
		return order, legal
	case v == blocksIllegal && believed() && !s.budget.stopped(): // a Step that was told to stop may have said no
		return nil, illegal
	}
	return nil, undecided
}

// illegalByBlocks is the result for a part that is illegal by what its
// operations do, with the longest beginning that is legal if the caller wants to see it.
func (c *checker) illegalByBlocks(b *blocks) partResult {
	r := partResult{result: Illegal, stuck: noOperation}
	if c.opts.Verbose {
		var order []int32
		r.stuck, order = b.longestLegal()
		r.partials = [][]int{ints(order)}
		// While a swap that failed had not returned, it may have been about to take effect.
		failed := slices.ContainsFunc(b.accesses, func(a Access) bool { return a.Kind == AccessDiffer })
		r.settled = len(order) > 0 && !failed && !c.budget.stopped()
	}
	return r
}

// confirms steps through an order and reports whether it is a linearization.
func (s *search) confirms(order []int32) bool {
	if !s.respectsTime(order) {
		return false
	}
	state := s.states.model.Init()
	for i, id := range order {
		s.budget.poll(i)
		o := &s.ops[id]
		if o.pending() {
			next := s.states.nextPending(s.states.intern(state), id)
			if len(next) == 0 {
				return false
			}
			state = s.states.states[next[0]]
			continue
		}
		ok, next := s.states.model.StepContext(s.budget.ctx, state, o.Input, o.Output)
		if !ok {
			return false
		}
		state = next
	}
	return true
}
