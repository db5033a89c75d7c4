package models_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// op is an operation from call to return.
func op(call, ret int64, input, output any) porcupine.Operation {
	return porcupine.Operation{Input: input, Output: output, Call: call, Return: ret}
}

func pending(call int64, input any) porcupine.Operation {
	return porcupine.Operation{Input: input, Call: call, Return: porcupine.Pending}
}

type (
	kvIn    = models.KVInput
	kvOut   = models.KVOutput
	verIn   = models.VersionedInput
	verOut  = models.VersionedOutput
	queueIn = models.QueueInput
	queueO  = models.QueueOutput
	setIn   = models.SetInput
	setOut  = models.SetOutput
	lockIn  = models.LockInput
	lockOut = models.LockOutput
	listIn  = models.ListInput
	listOut = models.ListOutput
	regIn   = models.RegisterInput
	regOut  = models.RegisterOutput
)

func ops(o ...porcupine.Operation) []porcupine.Operation { return o }

func put(call, ret int64, value string, version uint64) porcupine.Operation {
	return op(call, ret, verIn{Op: models.VersionedPut, Key: "k", Value: value}, verOut{Version: version})
}

func get(call, ret int64, value string, version uint64) porcupine.Operation {
	return op(call, ret, verIn{Key: "k"}, verOut{Value: value, Version: version, OK: version > 0})
}

func cas(call, ret int64, expect uint64, ok bool, version uint64) porcupine.Operation {
	return op(call, ret, verIn{Op: models.VersionedCAS, Key: "k", Value: "c", Version: expect}, verOut{OK: ok, Version: version})
}

func del(call, ret int64, found bool) porcupine.Operation {
	return op(call, ret, verIn{Op: models.VersionedDelete, Key: "k"}, verOut{OK: found})
}

func scan(call, ret int64, all map[string]string) porcupine.Operation {
	return op(call, ret, verIn{Op: models.VersionedScan}, verOut{Scan: all})
}

func push(call, ret int64, v string) porcupine.Operation {
	return op(call, ret, queueIn{Op: models.QueuePush, Value: v}, queueO{})
}

func pop(call, ret int64, v string) porcupine.Operation {
	return op(call, ret, queueIn{Op: models.QueuePop}, queueO{v, v != ""})
}

func kvPut(call, ret int64, v string) porcupine.Operation {
	return op(call, ret, kvIn{models.KVPut, "k", v}, kvOut{})
}

func kvGet(call, ret int64, v string) porcupine.Operation {
	return op(call, ret, kvIn{Key: "k"}, kvOut{v})
}

// verdicts holds legal histories, and illegal ones that differ from them in one point.
var verdicts = []struct {
	name  string
	model porcupine.Model
	legal bool
	ops   []porcupine.Operation
}{
	{"kv", models.KV, true, ops(kvPut(0, 1, "a"), op(2, 5, kvIn{models.KVAppend, "k", "b"}, kvOut{}), kvGet(3, 4, "ab"), kvGet(3, 4, "a"))},
	{"kv stale", models.KV, false, ops(kvPut(0, 1, "a"), kvPut(2, 3, "b"), kvGet(4, 5, "a"))},
	{"kv pending put seen", models.KV, true, ops(pending(0, kvIn{models.KVPut, "k", "a"}), kvGet(4, 5, ""), kvGet(6, 7, "a"))},
	{"kv pending put unseen again", models.KV, false, ops(pending(0, kvIn{models.KVPut, "k", "a"}), kvGet(4, 5, "a"), kvGet(6, 7, ""))},
	{"versions", models.KVVersioned, true, ops(put(0, 9, "a", 3), put(0, 9, "b", 7), get(10, 11, "b", 7))},
	{"versions give the order", models.KVVersioned, false, ops(put(0, 9, "a", 3), put(0, 9, "b", 7), get(10, 11, "a", 3))},
	{"versions fall", models.KVVersioned, false, ops(put(0, 1, "a", 3), put(2, 3, "b", 2))},
	{"version unknown", models.KVVersioned, true, ops(put(0, 1, "a", 3), pending(2, verIn{Op: models.VersionedPut, Key: "k", Value: "b"}), get(4, 5, "b", 9), get(6, 7, "b", 9))},
	{"version of one write changes", models.KVVersioned, false, ops(pending(2, verIn{Op: models.VersionedPut, Key: "k", Value: "b"}), get(4, 5, "b", 9), get(6, 7, "b", 10))},
	{"cas", models.KVVersioned, true, ops(cas(0, 1, 0, true, 1), cas(2, 3, 0, false, 1), cas(4, 5, 1, true, 2), get(6, 7, "c", 2))},
	{"cas on a wrong version", models.KVVersioned, false, ops(put(0, 1, "a", 3), cas(2, 3, 2, true, 4))},
	{"cas fails though it matches", models.KVVersioned, false, ops(put(0, 1, "a", 3), cas(2, 3, 3, false, 0))},
	{"cas reports another version", models.KVVersioned, false, ops(put(0, 1, "a", 3), cas(2, 3, 2, false, 4))},
	{"pending cas", models.KVVersioned, true, ops(put(0, 1, "a", 3), pending(2, verIn{Op: models.VersionedCAS, Key: "k", Value: "c", Version: 3}), get(4, 5, "c", 4))},
	{"pending cas cannot match", models.KVVersioned, false, ops(put(0, 1, "a", 3), pending(2, verIn{Op: models.VersionedCAS, Key: "k", Value: "c", Version: 2}), get(4, 5, "c", 4))},
	{"delete", models.KVVersioned, true, ops(put(0, 1, "a", 3), del(2, 3, true), del(4, 5, false), get(6, 7, "", 0), put(8, 9, "b", 4))},
	{"delete of what is absent", models.KVVersioned, false, ops(put(0, 1, "a", 3), del(2, 3, true), del(4, 5, true))},
	{"a version comes back", models.KVVersioned, false, ops(put(0, 1, "a", 3), del(2, 3, true), put(8, 9, "b", 3))},
	{"scan", models.KVStore, true, ops(put(0, 1, "a", 3), op(2, 9, verIn{Op: models.VersionedPut, Key: "l", Value: "b"}, verOut{Version: 4}),
		scan(3, 4, map[string]string{"k": "a"}), scan(5, 6, map[string]string{"k": "a", "l": "b"}))},
	{"scan goes back", models.KVStore, false, ops(put(0, 1, "a", 3), op(2, 9, verIn{Op: models.VersionedPut, Key: "l", Value: "b"}, verOut{Version: 4}),
		scan(3, 4, map[string]string{"k": "a", "l": "b"}), scan(5, 6, map[string]string{"k": "a"}))},
	{"queue", models.Queue, true, ops(push(0, 5, "a"), push(0, 5, "b"), pop(6, 7, "b"), pop(8, 9, "a"), pop(10, 11, ""))},
	{"queue order", models.Queue, false, ops(push(0, 1, "a"), push(2, 3, "b"), pop(6, 7, "b"))},
	{"queue value twice", models.Queue, false, ops(push(0, 1, "a"), pop(2, 9, "a"), pop(2, 9, "a"))},
	{"queue pending pop", models.Queue, true, ops(push(0, 1, "a"), push(2, 3, "b"), pending(2, queueIn{Op: models.QueuePop}), pop(6, 7, "b"))},
	{"set", models.Set, true, ops(op(0, 1, setIn{models.SetAdd, "s", "a"}, setOut{OK: true}), op(2, 3, setIn{models.SetAdd, "s", "b"}, setOut{OK: true}),
		op(4, 5, setIn{Op: models.SetRead, Name: "s"}, setOut{Elements: []string{"b", "a"}}))},
	{"set element lost", models.Set, false, ops(op(0, 1, setIn{models.SetAdd, "s", "a"}, setOut{OK: true}), op(2, 3, setIn{models.SetAdd, "s", "b"}, setOut{OK: true}),
		op(4, 5, setIn{Op: models.SetRead, Name: "s"}, setOut{Elements: []string{"b"}}))},
	{"set removed twice", models.Set, false, ops(op(0, 1, setIn{models.SetAdd, "s", "a"}, setOut{OK: true}),
		op(2, 5, setIn{models.SetRemove, "s", "a"}, setOut{OK: true}), op(2, 5, setIn{models.SetRemove, "s", "a"}, setOut{OK: true}))},
	{"lock", models.Lock, true, ops(op(0, 1, lockIn{models.LockAcquire, "l", "x"}, lockOut{true}), op(2, 3, lockIn{models.LockAcquire, "l", "y"}, lockOut{false}),
		op(4, 7, lockIn{models.LockRelease, "l", "x"}, lockOut{true}), op(5, 6, lockIn{models.LockAcquire, "l", "y"}, lockOut{true}))},
	{"two holders", models.Lock, false, ops(op(0, 1, lockIn{models.LockAcquire, "l", "x"}, lockOut{true}), op(2, 3, lockIn{models.LockAcquire, "l", "y"}, lockOut{true}))},
	{"list", models.ListAppend, true, ops(op(0, 9, listIn{models.ListAdd, "l", "a"}, listOut{}), op(0, 9, listIn{models.ListAdd, "l", "b"}, listOut{}),
		op(3, 4, listIn{Key: "l"}, listOut{[]string{"b"}}), op(5, 6, listIn{Key: "l"}, listOut{[]string{"b", "a"}}))},
	{"list order changes", models.ListAppend, false, ops(op(0, 9, listIn{models.ListAdd, "l", "a"}, listOut{}), op(0, 9, listIn{models.ListAdd, "l", "b"}, listOut{}),
		op(3, 4, listIn{Key: "l"}, listOut{[]string{"b"}}), op(5, 6, listIn{Key: "l"}, listOut{[]string{"a", "b"}}))},
	{"register", models.Register, true, ops(op(0, 9, regIn{Op: models.RegisterWrite, Value: 1}, regOut{}), op(2, 3, regIn{}, regOut{}), op(4, 5, regIn{}, regOut{Value: 1}))},
	{"register goes back", models.Register, false, ops(op(0, 9, regIn{Op: models.RegisterWrite, Value: 1}, regOut{}), op(2, 3, regIn{}, regOut{Value: 1}), op(4, 5, regIn{}, regOut{}))},
	{"cas register", models.CASRegister, false, ops(op(0, 9, regIn{models.RegisterCAS, 1, nil}, regOut{OK: true}), op(0, 9, regIn{models.RegisterCAS, 2, nil}, regOut{OK: true}))},
}

// TestVerdicts checks the histories of verdicts.
func TestVerdicts(t *testing.T) {
	for _, c := range verdicts {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.legal, porcupine.CheckOperations(c.model, c.ops))
			require.Equal(t, c.legal, porcupine.CheckEvents(c.model, events(c.ops)), "as events")
			for _, o := range c.ops {
				require.NotEmpty(t, c.model.DescribeOperation(o.Input, o.Output), "%+v", o)
			}
		})
	}
}

// events turns operations with times below 100 into events.
func events(ops []porcupine.Operation) []porcupine.Event {
	var history []porcupine.Event
	for now := range int64(100) {
		for id, o := range ops {
			if o.Call == now {
				history = append(history, porcupine.Event{Kind: porcupine.CallEvent, Id: id, Value: o.Input})
			}
		}
		for id, o := range ops {
			if o.Return == now {
				history = append(history, porcupine.Event{Kind: porcupine.ReturnEvent, Id: id, Value: o.Output})
			}
		}
	}
	return history
}
