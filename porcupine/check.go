package porcupine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrTimeout is the cause of Unknown when the time of the check is up.
var ErrTimeout = errors.New("time of the check is up")

// ErrLooksIllegal is a further cause of Unknown. The operations of a partition look like reads,
// writes and appends. If they are, the history is illegal. With a [Hint] that confirms them, the
// check is fast and the answer is Illegal.
var ErrLooksIllegal = errors.New("the history looks illegal, and a hint in the model would decide")

// Options are the parameters of a check. The zero value sets no bounds.
type Options struct {
	// Timeout bounds the check. At the timeout the answer is Unknown, within 50 ms. A function of
	// the model that is still running ends by itself, and the context of a StepContext ends.
	// Everything else ends within a few milliseconds. Zero or less means no bound.
	Timeout time.Duration
	// MemoryLimit bounds the memory of the search in bytes. Zero or less means the limit of
	// [SetMemoryLimit].
	MemoryLimit int64
	// Verbose asks for the LinearizationInfo.
	Verbose bool
	// SequentialClients makes two concurrent operations of one client an error. The default is off,
	// because ClientId is optional.
	SequentialClients bool
	// Progress, if set, is called after each partition. The arguments count the operations of the
	// decided partitions and of all partitions. Calls do not overlap.
	Progress func(done, total int)

	stepMayWait bool // the model has a StepContext, and a StepContext may wait
}

// CheckOperations reports whether the history is linearizable. The result is also false for a
// malformed history and for a check that met the memory limit.
func CheckOperations(model Model, history []Operation) bool {
	return CheckOperationsTimeout(model, history, 0) == Ok
}

// CheckOperationsTimeout checks whether the history is linearizable, for at most the given time. A
// timeout of 0 means no bound. A malformed history is Illegal.
func CheckOperationsTimeout(model Model, history []Operation, timeout time.Duration) CheckResult {
	result, _, _ := CheckOperationsContext(context.Background(), model, history, Options{Timeout: timeout})
	return result
}

// CheckOperationsVerbose is CheckOperationsTimeout with information for [Visualize] and [Explain].
// Once a partition is found illegal, the check of the others continues for about half of the time
// used so far.
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

// CheckOperationsContext checks a history and returns the cause of an unclear answer as an error.
// With Unknown the error wraps [ErrTimeout], [ErrMemoryLimit] or the cause of the context's end,
// and perhaps [ErrLooksIllegal]. A malformed history is Illegal with a [*HistoryError], which wraps
// [ErrMalformed] and names the place. In all other cases the error is nil.
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
				return nil, whole // the place of the fault in the whole history is more useful
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
	finished  sync.Cond // signals a decided part, and the end of the budget
	parts     []*part
	queue     []*task // the parts whose check waits for a turn
	working   int     // counts the workers that have not ended
	doneOps   int
	totalOps  int
	reported  int // the last argument of Progress
	results   []partResult
	illegal   bool
	suspected bool      // a part is illegal if a guess at its operations is right
	stopAt    time.Time // the time to stop after an illegal part, because a timer may be late on a busy processor
	stopTimer *time.Timer
	graceOver bool // the workers have had time to hand over their results
	malformed error
	panicked  any
}

// partResult is the answer for one part.
type partResult struct {
	result   CheckResult // empty until decided
	partials [][]int
	stuck    int32 // the first operation of an illegal part, by return, that cannot be placed
	settled  bool  // stuck is exact, and not only near the first operation
}

// errFoundIllegal ends the check of the other parts once one part is illegal.
var errFoundIllegal = errors.New("another partition is illegal")

// grace is the time for workers to hand over their results when a check is stopped. The check does
// not wait for a worker that is inside a Step.
const grace = 10 * time.Millisecond

// run starts the work and waits for the answer. The goroutines end with their parts, or soon after
// the budget ends. A goroutine inside a Step is left behind, and ends when the Step returns.
func (c *checker) run(prepared func(*budget) ([]*part, error)) (CheckResult, LinearizationInfo, error) {
	c.working = 1
	go c.guarded(func() { c.begin(prepared) })
	stop := context.AfterFunc(c.budget.ctx, c.wakeAfterGrace)
	defer stop()

	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		if c.stopTimer != nil {
			c.stopTimer.Stop() // a running timer would keep the check in memory
		}
	}()
	for c.working > 0 && c.panicked == nil && !c.over() {
		c.finished.Wait()
		c.report()
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	c.report() // the work may have ended before the first wait
	return c.answer()
}

// report calls Progress without the lock.
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

// begin prepares the parts and starts the workers. Preparation may take long.
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
		workers = len(parts) // a step may wait for a step of another part
	}
	c.working += workers
	for range workers {
		go c.guarded(c.work)
	}
}

// guarded runs a goroutine of the check. A panic of the model is passed to the caller of the check.
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

// over says whether the answer is ready. The caller holds the lock.
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
		result = Unknown // the time was up before the parts were ready
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

// work checks parts until the queue is empty or the budget ends.
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

// take returns the next task, or nil if the queue is empty.
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

// suspect notes that a part would be illegal if a guess at the operations were right.
func (c *checker) suspect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspected = c.suspected || !c.budget.stopped() // a Step that was told to stop would mislead the guess
}

// stopOthers ends the check of the other parts. A verbose check continues for about half of the
// time used so far, because the caller wants to see the other parts.
func (c *checker) stopOthers() {
	if !c.opts.Verbose {
		c.budget.cancel(errFoundIllegal)
		return
	}
	delay := min(time.Since(c.started)/2, maxStopDelay)
	c.stopAt = time.Now().Add(delay)
	c.stopTimer = time.AfterFunc(delay, func() { c.budget.cancel(errFoundIllegal) })
}

// maxStopDelay bounds the time of a verbose check after the first illegal part.
const maxStopDelay = time.Second

// noOperation is the number of no operation.
const noOperation int32 = -1

func ints(ids []int32) []int {
	result := make([]int, len(ids))
	for i, id := range ids {
		result[i] = int(id)
	}
	return result
}
