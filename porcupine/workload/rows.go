package workload

import (
	"fmt"
	"slices"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// A Row is a history for measuring a checker.
type Row struct {
	Name    string
	Model   porcupine.Model
	Legal   bool
	History func() []porcupine.Operation // generates the history, and may take long
}

// Opaque returns the model with only the fields of the original package.
func Opaque(m porcupine.Model) porcupine.Model {
	m.Hint, m.StepPending = nil, nil
	return m
}

// Rows returns histories on which checkers need exponential time.
func Rows() []Row {
	var rows []Row
	add := func(name string, model porcupine.Model, legal bool, history func() []porcupine.Operation) {
		rows = append(rows, Row{Name: name, Model: model, Legal: legal, History: history})
	}
	stale := func(history []porcupine.Operation) []porcupine.Operation {
		if !StaleRead(history) {
			panic("workload: no read to make stale")
		}
		return history
	}
	add("sequential-1M", Opaque(models.Register), true, func() []porcupine.Operation { return Sequential(1_000_000) })
	for _, clients := range []int{20, 50, 100} {
		register := func() []porcupine.Operation { return KV(Shape{Operations: 1000, Clients: clients, Seed: 1}, 1, 1, 0) }
		add(fmt.Sprint("register-", clients, "-legal"), models.KV, true, register)
		add(fmt.Sprint("register-", clients, "-stale"), models.KV, false, func() []porcupine.Operation { return stale(register()) })
	}
	for _, clients := range []int{10, 30, 100} {
		appends := func() []porcupine.Operation {
			return KV(Shape{Operations: 1000, Clients: clients, Pending: 20, Seed: 2}, 1, 0, 1)
		}
		add(fmt.Sprint("append-", clients, "-legal"), models.KV, true, appends)
		add(fmt.Sprint("append-", clients, "-stale"), models.KV, false, func() []porcupine.Operation { return stale(appends()) })
	}
	add("eleven-appends", models.KV, true, func() []porcupine.Operation { return OverlappingAppends(11) })
	for seed := range uint64(3) {
		add(fmt.Sprint("cas-illegal-", seed), models.CASRegister, false, func() []porcupine.Operation {
			return WrongCAS(CAS(Shape{Operations: 1000, Clients: 5, Pending: 20, Seed: seed}, 5))
		})
	}
	for seed := range uint64(3) {
		lab := func() []porcupine.Operation {
			return KV(Shape{Operations: 10_000, Clients: 50, Keys: 10, Seed: seed}, 1, 1, 1)
		}
		add(fmt.Sprint("lab-", seed, "-legal"), models.KV, true, lab)
		add(fmt.Sprint("lab-", seed, "-stale"), models.KV, false, func() []porcupine.Operation { return stale(lab()) })
	}
	versioned := func() []porcupine.Operation { return Versioned(Shape{Operations: 1000, Clients: 25, Seed: 1}) }
	add("versioned-25-legal", models.KVVersioned, true, versioned)
	add("versioned-25-stale", models.KVVersioned, false, func() []porcupine.Operation { return staleVersion(versioned()) })
	etcd := func() []porcupine.Operation {
		return Etcd(Shape{Operations: 2700, Clients: 25, Pending: 300, Seed: 1})
	}
	add("etcd-25-legal", models.KVVersioned, true, etcd)
	add("etcd-25-stale", models.KVVersioned, false, func() []porcupine.Operation { return staleVersion(etcd()) })
	add("kv-1M", models.KV, true, func() []porcupine.Operation {
		return KV(Shape{Operations: 1_000_000, Clients: 50, Keys: 100, Seed: 3}, 1, 1, 0)
	})
	return rows
}

// OverlappingAppends returns a history of n concurrent appends and a later get of all of them.
func OverlappingAppends(n int) []porcupine.Operation {
	var history []porcupine.Operation
	value := ""
	for i := range n {
		element := fmt.Sprintf("x %d 0 y", i)
		value += fmt.Sprintf("x %d 0 y", (i*7+3)%n) // in another order
		history = append(history, porcupine.Operation{ClientId: i, Call: 0, Return: 10,
			Input: models.KVInput{Op: models.KVAppend, Key: "k", Value: element}, Output: models.KVOutput{}})
	}
	return append(history, porcupine.Operation{ClientId: n, Call: 20, Return: 30,
		Input: models.KVInput{Op: models.KVGet, Key: "k"}, Output: models.KVOutput{Value: value}})
}

// staleVersion gives a late get of a history of models.KVVersioned, with one key, the answer of a
// much earlier one.
func staleVersion(history []porcupine.Operation) []porcupine.Operation {
	found := func(i int) bool {
		out, completed := history[i].Output.(models.VersionedOutput)
		return completed && out.OK && history[i].Input.(models.VersionedInput).Op == models.VersionedGet
	}
	for late := len(history) * 9 / 10; late < len(history); late++ {
		for early := len(history) / 2; found(late) && early < late; early++ {
			if found(early) && history[early].Return < history[len(history)*3/4].Call {
				history[late].Output = history[early].Output
				return history
			}
		}
	}
	panic("workload: no get to make stale")
}

// WrongCAS returns the history of models.CASRegister with a false answer. A failed
// compare-and-swap, late in the history, answers that it took effect. WrongCAS takes the first one
// that makes the history illegal in spite of the pending operations.
func WrongCAS(history []porcupine.Operation) []porcupine.Operation {
	for i := len(history) / 2; i < len(history); i++ {
		o := history[i]
		out, completed := o.Output.(models.RegisterOutput)
		if !completed || o.Input.(models.RegisterInput).Op != models.RegisterCAS || out.OK {
			continue
		}
		wrong := slices.Clone(history)
		wrong[i].Output = models.RegisterOutput{OK: true}
		if porcupine.CheckOperationsTimeout(models.CASRegister, wrong, 5*time.Second) == porcupine.Illegal {
			return wrong
		}
	}
	panic("workload: no compare-and-swap to make wrong")
}
