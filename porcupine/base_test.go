package porcupine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
)

// storeInput is an operation on one value: a read, a write, or an append.
type storeInput struct {
	op   byte // r, w or a
	text string
}

// storeModel is the plain model of a course, with Init and Step alone.
var storeModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		switch in := input.(storeInput); in.op {
		case 'w':
			return true, in.text
		case 'a':
			return true, state.(string) + in.text
		default:
			return output == state, state
		}
	},
}

func storeOp(client int, call, ret int64, op byte, text, output string) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: storeInput{op, text}, Output: output}
}

func storeAccess(input, output any) porcupine.Access {
	switch in := input.(storeInput); in.op {
	case 'w':
		return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.text}
	case 'a':
		return porcupine.Access{Kind: porcupine.AccessAppend, Value: in.text}
	default:
		return porcupine.Access{Kind: porcupine.AccessRead, Value: output}
	}
}

// TestInitialValueWrittenFirst checks a history that begins with a write of "", like those of
// courses. Then 5 clients append concurrently, and one read sees the result.
func TestInitialValueWrittenFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	h := []porcupine.Operation{storeOp(9, 1, 2, 'w', "", "")}
	var parts []string
	var free [5]int64
	now := int64(3)
	for i := range 60 {
		c := i % len(free)
		now = max(now+r.Int64N(10), free[c]+1)
		parts = append(parts, fmt.Sprintf("x %d %d y", c, i))
		ret := now + r.Int64N(100)
		h = append(h, storeOp(c, max(free[c], now-r.Int64N(100), 3), ret, 'a', parts[i], ""))
		free[c] = ret
	}
	read := func(m porcupine.Model, parts []string) porcupine.CheckResult {
		all := append(h, storeOp(8, 1e6, 1e6+1, 'r', "", strings.Join(parts, "")))
		return porcupine.CheckOperationsTimeout(m, all, 10*time.Second)
	}
	require.Equal(t, porcupine.Ok, read(storeModel, parts))
	parts[0], parts[59] = parts[59], parts[0]
	hinted := storeModel // an illegal history needs the hint
	hinted.Hint = &porcupine.Hint{Initial: "", Access: storeAccess}
	require.Equal(t, porcupine.Illegal, read(hinted, parts), "the read shows the last append first")
}

// TestInitialValueWrittenAgainstOracle tries small histories that write the initial value first,
// or nearly first, and perhaps again.
func TestInitialValueWrittenAgainstOracle(t *testing.T) {
	legal := 0
	const cases = 5000
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 3))
		h := []porcupine.Operation{storeOp(0, 0, r.Int64N(4), 'w', "", "")}
		texts := []string{"", "a", "b", "ab", "ba", "c"}
		for c := 1; c < 6; c++ {
			call := 2 + r.Int64N(8)
			text := texts[r.IntN(len(texts))]
			switch op := "rrawa"[r.IntN(5)]; op {
			case 'r':
				h = append(h, storeOp(c, call, call+r.Int64N(6), op, "", text))
			default:
				h = append(h, storeOp(c, call, call+r.Int64N(6), op, text, ""))
			}
		}
		want := oracle(storeModel, h)
		if want {
			legal++
		}
		hinted := storeModel
		hinted.Hint = &porcupine.Hint{Initial: "", Access: storeAccess}
		for _, m := range []porcupine.Model{storeModel, hinted} {
			require.Equal(t, want, porcupine.CheckOperations(m, h), "seed %d: %+v", seed, h)
		}
	}
	require.Greater(t, legal, cases/20, "too few histories are legal")
	require.Less(t, legal, cases*19/20, "too few histories are illegal")
}
