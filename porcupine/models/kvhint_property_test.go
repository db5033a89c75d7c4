package models_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// versionInput and versionOutput have more fields than the labs' store. A put applies to one
// version, and its answer may be an error.
type (
	versionInput struct {
		Op         uint8
		Key, Value string
		Version    uint64
	}
	versionOutput struct {
		Value   string
		Version uint64
		Err     string
	}
	versionState struct {
		Value   string
		Version uint64
	}
)

func versionStep(state, input, output any) (bool, any) {
	s, in, out := state.(versionState), input.(versionInput), output.(versionOutput)
	switch {
	case in.Op == 0:
		return out.Value == s.Value && out.Version == s.Version, s
	case s.Version == in.Version:
		return out.Err == "OK" || out.Err == "ErrMaybe", versionState{in.Value, s.Version + 1}
	}
	return out.Err == "ErrVersion" || out.Err == "ErrMaybe", s
}

// lookalike is a model whose operations resemble those of the labs' store, and a few
// inputs and outputs to draw from. The last one is the course's own model.
type lookalike struct {
	name    string
	model   porcupine.Model
	inputs  []any
	outputs []any
}

func lookalikes() []lookalike {
	text := func(step func(state string, in courseInput, output any) (bool, any)) porcupine.Model {
		return porcupine.Model{Init: func() any { return "" }, Step: func(state, input, output any) (bool, any) {
			return step(state.(string), input.(courseInput), output)
		}}
	}
	inputs := []any{courseInput{0, "x", ""}, courseInput{0, "x", ""}, courseInput{1, "x", "a"}, courseInput{1, "x", "b"}, courseInput{2, "x", "c"}}
	outputs := []any{"", "a", "b", "ac", "OK", "ErrFull"}
	structs := []any{courseOutput{}, courseOutput{"a"}, courseOutput{"b"}, courseOutput{"ac"}}
	var versions, versionOutputs []any
	for v := range uint64(3) {
		versions = append(versions, versionInput{Key: "x"}, versionInput{1, "x", "a", v}, versionInput{1, "x", "b", v})
		versionOutputs = append(versionOutputs, versionOutput{Err: "ErrMaybe"}, versionOutput{"a", v, "OK"}, versionOutput{"", v, "OK"}, versionOutput{Err: "ErrVersion"})
	}
	return []lookalike{
		{"versions and errors", porcupine.Model{Init: func() any { return versionState{} }, Step: versionStep}, versions, versionOutputs},
		{"an error as text", text(func(state string, in courseInput, output any) (bool, any) {
			switch {
			case in.Op == 0:
				return output == state, state
			case output == "ErrFull":
				return true, state
			}
			return output == "OK", in.Value
		}), inputs, outputs},
		{"a full store refuses without saying so", text(func(state string, in courseInput, output any) (bool, any) {
			switch {
			case in.Op == 0:
				return output == state, state
			case state != "":
				return output == "", state
			}
			return output == "", in.Value
		}), inputs, outputs},
		{"one is a delete", text(func(state string, in courseInput, output any) (bool, any) {
			switch in.Op {
			case 0:
				return output == state, state
			case 1:
				return output == "", ""
			}
			return output == "", in.Value
		}), inputs, outputs},
		{"nil is an unknown answer", text(func(state string, in courseInput, output any) (bool, any) {
			switch {
			case in.Op == 0:
				return output == nil || output == state, state
			case in.Op == 1:
				return true, in.Value
			}
			return true, state + in.Value
		}), inputs, append(outputs, nil, nil, nil)},
		{"another initial value", porcupine.Model{Init: func() any { return "a" }, Step: courseModel.Step}, inputs, structs},
		{"many keys", porcupine.Model{Init: func() any { return [2]string{} }, Step: func(state, input, output any) (bool, any) {
			values, in := state.([2]string), input.(courseInput)
			at := 0
			if in.Key == "y" {
				at = 1
			}
			ok, next := courseModel.Step(values[at], input, output)
			values[at] = next.(string)
			return ok, values
		}}, append(inputs, courseInput{0, "y", ""}, courseInput{1, "y", "a"}, courseInput{2, "y", "c"}), structs},
		{"the course's", courseModel, inputs, structs},
	}
}

// history draws up to six operations. The answers are those of one order in time. Some operations
// are pending, and half of the histories have one changed answer.
func (l lookalike) history(r *rand.Rand) []porcupine.Operation {
	h := make([]porcupine.Operation, 1+r.IntN(6))
	for i := range h {
		call := r.Int64N(20)
		h[i] = porcupine.Operation{ClientId: i, Input: l.inputs[r.IntN(len(l.inputs))], Call: call, Return: call + r.Int64N(6)}
	}
	slices.SortFunc(h, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	state := l.model.Init()
	for i := range h {
		h[i].Output = l.outputs[0]
		for _, at := range r.Perm(len(l.outputs)) {
			if ok, next := l.model.Step(state, h[i].Input, l.outputs[at]); ok {
				h[i].Output, state = l.outputs[at], next
				break
			}
		}
	}
	if i := r.IntN(len(h)); r.IntN(2) == 0 {
		h[i].Output = l.outputs[r.IntN(len(l.outputs))]
	}
	if i := r.IntN(len(h)); r.IntN(3) == 0 {
		h[i].Return = porcupine.Pending
	}
	return h
}

// TestWithKVHintChangesNoAnswer compares lookalike models with and without the hint.
func TestWithKVHintChangesNoAnswer(t *testing.T) {
	for n, l := range lookalikes() {
		t.Run(l.name, func(t *testing.T) {
			hinted := models.WithKVHint(l.model)
			legal := 0
			const each = 5_000
			for seed := range uint64(each) {
				h := l.history(rand.New(rand.NewPCG(seed, uint64(n))))
				want := porcupine.CheckOperations(l.model, h)
				if want {
					legal++
				}
				require.Equal(t, want, porcupine.CheckOperations(hinted, h), "seed %d: %+v", seed, h)
			}
			require.Greater(t, legal, each/5, "too few histories are legal")
			require.Less(t, legal, each*19/20, "too few histories are illegal")
			t.Log(fmt.Sprint(legal, " of ", each, " are legal"))
		})
	}
}

// TestWithKVHintRefusedPut checks a put that the server refused, because the store has no version
// 1 yet. The client lost the answer.
func TestWithKVHintRefusedPut(t *testing.T) {
	model := models.WithKVHint(porcupine.Model{Init: func() any { return versionState{} }, Step: func(state, input, output any) (bool, any) {
		if input.(versionInput).Op == 0 {
			return output.(versionOutput).Value == state.(versionState).Value, state
		}
		return versionStep(state, input, output)
	}})
	require.True(t, porcupine.CheckOperations(model, []porcupine.Operation{
		op(0, 9, versionInput{1, "x", "a", 0}, versionOutput{Err: "OK"}),
		op(1, 2, versionInput{1, "x", "d", 1}, versionOutput{Err: "ErrMaybe"}),
		op(3, 4, versionInput{0, "x", "", 0}, versionOutput{Err: "ErrNoKey"}),
	}))
}
