package porcupine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
)

// partialStack is a stack of letters with push and pop. Step panics on a pop of the empty stack
// and on unreachable states.
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

// TestStepOutOfPlace checks histories in which no pop can take effect on the empty stack. The
// checker also steps operations in other states, and a panic there must not be noticed.
func TestStepOutOfPlace(t *testing.T) {
	results := make(map[porcupine.CheckResult]int)
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
		results[result]++
		porcupine.Explain(partialStack, info)
		require.NoError(t, porcupine.Visualize(partialStack, info, new(bytes.Buffer)))
	}
	require.GreaterOrEqual(t, results[porcupine.Ok], 30, "too few histories are legal")
	require.GreaterOrEqual(t, results[porcupine.Illegal], 30, "too few histories are illegal")
}
