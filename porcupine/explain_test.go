package porcupine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestExplainIsSmallAndIllegal explains stale reads in long histories, to models with a hint
// and without, and checks the core that it names.
func TestExplainIsSmallAndIllegal(t *testing.T) {
	for seed := range uint64(6) {
		history := workload.KV(workload.Shape{Operations: 800, Clients: 4, Keys: 2, Seed: seed}, 2, 1, 1)
		if !workload.StaleRead(history) {
			continue
		}
		for name, model := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
			result, info := porcupine.CheckOperationsVerbose(model, history, 0)
			all := porcupine.Explain(model, info)
			if result != porcupine.Illegal || len(all) == 0 {
				t.Fatalf("seed %d, %s: %v, %d explanations", seed, name, result, len(all))
			}
			x := all[0]
			var core []porcupine.Operation
			for _, id := range x.Core {
				core = append(core, model.Partition(history)[x.Partition][id])
			}
			if porcupine.CheckOperations(model, core) {
				t.Errorf("seed %d, %s: the core is legal:\n%v", seed, name, x)
			}
			if len(core) > 10 {
				t.Errorf("seed %d, %s: a core of %d operations", seed, name, len(core))
			}
			t.Logf("seed %d, %s:\n%v", seed, name, x)
		}
	}
}

// TestExplainLongPartition explains a stale read after many operations on one value: of
// those, two matter.
func TestExplainLongPartition(t *testing.T) {
	history := workload.Sequential(100_000)
	history[99_001].Output = models.RegisterOutput{Value: 500}
	for name, model := range map[string]porcupine.Model{"hinted": models.Register, "opaque": workload.Opaque(models.Register)} {
		_, info := porcupine.CheckOperationsVerbose(model, history, 0)
		all := porcupine.Explain(model, info)
		if len(all) != 1 || !slices.Equal(all[0].Core, []int{500, 99_000, 99_001}) {
			t.Errorf("%s: %.1000v", name, all)
		}
	}
}

// TestExplainOnlyTheIllegal gives no explanation of what is legal or malformed.
func TestExplainOnlyTheIllegal(t *testing.T) {
	_, info := porcupine.CheckOperationsVerbose(models.KV, workload.OverlappingAppends(5), 0)
	if all := porcupine.Explain(models.KV, info); len(all) != 0 {
		t.Errorf("got %v", all)
	}
	if all := porcupine.Explain(models.KV, porcupine.LinearizationInfo{}); len(all) != 0 {
		t.Errorf("got %v of nothing", all)
	}
}

func ExampleExplain() {
	put := func(client int, call, ret int64, value string) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: ret,
			Input: models.KVInput{Op: models.KVPut, Key: "x", Value: value}, Output: models.KVOutput{}}
	}
	get := func(client int, call, ret int64, value string) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: ret,
			Input: models.KVInput{Op: models.KVGet, Key: "x"}, Output: models.KVOutput{Value: value}}
	}
	history := []porcupine.Operation{
		put(0, 0, 10, "old"), get(1, 11, 15, "old"), put(0, 20, 30, "new"), get(1, 31, 32, "new"), get(2, 40, 50, "old"),
	}
	_, info := porcupine.CheckOperationsVerbose(models.KV, history, 0)
	for _, x := range porcupine.Explain(models.KV, info) {
		fmt.Print(strings.TrimSpace(x.String()))
	}
	// Output:
	// get("x") -> "old" by client 2, from 40 to 50, cannot be placed: when it takes effect, the state can only be "new" (get("x") -> "new").
	//
	// These operations alone cannot be ordered:
	//   client 0, 0 to 10: put("x", "old")
	//   client 0, 20 to 30: put("x", "new")
	//   client 2, 40 to 50: get("x") -> "old"
}
