package porcupine

import (
	"cmp"
	"slices"
)

// expiry knows the stage from which on a pending operation can no longer take effect (see
// Hint.Expires). From there on, the search forgets the use of the operation, and more
// configurations become equal.
type expiry struct {
	stageOf  []int32   // operation -> the first stage after the expiry, or never
	expiring [][]int32 // stage -> the open operations that expire there
}

// newExpiry returns nil if no pending operation expires.
func newExpiry(model *Model, p *part, b *budget) *expiry {
	if model.Hint == nil || model.Hint.Order == nil || model.Hint.Expires == nil || len(p.returns) == len(p.ops) {
		return nil
	}
	waiting := make(map[any][]placed) // sequence -> pending operations
	for i, id := range p.calls {
		b.poll(i)
		o := &p.ops[id]
		if !o.pending() {
			continue
		}
		if place, known := model.Hint.Expires(o.Input); known && hashable(place.Sequence) {
			waiting[place.Sequence] = append(waiting[place.Sequence], placed{id, place.Number})
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	for _, ops := range waiting {
		slices.SortStableFunc(ops, polled(b, func(x, y placed) int { return cmp.Compare(x.number, y.number) }))
	}
	e := &expiry{stageOf: make([]int32, len(p.ops)), expiring: make([][]int32, len(p.returns)+1)}
	for i := range e.stageOf {
		e.stageOf[i] = never
	}
	for stage, id := range p.returns {
		b.poll(stage)
		place, known := model.Hint.Order(p.ops[id].Input, p.ops[id].Output)
		if !known || !hashable(place.Sequence) {
			continue
		}
		ops := waiting[place.Sequence]
		for len(ops) > 0 && ops[0].number < place.Number {
			e.stageOf[ops[0].id] = int32(stage + 1)
			if p.ops[ops[0].id].call < p.ops[id].ret { // otherwise the operation is never open
				e.expiring[stage+1] = append(e.expiring[stage+1], ops[0].id)
			}
			ops = ops[1:]
		}
		waiting[place.Sequence] = ops
	}
	return e
}

// expired says whether the operation has expired at the stage.
func (e *expiry) expired(id, stage int32) bool { return e != nil && e.stageOf[id] <= stage }

// expiringAt returns the open operations that expire at the stage.
func (e *expiry) expiringAt(stage int32) []int32 {
	if e == nil {
		return nil
	}
	return e.expiring[stage]
}
