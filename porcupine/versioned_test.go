package porcupine_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestStaleVersionAmongPending checks histories in which a read answers a long overwritten
// version, and 20 pending operations may have taken effect at any later time.
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
		require.Equal(t, porcupine.Illegal, result, "seed %d: %v", seed, err)
		require.Len(t, all, 1, "seed %d", seed)
		require.Equal(t, stale, all[0].Operation, "seed %d", seed)
		require.False(t, porcupine.CheckOperations(models.KVVersioned, pick(history, all[0].Core)), "seed %d: %.1000v", seed, all[0])
	}
}

// TestManyUnanswered checks histories with the shape of a recorded etcd history under faults.
// They have 2,900 operations on one key, more than 160 of them pending, and versions in most
// answers.
func TestManyUnanswered(t *testing.T) {
	for seed := range uint64(1) {
		history := workload.Etcd(workload.Shape{Operations: 2700, Clients: 25, Pending: 300, Seed: seed})
		options := porcupine.Options{Timeout: time.Minute, Verbose: true, MemoryLimit: 256 << 20}
		result, _, err := porcupine.CheckOperationsContext(t.Context(), models.KVVersioned, history, options)
		require.Equal(t, porcupine.Ok, result, "seed %d: %v", seed, err)
		result, _, err = porcupine.CheckEventsContext(t.Context(), models.KVVersioned, asEvents(history), options)
		require.Equal(t, porcupine.Ok, result, "seed %d, as events: %v", seed, err)

		wrong := slices.Clone(history)
		for i := len(wrong) * 4 / 5; result == porcupine.Ok; i++ {
			out, completed := wrong[i].Output.(models.VersionedOutput)
			if !completed || out.OK || out.Version == 0 || wrong[i].Input.(models.VersionedInput).Op != models.VersionedCAS {
				continue
			}
			// A swap that took effect, with the version that a failed one found.
			wrong[i].Output = models.VersionedOutput{OK: true, Version: out.Version}
			var info porcupine.LinearizationInfo
			result, info, err = porcupine.CheckOperationsContext(t.Context(), models.KVVersioned, wrong, options)
			require.NotEqual(t, porcupine.Unknown, result, "seed %d: %v", seed, err)
			if result == porcupine.Illegal && seed == 0 {
				requireWholeExplanation(t, models.KVVersioned, wrong, info)
			}
		}
	}
}

// requireWholeExplanation requires an explanation of an illegal history of one partition.
func requireWholeExplanation(t *testing.T, m porcupine.Model, history []porcupine.Operation, info porcupine.LinearizationInfo) {
	t.Helper()
	all := porcupine.Explain(m, info)
	require.Len(t, all, 1)
	require.NotEqual(t, porcupine.Pending, history[all[0].Operation].Return)
	core := pick(history, all[0].Core)
	require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(m, core, time.Minute), "the core: %.2000v", all[0])
}

// asEvents turns a history whose times differ into events.
func asEvents(history []porcupine.Operation) []porcupine.Event {
	type timed struct {
		at int64
		porcupine.Event
	}
	var all []timed
	for id, o := range history {
		all = append(all, timed{o.Call, porcupine.Event{ClientId: o.ClientId, Id: id, Kind: porcupine.CallEvent, Value: o.Input}})
		if o.Return != porcupine.Pending {
			all = append(all, timed{o.Return, porcupine.Event{ClientId: o.ClientId, Id: id, Kind: porcupine.ReturnEvent, Value: o.Output}})
		}
	}
	slices.SortFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	events := make([]porcupine.Event, len(all))
	for i := range all {
		events[i] = all[i].Event
	}
	return events
}

// TestVersionedAgainstOracle compares the checker, and the places of Hint.Order alone, with the
// oracle. Drawing a history takes long, so each history is also tried with other times.
func TestVersionedAgainstOracle(t *testing.T) {
	const times = 50
	for n, w := range versionedWorlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			m, decided, legal, all := w.withPending(), 0, 0, 0
			for seed := range cases() / 5 / times {
				r := rand.New(rand.NewPCG(uint64(seed), 77+uint64(n)))
				h := w.history(r, 7)
				for range times {
					all++
					want := oracle(m, h)
					if want {
						legal++
					}
					if porcupine.Paths["order"](m, h) == porcupine.Illegal {
						decided++
						require.False(t, want, "the places are wrong: seed %d: %+v", seed, h)
					}
					require.Equal(t, want, porcupine.Paths["search in depth"](m, h) == porcupine.Ok, "seed %d: %+v", seed, h)
					require.Equal(t, want, porcupine.CheckOperations(m, h), "seed %d: %+v", seed, h)
					o := &h[r.IntN(len(h))]
					o.Call = r.Int64N(12)
					if o.Return != porcupine.Pending {
						o.Return = o.Call + r.Int64N(6)
					}
				}
			}
			require.Greater(t, decided, all/200, "the places decided too few histories")
			require.Greater(t, legal, all/10, "too few histories are legal")
			require.Less(t, legal, all*9/10, "too few histories are illegal")
		})
	}
}

// TestExpiredWhenTheSearchGoesBack checks a history whose pending swaps cannot take effect
// after the put of version 3. A search in depth tries the put before the swaps, and has to
// go back.
func TestExpiredWhenTheSearchGoesBack(t *testing.T) {
	swap := models.VersionedInput{Op: models.VersionedCAS, Value: "x", Version: 1}
	history := []porcupine.Operation{
		{Input: models.VersionedInput{Op: models.VersionedPut, Value: "a"}, Output: models.VersionedOutput{Version: 1}, Call: 0, Return: 1},
		{Input: swap, Call: 2, Return: porcupine.Pending},
		{Input: swap, Call: 2, Return: porcupine.Pending},
		{Input: models.VersionedInput{Op: models.VersionedScan}, Output: models.VersionedOutput{Scan: map[string]string{"": "x"}}, Call: 2, Return: 10},
		{Input: models.VersionedInput{Op: models.VersionedPut, Value: "b"}, Output: models.VersionedOutput{Version: 3}, Call: 3, Return: 8},
	}
	require.True(t, porcupine.CheckOperations(models.KVStore, history))
	for name, path := range porcupine.Paths {
		require.NotEqual(t, porcupine.Illegal, path(models.KVStore, history), name)
	}
	history[1].Call, history[2].Call = 9, 9 // after the return of the put
	require.False(t, porcupine.CheckOperations(models.KVStore, history))
	for name, path := range porcupine.Paths {
		require.NotEqual(t, porcupine.Ok, path(models.KVStore, history), name)
	}
}

// TestHintOfUnansweredChangesNoAnswer compares checks with and without Resolve and Expires, on
// histories that are too large for the oracle.
func TestHintOfUnansweredChangesNoAnswer(t *testing.T) {
	without := models.KVVersioned
	without.Hint = &porcupine.Hint{Order: models.KVVersioned.Hint.Order}
	results := make(map[porcupine.CheckResult]int)
	for seed := range uint64(cases() / 100) {
		r := rand.New(rand.NewPCG(seed, 9))
		history := workload.Etcd(workload.Shape{Operations: 20 + r.IntN(40), Clients: 2 + r.IntN(6), Pending: r.IntN(12), Seed: seed})
		for i := range history {
			out, completed := history[i].Output.(models.VersionedOutput)
			if completed && r.IntN(2*len(history)) == 0 {
				out.OK = !out.OK
				history[i].Output = out
			}
		}
		want := porcupine.CheckOperationsTimeout(without, history, time.Minute)
		require.Equal(t, want, porcupine.CheckOperationsTimeout(models.KVVersioned, history, time.Minute), "seed %d", seed)
		results[want]++
	}
	require.Greater(t, results[porcupine.Ok], cases()/500, "too few histories are legal")
	require.Greater(t, results[porcupine.Illegal], cases()/500, "too few histories are illegal")
}

// TestSeenWriteAndRefusedSwap checks a pending write that a scan saw, a swap that then failed on
// version 1 without telling the actual version, and a read that told version 1. The model allows
// this, because the version is still unknown when the swap fails.
func TestSeenWriteAndRefusedSwap(t *testing.T) {
	history := []porcupine.Operation{
		{Input: models.VersionedInput{Op: models.VersionedPut, Value: "c"}, Call: 0, Return: porcupine.Pending},
		{Input: models.VersionedInput{Op: models.VersionedScan}, Output: models.VersionedOutput{Scan: map[string]string{"": "c"}}, Call: 8, Return: 9},
		{Input: models.VersionedInput{Op: models.VersionedCAS, Value: "d", Version: 1}, Output: models.VersionedOutput{}, Call: 10, Return: 13},
		{Input: models.VersionedInput{}, Output: models.VersionedOutput{Value: "c", Version: 1, OK: true}, Call: 15, Return: 16},
	}
	require.True(t, oracle(models.KVStore, history))
	require.True(t, porcupine.CheckOperations(models.KVStore, history))
	history[2].Output = models.VersionedOutput{Version: 7} // another version than the read told
	require.False(t, oracle(models.KVStore, history))
	require.False(t, porcupine.CheckOperations(models.KVStore, history))
}

// TestExplainKeepsAnswersOfResolved explains a history to a model with a hint and without
// StepPending. The first swap returns after the second one and explains its answer.
func TestExplainKeepsAnswersOfResolved(t *testing.T) {
	model := models.KVVersioned
	model.StepPending = nil
	history := []porcupine.Operation{
		{Input: models.VersionedInput{Op: models.VersionedCAS}, Output: models.VersionedOutput{OK: true, Version: 1}, Call: 3, Return: 11},
		{Input: models.VersionedInput{Op: models.VersionedCAS, Value: "a"}, Output: models.VersionedOutput{}, Call: 4, Return: 4},
		{Input: models.VersionedInput{}, Output: models.VersionedOutput{Value: "b", Version: 9, OK: true}, Call: 5, Return: 7},
	}
	result, info := porcupine.CheckOperationsVerbose(model, history, 0)
	require.Equal(t, porcupine.Illegal, result)
	requireWholeExplanation(t, model, history, info)
}
