package porcupine

import (
	"errors"
	"slices"
)

// errPatience is the result of a search that visited more than it was to.
var errPatience = errors.New("out of patience")

// checkPart checks one part. With the model's hint, the near-linear check comes
// first. Without, a search comes first, which is as quick wherever few
// operations overlap; where it gets lost, a hint is guessed.
func (c *checker) checkPart(p *part) partResult {
	s := newSearch(c.model, p, c.budget)
	if c.opts.Verbose {
		s.record = &recorder{}
	}
	defer func() { c.budget.claim(s.claimed, 0) }()
	if hint := c.model.Hint; hint != nil {
		if accesses, ok := hint.accesses(p); ok {
			order, verdict := decideByBlocks(p, hint.Initial, accesses)
			if verdict == blocksLegal && s.confirms(order) {
				return s.result(true, nil)
			}
			if verdict == blocksIllegal && !s.states.contradicted(p, hint.Initial, accesses) {
				return c.illegalByBlocks(s, hint.Initial, accesses)
			}
		}
		return s.result(s.run())
	}
	s.patience = patience(p)
	ok, err := s.run()
	if err != errPatience {
		return s.result(ok, err)
	}
	if guess, ok := infer(s.states, p); ok {
		order, verdict := decideByBlocks(p, guess.initial, guess.accesses)
		if verdict == blocksLegal && s.confirms(order) {
			return s.result(true, nil)
		}
		if verdict == blocksIllegal && guess.certified() {
			return c.illegalByBlocks(s, guess.initial, guess.accesses)
		}
	}
	s.patience = 0
	return s.result(s.run())
}

// patience is how many configurations a search may visit before something
// else is tried: a few for each operation.
func patience(p *part) int64 { return 1000 + 8*int64(len(p.ops)) }

// confirms steps through an order and makes it the search's path if it is a linearization.
func (s *search) confirms(order []int32) bool {
	if !s.respectsTime(order) {
		return false
	}
	state := s.states.model.Init()
	for i, id := range order {
		if i%1024 == 0 && s.budget.stopped() {
			return false
		}
		o := &s.ops[id]
		if o.pending() {
			next := s.states.nextPending(s.states.intern(state), id)
			if len(next) == 0 {
				return false
			}
			state = s.states.states[next[0]]
			continue
		}
		ok, next := s.states.model.StepContext(s.states.ctx, state, o.Input, o.Output)
		if !ok {
			return false
		}
		state = next
	}
	s.path = order
	return true
}

// illegalByBlocks is the result for a part that is illegal by what its
// operations do. If the caller wants to see it, the longest beginning that is
// legal is found by bisection.
func (c *checker) illegalByBlocks(s *search, initial any, accesses []Access) partResult {
	r := partResult{result: Illegal, stuck: noOperation}
	if !c.opts.Verbose {
		return r
	}
	var order []int32
	legal, illegal := 0, len(s.returns)
	for legal+1 < illegal && !s.budget.stopped() {
		middle := (legal + illegal) / 2
		p, a := s.part.until(middle, accesses)
		if o, verdict := decideByBlocks(p, initial, a); verdict == blocksIllegal {
			illegal = middle
		} else {
			legal, order = middle, o
		}
	}
	r.stuck = s.returns[illegal-1]
	r.partials = [][]int{ints(order)}
	return r
}

// until returns the part as it was right before its n-th return, from 0: what was not
// called by then is gone, and what had not returned is pending.
func (p *part) until(n int, accesses []Access) (*part, []Access) {
	end := p.ops[p.returns[n]].ret
	sub := &part{ops: slices.Clone(p.ops), returns: p.returns[:n], last: p.last}
	accesses = slices.Clone(accesses)
	for i := range sub.ops {
		o := &sub.ops[i]
		if o.ret >= end {
			o.ret = never
		}
		if o.call > end {
			accesses[i] = Access{Kind: AccessRead} // pending, so it is as if it were not there
		}
	}
	for _, id := range p.calls {
		if p.ops[id].call < end {
			sub.calls = append(sub.calls, id)
		}
	}
	return sub, accesses
}
