// Package workload generates histories of correct systems, for tests of models and checkers and for
// benchmarks.
//
// A history is the result of a simulation. Each client calls, waits for the answer, and calls
// again. Each operation takes effect at a random moment between its call and its return. A seed
// determines all random choices.
package workload

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// A Shape describes a history.
type Shape struct {
	Operations int // the number of completed operations
	Clients    int // the number of concurrent clients
	Keys       int // the number of keys, at least 1, with operations spread evenly
	Pending    int // the number of pending operations, some of which take effect
	Seed       uint64
}

// Input draws the input of the n-th operation of a client on a key.
type Input func(r *rand.Rand, client, n int, key string) any

// Answer is the system behind the clients. It applies an input to a state and returns the output
// and the next state.
type Answer func(state, input any) (output, next any)

// call is an operation with the moment of its effect.
type call struct {
	porcupine.Operation
	key   int
	takes int64 // the moment of the effect
}

// History simulates the clients.
func History(shape Shape, initial any, input Input, answer Answer) []porcupine.Operation {
	r := rand.New(rand.NewPCG(shape.Seed, 0))
	calls := draw(r, shape, input)
	effects := make([]int, len(calls))
	for i := range effects {
		effects[i] = i
	}
	slices.SortFunc(effects, func(a, b int) int { return cmp.Compare(calls[a].takes, calls[b].takes) })
	states := make([]any, max(1, shape.Keys))
	for i := range states {
		states[i] = initial
	}
	for _, i := range effects {
		c := &calls[i]
		output, next := answer(states[c.key], c.Input)
		if c.Return != porcupine.Pending {
			c.Output = output
		} else if r.IntN(2) == 0 {
			continue // the operation never takes effect
		}
		states[c.key] = next
	}
	history := make([]porcupine.Operation, len(calls))
	for i := range calls {
		history[i] = calls[i].Operation
	}
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return history
}

// draw draws the calls of all clients. Times are different with near certainty.
func draw(r *rand.Rand, shape Shape, input Input) []call {
	const latency = 1 << 20
	free := make([]int64, shape.Clients) // the time of each client's next call
	for i := range free {
		free[i] = r.Int64N(latency)
	}
	pendingEvery := 0
	if shape.Pending > 0 {
		pendingEvery = max(1, shape.Operations/shape.Pending)
	}
	var calls []call
	pending := 0
	for n := range shape.Operations {
		client := n % shape.Clients
		c := drawCall(r, shape, input, client, n/shape.Clients, free[client], latency)
		free[client] = c.Return + 1 + r.Int64N(latency/8)
		calls = append(calls, c)
		if pendingEvery > 0 && n%pendingEvery == 0 && pending < shape.Pending {
			lost := drawCall(r, shape, input, shape.Clients+pending, 0, c.Call+1, latency)
			lost.Return = porcupine.Pending
			calls = append(calls, lost)
			pending++
		}
	}
	return calls
}

func drawCall(r *rand.Rand, shape Shape, input Input, client, n int, start, latency int64) call {
	ret := start + 1 + r.Int64N(latency)
	key := r.IntN(max(1, shape.Keys))
	return call{
		Operation: porcupine.Operation{ClientId: client, Input: input(r, client, n, fmt.Sprint("k", key)), Call: start, Return: ret},
		key:       key,
		takes:     start + r.Int64N(ret-start),
	}
}

// KV returns a history of models.KV with gets, puts and appends in the given proportions. All
// written values differ.
func KV(shape Shape, gets, puts, appends int) []porcupine.Operation {
	input := func(r *rand.Rand, client, n int, key string) any {
		value := fmt.Sprintf("x %d %d y", client, n)
		switch d := r.IntN(gets + puts + appends); {
		case d < gets:
			return models.KVInput{Op: models.KVGet, Key: key}
		case d < gets+puts:
			return models.KVInput{Op: models.KVPut, Key: key, Value: value}
		}
		return models.KVInput{Op: models.KVAppend, Key: key, Value: value}
	}
	return History(shape, "", input, func(state, input any) (any, any) {
		switch in := input.(models.KVInput); in.Op {
		case models.KVGet:
			return models.KVOutput{Value: state.(string)}, state
		case models.KVPut:
			return models.KVOutput{}, in.Value
		default:
			return models.KVOutput{}, state.(string) + in.Value
		}
	})
}

// CAS returns a history of models.CASRegister. A third each are reads, writes and compare-and-swaps
// of the values 0 to values-1.
func CAS(shape Shape, values int) []porcupine.Operation {
	input := func(r *rand.Rand, _, _ int, _ string) any {
		return models.RegisterInput{Op: models.RegisterOp(r.IntN(3)), Value: r.IntN(values), Expect: r.IntN(values)}
	}
	return History(shape, nil, input, func(state, input any) (any, any) {
		switch in := input.(models.RegisterInput); {
		case in.Op == models.RegisterRead:
			return models.RegisterOutput{Value: state}, state
		case in.Op == models.RegisterWrite:
			return models.RegisterOutput{}, in.Value
		case in.Expect == state:
			return models.RegisterOutput{OK: true}, in.Value
		default:
			return models.RegisterOutput{}, state
		}
	})
}

// Versioned returns a history of models.KVVersioned. A quarter each are gets and puts. An eighth
// each are appends, deletes, compare-and-swaps with a recent version, and compare-and-swaps with
// another version.
func Versioned(shape Shape) []porcupine.Operation {
	return versionedOps(shape, models.VersionedGet, models.VersionedGet, models.VersionedPut, models.VersionedPut,
		models.VersionedAppend, models.VersionedDelete, models.VersionedCAS, models.VersionedCAS)
}

// Etcd returns a history of models.KVVersioned with the shape of a recorded etcd history under
// faults. Of nine calls, four are gets, two puts, two compare-and-swaps and one is a delete.
// Pending gets are left out, because they have no effect.
func Etcd(shape Shape) []porcupine.Operation {
	history := versionedOps(shape, models.VersionedGet, models.VersionedGet, models.VersionedGet, models.VersionedGet, models.VersionedPut,
		models.VersionedPut, models.VersionedCAS, models.VersionedCAS, models.VersionedDelete)
	return slices.DeleteFunc(history, func(o porcupine.Operation) bool {
		return o.Return == porcupine.Pending && o.Input.(models.VersionedInput).Op == models.VersionedGet
	})
}

// versionedOps draws each operation from the given ones.
func versionedOps(shape Shape, ops ...models.VersionedOp) []porcupine.Operation {
	var version uint64 // of the latest write of any key
	input := func(r *rand.Rand, client, n int, key string) any {
		in := models.VersionedInput{Key: key, Value: fmt.Sprintf("x %d %d y", client, n)}
		in.Op = ops[r.IntN(len(ops))]
		if in.Op == models.VersionedCAS {
			in.Version = uint64(n*shape.Clients + r.IntN(shape.Clients))
		}
		return in
	}
	return History(shape, models.VersionedOutput{}, input, func(state, input any) (any, any) {
		key, in := state.(models.VersionedOutput), input.(models.VersionedInput)
		write := func(value string) (any, any) {
			version++
			return models.VersionedOutput{Version: version, OK: in.Op == models.VersionedCAS},
				models.VersionedOutput{Value: value, Version: version, OK: true}
		}
		switch {
		case in.Op == models.VersionedGet:
			return key, key
		case in.Op == models.VersionedDelete:
			return models.VersionedOutput{OK: key.OK}, models.VersionedOutput{}
		case in.Op == models.VersionedAppend:
			return write(key.Value + in.Value)
		case in.Op == models.VersionedPut || in.Version == key.Version:
			return write(in.Value)
		}
		return models.VersionedOutput{Version: key.Version}, key
	})
}

// Sequential returns a history of models.Register by one client with alternating writes and reads.
// All written values differ.
func Sequential(operations int) []porcupine.Operation {
	history := make([]porcupine.Operation, operations)
	for i := range history {
		in, out := models.RegisterInput{Op: models.RegisterWrite, Value: i}, models.RegisterOutput{}
		if i%2 == 1 {
			in, out = models.RegisterInput{}, models.RegisterOutput{Value: i - 1}
		}
		history[i] = porcupine.Operation{Input: in, Output: out, Call: int64(2 * i), Return: int64(2*i + 1)}
	}
	return history
}

// StaleRead gives a late read in a history of models.KV the value of an earlier read. Another read
// saw a newer value in between, so the history becomes illegal. StaleRead reports whether it found
// such a read.
func StaleRead(history []porcupine.Operation) bool {
	for i := len(history) * 9 / 10; i < len(history); i++ {
		late := &history[i]
		in := late.Input.(models.KVInput)
		if in.Op != models.KVGet || late.Return == porcupine.Pending {
			continue
		}
		now := late.Output.(models.KVOutput).Value
		for j := i - 1; j >= 0; j-- {
			early := history[j]
			if early.Input.(models.KVInput).Key != in.Key || early.Return >= late.Call || !superseded(history, j, i) {
				continue
			}
			out, isRead := early.Output.(models.KVOutput)
			if isRead && early.Input.(models.KVInput).Op == models.KVGet && out.Value != now {
				late.Output = out
				return true
			}
		}
	}
	return false
}

// superseded says whether a read between the reads at j and i saw another value than the read at j.
func superseded(history []porcupine.Operation, j, i int) bool {
	for _, o := range history[j+1 : i] {
		if in := o.Input.(models.KVInput); in.Op == models.KVGet && in.Key == history[j].Input.(models.KVInput).Key &&
			o.Call > history[j].Return && o.Return < history[i].Call && o.Output != history[j].Output {
			return true
		}
	}
	return false
}
