package porcupine

import (
	"cmp"
	"slices"
)

// precedence leaves out orders that Step is known to refuse (see Hint.Order), and knows when that
// leaves none.
type precedence struct {
	// before holds, for each operation, those of the next lower place of its sequence that it
	// overlaps: they must be linearized first. Lower places need not be looked at, as those
	// operations waited for them in turn, and what does not overlap stands in the order of time.
	before [][]int32
	// misplaced is the first operation, by return, that was called when one of a later place
	// had returned, or noOperation. The one must take effect after the other, and Step refuses
	// that whatever else happens, pending operations included: the history is illegal.
	misplaced int32
}

// placed is an operation and its place.
type placed struct {
	id     int32
	number uint64
}

// newPrecedence returns nil if the model says nothing of order.
func newPrecedence(model *Model, p *part, b *budget) *precedence {
	if model.Hint == nil || model.Hint.Order == nil {
		return nil
	}
	sequences := make(map[any][]placed)
	for i, id := range p.returns {
		b.poll(i)
		o := &p.ops[id]
		if place, known := model.Hint.Order(o.Input, o.Output); known && hashable(place.Sequence) {
			sequences[place.Sequence] = append(sequences[place.Sequence], placed{id, place.Number})
		}
	}
	pr := &precedence{before: make([][]int32, len(p.ops)), misplaced: noOperation}
	for _, sequence := range sequences {
		pr.add(p, b, sequence)
	}
	return pr
}

// maxBefore bounds how many operations one has to wait for. To wait for fewer is not wrong,
// only slower.
const maxBefore = 64

// add adds a sequence, which is in the order of returns.
func (pr *precedence) add(p *part, b *budget, sequence []placed) {
	pr.findMisplaced(p, b, sequence)
	slices.SortStableFunc(sequence, polled(b, func(x, y placed) int { return cmp.Compare(x.number, y.number) }))
	var lower []placed
	for from, to := 0, 0; from < len(sequence); from = to {
		for to < len(sequence) && sequence[to].number == sequence[from].number {
			b.poll(to)
			pr.wait(p, sequence[to].id, lower)
			to++
		}
		lower = sequence[from:to]
	}
}

// findMisplaced goes through a sequence, which is in the order of returns.
func (pr *precedence) findMisplaced(p *part, b *budget, sequence []placed) {
	byCall := slices.Clone(sequence)
	slices.SortFunc(byCall, polled(b, func(x, y placed) int { return cmp.Compare(p.ops[x.id].call, p.ops[y.id].call) }))
	latest, returned := uint64(0), 0 // the latest place of those that returned before
	for _, x := range byCall {
		o := &p.ops[x.id]
		for ; p.ops[sequence[returned].id].ret < o.call; returned++ {
			latest = max(latest, sequence[returned].number)
		}
		if x.number < latest && (pr.misplaced == noOperation || o.ret < p.ops[pr.misplaced].ret) {
			pr.misplaced = x.id
		}
	}
}

// wait makes an operation wait for those of the next lower place.
func (pr *precedence) wait(p *part, id int32, lower []placed) {
	o := &p.ops[id]
	open, _ := slices.BinarySearchFunc(lower, o.call, func(l placed, call int32) int { return cmp.Compare(p.ops[l.id].ret, call) })
	for _, l := range lower[open:min(open+maxBefore, len(lower))] {
		if p.ops[l.id].call < o.ret {
			pr.before[id] = append(pr.before[id], l.id)
		}
	}
}

// forbids says whether an operation must wait for another one in the current configuration.
func (pr *precedence) forbids(s *search, id int32) bool {
	if pr == nil {
		return false
	}
	now := s.ops[s.returns[s.stage]].ret
	for _, other := range pr.before[id] {
		o, slot := &s.ops[other], s.slots.slotOf[other]
		if o.call > now || o.ret >= now && s.done[slot/64]&(1<<(slot%64)) == 0 {
			return true
		}
	}
	return false
}
