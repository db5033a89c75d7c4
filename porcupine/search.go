package porcupine

// verdict is the current knowledge about a part.
type verdict uint8

const (
	undecided verdict = iota // the work goes on
	legal
	illegal
	unknown // the budget ended, so no verdict will come
)

// search decides one part by exhaustive search, for any model.
//
// A configuration consists of the next return (the stage), the set of operations open at the stage
// that are linearized already, the set of pending operations used, and the state. All operations
// that returned before the stage are linearized by then, and operations called after the stage's
// return are not yet visible. So the size of a configuration depends on the number of overlapping
// operations, and not on the length of the history.
//
// At a stage, the search may linearize any sequence of open operations that ends with the returning
// one. The search then passes the stage ("just in time", Lowe, "Testing for linearizability",
// 2017). Every linearization consists of such sequences, because an operation that stands before
// the returning one was called before that return, by the definition of precedence.
type search struct {
	*part
	states  *stateTable
	visited *visitedSet
	budget  *budget
	slots   slots
	pure    *purity
	order   *precedence
	levels  *levels   // nil for a search in depth only
	record  *recorder // nil unless the caller wants partial linearizations

	// The current configuration.
	stage          int32
	done           []uint64
	used           []uint64
	state          stateID
	path           []int32 // the operations linearized so far, in order
	begun, arrived bool    // arrived means that the current configuration is new and not yet expanded

	frames  []frame
	nodes   []node      // of all frames, with those of the last frame on top
	masks   []uint64    // done and used masks of the nodes
	paths   []int32     // path suffixes of the nodes
	cands   []candidate // candidates of the frames, with those of the last frame on top
	deepest int32       // the furthest stage so far
	ticks   int64       // counts ticks of work, for the budget
	claimed int64       // memory reported to the budget
}

func newSearch(model *Model, p *part, b *budget) *search {
	s := &search{part: p, budget: b, states: newStateTable(b, model, p)}
	s.slots = assignSlots(p, b)
	s.slots.expiry = newExpiry(model, p, b)
	s.pure = newPurity(s)
	s.order = newPrecedence(model, p, b)
	return s
}

// run makes at most the given number of steps and reports the verdict. Each step takes the search
// to another configuration. The next run continues where this one stops.
//
// The search drops a configuration if a visited one covers it (visitedSet). Dropping is sound.
// Suppose that a completion exists and the search ends without one. Of all visited configurations
// that have a completion, take one whose shortest completion is shortest. The search expanded this
// configuration, so the next one along the completion was visited, or was dropped for a visited one
// with the same completion. In both cases a visited configuration has a shorter completion, which
// is a contradiction. The argument holds also if the covering configuration was still being
// explored.
func (s *search) run(steps int64) verdict {
	for end := s.ticks + steps; s.ticks < end; s.ticks++ {
		switch {
		case !s.begun:
			s.reset()
			s.arrived = s.arrive()
		case s.arrived && int(s.stage) == len(s.returns):
			return legal
		case s.budget.exceeded(s):
			return unknown
		case s.arrived:
			s.arrived = s.advanceByReturning()
		case len(s.frames) > 0:
			s.arrived = s.tryNext()
		case s.resumes():
		case s.pure.refuted():
			s.begun = false
		case s.budget.stopped():
			return unknown // a Step that was told to stop may have refused
		default:
			return illegal
		}
	}
	return undecided
}

// resumes continues with a deferred configuration if the search goes by levels.
func (s *search) resumes() (more bool) {
	more, s.arrived = s.resume()
	return more
}

func (s *search) reset() {
	s.begun = true
	if s.levels != nil {
		s.levels = newLevels()
	}
	s.slots.reset()
	s.stage = 0
	s.done = make([]uint64, s.slots.words)
	s.used = make([]uint64, s.slots.pendingWords)
	s.path, s.frames, s.nodes, s.masks = s.path[:0], s.frames[:0], s.nodes[:0], s.masks[:0]
	s.paths, s.cands = s.paths[:0], s.cands[:0]
	s.visited = newVisitedSet(s.states, len(s.done), len(s.used))
	s.state = s.states.intern(s.states.model.Init())
	s.pure.probe(s)
	s.record.restart()
	if len(s.returns) > 0 {
		s.slots.open(s.part, 0)
	}
}

// arrive normalizes the current configuration and reports whether the result is new. Pure
// operations are linearized at once, and the search passes the returns of linearized operations.
func (s *search) arrive() bool {
	s.pure.linearize(s)
	for int(s.stage) < len(s.returns) {
		slot := s.slots.slotOf[s.returns[s.stage]]
		if s.done[slot/64]&(1<<(slot%64)) == 0 {
			break
		}
		s.done[slot/64] &^= 1 << (slot % 64)
		s.slots.advance(s.part, s.stage)
		s.stage++
		s.forgetExpired()
		s.pure.linearize(s)
	}
	if s.stage > s.deepest {
		s.deepest = s.stage
		if s.levels != nil {
			s.levels.deepest = s.trailOf(len(s.path))
		}
	}
	if s.alone() {
		s.record.arrive(s.path)
		return true
	}
	if !s.visited.insert(s.stage, s.done, s.used, s.state) {
		return false
	}
	s.record.arrive(s.path)
	return true
}

// forgetExpired removes expired pending operations from the set of used ones.
func (s *search) forgetExpired() {
	if s.slots.expiry != nil {
		for w := range s.used {
			s.used[w] &= s.slots.pendingOpen[w]
		}
	}
}

// alone says whether the search has nothing to go back to. Then no other path reaches the current
// configuration, and nothing asks for it later.
func (s *search) alone() bool {
	return len(s.frames) == 0 && s.levels == nil && s.stage > s.pure.watched
}

// advanceByReturning linearizes the operation that returns next. If others are open too, a frame
// remembers the configuration.
func (s *search) advanceByReturning() bool {
	if s.slots.choices(s) > 1 {
		s.pure.probe(s)
		s.pushFrame()
	}
	return s.linearize(candidate{s.returns[s.stage], unknownNext})
}

// linearize takes the candidate as the next operation of the path and reports whether the result is
// a new configuration.
func (s *search) linearize(c candidate) bool {
	next := c.next
	if s.order.forbids(s, c.op) {
		return false
	}
	if next == unknownNext {
		next = s.states.next(s.state, c.op)
		if next == refused {
			return false
		}
		s.pure.observe(c.op, s.state, next)
	}
	slot := s.slots.slotOf[c.op]
	if s.ops[c.op].pending() {
		s.used[slot/64] |= 1 << (slot % 64)
	} else {
		s.done[slot/64] |= 1 << (slot % 64)
	}
	s.path = append(s.path, c.op)
	s.state = next
	if !s.alone() {
		s.pure.note(s.stage, next)
	}
	return s.arrive()
}

// wholePath returns the operations linearized so far, in order.
func (s *search) wholePath() []int32 {
	if s.levels == nil {
		return s.path
	}
	return append(s.levels.operations(s.levels.base), s.path...)
}
