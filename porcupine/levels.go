package porcupine

import (
	"cmp"
	"slices"
)

// levels makes a search go level by level: through all configurations that used no pending
// operation, then through those that used one, and so on. By the time a configuration is
// reached, all that could stand for it have been visited, so none is visited in vain: on an
// illegal history with many pending operations that is a small part of what a search in
// depth goes through. On a legal one, the search in depth may be lucky, so a part with
// pending operations gets both in turn.
type levels struct {
	level    int // how many pending operations may be used now
	now      []deferred
	next     []deferred // for the next level
	masks    []uint64   // of now and next
	nextMask []uint64
	trail    []trailNode
	base     int32   // the path of the configuration resumed last; search.path goes on from there
	trailOf  []int32 // the trail of each beginning of search.path, as far as it was needed
	deepest  int32   // the path that led to the furthest stage
}

func newLevels() *levels { return &levels{base: -1, deepest: -1} }

// deferred is a configuration that waits for the level that allows it.
type deferred struct {
	stage int32
	state stateID
	trail int32 // its path, the pending operation that led here included
}

// trailNode is a path: an operation after the path of its parent, -1 for the empty one.
type trailNode struct{ parent, op int32 }

// bytes is the memory that the levels hold.
func (l *levels) bytes() int64 {
	if l == nil {
		return 0
	}
	return 12*int64(cap(l.now)+cap(l.next)) + 8*int64(cap(l.masks)+cap(l.nextMask)+cap(l.trail)) + 4*int64(cap(l.trailOf))
}

// deferPending keeps a configuration that uses one more pending operation than
// the level allows.
func (s *search) deferPending(c candidate) {
	s.pure.note(s.stage, c.next)
	slot := s.slots.slotOf[c.op]
	s.used[slot/64] |= 1 << (slot % 64)
	if !s.visited.has(s.stage, s.done, s.used, c.next) {
		l := s.levels
		l.next = append(l.next, deferred{s.stage, c.next, l.grow(s.trailOf(len(s.path)), c.op)})
		l.nextMask = append(append(l.nextMask, s.done...), s.used...)
	}
	s.used[slot/64] &^= 1 << (slot % 64)
}

func (l *levels) grow(parent, op int32) int32 {
	l.trail = append(l.trail, trailNode{parent, op})
	return int32(len(l.trail) - 1)
}

// trailOf returns the trail of the first n operations of the path.
func (s *search) trailOf(n int) int32 {
	l := s.levels
	for i := len(l.trailOf); i < n; i++ {
		parent := l.base
		if i > 0 {
			parent = l.trailOf[i-1]
		}
		l.trailOf = append(l.trailOf, l.grow(parent, s.path[i]))
	}
	if n == 0 {
		return l.base
	}
	return l.trailOf[n-1]
}

// operations returns the path that ends at a trail node.
func (l *levels) operations(node int32) []int32 {
	var path []int32
	for ; node >= 0; node = l.trail[node].parent {
		path = append(path, l.trail[node].op)
	}
	slices.Reverse(path)
	return path
}

// pathChanged says that of the path only the first n operations are what they were.
func (l *levels) pathChanged(n int) {
	if l != nil {
		l.trailOf = l.trailOf[:min(len(l.trailOf), n)]
	}
}

// resume takes the next deferred configuration, of the next level if need be. It reports
// false if there is none, and otherwise whether the configuration is new.
func (s *search) resume() (more, arrived bool) {
	l := s.levels
	if l == nil {
		return false, false
	}
	if len(l.now) == 0 {
		if len(l.next) == 0 {
			return false, false
		}
		s.nextLevel()
	}
	d := l.now[len(l.now)-1]
	l.now = l.now[:len(l.now)-1]
	masks := l.masks[len(l.now)*(len(s.done)+len(s.used)):]
	copy(s.done, masks)
	copy(s.used, masks[len(s.done):])
	for s.stage > d.stage {
		s.stage--
		s.slots.retreat(s.part, s.stage)
	}
	for s.stage < d.stage {
		s.slots.advance(s.part, s.stage)
		s.stage++
	}
	s.state = d.state
	l.pathChanged(0)
	l.base, s.path = d.trail, s.path[:0]
	return true, s.arrive()
}

// nextLevel puts the deferred configurations in order: the furthest last, to be taken first.
func (s *search) nextLevel() {
	l := s.levels
	l.level++
	stride := len(s.done) + len(s.used)
	order := make([]int32, len(l.next))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, polled(s.budget, func(a, b int32) int {
		return cmp.Or(cmp.Compare(l.next[a].stage, l.next[b].stage), cmp.Compare(b, a))
	}))
	l.masks = l.masks[:0]
	for n, i := range order {
		s.budget.poll(n)
		l.now = append(l.now, l.next[i])
		l.masks = append(l.masks, l.nextMask[int(i)*stride:][:stride]...)
	}
	l.next, l.nextMask = l.next[:0], l.nextMask[:0]
}
