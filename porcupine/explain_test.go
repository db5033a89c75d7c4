package porcupine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestExplainIsSmallAndIllegal explains stale reads in long histories, for models with a hint
// and without.
func TestExplainIsSmallAndIllegal(t *testing.T) {
	for seed := range uint64(6) {
		history := workload.KV(workload.Shape{Operations: 800, Clients: 4, Keys: 2, Seed: seed}, 2, 1, 1)
		if !workload.StaleRead(history) {
			continue
		}
		for name, model := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
			result, info := porcupine.CheckOperationsVerbose(model, history, 0)
			require.Equal(t, porcupine.Illegal, result, "seed %d, %s", seed, name)
			all := porcupine.Explain(model, info)
			require.NotEmpty(t, all, "seed %d, %s", seed, name)
			x := all[0]
			core := pick(model.Partition(history)[x.Partition], x.Core)
			require.False(t, porcupine.CheckOperations(model, core), "seed %d, %s:\n%v", seed, name, x)
			require.LessOrEqual(t, len(core), 10, "seed %d, %s:\n%v", seed, name, x)
		}
	}
}

// TestExplainLongPartition explains a stale read after many operations on one value. Two of them
// matter.
func TestExplainLongPartition(t *testing.T) {
	history := workload.Sequential(100_000)
	history[99_001].Output = models.RegisterOutput{Value: 500}
	for name, model := range map[string]porcupine.Model{"hinted": models.Register, "opaque": workload.Opaque(models.Register)} {
		_, info := porcupine.CheckOperationsVerbose(model, history, 0)
		all := porcupine.Explain(model, info)
		require.Len(t, all, 1, name)
		require.Equal(t, []int{500, 99_000, 99_001}, all[0].Core, name)
	}
}

// TestExplainOnlyTheIllegal explains no legal or empty history.
func TestExplainOnlyTheIllegal(t *testing.T) {
	_, info := porcupine.CheckOperationsVerbose(models.KV, workload.OverlappingAppends(5), 0)
	require.Empty(t, porcupine.Explain(models.KV, info))
	require.Empty(t, porcupine.Explain(models.KV, porcupine.LinearizationInfo{}))
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
	// get("x") -> "old" by client 2, from 40 to 50, cannot be placed: with the operations of the core alone, the state can only be "new" (get("x") -> "new").
	//
	// These operations alone cannot be ordered:
	//   client 0, 0 to 10: put("x", "old")
	//   client 0, 20 to 30: put("x", "new")
	//   client 2, 40 to 50: get("x") -> "old"
}

// An answer that no order gives has the operations before as its explanation.
func TestExplainImpossibleAnswer(t *testing.T) {
	operation := func(op models.KVOp, at int64, value, answer string) porcupine.Operation {
		return porcupine.Operation{Call: at, Return: at + 1, Input: models.KVInput{Op: op, Key: "x", Value: value}, Output: models.KVOutput{Value: answer}}
	}
	history := []porcupine.Operation{
		operation(models.KVAppend, 0, "a", ""), operation(models.KVGet, 2, "", "a"), operation(models.KVAppend, 4, "b", ""), operation(models.KVGet, 6, "", "abb"),
	}
	for name, model := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
		_, info := porcupine.CheckOperationsVerbose(model, history, 0)
		all := porcupine.Explain(model, info)
		require.Len(t, all, 1, name)
		x := all[0]
		require.Equal(t, []int{3}, x.Core, name)
		require.Equal(t, []int{0, 2}, x.Before, name)
		require.Equal(t, []porcupine.Operation{history[0], history[2]}, x.Earlier(info), name)
		require.Equal(t, `"ab"`, x.After.State, name)
		require.Contains(t, x.Reason, `no order of the operations gives this answer. In the longest order, the state is then "ab"`, name)
	}
}
