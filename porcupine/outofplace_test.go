package porcupine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"raftlab/porcupine"
)

// partialStack is a stack of letters, a push of one or a pop of the last. It panics where a
// pop finds nothing, and on states that no operations lead to.
var partialStack = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		stack := state.(string)
		for _, letter := range stack {
			if letter < 'a' || letter > 'z' {
				panic(fmt.Sprintf("no stack: %q", stack))
			}
		}
		if push := input.(string); push != "" {
			return true, stack + push
		}
		last := len(stack) - 1
		return output == stack[last:], stack[:last]
	},
}

// TestStepOutOfPlace checks histories in which no pop can take effect where there is nothing to
// pop. What the checker steps besides, to find short cuts and explanations, must not be noticed.
func TestStepOutOfPlace(t *testing.T) {
	told := make(map[porcupine.CheckResult]int)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 11))
		var h []porcupine.Operation
		add := func(input string, output any, at, span int64) {
			call := at + r.Int64N(span)
			h = append(h, porcupine.Operation{ClientId: len(h), Input: input, Output: output, Call: call, Return: call + r.Int64N(span)})
		}
		n := 2 + r.IntN(5)
		for i := range n {
			add(string(rune('a'+i)), "OK!", 0, 10)
		}
		for _, i := range r.Perm(n) {
			add("", string(rune('a'+i)), 20, 1+r.Int64N(30))
		}
		result, info := porcupine.CheckOperationsVerbose(partialStack, h, 0)
		told[result]++
		porcupine.Explain(partialStack, info)
		if err := porcupine.Visualize(partialStack, info, new(bytes.Buffer)); err != nil {
			t.Error(err)
		}
	}
	if told[porcupine.Ok] < 30 || told[porcupine.Illegal] < 30 {
		t.Errorf("got %v: no fair sample", told)
	}
}
