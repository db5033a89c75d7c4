package porcupine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// pick returns the operations of the given ids.
func pick(history []porcupine.Operation, ids []int) []porcupine.Operation {
	picked := make([]porcupine.Operation, len(ids))
	for i, id := range ids {
		picked[i] = history[id]
	}
	return picked
}

// prefix returns the history as an observer had it right after the operation's
// return, or right before the return: later returns have not happened. Returns
// at equal times count in the order of the history.
func prefix(history []porcupine.Operation, operation int, before bool) []porcupine.Operation {
	end := history[operation].Return
	var result []porcupine.Operation
	for i, o := range history {
		if o.Call > end {
			continue
		}
		if o.Return > end || o.Return == end && i > operation || before && i == operation {
			o.Return, o.Output = porcupine.Pending, nil
		}
		result = append(result, o)
	}
	return result
}

// TestExplainAgainstOracle explains random illegal histories. Every core must be
// illegal, by the oracle and by the plain search, with the answers that its
// operations gave.
func TestExplainAgainstOracle(t *testing.T) {
	var all []world
	for _, w := range slices.Concat(worlds(), hintedWorlds(), readyWorlds(), versionedWorlds()) {
		all = append(all, w)
		bare := w
		bare.name += " without StepPending"
		bare.model.StepPending = nil
		all = append(all, bare)
	}
	each := cases() / len(all)
	for n, w := range all {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			explained := 0
			m := w.model
			if n%2 == 0 {
				m = w.withPending()
			}
			for seed := range each {
				r := rand.New(rand.NewPCG(uint64(seed), 4000+uint64(n)))
				h := w.history(r, 7)
				result, info := porcupine.CheckOperationsVerbose(m, h, 0)
				if result == porcupine.Illegal {
					explained++
					requireExplained(t, m, h, info, fmt.Sprintf("seed %d: %+v", seed, h))
				}
			}
			require.Greater(t, explained, each/60, "too few histories are illegal")
		})
	}
}

func requireExplained(t *testing.T, m porcupine.Model, h []porcupine.Operation, info porcupine.LinearizationInfo, message string) {
	t.Helper()
	all := porcupine.Explain(m, info)
	require.Len(t, all, 1, message)
	x := all[0]
	message = fmt.Sprintf("%v\n%s", x, message)
	core := pick(h, x.Core)
	require.Contains(t, x.Core, x.Operation, message)
	require.Equal(t, porcupine.Illegal, porcupine.Paths["search in depth"](m, core), message)
	require.False(t, porcupine.CheckOperations(m, core), message)
	given := h[x.Operation]
	for _, p := range x.Possible {
		require.NotEqual(t, fmt.Sprintf("%v -> %v", given.Input, given.Output), p.Answer, "the answer was possible: %s", message)
	}
	if m.StepPending == nil {
		require.False(t, oracle(recordedOutputs(m, core), core), message)
		return
	}
	require.False(t, oracle(m, core), message)
	require.True(t, oracle(m, prefix(h, x.Operation, true)), "illegal before the return of operation %d: %s", x.Operation, message)
	require.False(t, oracle(m, prefix(h, x.Operation, false)), "legal after the return of operation %d: %s", x.Operation, message)
}

// TestExplainOutOfTime explains a long history in too little time. The core is then large,
// but still illegal.
func TestExplainOutOfTime(t *testing.T) {
	whole := func(m porcupine.Model) porcupine.Model { m.Partition = nil; return m }
	model := workload.Opaque(whole(models.KV))
	history := workload.KV(workload.Shape{Operations: 3000, Clients: 3, Pending: 2, Seed: 1}, 1, 1, 0)
	require.True(t, workload.StaleRead(history))
	result, info := porcupine.CheckOperationsVerbose(model, history, 0)
	require.Equal(t, porcupine.Illegal, result)
	large := 0
	for wait := time.Duration(0); wait < 20*time.Millisecond; wait += time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		all := porcupine.ExplainContext(ctx, model, info)
		cancel()
		require.Len(t, all, 1)
		require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(models.KV, pick(history, all[0].Core), 0), "after %v", wait)
		if len(all[0].Core) > 10 {
			large++
		}
	}
	require.NotZero(t, large, "no explanation ran out of time")
}
