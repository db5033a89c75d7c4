package lab

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
)

// A Clerk records the operations of another clerk. Any goroutine may call the methods.
type Clerk struct {
	ck  kvtest.IKVClerk
	lab *Lab
	id  int
}

var _ kvtest.IKVClerk = (*Clerk)(nil)

// Get implements kvtest.IKVClerk.
func (k *Clerk) Get(key string) (value string, version rpc.Tversion, err rpc.Err) {
	ended := k.begin(input{get: true, key: key})
	value, version, err = k.ck.Get(key)
	if err != rpc.OK && err != rpc.ErrNoKey {
		k.lab.T.Errorf("Get of key %q returned the error %q; want %q or %q", key, err, rpc.OK, rpc.ErrNoKey)
	}
	ended(output{value, version, err})
	return value, version, err
}

// Put implements kvtest.IKVClerk.
func (k *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err {
	ended := k.begin(input{key: key, value: value, version: version})
	err := k.ck.Put(key, value, version)
	switch err {
	case rpc.OK, rpc.ErrNoKey, rpc.ErrVersion, rpc.ErrMaybe:
	default:
		k.lab.T.Errorf("Put of key %q returned the error %q, which a clerk never returns", key, err)
	}
	ended(output{err: err})
	return err
}

// Want ends the test if a key has another value or version. Version 0 stands for a
// missing key.
func (k *Clerk) Want(key, value string, version rpc.Tversion) {
	k.lab.T.Helper()
	got, v, err := k.Get(key)
	if err == rpc.ErrNoKey {
		v = 0
	}
	if got != value || v != version {
		k.lab.T.Fatalf("key %q is %.80q with version %d (%s); want %.80q with version %d", key, got, v, err, value, version)
	}
}

// WantPut makes a Put, and ends the test if the outcome differs.
func (k *Clerk) WantPut(key, value string, version rpc.Tversion, want rpc.Err) {
	k.lab.T.Helper()
	if err := k.Put(key, value, version); err != want {
		k.lab.T.Fatalf("Put(%q, %.40q, %d) is %q; want %q", key, value, version, err, want)
	}
}

// Write makes a Put of a key that nobody else writes meanwhile, whose version the caller
// knows. A leader may change at any time, so Write resolves the outcome rpc.ErrMaybe. The
// test ends if the Put does not succeed.
func (k *Clerk) Write(key, value string, version rpc.Tversion) {
	k.lab.T.Helper()
	for {
		err := k.Put(key, value, version)
		if err == rpc.OK {
			return
		}
		got, v, _ := k.Get(key)
		switch {
		case err == rpc.ErrMaybe && got == value && v == version+1:
			return
		case err != rpc.ErrMaybe || v != version:
			k.lab.T.Fatalf("Put(%q, %.40q, %d) is %q, and the key is %.40q with version %d", key, value, version, err, got, v)
		}
	}
}

// begin records an operation. The returned function records the outcome. An operation
// without an outcome is pending.
func (k *Clerk) begin(in input) (ended func(output)) {
	h := &k.lab.history
	h.mu.Lock()
	defer h.mu.Unlock()
	i := len(h.operations)
	h.operations = append(h.operations, porcupine.Operation{
		ClientId: k.id, Input: in, Call: int64(time.Since(k.lab.start)), Return: porcupine.Pending,
	})
	return func(out output) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.operations[i].Output, h.operations[i].Return = out, int64(time.Since(k.lab.start))
	}
}

// A history has the operations of all clerks.
type history struct {
	mu         sync.Mutex
	lanes      []string // of the clerks in recordings; the first clerk is 1
	operations []porcupine.Operation
}

func (h *history) newClient(lane string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lanes = append(h.lanes, lane)
	return len(h.lanes)
}

func (h *history) lane(client int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lanes[client-1]
}

func (h *history) all() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.operations)
}

// check fails the test if the history is not linearizable, and explains why.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	result, info, err := porcupine.CheckOperationsContext(t.Context(), model, h.operations, porcupine.Options{Verbose: true})
	if result != porcupine.Ok {
		t.Errorf("the history of %d operations is %v (%v)", len(h.operations), result, err)
	}
	for _, e := range porcupine.Explain(model, info) {
		t.Errorf("%v", e)
	}
}

// input is a Get, or a Put that expects a version.
type input struct {
	get        bool
	key, value string
	version    rpc.Tversion
}

// output is the outcome of an operation.
type output struct {
	value   string
	version rpc.Tversion
	err     rpc.Err
}

// state is a key's value and version. Version 0 stands for a missing key.
type state struct {
	value   string
	version rpc.Tversion
}

// model is a key/value store with versions.
var model = newModel()

func newModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) { return s.(state).step(in.(input), out.(output)) },
		StepPending: func(s, in any) []any {
			if ok, next := s.(state).step(in.(input), output{err: rpc.OK}); ok && !in.(input).get {
				return []any{next}
			}
			return nil
		},
		DescribeOperation: describe,
		DescribeState:     func(s any) string { return fmt.Sprintf("%q, version %d", s.(state).value, s.(state).version) },
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			part := make(map[string]int)
			for _, o := range history {
				key := o.Input.(input).key
				if _, known := part[key]; !known {
					part[key] = len(parts)
					parts = append(parts, nil)
				}
				parts[part[key]] = append(parts[part[key]], o)
			}
			return parts
		},
	}
}

// step reports whether an operation has this outcome in state s, and returns the next
// state. After rpc.ErrMaybe a Put has taken effect if the version was right. Otherwise the
// Put has had no effect, and the version was another one when the clerk got the answer
// to the last attempt.
func (s state) step(in input, out output) (bool, state) {
	if in.get {
		if out.err == rpc.ErrNoKey {
			return s.version == 0, s
		}
		return s.version != 0 && s == state{out.value, out.version}, s
	}
	expected := s.version == in.version
	switch {
	case expected && (out.err == rpc.OK || out.err == rpc.ErrMaybe):
		return true, state{in.value, in.version + 1}
	case out.err == rpc.ErrMaybe:
		return true, s
	case out.err == rpc.ErrVersion:
		return !expected && s.version != 0, s
	case out.err == rpc.ErrNoKey:
		return !expected && s.version == 0, s
	}
	return false, s
}

func describe(in, out any) string {
	i := in.(input)
	operation := fmt.Sprintf("put(%q, %q, version %d)", i.key, i.value, i.version)
	if i.get {
		operation = fmt.Sprintf("get(%q)", i.key)
	}
	o, answered := out.(output)
	switch {
	case !answered:
		return operation + " is pending"
	case i.get && o.err == rpc.OK:
		return fmt.Sprintf("%s -> %q, version %d", operation, o.value, o.version)
	}
	return fmt.Sprintf("%s -> %s", operation, o.err)
}
