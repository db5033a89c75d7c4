package porcupine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrTimeout is why a check ended as Unknown: its time was up.
var ErrTimeout = errors.New("time of the check is up")

// ErrLooksIllegal comes with the error of a check that ended as Unknown: if the operations of some
// partition are the reads, writes and appends that they look like, the history is
// illegal. A [Hint] says so for certain, and the answer is then Illegal, and quick.
var ErrLooksIllegal = errors.New("the history looks illegal; a hint in the model would decide")

// Options say how to check. The zero value checks without bounds of its own.
type Options struct {
	// Timeout bounds the check. The answer is then Unknown, within 50 ms; a Step or a
	// Partition that is still running is left to end by itself, a StepContext is told, and
	// all else ends within a few milliseconds. Zero or less means no bound.
	Timeout time.Duration
	// MemoryLimit bounds the memory, in bytes, of the search; see
	// [SetMemoryLimit], whose value holds where this is zero or less.
	MemoryLimit int64
	// Verbose asks for the LinearizationInfo.
	Verbose bool
	// SequentialClients makes it an error that a client has two operations open at
	// once. It is off by default, as ClientId is optional.
	SequentialClients bool
	// Progress, if set, is called after each partition with the number of
	// operations in partitions that are decided and their total. Calls do not overlap.
	Progress func(done, total int)

	stepMayWait bool // the model has a StepContext, which may wait
}

// CheckOperations reports whether the history is linearizable: false also if
// it is malformed, or if the memory limit was met.
func CheckOperations(model Model, history []Operation) bool {
	return CheckOperationsTimeout(model, history, 0) == Ok
}

// CheckOperationsTimeout checks whether the history is linearizable, for at most the
// given time; 0 means without a bound. A malformed history is Illegal.
func CheckOperationsTimeout(model Model, history []Operation, timeout time.Duration) CheckResult {
	result, _, _ := CheckOperationsContext(context.Background(), model, history, Options{Timeout: timeout})
	return result
}

// CheckOperationsVerbose is CheckOperationsTimeout, and returns what can be
// drawn with [Visualize] or explained with [Explain]. As soon as one partition is found
// illegal, the others are given only about half as long again as that took.
func CheckOperationsVerbose(model Model, history []Operation, timeout time.Duration) (CheckResult, LinearizationInfo) {
	result, info, _ := CheckOperationsContext(context.Background(), model, history, Options{Timeout: timeout, Verbose: true})
	return result, info
}

// CheckEvents is CheckOperations for a history of events.
func CheckEvents(model Model, history []Event) bool {
	return CheckEventsTimeout(model, history, 0) == Ok
}

// CheckEventsTimeout is CheckOperationsTimeout for a history of events.
func CheckEventsTimeout(model Model, history []Event, timeout time.Duration) CheckResult {
	result, _, _ := CheckEventsContext(context.Background(), model, history, Options{Timeout: timeout})
	return result
}

// CheckEventsVerbose is CheckOperationsVerbose for a history of events.
func CheckEventsVerbose(model Model, history []Event, timeout time.Duration) (CheckResult, LinearizationInfo) {
	result, info, _ := CheckEventsContext(context.Background(), model, history, Options{Timeout: timeout, Verbose: true})
	return result, info
}

// CheckOperationsContext checks a history and tells why where the answer is
// not clear. The error is nil with Ok and with Illegal, unless
// the history is malformed: then it wraps [ErrMalformed] and is a [*HistoryError], which says what
// is wrong where. With Unknown it wraps [ErrTimeout], [ErrMemoryLimit], or the
// cause of the context's end, and, where that is so, [ErrLooksIllegal].
func CheckOperationsContext(ctx context.Context, model Model, history []Operation, opts Options) (CheckResult, LinearizationInfo, error) {
	started := time.Now()
	opts.stepMayWait = model.StepContext != nil
	model = model.withDefaults()
	return check(ctx, started, &model, opts, func(b *budget) ([]*part, error) {
		return prepare(b, model.Partition, fromOperations, history, opts)
	})
}

// CheckEventsContext is CheckOperationsContext for a history of events.
func CheckEventsContext(ctx context.Context, model Model, history []Event, opts Options) (CheckResult, LinearizationInfo, error) {
	started := time.Now()
	opts.stepMayWait = model.StepContext != nil
	model = model.withDefaults()
	return check(ctx, started, &model, opts, func(b *budget) ([]*part, error) {
		return prepare(b, model.PartitionEvent, fromEvents, history, opts)
	})
}

// prepare splits a history of operations or events into parts.
func prepare[E any](b *budget, partition func([]E) [][]E, from func(*budget, []E) (*part, error), history []E, opts Options) ([]*part, error) {
	if opts.SequentialClients {
		whole, err := from(b, history)
		if err == nil {
			err = sequentialClients(b, whole)
		}
		if err != nil {
			return nil, err
		}
	}
	var parts []*part
	for i, sub := range partition(history) {
		p, err := from(b, sub)
		if err != nil {
			if _, whole := from(b, history); whole != nil {
				return nil, whole // the same fault, by its place in the history as given
			}
			var h *HistoryError
			if errors.As(err, &h) {
				h.Partition = i
			}
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func check(ctx context.Context, started time.Time, model *Model, opts Options, prepared func(*budget) ([]*part, error)) (CheckResult, LinearizationInfo, error) {
	if opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, started.Add(opts.Timeout), ErrTimeout)
		defer cancel()
	}
	c := &checker{model: model, opts: opts, budget: newBudget(ctx, opts.MemoryLimit), started: started}
	defer c.budget.cancel(nil)
	c.finished.L = &c.mu
	return c.run(prepared)
}

// checker checks the parts of a history.
type checker struct {
	model   *Model
	opts    Options
	budget  *budget
	started time.Time

	mu        sync.Mutex
	finished  sync.Cond // a part was decided, or the budget ended
	parts     []*part
	queue     []*task // the parts that wait for their turn
	working   int     // workers that have not ended
	doneOps   int
	totalOps  int
	reported  int // what Progress was told last
	results   []partResult
	illegal   bool
	suspected bool      // a part is illegal, if a guess at its operations is right
	stopAt    time.Time // when it stops, if an illegal part was found; its timer may be late on a busy processor
	stopTimer *time.Timer
	graceOver bool // workers had the time to hand over what they found
	malformed error
	panicked  any
}

// partResult is the answer for one part.
type partResult struct {
	result   CheckResult // empty until decided
	partials [][]int
	stuck    int32 // of an illegal part: the first operation, by return, that cannot be placed
	settled  bool  // stuck is not only near it
}

// errFoundIllegal ends the check of the other parts.
var errFoundIllegal = errors.New("another partition is illegal")

// grace is the time that workers have, when a check is stopped, to hand over what they
// found. One that is still inside a Step is not waited for.
const grace = 10 * time.Millisecond

// run starts the work and waits for the answer. The goroutines end with their
// parts, or soon after the budget; one that a Step keeps is left behind, and
// ends when the Step does.
func (c *checker) run(prepared func(*budget) ([]*part, error)) (CheckResult, LinearizationInfo, error) {
	c.working = 1
	go c.guarded(func() { c.begin(prepared) })
	stop := context.AfterFunc(c.budget.ctx, c.wakeAfterGrace)
	defer stop()

	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		if c.stopTimer != nil {
			c.stopTimer.Stop() // it holds on to the check
		}
	}()
	for c.working > 0 && c.panicked == nil && !c.over() {
		c.finished.Wait()
		c.report()
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	c.report() // all may have been done before there was anything to wait for
	return c.answer()
}

// report tells the caller how far the check is, without the lock.
func (c *checker) report() {
	if c.opts.Progress == nil || c.reported == c.doneOps {
		return
	}
	done, total := c.doneOps, c.totalOps
	c.reported = done
	c.mu.Unlock()
	defer c.mu.Lock()
	c.opts.Progress(done, total)
}

// begin prepares the parts, which may take a while, and starts the workers.
func (c *checker) begin(prepared func(*budget) ([]*part, error)) {
	parts, err := prepared(c.budget)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts, c.malformed, c.results = parts, err, make([]partResult, len(parts))
	for i, p := range parts {
		c.queue = append(c.queue, &task{given: p, index: i})
		c.totalOps += len(p.ops)
	}
	workers := min(len(parts), runtime.GOMAXPROCS(0))
	if c.opts.stepMayWait {
		workers = len(parts) // a step may wait for one of another part
	}
	c.working += workers
	for range workers {
		go c.guarded(c.work)
	}
}

// guarded runs a goroutine of the check. A panic of the model is its caller's.
func (c *checker) guarded(f func()) {
	defer func() {
		e := recover()
		c.mu.Lock()
		defer c.mu.Unlock()
		if e != nil {
			c.panicked = e
		}
		c.working--
		c.finished.Broadcast()
	}()
	c.budget.completes(f)
}

// over says whether nothing more is to be waited for. The lock is held.
func (c *checker) over() bool {
	return c.illegal && !c.opts.Verbose || c.graceOver
}

func (c *checker) wakeAfterGrace() {
	time.Sleep(grace)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.graceOver = true
	c.finished.Broadcast()
}

func (c *checker) answer() (CheckResult, LinearizationInfo, error) {
	if c.malformed != nil {
		return Illegal, LinearizationInfo{}, c.malformed
	}
	var info LinearizationInfo
	result := Ok
	if c.results == nil {
		result = Unknown // the time was up before there were parts
	}
	for i, p := range c.parts {
		r := c.results[i]
		if r.result == "" {
			r.result = Unknown
		}
		if r.result == Illegal || r.result == Unknown && result == Ok {
			result = r.result
		}
		if c.opts.Verbose {
			info.parts = append(info.parts, partInfo{part: p, result: r.result, partials: r.partials, stuck: r.stuck, settled: r.settled})
		}
	}
	if result == Unknown && c.suspected {
		return Unknown, info, fmt.Errorf("check not finished: %w: %w", context.Cause(c.budget.ctx), ErrLooksIllegal)
	}
	if result == Unknown {
		return Unknown, info, fmt.Errorf("check not finished: %w", context.Cause(c.budget.ctx))
	}
	return result, info, nil
}

// work checks parts until none is left, or the budget is used up.
func (c *checker) work() {
	for t := c.take(); t != nil; t = c.take() {
		if c.budget.stopped() {
			if t.searches != nil {
				c.decide(t.index, t.end())
			}
			continue
		}
		r, done := c.advance(t)
		if !done {
			c.putBack(t)
			continue
		}
		t.end()
		c.decide(t.index, r)
	}
}

// take returns the task whose turn it is; nil if there is none.
func (c *checker) take() *task {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopAt.IsZero() && time.Now().After(c.stopAt) {
		c.budget.cancel(errFoundIllegal)
	}
	if len(c.queue) == 0 {
		return nil
	}
	t := c.queue[0]
	c.queue = c.queue[1:]
	return t
}

func (c *checker) putBack(t *task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, t)
}

func (c *checker) decide(i int, r partResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[i] = r
	c.doneOps += len(c.parts[i].ops)
	if r.result == Illegal && !c.illegal {
		c.illegal = true
		c.stopOthers()
	}
	c.finished.Broadcast()
}

// suspect notes that a guess at a part's operations makes it illegal.
func (c *checker) suspect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspected = c.suspected || !c.budget.stopped() // a Step that was told to stop misleads the guess
}

// stopOthers ends the check of the other parts: at once, or, if the caller
// wants to see what they hold, after about half the time that was used so far.
func (c *checker) stopOthers() {
	if !c.opts.Verbose {
		c.budget.cancel(errFoundIllegal)
		return
	}
	delay := min(time.Since(c.started)/2, maxStopDelay)
	c.stopAt = time.Now().Add(delay)
	c.stopTimer = time.AfterFunc(delay, func() { c.budget.cancel(errFoundIllegal) })
}

// maxStopDelay bounds how long a verbose check goes on after its answer is known.
const maxStopDelay = time.Second

// noOperation stands where an operation's number may be missing.
const noOperation int32 = -1

func ints(ids []int32) []int {
	result := make([]int, len(ids))
	for i, id := range ids {
		result[i] = int(id)
	}
	return result
}
