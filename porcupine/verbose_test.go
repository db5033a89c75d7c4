package porcupine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
)

// TestPartialLinearizations checks the linearizations of verbose checks. A legal partition has a
// complete one.
func TestPartialLinearizations(t *testing.T) {
	for n, w := range slices.Concat(worlds(), hintedWorlds(), readyWorlds(), versionedWorlds()) {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			m := w.withPending()
			for seed := range cases() / 100 {
				r := rand.New(rand.NewPCG(uint64(seed), 2000+uint64(n)))
				h := w.history(r, 7)
				result, info := porcupine.CheckOperationsVerbose(m, h, 0)
				message := fmt.Sprintf("seed %d: %+v", seed, h)
				require.Equal(t, porcupine.CheckOperationsTimeout(m, h, 0), result, message)
				partials := info.PartialLinearizations()[0]
				for _, partial := range partials {
					require.True(t, linearizes(m, h, partial, result == porcupine.Ok), "%v: %s", partial, message)
				}
				if result == porcupine.Ok {
					require.Len(t, partials, 1, message)
				}
				for i, operations := range info.PartialLinearizationsOperations()[0] {
					require.Equal(t, pick(h, partials[i]), operations, message)
				}
			}
		})
	}
}

// linearizes says whether ids is a prefix of a linearization, or all of one.
func linearizes(m porcupine.Model, h []porcupine.Operation, ids []int, complete bool) bool {
	states := []any{m.Init()}
	done := make([]bool, len(h))
	for _, id := range ids {
		if done[id] || !mayBeNext(h, done, h[id]) {
			return false
		}
		done[id] = true
		var next []any
		for _, s := range states {
			if h[id].Return == porcupine.Pending {
				next = append(next, m.StepPending(s, h[id].Input)...)
			} else if ok, after := m.Step(s, h[id].Input, h[id].Output); ok {
				next = append(next, after)
			}
		}
		if len(next) == 0 {
			return false
		}
		states = next
	}
	for id := range h {
		if complete && !done[id] && h[id].Return != porcupine.Pending {
			return false
		}
	}
	return true
}
