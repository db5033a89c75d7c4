package porcupine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"raftlab/porcupine"
)

// TestPartialLinearizations checks what verbose checks return: each linearization
// is one, complete if the partition is legal, and otherwise as long as any can be.
func TestPartialLinearizations(t *testing.T) {
	for n, w := range append(append(worlds(), hintedWorlds()...), versionedWorld()) {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			m := w.withPending()
			for seed := range cases() / 100 {
				r := rand.New(rand.NewPCG(uint64(seed), 2000+uint64(n)))
				h := w.history(r, 7)
				result, info := porcupine.CheckOperationsVerbose(m, h, 0)
				if result != porcupine.CheckOperationsTimeout(m, h, 0) {
					t.Fatalf("seed %d: verbose says %v", seed, result)
				}
				for _, partial := range info.PartialLinearizations()[0] {
					if !linearizes(m, h, partial, result == porcupine.Ok) {
						t.Fatalf("seed %d: %v does not linearize %+v", seed, partial, h)
					}
				}
				if result == porcupine.Ok && len(info.PartialLinearizations()[0]) != 1 {
					t.Fatalf("seed %d: %v", seed, info.PartialLinearizations())
				}
				for i, partial := range info.PartialLinearizationsOperations()[0] {
					for j, o := range partial {
						if want := h[info.PartialLinearizations()[0][i][j]]; o.ClientId != want.ClientId || o.Call != want.Call {
							t.Fatalf("seed %d: operation %+v, want %+v", seed, o, want)
						}
					}
				}
				if result == porcupine.Illegal {
					checkExplanation(t, m, h, porcupine.Explain(m, info))
				}
			}
		})
	}
}

// linearizes says whether ids is the beginning of a linearization, or all of one.
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

func checkExplanation(t *testing.T, m porcupine.Model, h []porcupine.Operation, all []porcupine.Explanation) {
	if len(all) != 1 || all[0].Reason == "" {
		t.Fatalf("explanations: %v", all)
	}
	var core []porcupine.Operation
	found := false
	for _, id := range all[0].Core {
		core = append(core, h[id])
		found = found || id == all[0].Operation
	}
	if !found || oracle(m, core) {
		t.Fatalf("the core is legal, or lacks its operation: %+v\nof %+v", core, h)
	}
	if stuck := all[0].Operation; !oracle(m, before(h, stuck, false)) || oracle(m, before(h, stuck, true)) {
		t.Fatalf("operation %d is not the first that cannot be placed in %+v", stuck, h)
	}
}

// before returns the history as it was when the operation at last returned, right
// before that or (with included) right after.
func before(h []porcupine.Operation, last int, included bool) []porcupine.Operation {
	var beginning []porcupine.Operation
	for i, o := range h {
		if o.Call > h[last].Return {
			continue
		}
		if o.Return > h[last].Return || o.Return == h[last].Return && i > last || i == last && !included {
			o.Return, o.Output = porcupine.Pending, nil
		}
		beginning = append(beginning, o)
	}
	return beginning
}
