package models_test

import (
	"fmt"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// report checks operations, each called after the one before returned.
func report(model porcupine.Model, operations ...porcupine.Operation) {
	for i := range operations {
		operations[i].Call, operations[i].Return = int64(2*i), int64(2*i+1)
		fmt.Println(model.DescribeOperation(operations[i].Input, operations[i].Output))
	}
	fmt.Println(porcupine.CheckOperationsTimeout(model, operations, 0))
}

func Example_kV() {
	report(models.KV,
		porcupine.Operation{Input: models.KVInput{Op: models.KVPut, Key: "x", Value: "a"}, Output: models.KVOutput{}},
		porcupine.Operation{Input: models.KVInput{Op: models.KVAppend, Key: "x", Value: "b"}, Output: models.KVOutput{}},
		porcupine.Operation{Input: models.KVInput{Key: "x"}, Output: models.KVOutput{Value: "ab"}})
	// Output:
	// put("x", "a")
	// append("x", "b")
	// get("x") -> "ab"
	// Ok
}

func Example_kVVersioned() {
	report(models.KVVersioned,
		porcupine.Operation{Input: models.VersionedInput{Op: models.VersionedPut, Key: "x", Value: "a"}, Output: models.VersionedOutput{Version: 3}},
		porcupine.Operation{Input: models.VersionedInput{Op: models.VersionedCAS, Key: "x", Value: "b", Version: 2}, Output: models.VersionedOutput{Version: 3}},
		porcupine.Operation{Input: models.VersionedInput{Op: models.VersionedDelete, Key: "x"}, Output: models.VersionedOutput{OK: true}},
		porcupine.Operation{Input: models.VersionedInput{Key: "x"}, Output: models.VersionedOutput{Value: "a", Version: 3, OK: true}})
	// Output:
	// put("x", "a") -> version 3
	// cas("x", version 2, "b") -> false, version 3
	// delete("x") -> true
	// get("x") -> "a", version 3
	// Illegal
}

func Example_kVStore() {
	report(models.KVStore,
		porcupine.Operation{Input: models.VersionedInput{Op: models.VersionedPut, Key: "x", Value: "a"}, Output: models.VersionedOutput{Version: 1}},
		porcupine.Operation{Input: models.VersionedInput{Op: models.VersionedScan}, Output: models.VersionedOutput{Scan: map[string]string{"x": "a"}}})
	// Output:
	// put("x", "a") -> version 1
	// scan() -> map[x:a]
	// Ok
}

func Example_register() {
	report(models.Register,
		porcupine.Operation{Input: models.RegisterInput{Op: models.RegisterWrite, Value: 1}, Output: models.RegisterOutput{}},
		porcupine.Operation{Input: models.RegisterInput{}, Output: models.RegisterOutput{Value: 2}})
	// Output:
	// write(1)
	// read() -> 2
	// Illegal
}

func Example_cASRegister() {
	report(models.CASRegister,
		porcupine.Operation{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: nil, Value: 1}, Output: models.RegisterOutput{OK: true}},
		porcupine.Operation{Input: models.RegisterInput{Op: models.RegisterCAS, Expect: nil, Value: 2}, Output: models.RegisterOutput{}})
	// Output:
	// cas(<nil>, 1) -> true
	// cas(<nil>, 2) -> false
	// Ok
}

func Example_queue() {
	report(models.Queue,
		porcupine.Operation{Input: models.QueueInput{Op: models.QueuePush, Name: "jobs", Value: "a"}, Output: models.QueueOutput{}},
		porcupine.Operation{Input: models.QueueInput{Op: models.QueuePop, Name: "jobs"}, Output: models.QueueOutput{Value: "a", OK: true}},
		porcupine.Operation{Input: models.QueueInput{Op: models.QueuePop, Name: "jobs"}, Output: models.QueueOutput{}})
	// Output:
	// push("jobs", "a")
	// pop("jobs") -> "a"
	// pop("jobs") -> empty
	// Ok
}

func Example_set() {
	report(models.Set,
		porcupine.Operation{Input: models.SetInput{Op: models.SetAdd, Name: "s", Element: "a"}, Output: models.SetOutput{OK: true}},
		porcupine.Operation{Input: models.SetInput{Op: models.SetRead, Name: "s"}, Output: models.SetOutput{}})
	// Output:
	// add("s", "a") -> true
	// read("s") -> []
	// Illegal
}

func Example_lock() {
	report(models.Lock,
		porcupine.Operation{Input: models.LockInput{Op: models.LockAcquire, Name: "l", Owner: "a"}, Output: models.LockOutput{OK: true}},
		porcupine.Operation{Input: models.LockInput{Op: models.LockAcquire, Name: "l", Owner: "b"}, Output: models.LockOutput{OK: false}})
	// Output:
	// acquire("l", "a") -> true
	// acquire("l", "b") -> false
	// Ok
}

func Example_listAppend() {
	report(models.ListAppend,
		porcupine.Operation{Input: models.ListInput{Op: models.ListAdd, Key: "l", Element: "a"}, Output: models.ListOutput{}},
		porcupine.Operation{Input: models.ListInput{Key: "l"}, Output: models.ListOutput{Elements: []string{"a"}}})
	// Output:
	// append("l", "a")
	// read("l") -> ["a"]
	// Ok
}
