package porcupine

import (
	"math/bits"
	"slices"
)

// verdict is what is known of a part.
type verdict uint8

const (
	undecided verdict = iota // so far
	legal
	illegal
	unknown // and will stay so: the budget is used up
)

// search decides one part by exhaustive search, for any model.
//
// Its configurations are keyed by the window of open operations, so that the
// length of the history does not matter: a configuration is the next return
// that has not been passed (the stage), the set of operations open there that
// are already linearized, the pending operations used, and the state. All
// operations that returned before the stage are linearized by then, so they
// need no bit; those called after the stage's return are not yet in sight.
//
// At a stage, any sequence of open operations that ends in the one that
// returns may be linearized, and the stage is then passed ("just in time", Lowe,
// "Testing for linearizability", 2017). Every linearization is such a sequence of
// sequences: what it puts before the returning operation was called before
// that return, by the definition of precedence.
type search struct {
	*part
	states  *stateTable
	visited *visitedSet
	budget  *budget
	slots   slots
	pure    *purity
	record  *recorder // nil unless the caller wants partial linearizations

	// The current configuration.
	stage          int32
	done           []uint64
	used           []uint64
	state          stateID
	path           []int32 // the operations linearized so far, in order
	begun, arrived bool    // arrived: the current configuration is new and not yet expanded

	frames   []frame
	masks    []uint64    // saved done and used masks, one pair a frame
	cands    []candidate // candidates of the frames, those of the last on top
	deepest  int32       // the furthest stage seen
	ticks    int64       // steps made, for the budget
	patience int64       // how many steps to make at most; 0: without bound
	claimed  int64       // memory reported to the budget
}

// frame is a configuration with more than one way on.
type frame struct {
	stage  int32
	state  stateID
	path   int32 // length of the path
	cands  int32 // where its candidates begin; unlisted before the first is refused
	next   int32 // the next candidate to try
	listed bool
}

// candidate is an operation to linearize next. A pending operation may lead to
// several states, each a candidate of its own.
type candidate struct {
	op   int32
	next stateID // known for a pending operation
}

// unknownNext marks a candidate whose transition has not been made yet.
const unknownNext stateID = -2

func newSearch(model *Model, p *part, b *budget) *search {
	s := &search{part: p, budget: b, states: newStateTable(b.ctx, model, p)}
	s.slots = assignSlots(p)
	s.pure = newPurity(s)
	return s
}

// run makes at most the given number of steps, each of which takes the search to another
// configuration, and reports what is known then. It goes on where it was left.
//
// Soundness of dropping a configuration for one that stands for it (visitedSet):
// suppose that a completion exists and the search nevertheless ends without
// one. Of all configurations that it visited and that have a completion, take
// one whose shortest completion is shortest. It was expanded, so the next
// configuration along that completion was visited or was dropped for a visited
// one, which has the same completion. Either is visited, and its completion is
// shorter: a contradiction. It does not matter whether the one that stood for it was
// still being explored.
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
		case s.budget.stopped():
			return unknown // a Step that was told to stop may have said no
		case !s.pure.refuted():
			return illegal
		default:
			s.begun = false
		}
	}
	return undecided
}

func (s *search) reset() {
	s.begun = true
	s.slots.reset()
	s.stage = 0
	s.done = make([]uint64, s.slots.words)
	s.used = make([]uint64, s.slots.pendingWords)
	s.path, s.frames, s.masks, s.cands = s.path[:0], s.frames[:0], s.masks[:0], s.cands[:0]
	s.visited = newVisitedSet(s.states, len(s.done), len(s.used))
	s.state = s.states.intern(s.states.model.Init())
	s.pure.probe(s)
	s.record.restart()
	if len(s.returns) > 0 {
		s.slots.open(s.part, 0)
	}
}

// arrive brings the current configuration to its normal form: pure operations
// are linearized at once, and returns of linearized operations are passed.
// It reports whether the configuration is new.
func (s *search) arrive() bool {
	s.pure.linearize(s)
	for int(s.stage) < len(s.returns) {
		slot := s.slots.of[s.returns[s.stage]]
		if s.done[slot/64]&(1<<(slot%64)) == 0 {
			break
		}
		s.done[slot/64] &^= 1 << (slot % 64)
		s.slots.advance(s.part, s.stage)
		s.stage++
		s.pure.linearize(s)
	}
	s.deepest = max(s.deepest, s.stage)
	s.record.arrive(s.path)
	if len(s.frames) == 0 && s.stage > s.pure.watched {
		// Nothing is left to go back to, so no other path can come here.
		return true
	}
	return s.visited.insert(s.stage, s.done, s.used, s.state)
}

// advanceByReturning linearizes the operation that returns next. Where others
// are open too, it leaves a frame to come back to.
func (s *search) advanceByReturning() bool {
	id := s.returns[s.stage]
	if s.slots.choices(s) > 1 {
		s.pure.probe(s)
		s.masks = append(append(s.masks, s.done...), s.used...)
		s.frames = append(s.frames, frame{stage: s.stage, state: s.state, path: int32(len(s.path)), cands: int32(len(s.cands))})
	}
	return s.linearize(candidate{id, unknownNext})
}

// linearize takes the candidate as the next operation of the path and reports
// whether that leads to a new configuration.
func (s *search) linearize(c candidate) bool {
	next := c.next
	if next == unknownNext {
		next = s.states.next(s.state, c.op)
		if next == refused {
			return false
		}
		s.pure.observe(c.op, s.state, next)
	}
	slot := s.slots.of[c.op]
	if s.ops[c.op].pending() {
		s.used[slot/64] |= 1 << (slot % 64)
	} else {
		s.done[slot/64] |= 1 << (slot % 64)
	}
	s.path = append(s.path, c.op)
	s.state = next
	return s.arrive()
}

// tryNext goes back to the last frame and takes its next candidate.
func (s *search) tryNext() bool {
	s.restore()
	f := &s.frames[len(s.frames)-1]
	if !f.listed {
		s.listCandidates(f)
	}
	if int(f.cands+f.next) == len(s.cands) {
		s.popFrame()
		return false
	}
	c := s.cands[f.cands+f.next]
	f.next++
	if int(f.cands+f.next) == len(s.cands) {
		s.popFrame() // its last candidate: there is nothing to come back for
	}
	return s.linearize(c)
}

// restore makes the last frame's configuration the current one.
func (s *search) restore() {
	f := &s.frames[len(s.frames)-1]
	for s.stage > f.stage {
		s.stage--
		s.slots.retreat(s.part, s.stage)
	}
	s.state = f.state
	s.record.goBack(int(f.path))
	s.path = s.path[:f.path]
	saved := s.masks[len(s.masks)-len(s.done)-len(s.used):]
	copy(s.done, saved)
	copy(s.used, saved[len(s.done):])
}

func (s *search) popFrame() {
	f := s.frames[len(s.frames)-1]
	s.frames = s.frames[:len(s.frames)-1]
	s.masks = s.masks[:len(s.masks)-len(s.done)-len(s.used)]
	s.cands = s.cands[:f.cands]
}

// listCandidates lists what else may be linearized at a frame: the open
// operations in the order of their returns, then the pending ones. Of open
// operations with equal input and output only the first to return is listed,
// of pending ones only the first called. That is enough: in a completion that takes another
// of them first, the two can change places, since both are open, Step cannot
// tell them apart, and the one moved later returns later.
func (s *search) listCandidates(f *frame) {
	f.listed = true
	returning := s.returns[s.stage]
	for word, mask := range s.slots.occupied {
		for mask &^= s.done[word]; mask != 0; mask &= mask - 1 {
			if id := s.slots.at[word*64+bits.TrailingZeros64(mask)]; id != returning {
				s.cands = append(s.cands, candidate{id, unknownNext})
			}
		}
	}
	mine := s.cands[f.cands:]
	slices.SortFunc(mine, func(a, b candidate) int { return int(s.ops[a.op].ret - s.ops[b.op].ret) })
	kept := 0
	for i, c := range mine {
		if !s.slots.twin(s, returning, c.op) && !slices.ContainsFunc(mine[:kept], func(k candidate) bool { return s.slots.twin(s, k.op, c.op) }) {
			mine[kept] = mine[i]
			kept++
		}
	}
	s.cands = s.cands[:int(f.cands)+kept]
	s.listPending()
}

func (s *search) listPending() {
	var listed []int32
	for word, mask := range s.slots.pendingOpen {
		for mask &^= s.used[word]; mask != 0; mask &= mask - 1 {
			id := s.slots.pendingAt[word*64+bits.TrailingZeros64(mask)]
			if slices.ContainsFunc(listed, func(k int32) bool { return s.slots.twin(s, k, id) }) {
				continue
			}
			listed = append(listed, id)
			for _, next := range s.states.nextPending(s.state, id) {
				s.cands = append(s.cands, candidate{id, next})
			}
		}
	}
}
