package porcupine_test

import (
	"math/rand/v2"
	"testing"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestStaleVersionAmongPending checks histories in which a read answers a version that was long
// overwritten, while 20 operations that never returned could be thought of in any place.
func TestStaleVersionAmongPending(t *testing.T) {
	for seed := range uint64(6) {
		history := workload.Versioned(workload.Shape{Operations: 1000, Clients: 25, Pending: 20, Seed: seed})
		stale := -1
		for i := len(history) * 9 / 10; stale < 0; i++ {
			out, completed := history[i].Output.(models.VersionedOutput)
			if completed && out.OK && history[i].Input.(models.VersionedInput).Op == models.VersionedGet {
				out.Version -= 100
				stale, history[i].Output = i, out
			}
		}
		result, info, err := porcupine.CheckOperationsContext(t.Context(), models.KVVersioned, history, porcupine.Options{Verbose: true, MemoryLimit: 64 << 20})
		all := porcupine.Explain(models.KVVersioned, info)
		if result != porcupine.Illegal || len(all) != 1 || all[0].Operation != stale {
			t.Fatalf("seed %d: %v, %v, %v, want operation %d", seed, result, err, all, stale)
		}
		var core []porcupine.Operation
		for _, id := range all[0].Core {
			core = append(core, history[id])
		}
		if porcupine.CheckOperations(models.KVVersioned, core) {
			t.Errorf("seed %d: the core is legal: %.1000v", seed, all[0])
		}
	}
}

// TestMisplacedAgainstOracle compares what the places of operations alone tell with the oracle.
// Each history is tried with other times too, as it takes long to draw.
func TestMisplacedAgainstOracle(t *testing.T) {
	const times = 50
	w := versionedWorld()
	m, told := w.withPending(), 0
	for seed := range cases() / times {
		r := rand.New(rand.NewPCG(uint64(seed), 77))
		h := w.history(r, 6)
		for range times {
			if porcupine.Paths["order"](m, h) == porcupine.Illegal {
				told++
				if oracle(m, h) {
					t.Fatalf("seed %d: legal, but for the places: %+v", seed, h)
				}
			}
			o := &h[r.IntN(len(h))]
			o.Call = r.Int64N(12)
			if o.Return != porcupine.Pending {
				o.Return = o.Call + r.Int64N(6)
			}
		}
	}
	if told < cases()/100 {
		t.Errorf("the places told of %d of %d histories: too few to tell", told, cases())
	}
}
