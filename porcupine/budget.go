package porcupine

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrMemoryLimit is the cause of Unknown when a check met its memory limit.
var ErrMemoryLimit = errors.New("memory limit of the check met")

// DefaultMemoryLimit is the memory for the search of one check, in bytes, unless [SetMemoryLimit]
// or Options.MemoryLimit sets another.
const DefaultMemoryLimit int64 = 2 << 30

var memoryLimit atomic.Int64

// SetMemoryLimit sets the memory limit of each check that starts later, in bytes, and returns the
// previous limit. Zero or less sets [DefaultMemoryLimit]. The limit bounds the configurations and
// states that a check remembers. The history and other memory of the model do not count. The size
// of a state is estimated from its strings, slices, maps and structs. A check that meets the limit
// answers [Unknown].
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

// budget is the time and memory that the parts of one check share.
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

// unlimited returns a budget with only the memory limit.
func unlimited() *budget { return newBudget(context.Background(), 0) }

// stopped says whether the check must end now.
func (b *budget) stopped() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// errGivenUp is the panic of poll, which completes recovers.
var errGivenUp = errors.New("the check was given up")

// pollEvery is the number of calls of poll between two looks at the budget.
const pollEvery = 64

// poll is called with a rising number in every loop over a whole history. If the check must end,
// poll ends the current stage by a panic up to completes, so that no stage returns half a result.
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

// polled wraps a comparison for sorting, and polls.
func polled[E any](b *budget, compare func(x, y E) int) func(x, y E) int {
	n := 0
	return func(x, y E) int {
		n++
		b.poll(n)
		return compare(x, y)
	}
}

// completes runs f and reports whether f ran to its end. Poll may have ended f.
func (b *budget) completes(f func()) (completed bool) {
	defer func() {
		if e := recover(); e != nil && e != errGivenUp {
			panic(e)
		}
	}()
	f()
	return true
}

// claim updates the memory of a search, and ends the check if all searches together exceed the
// limit.
func (b *budget) claim(before, now int64) {
	if b.used.Add(now-before) > b.limit {
		b.cancel(ErrMemoryLimit)
	}
}

// claimEvery is the number of steps between two looks at the memory of a search.
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

// bytes returns the memory of the search.
func (s *search) bytes() int64 {
	return s.visited.bytes() + s.states.bytes + 8*int64(cap(s.masks)) + 32*int64(cap(s.frames)) +
		12*int64(cap(s.nodes)) + 8*int64(cap(s.cands)) + 4*int64(cap(s.paths)+cap(s.path)) + 8*int64(cap(s.pure.visits)) + s.record.bytes() + s.levels.bytes()
}
