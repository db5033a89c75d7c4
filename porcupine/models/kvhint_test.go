package models_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// courseInput, courseOutput and courseModel are those of a course's harness.
type courseInput struct {
	Op    uint8 // 0 get, 1 put, 2 append
	Key   string
	Value string
}

type courseOutput struct{ Value string }

var courseModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, st := input.(courseInput), state.(string)
		switch in.Op {
		case 0:
			return output.(courseOutput).Value == st, state
		case 1:
			return true, in.Value
		}
		return true, st + in.Value
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " -> ", output) },
}

// courseHistory has many clients that append to one key. Without a hint, an illegal history of
// this shape is not decided.
func courseHistory(wrong bool) []porcupine.Operation {
	history := workload.KV(workload.Shape{Operations: 2000, Clients: 60, Pending: 10, Seed: 4}, 1, 0, 1)
	if wrong && !workload.StaleRead(history) {
		panic("no read to make stale")
	}
	for i := range history {
		in := history[i].Input.(models.KVInput)
		history[i].Input = courseInput{uint8(in.Op), in.Key, in.Value}
		if out, ok := history[i].Output.(models.KVOutput); ok {
			history[i].Output = courseOutput(out)
		}
	}
	return history
}

func TestWithKVHint(t *testing.T) {
	model := models.WithKVHint(courseModel)
	for wrong, want := range map[bool]porcupine.CheckResult{false: porcupine.Ok, true: porcupine.Illegal} {
		require.Equal(t, want, porcupine.CheckOperationsTimeout(model, courseHistory(wrong), time.Minute), "wrong: %v", wrong)
	}
}

// TestWithKVHintUnderstands tries inputs and outputs of many types, with a model whose Step treats
// all of them like those of KV.
func TestWithKVHintUnderstands(t *testing.T) {
	type named struct{ op, key, value string }
	type sized struct {
		Op    int64
		Key   int
		Value string
		_     int
	}
	type more struct {
		Op         int
		Key, Value string
		Version    int
	}
	type noKey struct {
		Op    int
		Value string
	}
	type answer struct{ Value, Err string }
	other := porcupine.Access{}
	read := func(value string) porcupine.Access {
		return porcupine.Access{Kind: porcupine.AccessRead, Value: value}
	}
	write, add := porcupine.Access{Kind: porcupine.AccessWrite, Value: "a"}, porcupine.Access{Kind: porcupine.AccessAppend, Value: "a"}
	for _, c := range []struct {
		like          models.KVInput // the input for Step
		input, output any
		want          porcupine.Access
	}{
		{kvIn{Op: models.KVAppend, Value: "a"}, named{op: "Append", key: "k", value: "a"}, "", add},
		{kvIn{}, named{op: "Get"}, "x", read("x")},
		{kvIn{}, named{op: "Get"}, nil, read("")},
		{kvIn{Op: models.KVPut, Value: "a"}, noKey{1, "a"}, nil, write},
		{kvIn{Op: models.KVPut, Value: "a"}, sized{Op: 1, Value: "a"}, courseOutput{}, write},
		{kvIn{Op: models.KVPut, Value: "b"}, noKey{1, "a"}, nil, other},
		{kvIn{Op: models.KVAppend, Value: "a"}, noKey{1, "a"}, nil, other},
		{kvIn{}, noKey{1, "a"}, "", other},
		{kvIn{Op: models.KVPut, Value: "a"}, noKey{1, "a"}, "OK", other},
		{kvIn{Op: models.KVPut, Value: "a"}, noKey{1, "a"}, answer{}, other},
		{kvIn{Op: models.KVPut, Value: "a"}, noKey{1, "a"}, courseOutput{"a"}, other},
		{kvIn{Op: models.KVPut, Value: "a"}, more{Op: 1, Value: "a"}, "", other},
		{kvIn{}, more{}, "", other},
		{kvIn{}, named{op: "Delete"}, "", other},
		{kvIn{}, named{op: "Get"}, 7, other},
		{kvIn{}, named{op: "Get"}, answer{Value: "x"}, other},
		{kvIn{}, named{op: "Get"}, named{value: "x"}, other},
		{kvIn{}, courseInput{Op: 200}, courseOutput{}, other},
		{kvIn{}, sized{Op: -1}, courseOutput{}, other},
		{kvIn{}, struct{ Op, Value int }{1, 2}, nil, other},
		{kvIn{}, struct{ Op int }{math.MaxInt}, nil, other},
		{kvIn{}, "put", nil, other},
		{kvIn{}, nil, nil, other},
	} {
		model := models.WithKVHint(porcupine.Model{Init: models.KV.Init, Step: func(state, _, output any) (bool, any) {
			text, ok := output.(string)
			if out, is := output.(courseOutput); is {
				text, ok = out.Value, true
			}
			if !ok && c.like.Op == models.KVGet {
				return false, nil
			}
			return models.KV.Step(state, c.like, models.KVOutput{Value: text})
		}})
		require.Equal(t, c.want, model.Hint.Access(c.input, c.output), "%+v, %+v", c.input, c.output)
	}
	require.Nil(t, models.WithKVHint(models.KVVersioned).Hint.Access, "states that are no strings")
	require.Nil(t, models.WithKVHint(porcupine.Model{}).Hint)
}

func ExampleWithKVHint() {
	report(models.WithKVHint(courseModel),
		porcupine.Operation{Input: courseInput{Op: 2, Key: "x", Value: "a"}, Output: courseOutput{}},
		porcupine.Operation{Input: courseInput{Op: 0, Key: "x"}, Output: courseOutput{Value: "b"}})
	// Output:
	// {2 x a} -> {}
	// {0 x } -> {b}
	// Illegal
}
