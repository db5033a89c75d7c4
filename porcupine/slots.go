package porcupine

import "math/bits"

// slots gives every operation a number that no other open operation has. A set of open operations
// is then a mask of a few words. The slots follow the search from stage to stage.
//
// Stage k is the moment before the k-th return. Pending operations stay open until they expire, and
// have numbers of their own.
type slots struct {
	slotOf        []int32  // operation -> slot
	words         int      // length of a mask of slots
	pendingWords  int      // length of a mask of pending slots
	holder        []int32  // slot -> operation, at the current stage
	occupied      []uint64 // the slots in use at the current stage
	pendingHolder []int32  // pending slot -> operation
	pendingOpen   []uint64 // the pending operations called before the current stage
	previous      []int32  // operation -> the operation that had the slot before, or -1
	firstCall     []int32  // stage -> the index of its first call, with one stage more than returns
	expiry        *expiry  // removes pending operations from pendingOpen

	class    []int32 // operation -> number of the class with equal input and output, 0 if unknown
	classes  map[[2]any]int32
	unhashed int32
	// listings holds the number of the last listing of each class.
	listings []int64
	listing  int64
}

// listed reports whether an operation of the class is in the current listing, and adds the
// operation.
func (a *slots) listed(s *search, id int32) bool {
	class := a.classOf(s, id)
	if class < 0 {
		return false // the class has one operation
	}
	for int(class) >= len(a.listings) {
		a.listings = append(a.listings, 0)
	}
	before := a.listings[class] == a.listing
	a.listings[class] = a.listing
	return before
}

func assignSlots(p *part, b *budget) slots {
	a := slots{slotOf: make([]int32, len(p.ops)), previous: make([]int32, len(p.ops)),
		firstCall: make([]int32, 0, len(p.returns)+1), class: make([]int32, len(p.ops)), classes: make(map[[2]any]int32)}
	var free []uint64 // a set bit is a free slot
	var last []int32
	call := 0
	for stage, ret := range p.returns {
		b.poll(stage)
		a.firstCall = append(a.firstCall, int32(call))
		for ; call < len(p.calls) && p.ops[p.calls[call]].call < p.ops[ret].ret; call++ {
			id := p.calls[call]
			if p.ops[id].pending() {
				a.slotOf[id] = int32(len(a.pendingHolder))
				a.pendingHolder = append(a.pendingHolder, id)
				continue
			}
			var slot int32
			slot, free = takeLowest(free)
			for int(slot) >= len(last) {
				last = append(last, -1)
			}
			a.slotOf[id], a.previous[id], last[slot] = slot, last[slot], id
		}
		slot := a.slotOf[ret]
		free[slot/64] |= 1 << (slot % 64)
	}
	a.firstCall = append(a.firstCall, int32(call))
	a.words = len(free)
	a.pendingWords = (len(a.pendingHolder) + 63) / 64
	a.holder = make([]int32, 64*len(free))
	return a
}

// takeLowest removes the lowest bit from the set. An empty set is extended.
func takeLowest(free []uint64) (int32, []uint64) {
	for w, mask := range free {
		if mask != 0 {
			free[w] &= mask - 1
			return int32(64*w + bits.TrailingZeros64(mask)), free
		}
	}
	return int32(64 * len(free)), append(free, ^uint64(1))
}

func (a *slots) reset() {
	a.occupied = make([]uint64, a.words)
	a.pendingOpen = make([]uint64, a.pendingWords)
	clear(a.holder)
}

// calledAt returns the operations called between the return of the previous stage and the return of
// this one.
func (a *slots) calledAt(p *part, stage int32) []int32 {
	return p.calls[a.firstCall[stage]:a.firstCall[stage+1]]
}

func (a *slots) open(p *part, stage int32) {
	for _, id := range a.calledAt(p, stage) {
		slot := a.slotOf[id]
		if p.ops[id].pending() {
			if !a.expiry.expired(id, stage) {
				a.pendingOpen[slot/64] |= 1 << (slot % 64)
			}
		} else {
			a.occupied[slot/64] |= 1 << (slot % 64)
			a.holder[slot] = id
		}
	}
}

// advance passes the return of the stage.
func (a *slots) advance(p *part, stage int32) {
	slot := a.slotOf[p.returns[stage]]
	a.occupied[slot/64] &^= 1 << (slot % 64)
	if int(stage)+1 < len(p.returns) {
		a.open(p, stage+1)
	}
	for _, id := range a.expiry.expiringAt(stage + 1) {
		a.pendingOpen[a.slotOf[id]/64] &^= 1 << (a.slotOf[id] % 64)
	}
}

// retreat undoes advance.
func (a *slots) retreat(p *part, stage int32) {
	if int(stage)+1 < len(p.returns) {
		called := a.calledAt(p, stage+1)
		for i := len(called) - 1; i >= 0; i-- {
			id := called[i]
			slot := a.slotOf[id]
			if p.ops[id].pending() {
				a.pendingOpen[slot/64] &^= 1 << (slot % 64)
				continue
			}
			a.occupied[slot/64] &^= 1 << (slot % 64)
			if a.previous[id] >= 0 {
				a.holder[slot] = a.previous[id]
			}
		}
	}
	for _, id := range a.expiry.expiringAt(stage + 1) {
		a.pendingOpen[a.slotOf[id]/64] |= 1 << (a.slotOf[id] % 64)
	}
	slot := a.slotOf[p.returns[stage]]
	a.occupied[slot/64] |= 1 << (slot % 64)
}

// aloneAt says whether no other operation is open when the operation of the stage returns.
func (a *slots) aloneAt(stage int32) bool {
	return len(a.pendingHolder) == 0 && a.firstCall[stage+1] == stage+1
}

// choices counts the operations that may be linearized next.
func (a *slots) choices(s *search) int {
	n := 0
	for w, mask := range a.occupied {
		n += bits.OnesCount64(mask &^ s.done[w])
	}
	for w, mask := range a.pendingOpen {
		n += bits.OnesCount64(mask &^ s.used[w])
	}
	return n
}

// twin says whether two operations have equal inputs and outputs.
func (a *slots) twin(s *search, x, y int32) bool {
	return a.classOf(s, x) == a.classOf(s, y)
}

// classOf returns the class of an operation. StepPending does not look at outputs, so a pending
// operation then has none.
func (a *slots) classOf(s *search, id int32) int32 {
	if a.class[id] != 0 {
		return a.class[id]
	}
	o := &s.ops[id]
	output := o.Output
	if o.pending() && s.states.model.StepPending != nil {
		output = nil
	}
	if !hashable(o.Input) || !hashable(output) {
		a.unhashed--
		a.class[id] = a.unhashed
		return a.unhashed
	}
	key := [2]any{o.Input, output}
	class, ok := a.classes[key]
	if !ok {
		class = int32(len(a.classes) + 1)
		a.classes[key] = class
	}
	a.class[id] = class
	return class
}
