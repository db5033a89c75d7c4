package porcupine

import (
	"cmp"
	"slices"
)

// levels makes a search go level by level. The first level holds the configurations without pending
// operations, the second those with one, and so on. When the search reaches a configuration, all
// possible covers have been visited, so no visit is wasted. On an illegal history with many pending
// operations, this saves most of the work of a search in depth. On a legal history, a search in
// depth may be lucky. A part with pending operations therefore gets both searches in turn.
type levels struct {
	level    int // the number of pending operations that may be used now
	now      []deferred
	next     []deferred // for the next level
	masks    []uint64   // of now and next
	nextMask []uint64
	trail    []trailNode
	base     int32   // the path of the configuration resumed last, before search.path
	trailOf  []int32 // the trail of each prefix of search.path, as far as needed
	deepest  int32   // the path to the furthest stage
}

func newLevels() *levels { return &levels{base: -1, deepest: -1} }

// deferred is a configuration that waits for the next level.
type deferred struct {
	stage int32
	state stateID
	trail int32 // the path, with the pending operation at its end
}

// trailNode is a path, made of the parent's path and one more operation. The empty path is -1.
type trailNode struct{ parent, op int32 }

// bytes returns the memory of the levels.
func (l *levels) bytes() int64 {
	if l == nil {
		return 0
	}
	return 12*int64(cap(l.now)+cap(l.next)) + 8*int64(cap(l.masks)+cap(l.nextMask)+cap(l.trail)) + 4*int64(cap(l.trailOf))
}

// deferPending keeps a configuration that uses one more pending operation than the level allows.
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

// pathChanged says that only the first n operations of the path are unchanged.
func (l *levels) pathChanged(n int) {
	if l != nil {
		l.trailOf = l.trailOf[:min(len(l.trailOf), n)]
	}
}

// resume takes the next deferred configuration, and the first of the next level if this level has
// no more. The results say whether there was one, and whether the configuration is new.
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

// nextLevel sorts the deferred configurations, so that the furthest one comes last and is taken
// first.
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
