package porcupine_test

import (
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
		if len(core) > 10 || porcupine.CheckOperations(models.KVVersioned, core) {
			t.Errorf("seed %d: a core of %d operations: %v", seed, len(core), all[0])
		}
	}
}
