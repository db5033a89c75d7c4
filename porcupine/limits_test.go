package porcupine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// endless is a history whose check does not end in the time of a test: an
// illegal one of many concurrent appends, to a model that gives no hint.
func endless() (porcupine.Model, []porcupine.Operation) {
	history := workload.OverlappingAppends(40)
	history[40].Output = models.KVOutput{Value: "none of them"}
	return workload.Opaque(models.KV), history
}

// tooLate is far more than the 50 ms within which an answer comes on a machine
// that is not busy (BenchmarkDeadline measures that), and less than the slow steps take.
const tooLate = time.Second

func TestDeadline(t *testing.T) {
	slowStep, history := endless()
	slowStep.Step = func(state, input, output any) (bool, any) {
		time.Sleep(2 * time.Second)
		return true, state
	}
	waiting, _ := endless()
	waiting.StepContext = func(ctx context.Context, state, input, output any) (bool, any) {
		<-ctx.Done()
		return false, nil
	}
	slowPartition, _ := endless()
	slowPartition.Partition = func([]porcupine.Operation) [][]porcupine.Operation {
		time.Sleep(2 * time.Second)
		return nil
	}
	exploding, _ := endless()
	for name, model := range map[string]porcupine.Model{"exploding": exploding, "slow Step": slowStep,
		"waiting StepContext": waiting, "slow Partition": slowPartition} {
		t.Run(name, func(t *testing.T) {
			for _, verbose := range []bool{false, true} {
				const timeout = 100 * time.Millisecond
				started := time.Now()
				result, _, err := porcupine.CheckOperationsContext(context.Background(), model, history,
					porcupine.Options{Timeout: timeout, Verbose: verbose})
				late := time.Since(started) - timeout
				if result != porcupine.Unknown || !errors.Is(err, porcupine.ErrTimeout) {
					t.Errorf("verbose %v: got %v, %v", verbose, result, err)
				}
				if late < 0 {
					t.Errorf("verbose %v: %v before the deadline", verbose, -late)
				}
				if late > tooLate {
					t.Errorf("verbose %v: %v after the deadline", verbose, late)
				}
			}
		})
	}
}

func TestContextEndsCheck(t *testing.T) {
	model, history := endless()
	cause := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	result, _, err := porcupine.CheckOperationsContext(ctx, model, history, porcupine.Options{})
	if result != porcupine.Unknown || !errors.Is(err, cause) {
		t.Errorf("got %v, %v", result, err)
	}
}

// TestLooksIllegal checks that of an Unknown more is said, if there is more to say.
func TestLooksIllegal(t *testing.T) {
	model, history := endless()
	opts := porcupine.Options{Timeout: 50 * time.Millisecond}
	result, _, err := porcupine.CheckOperationsContext(t.Context(), model, history, opts)
	for !errors.Is(err, porcupine.ErrLooksIllegal) && opts.Timeout < 10*time.Second { // a busy machine gets nowhere at first
		opts.Timeout *= 2
		result, _, err = porcupine.CheckOperationsContext(t.Context(), model, history, opts)
	}
	if result != porcupine.Unknown || !errors.Is(err, porcupine.ErrLooksIllegal) || !errors.Is(err, porcupine.ErrTimeout) {
		t.Errorf("got %v, %v", result, err)
	}
	if result, _, err = porcupine.CheckOperationsContext(t.Context(), models.WithKVHint(model), history, porcupine.Options{}); result != porcupine.Illegal {
		t.Errorf("with a hint: got %v, %v", result, err)
	}
	model.StepContext = func(ctx context.Context, _, _, _ any) (bool, any) { <-ctx.Done(); return false, nil }
	if _, _, err = porcupine.CheckOperationsContext(t.Context(), model, history, opts); errors.Is(err, porcupine.ErrLooksIllegal) {
		t.Errorf("of a model that looks like nothing known: got %v", err)
	}
}

// TestStopIsNoAnswer ends checks of small legal histories at each of their steps. From then on
// StepContext says no, as it may when it is told to stop: no reason to call the history illegal.
func TestStopIsNoAnswer(t *testing.T) {
	stopped := 0
	for _, w := range worlds()[:4] {
		for seed := range uint64(cases() / 100) {
			h := w.history(rand.New(rand.NewPCG(seed, 7)), 6)
			if !porcupine.CheckOperations(w.model, h) {
				continue
			}
			for last := 0; ; last++ {
				ctx, cancel := context.WithCancel(t.Context())
				steps := 0
				m := w.model
				m.StepContext = func(ctx context.Context, state, input, output any) (bool, any) {
					if steps++; steps > last {
						cancel()
						return false, nil
					}
					return w.model.Step(state, input, output)
				}
				result, _, _ := porcupine.CheckOperationsContext(ctx, m, h, porcupine.Options{})
				cancel()
				if result == porcupine.Illegal {
					t.Fatalf("%s, seed %d: illegal after step %d of %+v", w.name, seed, last, h)
				}
				if steps <= last {
					break
				}
				stopped++
			}
		}
	}
	t.Logf("%d checks were stopped", stopped)
}

func TestMemoryLimit(t *testing.T) {
	model, history := endless()
	for _, limit := range []int64{1 << 20, 32 << 20} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		result, _, err := porcupine.CheckOperationsContext(t.Context(), model, history, porcupine.Options{MemoryLimit: limit})
		runtime.ReadMemStats(&after)
		if result != porcupine.Unknown || !errors.Is(err, porcupine.ErrMemoryLimit) {
			t.Errorf("limit %d: got %v, %v", limit, result, err)
		}
		// Everything that was ever allocated, garbage included, is a few times what is held.
		if total := int64(after.TotalAlloc - before.TotalAlloc); total > 8*limit+4<<20 {
			t.Errorf("limit %d: allocated %d bytes", limit, total)
		}
	}
	defer porcupine.SetMemoryLimit(porcupine.SetMemoryLimit(1 << 20))
	if result := porcupine.CheckOperationsTimeout(model, history, 0); result != porcupine.Unknown {
		t.Errorf("got %v with a small default", result)
	}
}

func TestMalformed(t *testing.T) {
	call := func(id int) porcupine.Event {
		return porcupine.Event{Kind: porcupine.CallEvent, Id: id, ClientId: id % 2, Value: models.KVInput{Key: "k"}}
	}
	ret := func(id int) porcupine.Event {
		return porcupine.Event{Kind: porcupine.ReturnEvent, Id: id, ClientId: id % 2, Value: models.KVOutput{}}
	}
	whole := models.KV
	whole.Partition, whole.PartitionEvent = nil, nil
	sequential := porcupine.Options{SequentialClients: true}
	for name, c := range map[string]struct {
		events []porcupine.Event
		opts   porcupine.Options
		index  int
		reason string
	}{
		"second call":              {[]porcupine.Event{call(1), call(1)}, porcupine.Options{}, 1, "second call with id 1"},
		"second return":            {[]porcupine.Event{call(1), ret(1), ret(1)}, porcupine.Options{}, 2, "second return with id 1"},
		"return without call":      {[]porcupine.Event{call(1), ret(2)}, porcupine.Options{}, 1, "id 2"},
		"return before call":       {[]porcupine.Event{ret(1), call(1)}, porcupine.Options{}, 0, "id 1"},
		"two open":                 {[]porcupine.Event{call(1), call(3), ret(1), ret(3)}, sequential, 1, "client 1"},
		"two open later on":        {[]porcupine.Event{call(1), ret(1), call(3), call(5), ret(3), ret(5)}, sequential, 3, "client 1"},
		"open after a pending one": {[]porcupine.Event{call(2), call(4), ret(4)}, sequential, 1, "client 0"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, model := range []porcupine.Model{whole, models.KV} {
				result, _, err := porcupine.CheckEventsContext(t.Context(), model, c.events, c.opts)
				var h *porcupine.HistoryError
				if result != porcupine.Illegal || !errors.Is(err, porcupine.ErrMalformed) || !errors.As(err, &h) {
					t.Fatalf("got %v, %v", result, err)
				}
				if h.Index != c.index || !strings.Contains(err.Error(), c.reason) {
					t.Errorf("got %v, want element %d, %q", err, c.index, c.reason)
				}
			}
		})
	}
	_, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV,
		[]porcupine.Operation{{Input: models.KVInput{}, Call: 7, Return: 5}}, porcupine.Options{})
	if !errors.Is(err, porcupine.ErrMalformed) || !strings.Contains(err.Error(), "returns at 5, before its call at 7") {
		t.Errorf("got %v", err)
	}
	touching := []porcupine.Operation{
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: -3, Return: 0},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: -3, Return: -3},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: 0, Return: 5},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: 5, Return: 6},
	}
	if result, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV, touching, sequential); result != porcupine.Ok {
		t.Errorf("operations that touch: got %v, %v", result, err)
	}
}

// TestPendingWithoutStepPending checks models of the plain API, whose Step
// panics on an output that is not of its type.
func TestPendingWithoutStepPending(t *testing.T) {
	model := workload.Opaque(models.KV)
	put := porcupine.Event{Kind: porcupine.CallEvent, Id: 0, Value: models.KVInput{Op: models.KVPut, Key: "k", Value: "a"}}
	get := func(id int, value string) []porcupine.Event {
		return []porcupine.Event{
			{Kind: porcupine.CallEvent, Id: id, ClientId: id, Value: models.KVInput{Key: "k"}},
			{Kind: porcupine.ReturnEvent, Id: id, ClientId: id, Value: models.KVOutput{Value: value}},
		}
	}
	for want, values := range map[bool][]string{true: {"", "a"}, false: {"a", ""}} {
		history := append([]porcupine.Event{put}, append(get(1, values[0]), get(2, values[1])...)...)
		if got := porcupine.CheckEvents(model, history); got != want {
			t.Errorf("reads %q: legal %v, want %v", values, got, want)
		}
	}
	cas := workload.Opaque(models.CASRegister)
	history := []porcupine.Operation{
		{Input: models.RegisterInput{Op: models.RegisterWrite, Value: 1}, Output: models.RegisterOutput{}, Call: 0, Return: 1},
		{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 7, Value: 8}, Output: models.RegisterOutput{}, Call: 0, Return: 3},
		{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 1, Value: 2}, Call: 2, Return: porcupine.Pending},
		{Input: models.RegisterInput{}, Output: models.RegisterOutput{Value: 2}, Call: 4, Return: 5},
	}
	if porcupine.CheckOperations(cas, history) {
		t.Error("no output in the history shows that a swap can succeed, so the pending one is not thought to")
	}
	history = append(history, porcupine.Operation{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 2, Value: 2},
		Output: models.RegisterOutput{OK: true}, Call: 6, Return: 7})
	if !porcupine.CheckOperations(cas, history) {
		t.Error("the pending swap explains the read")
	}
}

func TestPanicReachesCaller(t *testing.T) {
	model := models.KV
	model.Step = func(_, _, _ any) (bool, any) { panic("broken model") }
	defer func() {
		if e := recover(); e != "broken model" {
			t.Errorf("got %v", e)
		}
	}()
	model.Hint = nil
	porcupine.CheckOperations(model, workload.OverlappingAppends(3))
}

func TestProgress(t *testing.T) {
	history := workload.KV(workload.Shape{Operations: 500, Clients: 5, Keys: 20, Seed: 1}, 1, 1, 1)
	last := 0
	_, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV, history, porcupine.Options{Progress: func(done, total int) {
		if done < last || total != len(history) {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}})
	if err != nil || last != len(history) {
		t.Errorf("the last report was %d: %v", last, err)
	}
}

// BenchmarkDeadline reports how long after its deadline a check answers.
func BenchmarkDeadline(b *testing.B) {
	model, history := endless()
	var worst time.Duration
	for b.Loop() {
		const timeout = 100 * time.Millisecond
		started := time.Now()
		if result := porcupine.CheckOperationsTimeout(model, history, timeout); result != porcupine.Unknown {
			b.Fatal("got ", result)
		}
		worst = max(worst, time.Since(started)-timeout)
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-late-at-worst")
}
