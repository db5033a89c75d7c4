package porcupine_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
)

// recordedOutputs gives a model the StepPending that the documentation of
// Model.StepPending promises for a model without one: the pending operation's
// own output, and if Step refuses that output, every recorded output of the
// part and the zero values of their types.
func recordedOutputs(m porcupine.Model, history []porcupine.Operation) porcupine.Model {
	var outputs []any
	for _, o := range history {
		if o.Return != porcupine.Pending {
			outputs = append(outputs, o.Output, reflect.Zero(reflect.TypeOf(o.Output)).Interface())
		}
	}
	try := func(state, input, output any) (ok bool, next any) {
		defer func() {
			if recover() != nil {
				ok = false
			}
		}()
		return m.Step(state, input, output)
	}
	guessing := m
	guessing.StepPending = func(state, input any) []any {
		if ok, next := try(state, input, nil); ok {
			return []any{next}
		}
		var all []any
		for _, output := range outputs {
			if ok, next := try(state, input, output); ok {
				all = append(all, next)
			}
		}
		return all
	}
	return guessing
}

// TestPendingWithoutStepPendingAgainstOracle checks models that define only Init and
// Step, among them models whose states cannot be compared by == and models
// with Equal but no Hash, on histories with pending operations.
func TestPendingWithoutStepPendingAgainstOracle(t *testing.T) {
	all := worlds()
	each := cases() / len(all)
	for n, w := range all {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			pending, legal := 0, 0
			for seed := range each {
				h := w.history(rand.New(rand.NewPCG(uint64(seed), 500+uint64(n))), 7)
				want := oracle(recordedOutputs(w.model, h), h)
				got, info := porcupine.CheckOperationsVerbose(w.model, h, 0)
				require.Equalf(t, want, got == porcupine.Ok, "seed %d: %v: %+v", seed, got, h)
				if seed%20 == 0 {
					porcupine.Explain(w.model, info)
				}
				for _, o := range h {
					if o.Return == porcupine.Pending {
						pending++
						break
					}
				}
				if want {
					legal++
				}
			}
			require.Greater(t, pending, each/4, "too few histories have a pending operation")
			require.Greater(t, legal, each/5, "too few histories are legal")
			require.Less(t, legal, each*19/20, "too few histories are illegal")
		})
	}
}

// TestPendingPopOfSliceState checks a queue whose states are slices. The last
// pop is legal because the pending pop took the first element.
func TestPendingPopOfSliceState(t *testing.T) {
	history := []porcupine.Operation{
		{Input: 1, Output: 0, Call: 0, Return: 1},
		{Input: 0, Output: 1, Call: 2, Return: 3},
		{Input: 1, Output: 0, Call: 4, Return: 5},
		{Input: 2, Output: 0, Call: 6, Return: 7},
		{Input: 0, Call: 8, Return: porcupine.Pending},
		{Input: 0, Output: 2, Call: 9, Return: 10},
	}
	for _, w := range worlds() {
		if w.name == "queue" {
			require.True(t, porcupine.CheckOperations(w.model, history))
		}
	}
}
