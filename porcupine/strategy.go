package porcupine

import "slices"

// task is the check of one part. Tasks run in slices and take turns, so a slow part does not delay
// the violation in another one.
type task struct {
	part  *part // the given part after Hint.Resolve
	given *part
	index int
	// The searches take turns. A part with pending operations gets a second search (see levels).
	searches []*search
	slices   int
	hinted   bool // the model's hint covers each operation, so no guess is needed
}

// slice is the number of steps in one turn of a task.
const slice = 8192

// advance gives a task a turn and returns the result, if there is one.
func (c *checker) advance(t *task) (r partResult, done bool) {
	c.budget.completes(func() { r, done = c.takeTurn(t) })
	return t.ofGiven(r), done
}

// takeTurn makes the next slice of a task.
//
// With a hint, the near-linear check comes first. Without a hint, a search comes first, which is as
// fast if few operations overlap. If the search needs more than its first slice, the checker
// guesses a hint.
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

// turn returns the search whose turn comes. The search in depth starts and may be lucky. After a
// few slices without luck, the other search gets more of the time.
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

// end releases the memory of a stopped task and returns the result so far.
func (t *task) end() partResult {
	if t.searches == nil {
		return partResult{result: Unknown, stuck: noOperation} // stopped before the first search
	}
	for _, s := range t.searches {
		s.budget.claim(s.claimed, 0)
	}
	return t.ofGiven(t.result(t.searches[0], unknown))
}

// resolve returns the part after Hint.Resolve, or the part itself if nothing changes.
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

// ofGiven translates the result of the resolved part to the given part. The stuck operation may
// have completed by Resolve although the given one never returned. Then the next completed
// operation becomes the stuck one, and Explain looks for the exact one.
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

// result returns the answer of one search of the task.
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
		r.settled = s.slots.aloneAt(deepest)
	}
	return r
}

// resultOf returns the answer for a linearization.
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

// tryBlocks decides a part by blocks. A violation counts only if believed agrees.
func (c *checker) tryBlocks(t *task, b *blocks, believed func() bool) (partResult, bool) {
	switch order, v := t.searches[0].byBlocks(b, believed); v {
	case legal:
		return t.resultOf(order), true
	case illegal:
		return c.illegalByBlocks(b), true
	}
	return partResult{}, false
}

// byBlocks returns the verdict of the blocks, or undecided if the verdict is not certain. A
// linearization is certain once Step confirms the order, and a violation once believed agrees.
func (s *search) byBlocks(b *blocks, believed func() bool) ([]int32, verdict) {
	order, v := b.decide()
	switch {
	case v == blocksLegal && s.confirms(order):
		return order, legal
	case v == blocksIllegal && believed() && !s.budget.stopped(): // a Step that was told to stop may have refused
		return nil, illegal
	}
	return nil, undecided
}

// illegalByBlocks returns the result for an illegal part. A verbose check gets the longest legal
// prefix.
func (c *checker) illegalByBlocks(b *blocks) partResult {
	r := partResult{result: Illegal, stuck: noOperation}
	if c.opts.Verbose {
		var order []int32
		r.stuck, order = b.longestLegal()
		r.partials = [][]int{ints(order)}
		// Before a failed swap returned, the swap might still have succeeded.
		failed := slices.ContainsFunc(b.accesses, func(a Access) bool { return a.Kind == AccessDiffer })
		r.settled = len(order) > 0 && !failed && !c.budget.stopped()
	}
	return r
}

// confirms steps through an order and reports whether the order is a linearization.
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
