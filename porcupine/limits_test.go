package porcupine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// endless returns a history whose check does not end in the time of a test: an illegal history of
// many concurrent appends, for a model without a hint.
func endless() (porcupine.Model, []porcupine.Operation) {
	history := workload.OverlappingAppends(40)
	history[40].Output = models.KVOutput{Value: "none of them"}
	return workload.Opaque(models.KV), history
}

// tooLate is far more than the 50 ms for an answer on an idle machine (see BenchmarkDeadline), and
// less than the time of the slow steps.
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
				require.Equal(t, porcupine.Unknown, result, "verbose: %v", verbose)
				require.ErrorIs(t, err, porcupine.ErrTimeout, "verbose: %v", verbose)
				require.GreaterOrEqual(t, late, time.Duration(0), "verbose: %v", verbose)
				require.LessOrEqual(t, late, tooLate, "verbose: %v", verbose)
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
	require.Equal(t, porcupine.Unknown, result)
	require.ErrorIs(t, err, cause)
}

// TestLooksIllegal checks the further cause of an Unknown.
func TestLooksIllegal(t *testing.T) {
	model, history := endless()
	opts := porcupine.Options{Timeout: 50 * time.Millisecond}
	result, _, err := porcupine.CheckOperationsContext(t.Context(), model, history, opts)
	for !errors.Is(err, porcupine.ErrLooksIllegal) && opts.Timeout < 10*time.Second { // a busy machine gets nowhere at first
		opts.Timeout *= 2
		result, _, err = porcupine.CheckOperationsContext(t.Context(), model, history, opts)
	}
	require.Equal(t, porcupine.Unknown, result)
	require.ErrorIs(t, err, porcupine.ErrLooksIllegal)
	require.ErrorIs(t, err, porcupine.ErrTimeout)
	result, _, err = porcupine.CheckOperationsContext(t.Context(), models.WithKVHint(model), history, porcupine.Options{})
	require.Equal(t, porcupine.Illegal, result, err)
	model.StepContext = func(ctx context.Context, _, _, _ any) (bool, any) { <-ctx.Done(); return false, nil }
	_, _, err = porcupine.CheckOperationsContext(t.Context(), model, history, opts)
	require.NotErrorIs(t, err, porcupine.ErrLooksIllegal, "the model looks like nothing known")
}

// TestStopIsNoAnswer ends checks of small legal histories at each of their steps. From then on
// StepContext refuses, as it may after the end of its context. The history must not be Illegal.
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
				require.NotEqual(t, porcupine.Illegal, result, "%s, seed %d, after step %d: %+v", w.name, seed, last, h)
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
		require.Equal(t, porcupine.Unknown, result, "limit %d", limit)
		require.ErrorIs(t, err, porcupine.ErrMemoryLimit, "limit %d", limit)
		// All allocations, including garbage, are a small multiple of the memory in use.
		require.LessOrEqual(t, int64(after.TotalAlloc-before.TotalAlloc), 8*limit+4<<20, "limit %d", limit)
	}
	defer porcupine.SetMemoryLimit(porcupine.SetMemoryLimit(1 << 20))
	require.Equal(t, porcupine.Unknown, porcupine.CheckOperationsTimeout(model, history, 0), "a small default")
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
				require.Equal(t, porcupine.Illegal, result)
				require.ErrorIs(t, err, porcupine.ErrMalformed)
				require.ErrorAs(t, err, &h)
				require.Equal(t, c.index, h.Index, err)
				require.ErrorContains(t, err, c.reason)
			}
		})
	}
	_, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV,
		[]porcupine.Operation{{Input: models.KVInput{}, Call: 7, Return: 5}}, porcupine.Options{})
	require.ErrorIs(t, err, porcupine.ErrMalformed)
	require.ErrorContains(t, err, "returns at 5, before its call at 7")
	touching := []porcupine.Operation{
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: -3, Return: 0},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: -3, Return: -3},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: 0, Return: 5},
		{Input: models.KVInput{}, Output: models.KVOutput{}, Call: 5, Return: 6},
	}
	result, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV, touching, sequential)
	require.Equal(t, porcupine.Ok, result, "operations that touch: %v", err)
}

// TestPendingWithoutStepPending checks models of the plain API whose Step panics on an output of
// another type.
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
		require.Equal(t, want, porcupine.CheckEvents(model, history), "reads %q", values)
	}
	cas := workload.Opaque(models.CASRegister)
	history := []porcupine.Operation{
		{Input: models.RegisterInput{Op: models.RegisterWrite, Value: 1}, Output: models.RegisterOutput{}, Call: 0, Return: 1},
		{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 7, Value: 8}, Output: models.RegisterOutput{}, Call: 0, Return: 3},
		{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 1, Value: 2}, Call: 2, Return: porcupine.Pending},
		{Input: models.RegisterInput{}, Output: models.RegisterOutput{Value: 2}, Call: 4, Return: 5},
	}
	require.False(t, porcupine.CheckOperations(cas, history), "no output in the history shows that a swap can succeed")
	history = append(history, porcupine.Operation{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: 2, Value: 2},
		Output: models.RegisterOutput{OK: true}, Call: 6, Return: 7})
	require.True(t, porcupine.CheckOperations(cas, history), "the pending swap explains the read")
}

func TestPanicReachesCaller(t *testing.T) {
	model := models.KV
	model.Step = func(_, _, _ any) (bool, any) { panic("broken model") }
	model.Hint = nil
	require.PanicsWithValue(t, "broken model", func() { porcupine.CheckOperations(model, workload.OverlappingAppends(3)) })
}

func TestProgress(t *testing.T) {
	history := workload.KV(workload.Shape{Operations: 500, Clients: 5, Keys: 20, Seed: 1}, 1, 1, 1)
	last := 0
	_, _, err := porcupine.CheckOperationsContext(t.Context(), models.KV, history, porcupine.Options{Progress: func(done, total int) {
		require.GreaterOrEqual(t, done, last)
		require.Equal(t, len(history), total)
		last = done
	}})
	require.NoError(t, err)
	require.Equal(t, len(history), last, "the last report")
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
