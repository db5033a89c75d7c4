package porcupine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// oracle decides linearizability by trying every order, in a slow and obvious way.
func oracle(m porcupine.Model, history []porcupine.Operation) bool {
	left := len(history)
	for _, h := range history {
		if h.Return == porcupine.Pending {
			left--
		}
	}
	return oracleFrom(m, history, make([]bool, len(history)), left, m.Init())
}

func oracleFrom(m porcupine.Model, history []porcupine.Operation, done []bool, left int, state any) bool {
	if left == 0 {
		return true
	}
	for i, h := range history {
		if done[i] || !mayBeNext(history, done, h) {
			continue
		}
		done[i] = true
		pending := h.Return == porcupine.Pending
		var next []any
		if pending {
			next = m.StepPending(state, h.Input)
		} else if ok, s := m.Step(state, h.Input, h.Output); ok {
			next = []any{s}
		}
		rest := left
		if !pending {
			rest--
		}
		for _, s := range next {
			if oracleFrom(m, history, done, rest, s) {
				return true
			}
		}
		done[i] = false
	}
	return false
}

// mayBeNext says whether no operation that is still to come returned before h was called.
func mayBeNext(history []porcupine.Operation, done []bool, h porcupine.Operation) bool {
	for i, other := range history {
		if !done[i] && other.Return < h.Call {
			return false
		}
	}
	return true
}

// world is a model for random histories, with its inputs and outputs.
type world struct {
	name    string
	model   porcupine.Model
	input   func(r *rand.Rand) any
	outputs func(state, input any) []any // every possible output
	wrong   func(r *rand.Rand) any       // some output, right or wrong

	inputs, results []any // of a ready model
}

// withPending returns the model with a StepPending, which follows from the possible outputs.
func (w world) withPending() porcupine.Model {
	m := w.model
	if m.StepPending != nil {
		return m
	}
	m.StepPending = func(state, input any) []any {
		var next []any
		for _, out := range w.outputs(state, input) {
			if ok, s := m.Step(state, input, out); ok {
				next = append(next, s)
			}
		}
		return next
	}
	return m
}

// history draws a history of up to n operations. The history is legal by construction. Half of
// the histories are then changed in one place.
func (w world) history(r *rand.Rand, n int) []porcupine.Operation {
	n = 1 + r.IntN(n)
	span := int64(1 + r.IntN(3*n))
	h := make([]porcupine.Operation, n)
	points := make([]float64, n)
	order := make([]int, n)
	for i := range h {
		a, b := r.Int64N(span), r.Int64N(span)
		if r.IntN(3) == 0 {
			b = a + r.Int64N(3)
		}
		h[i] = porcupine.Operation{ClientId: i, Input: w.input(r), Call: min(a, b), Return: max(a, b)}
		points[i] = float64(h[i].Call) + r.Float64()*float64(h[i].Return-h[i].Call)
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if points[a] < points[b] {
			return -1
		}
		return 1
	})
	state := w.model.Init()
	for _, i := range order {
		outs := w.outputs(state, h[i].Input)
		h[i].Output = outs[r.IntN(len(outs))]
		_, state = w.model.Step(state, h[i].Input, h[i].Output)
	}
	pendingIn := []int{2, 5, 1000}[r.IntN(3)]
	for i := range h {
		if r.IntN(pendingIn) == 0 {
			h[i].Return, h[i].Output = porcupine.Pending, nil
		}
	}
	if i := r.IntN(n); r.IntN(2) == 0 && h[i].Return != porcupine.Pending {
		if r.IntN(2) == 0 {
			h[i].Output = w.wrong(r)
		} else {
			h[i].Call, h[i].Return = span+h[i].Call, span+h[i].Return
		}
	}
	return h
}

type regInput struct {
	op   byte // 'r', 'w', 'a'dd, 'c'as
	a, b int
}

func registerStep(state, input, output any) (bool, any) {
	in, st := input.(regInput), state.(int)
	switch in.op {
	case 'r':
		return output == st, st
	case 'w':
		return true, in.a
	case 'a':
		return true, (st + in.a) % 4
	default:
		if st == in.a {
			return output == 1, in.b
		}
		return output == 0, st
	}
}

func registerOutputs(state, input any) []any {
	in, st := input.(regInput), state.(int)
	switch {
	case in.op == 'r':
		return []any{st}
	case in.op == 'c' && st == in.a:
		return []any{1}
	}
	return []any{0}
}

func registerWorld(name, ops string, values int) world {
	return world{
		name:    name,
		model:   porcupine.Model{Init: func() any { return 0 }, Step: registerStep},
		input:   func(r *rand.Rand) any { return regInput{ops[r.IntN(len(ops))], r.IntN(values), r.IntN(values)} },
		outputs: registerOutputs,
		wrong:   func(r *rand.Rand) any { return r.IntN(values) },
	}
}

type listInput struct {
	op   byte // 'g'et, 'p'ut, 'a'ppend
	text string
}

func listWorld(name string, texts int) world {
	step := func(state, input, output any) (bool, any) {
		in, st := input.(listInput), state.(string)
		switch in.op {
		case 'g':
			return output == st, st
		case 'p':
			return true, in.text
		default:
			return true, st + in.text
		}
	}
	return world{
		name:  name,
		model: porcupine.Model{Init: func() any { return "" }, Step: step},
		input: func(r *rand.Rand) any {
			return listInput{"gpaga"[r.IntN(5)], fmt.Sprint(r.IntN(texts))}
		},
		outputs: func(state, input any) []any {
			if input.(listInput).op == 'g' {
				return []any{state}
			}
			return []any{""}
		},
		wrong: func(r *rand.Rand) any { return fmt.Sprint(r.IntN(texts)) },
	}
}

// queueWorld has states of a type without ==.
func queueWorld(equal func(a, b any) bool, hash func(any) uint64) world {
	step := func(state, input, output any) (bool, any) {
		q, in := state.([]int), input.(int)
		if in > 0 {
			return output == 0, append(slices.Clone(q), in)
		}
		if len(q) == 0 {
			return output == -1, q
		}
		return output == q[0], slices.Clone(q[1:])
	}
	return world{
		name:  "queue",
		model: porcupine.Model{Init: func() any { return []int(nil) }, Step: step, Equal: equal, Hash: hash},
		input: func(r *rand.Rand) any { return max(0, r.IntN(5)-1) },
		outputs: func(state, input any) []any {
			switch q := state.([]int); {
			case input.(int) > 0:
				return []any{0}
			case len(q) == 0:
				return []any{-1}
			default:
				return []any{q[0]}
			}
		},
		wrong: func(r *rand.Rand) any { return r.IntN(4) - 1 },
	}
}

// lossyWorld is a nondeterministic register. A write may be lost, and its answer does not show
// the loss.
func lossyWorld(hash func(any) uint64) world {
	nm := porcupine.NondeterministicModel{
		Init: func() []any { return []any{0} },
		Step: func(state, input, output any) []any {
			in := input.(regInput)
			if in.op == 'w' {
				return []any{state, in.a}
			}
			if output == state {
				return []any{state}
			}
			return nil
		},
		Hash: hash,
	}
	return world{
		name:  "lossy",
		model: nm.ToModel(),
		input: func(r *rand.Rand) any { return regInput{op: "rwr"[r.IntN(3)], a: r.IntN(3)} },
		outputs: func(state, input any) []any {
			if input.(regInput).op == 'r' {
				return state.([]any)
			}
			return []any{0}
		},
		wrong: func(r *rand.Rand) any { return r.IntN(3) },
	}
}

func worlds() []world {
	deepEqual := func(a, b any) bool { return slices.Equal(a.([]int), b.([]int)) }
	length := func(s any) uint64 { return uint64(len(s.([]int))) }
	coarse := registerWorld("coarse", "rwac", 4)
	coarse.model.Equal = func(a, b any) bool { return a == b }
	scanning := registerWorld("scanning", "rwc", 3)
	scanning.model.Equal = reflect.DeepEqual
	return []world{
		registerWorld("register", "rw", 3), registerWorld("wide register", "rw", 50), registerWorld("adder", "rwac", 4),
		registerWorld("cas", "rwcc", 3), coarse, scanning,
		listWorld("list", 3), listWorld("wide list", 60),
		queueWorld(nil, nil), queueWorld(deepEqual, nil), queueWorld(deepEqual, length), queueWorld(nil, length),
		lossyWorld(nil), lossyWorld(func(s any) uint64 { return uint64(s.(int)) }),
	}
}

// hinted returns the world with a hint in its model.
func hinted(w world, initial any, access func(input, output any) porcupine.Access) world {
	w.name += " with hint"
	w.model.Hint = &porcupine.Hint{Initial: initial, Access: access}
	return w
}

func registerAccess(input, output any) porcupine.Access {
	in := input.(regInput)
	switch {
	case in.op == 'r':
		return porcupine.Access{Kind: porcupine.AccessRead, Value: output}
	case in.op == 'w':
		return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.a}
	case in.op == 'c' && output == 0:
		return porcupine.Access{Kind: porcupine.AccessDiffer, Expect: in.a}
	case in.op == 'c' && (output == 1 || output == nil):
		return porcupine.Access{Kind: porcupine.AccessSwap, Value: in.b, Expect: in.a}
	}
	return porcupine.Access{}
}

func listAccess(input, output any) porcupine.Access {
	in := input.(listInput)
	switch in.op {
	case 'g':
		return porcupine.Access{Kind: porcupine.AccessRead, Value: output}
	case 'p':
		return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.text}
	}
	return porcupine.Access{Kind: porcupine.AccessAppend, Value: in.text}
}

// tokenWorld is listWorld with texts of which none is a prefix of another.
func tokenWorld(name string, texts int, ops string) world {
	w := listWorld(name, texts)
	w.input = func(r *rand.Rand) any { return listInput{ops[r.IntN(len(ops))], fmt.Sprintf("<%d>", r.IntN(texts))} }
	w.wrong = func(r *rand.Rand) any { return fmt.Sprintf("<%d>", r.IntN(texts)) }
	return w
}

// beginningWith returns the world with another initial state. Wrong reads may show it too.
func beginningWith(initial string, w world) world {
	w.model.Init = func() any { return initial }
	wrong := w.wrong
	w.wrong = func(r *rand.Rand) any { return []any{initial, wrong(r), initial + wrong(r).(string), ""}[r.IntN(4)] }
	return w
}

func hintedWorlds() []world {
	return []world{
		hinted(registerWorld("register", "rw", 3), 0, registerAccess),
		hinted(registerWorld("wide register", "rrw", 60), 0, registerAccess),
		hinted(registerWorld("cas", "rwc", 3), 0, registerAccess),
		hinted(casChain(), 0, registerAccess),
		hinted(listWorld("list", 3), "", listAccess),
		hinted(tokenWorld("tokens", 60, "gpaga"), "", listAccess),
		hinted(tokenWorld("few tokens", 4, "gaaga"), "", listAccess),
		hinted(tokenWorld("few tokens and puts", 6, "gagap"), "", listAccess),
		hinted(beginningWith("<i>", tokenWorld("tokens upon others", 60, "gpaga")), "<i>", listAccess),
		hinted(beginningWith("<i>", tokenWorld("few tokens upon others", 4, "gaagp")), "<i>", listAccess),
	}
}

// casChain has swaps of different values, which form chains.
func casChain() world {
	w := registerWorld("cas chain", "rc", 40)
	w.input = func(r *rand.Rand) any {
		if r.IntN(3) == 0 {
			return regInput{op: 'r'}
		}
		return regInput{'c', []int{0, 0, r.IntN(12), r.IntN(12)}[r.IntN(4)], 1 + r.IntN(40)}
	}
	return w
}

// versionedWorld has answers with versions. The hint orders the operations by them.
func versionedWorld() world {
	values := []string{"", "a", "b", "aa", "ab", "ba", "bb", "aaa", "bbb"}
	return world{
		name:  "versioned",
		model: models.KVVersioned,
		input: func(r *rand.Rand) any {
			return models.VersionedInput{Op: models.VersionedOp(r.IntN(5)), Value: values[1+r.IntN(2)], Version: uint64(r.IntN(7))}
		},
		outputs: func(state, input any) []any {
			var all []any
			for version := range uint64(10) {
				for _, value := range values {
					for _, ok := range []bool{false, true} {
						out := models.VersionedOutput{Value: value, Version: version, OK: ok}
						if possible, _ := models.KVVersioned.Step(state, input, out); possible && len(all) < 40 {
							all = append(all, out)
						}
					}
				}
			}
			return append(all, models.VersionedOutput{})
		},
		wrong: func(r *rand.Rand) any {
			return models.VersionedOutput{Value: values[r.IntN(4)], Version: uint64(r.IntN(7)), OK: r.IntN(3) > 0}
		},
	}
}

// readyWorld draws histories of a ready model from a few inputs and outputs.
func readyWorld(name string, model porcupine.Model, inputs, outputs []any) world {
	model.Partition, model.PartitionEvent = nil, nil
	return world{
		name:  name,
		model: model,
		input: func(r *rand.Rand) any {
			if r.IntN(50) == 0 {
				return inputs[len(inputs)-1]
			}
			return inputs[r.IntN(len(inputs)-1)]
		},
		outputs: func(state, input any) []any {
			var all []any
			for _, output := range outputs {
				if ok, _ := model.Step(state, input, output); ok {
					all = append(all, output)
				}
			}
			if len(all) == 0 {
				return outputs[:1]
			}
			return all
		},
		wrong:  func(r *rand.Rand) any { return outputs[r.IntN(len(outputs))] },
		inputs: inputs, results: outputs,
	}
}

// product returns the inputs of each op up to last with each of the values, and one input of an
// unknown op.
func product[O ~uint8, V, I any](last O, values []V, build func(op O, value V) I) []any {
	var all []any
	for op := range last + 1 {
		for _, value := range values {
			all = append(all, build(op, value))
		}
	}
	return append(all, build(last+1, values[0]))
}

// readyWorlds are the ready models with one key and an unknown op.
func readyWorlds() []world {
	texts := []string{"a", "b"}
	results := []any{models.RegisterOutput{}, models.RegisterOutput{OK: true}, models.RegisterOutput{Value: 1}, models.RegisterOutput{Value: 2}}
	register := func(op models.RegisterOp, v any) models.RegisterInput {
		return models.RegisterInput{Op: op, Value: v, Expect: 1}
	}
	return []world{
		readyWorld("KV", models.KV, product(models.KVAppend, texts, func(op models.KVOp, v string) models.KVInput { return models.KVInput{Op: op, Value: v} }),
			[]any{models.KVOutput{}, models.KVOutput{Value: "a"}, models.KVOutput{Value: "b"}, models.KVOutput{Value: "ab"}}),
		readyWorld("Register", models.Register, product(models.RegisterWrite, []any{1, 2}, register), results),
		readyWorld("CASRegister", models.CASRegister, product(models.RegisterCAS, []any{1, 2}, register), results),
		readyWorld("Queue", models.Queue, product(models.QueuePeek, texts, func(op models.QueueOp, v string) models.QueueInput { return models.QueueInput{Op: op, Value: v} }),
			[]any{models.QueueOutput{}, models.QueueOutput{Value: "a", OK: true}, models.QueueOutput{Value: "b", OK: true}}),
		readyWorld("Set", models.Set, product(models.SetRead, texts, func(op models.SetOp, v string) models.SetInput { return models.SetInput{Op: op, Element: v} }),
			[]any{models.SetOutput{}, models.SetOutput{OK: true}, models.SetOutput{Elements: []string{"b", "a"}}, models.SetOutput{Elements: []string{"a"}}}),
		readyWorld("Lock", models.Lock, product(models.LockRelease, texts, func(op models.LockOp, v string) models.LockInput { return models.LockInput{Op: op, Owner: v} }),
			[]any{models.LockOutput{}, models.LockOutput{OK: true}}),
		readyWorld("ListAppend", models.ListAppend, product(models.ListAdd, texts, func(op models.ListOp, v string) models.ListInput { return models.ListInput{Op: op, Element: v} }),
			[]any{models.ListOutput{}, models.ListOutput{Elements: []string{"a"}}, models.ListOutput{Elements: []string{"a", "b"}}}),
	}
}

// TestUnknownOp gives each ready model an unknown op. No answer to the op is legal, and a pending
// one changes nothing.
func TestUnknownOp(t *testing.T) {
	for _, w := range readyWorlds() {
		inputs, outputs := w.inputs, w.results
		unknown := inputs[len(inputs)-1]
		for _, output := range outputs {
			h := []porcupine.Operation{{Input: unknown, Output: output, Call: 0, Return: 1}}
			require.False(t, porcupine.CheckOperations(w.model, h), "%s: %+v -> %+v", w.name, unknown, output)
		}
		for _, output := range outputs {
			require.False(t, porcupine.CheckOperations(w.model, []porcupine.Operation{
				{Input: unknown, Call: 0, Return: porcupine.Pending}, {Input: unknown, Output: output, Call: 2, Return: 3}}), w.name)
		}
		require.Empty(t, w.model.StepPending(w.model.Init(), unknown), w.name)
	}
}

// unansweredWorld draws mostly different values, so that some pending writes are seen and some
// are not.
func unansweredWorld(model porcupine.Model, ops ...models.VersionedOp) world {
	w := world{model: model}
	w.name = fmt.Sprint("unanswered ", ops)
	values := []string{"a", "b", "c", "ab", "?", ""}
	w.input = func(r *rand.Rand) any {
		return models.VersionedInput{Op: ops[r.IntN(len(ops))], Value: values[r.IntN(len(values))], Version: uint64(r.IntN(4))}
	}
	w.outputs = func(state, input any) []any {
		var all []any
		for version := range uint64(8) {
			for _, value := range append(values, "aa", "a?", "b?c") {
				for _, ok := range []bool{false, true} {
					out := models.VersionedOutput{Value: value, Version: version, OK: ok}
					if possible, _ := w.model.Step(state, input, out); possible && len(all) < 40 {
						all = append(all, out)
					}
				}
			}
		}
		return append(all, models.VersionedOutput{})
	}
	w.wrong = func(r *rand.Rand) any {
		return models.VersionedOutput{Value: values[r.IntN(len(values))], Version: uint64(r.IntN(5)), OK: r.IntN(3) > 0}
	}
	return w
}

// storeWorld has two keys and scans.
func storeWorld() world {
	model := models.KVStore
	model.Partition, model.PartitionEvent = nil, nil
	w := unansweredWorld(model, models.VersionedGet, models.VersionedPut, models.VersionedCAS, models.VersionedDelete, models.VersionedScan, models.VersionedScan)
	w.name = "store"
	input, outputs := w.input, w.outputs
	keys := []string{"k", "l"}
	w.input = func(r *rand.Rand) any {
		in := input(r).(models.VersionedInput)
		in.Key = keys[r.IntN(2)]
		return in
	}
	scans := []any{models.VersionedOutput{}}
	for _, k := range []string{"", "a", "b", "c"} {
		for _, l := range []string{"", "a", "b", "c"} {
			scan := map[string]string{"k": k, "l": l}
			for key, value := range scan {
				if value == "" {
					delete(scan, key)
				}
			}
			scans = append(scans, models.VersionedOutput{Scan: scan})
		}
	}
	w.outputs = func(state, input any) []any {
		if input.(models.VersionedInput).Op != models.VersionedScan {
			return outputs(state, input)
		}
		for _, scan := range scans {
			if ok, _ := w.model.Step(state, input, scan); ok {
				return []any{scan}
			}
		}
		return scans[:1]
	}
	return w
}

func versionedWorlds() []world {
	get, put, add, del, cas := models.VersionedGet, models.VersionedPut, models.VersionedAppend, models.VersionedDelete, models.VersionedCAS
	m := models.KVVersioned
	return []world{versionedWorld(), unansweredWorld(m, get, get, put, del), unansweredWorld(m, get, get, put, put, del, cas, cas),
		unansweredWorld(m, get, get, put, add, add), storeWorld()}
}

// TestPathsAgree compares every way to an answer with the oracle.
func TestPathsAgree(t *testing.T) {
	all := slices.Concat(worlds(), hintedWorlds(), readyWorlds(), versionedWorlds())
	each := cases() / len(all)
	for n, w := range all {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			m := w.withPending()
			decided := make(map[string][2]int)
			for seed := range each {
				r := rand.New(rand.NewPCG(uint64(seed), 1000+uint64(n)))
				h := w.history(r, 7)
				want := oracle(m, h)
				for name, path := range porcupine.Paths {
					got := path(m, h)
					if got != porcupine.Unknown {
						require.Equal(t, want, got == porcupine.Ok, "seed %d, %s: %+v", seed, name, h)
					}
					count := decided[name]
					if got == porcupine.Ok {
						count[0]++
					} else if got == porcupine.Illegal {
						count[1]++
					}
					decided[name] = count
				}
			}
			if m.Hint != nil && m.Hint.Access != nil {
				require.GreaterOrEqual(t, decided["hint"][1], each/40, "the hint decided too few illegal histories")
			}
			if m.Hint != nil && m.Hint.Resolve != nil {
				require.Greater(t, min(decided["resolved"][0], decided["resolved"][1]), each/40, "too few histories were resolved")
			}
			t.Logf("legal and illegal, of %d: %v", each, decided)
		})
	}
}

func cases() int {
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		return 1_000_000
	}
	return 8_000
}

// TestAgainstOracle compares the checker with the oracle on small random histories.
func TestAgainstOracle(t *testing.T) {
	all := worlds()
	each := cases() / len(all)
	for n, w := range all {
		t.Run(fmt.Sprint(n, " ", w.name), func(t *testing.T) {
			t.Parallel()
			m := w.withPending()
			var legal int
			for seed := range each {
				r := rand.New(rand.NewPCG(uint64(seed), uint64(n)))
				h := w.history(r, 7)
				want := oracle(m, h)
				if want {
					legal++
				}
				require.Equal(t, want, porcupine.CheckOperations(m, h), "seed %d: %+v", seed, h)
			}
			require.GreaterOrEqual(t, legal, each/5, "too few histories are legal")
			require.LessOrEqual(t, legal, each*19/20, "too few histories are illegal")
		})
	}
}
