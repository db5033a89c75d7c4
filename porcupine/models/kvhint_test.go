package models_test

import (
	"fmt"
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// courseInput, courseOutput and courseModel are as a course's own harness has them.
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

// courseHistory has many clients append to one key, which is where a model without a hint
// takes for ever to be found illegal.
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
		if got := porcupine.CheckOperationsTimeout(model, courseHistory(wrong), time.Minute); got != want {
			t.Errorf("wrong %v: got %v", wrong, got)
		}
	}
	type named struct{ op, key, value string }
	for _, c := range []struct {
		input, output any
		want          porcupine.Access
	}{
		{named{op: "Append", key: "k", value: "a"}, "", porcupine.Access{Kind: porcupine.AccessAppend, Value: "a"}},
		{named{op: "Get"}, "x", porcupine.Access{Kind: porcupine.AccessRead, Value: "x"}},
		{named{op: "Get"}, nil, porcupine.Access{Kind: porcupine.AccessRead, Value: ""}},
		{struct {
			Op    int
			Value string
		}{1, "b"}, nil, porcupine.Access{Kind: porcupine.AccessWrite, Value: "b"}},
		{named{op: "Delete"}, "", porcupine.Access{}},
		{named{op: "Get"}, 7, porcupine.Access{}},
		{courseInput{Op: 200}, courseOutput{}, porcupine.Access{}},
		{struct{ Op, Value int }{1, 2}, nil, porcupine.Access{}},
		{struct{ Op int }{1 << 40}, nil, porcupine.Access{}},
		{"put", nil, porcupine.Access{}},
		{nil, nil, porcupine.Access{}},
	} {
		if got := model.Hint.Access(c.input, c.output); got != c.want {
			t.Errorf("%+v, %v: got %+v", c.input, c.output, got)
		}
	}
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
