package porcupine

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrMemoryLimit is why a check ended as Unknown: it met its memory limit.
var ErrMemoryLimit = errors.New("memory limit of the check met")

// DefaultMemoryLimit is the memory, in bytes, that a check may use for its
// search unless [SetMemoryLimit] or Options.MemoryLimit says otherwise.
const DefaultMemoryLimit int64 = 2 << 30

var memoryLimit atomic.Int64

// SetMemoryLimit sets the memory, in bytes, that each check that begins later may use for
// the configurations and states that it remembers, and returns the limit
// before. Zero or less sets [DefaultMemoryLimit]. The history itself, and what the model
// allocates besides its states, do not count; states are measured by an
// estimate that looks through strings, slices, maps and structs. A check that
// meets the limit answers [Unknown].
func SetMemoryLimit(bytes int64) int64 {
	if bytes <= 0 {
		bytes = DefaultMemoryLimit
	}
	old := memoryLimit.Swap(bytes)
	if old == 0 {
		old = DefaultMemoryLimit
	}
	return old
}

// budget is what the parts of one check share: the time and memory they have.
type budget struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   <-chan struct{}
	limit  int64
	used   atomic.Int64
}

func newBudget(ctx context.Context, limit int64) *budget {
	if limit <= 0 {
		limit = memoryLimit.Load()
	}
	if limit <= 0 {
		limit = DefaultMemoryLimit
	}
	b := &budget{limit: limit}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.done = b.ctx.Done()
	return b
}

// unlimited is a budget without bounds but the memory limit.
func unlimited() *budget { return newBudget(context.Background(), 0) }

// stopped says whether the check is to end now.
func (b *budget) stopped() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// errGivenUp is what poll panics with, and completes recovers.
var errGivenUp = errors.New("the check was given up")

// pollEvery is the number of calls of poll between two looks at the budget.
const pollEvery = 64

// poll is called in every loop over a whole history, with a number that counts up. If the
// check is to end, it ends the stage that the loop is in by a panic, up to completes,
// so that none hands on half a result.
func (b *budget) poll(i int) {
	if i%pollEvery == 0 {
		b.giveUpIfStopped()
	}
}

func (b *budget) giveUpIfStopped() {
	if b.stopped() {
		panic(errGivenUp)
	}
}

// polled is a comparison that polls, for sorting.
func polled[E any](b *budget, compare func(x, y E) int) func(x, y E) int {
	n := 0
	return func(x, y E) int {
		n++
		b.poll(n)
		return compare(x, y)
	}
}

// completes runs f and reports whether it came to its end; poll may have ended it before.
func (b *budget) completes(f func()) (completed bool) {
	defer func() {
		if e := recover(); e != nil && e != errGivenUp {
			panic(e)
		}
	}()
	f()
	return true
}

// claim counts a search's memory as now bytes where it was before bytes, and
// ends the check if all searches together exceed the limit.
func (b *budget) claim(before, now int64) {
	if b.used.Add(now-before) > b.limit {
		b.cancel(ErrMemoryLimit)
	}
}

// claimEvery is the number of a search's steps between two looks at its memory.
const claimEvery = 256

// exceeded says whether the search must stop.
func (b *budget) exceeded(s *search) bool {
	if s.ticks%claimEvery == 0 {
		now := s.bytes()
		b.claim(s.claimed, now)
		s.claimed = now
	}
	return b.stopped()
}

// bytes is the memory that the search holds.
func (s *search) bytes() int64 {
	return s.visited.bytes() + s.states.bytes + 8*int64(cap(s.masks)) + 32*int64(cap(s.frames)) +
		12*int64(cap(s.nodes)) + 8*int64(cap(s.cands)) + 4*int64(cap(s.paths)+cap(s.path)) + 8*int64(cap(s.pure.visits)) + s.record.bytes() + s.levels.bytes()
}
