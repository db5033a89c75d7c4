package porcupine

import (
	"cmp"
	"slices"
)

// precedence excludes the orders refused by Step (see Hint.Order), and detects histories without
// any other order.
type precedence struct {
	// before holds the operations that each operation must wait for. These are the overlapping ones
	// at the next lower place of the sequence. They wait for lower places in turn, and for
	// operations that do not overlap, time gives the order.
	before [][]int32
	// misplaced is the first operation, by return, whose call came after the return of an operation
	// with a later place, or noOperation. By time, the operation takes effect after the other one.
	// Step refuses this order in any case, even with pending operations between, so the history is
	// illegal.
	misplaced int32
}

// placed is an operation with its place.
type placed struct {
	id     int32
	number uint64
}

// newPrecedence returns nil if the model has no Order.
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

// maxBefore bounds the number of operations to wait for. A wait for fewer is slower, but not wrong.
const maxBefore = 64

// add adds a sequence, sorted by return.
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

// findMisplaced looks for a misplaced operation in a sequence, sorted by return.
func (pr *precedence) findMisplaced(p *part, b *budget, sequence []placed) {
	byCall := slices.Clone(sequence)
	slices.SortFunc(byCall, polled(b, func(x, y placed) int { return cmp.Compare(p.ops[x.id].call, p.ops[y.id].call) }))
	latest, returned := uint64(0), 0 // latest is the highest place among the returned operations
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

// wait adds the operations at the next lower place to those that id waits for.
func (pr *precedence) wait(p *part, id int32, lower []placed) {
	o := &p.ops[id]
	open, _ := slices.BinarySearchFunc(lower, o.call, func(l placed, call int32) int { return cmp.Compare(p.ops[l.id].ret, call) })
	for _, l := range lower[open:min(open+maxBefore, len(lower))] {
		if p.ops[l.id].call < o.ret {
			pr.before[id] = append(pr.before[id], l.id)
		}
	}
}

// forbids says whether the operation must wait in the current configuration.
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
