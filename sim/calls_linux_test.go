package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// TestCallsRepeat runs tests that make system calls of their own, each twice.
func TestCallsRepeat(t *testing.T) {
	p := program(t, sim.Native, false)
	for _, test := range []string{"TestMadeFiles", "TestRealLocksWait", "TestBlockingSockets", "TestSocketQuestions", "TestMaxProcs"} {
		c := sim.Case{Test: test, Seed: 5}
		first, again := run(t, p, c), run(t, p, c)
		require.Equal(t, sim.Pass, first.Verdict, "%s: %s\n%s", test, first.Detail, first.Output)
		require.Equal(t, string(first.Output), string(again.Output), test)
		require.Equal(t, first.Virtual, again.Virtual, test)
	}
}

// TestBlockedCallHasAPlace expects the report of a call that blocks the only processor to
// name the place of the call.
func TestBlockedCallHasAPlace(t *testing.T) {
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestFIFO", Limits: sim.Limits{Wall: time.Second}})
	expectation{"TestFIFO", sim.Stuck, "not finished after 1s of real time: in mini.TestFIFO calls_linux_test.go:"}.check(t, out)
	require.NotContains(t, out.Stack, "rflags", "the stack is not the call's alone")
}
