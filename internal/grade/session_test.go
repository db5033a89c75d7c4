package grade

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// A pretence is a session whose runs are invented. The name of a test says how its runs end:
// with the word Endless never, with the word Slow only with the whole limits.
type pretence struct {
	*session
	short, long atomic.Int32 // runs
}

// pretend returns a session of a submission with the given packages of tests.
func pretend(t *testing.T, j *journal, packages ...[]string) *pretence {
	table := &Table{Runs: 1, Limits: defaultLimits, Parts: map[string]Part{"2A": {Points: 100}}, edition: &classic}
	for i, names := range packages {
		for _, name := range names {
			table.tests = append(table.tests, Test{Name: name, Part: "2A", Package: fmt.Sprint("package", i)})
		}
	}
	g := &grader{Config: Config{Log: io.Discard}, table: table, journal: j, tokens: make(chan struct{}, 4)}
	p := &pretence{session: newSession(g, &Grade{Name: "s", table: table}, nil)}
	p.exec = func(_ context.Context, _ sim.Program, test string, seed uint64, lim runLimits) (run, evidence, error) {
		long := lim.CPU == defaultLimits.CPU
		if long {
			p.long.Add(1)
		} else {
			p.short.Add(1)
		}
		for range rand.IntN(20) {
			runtime.Gosched()
		}
		r := run{Test: test, Seed: seed, State: Passed}
		if strings.Contains(test, "Endless") || strings.Contains(test, "Slow") && !long {
			r.State, r.Kind, r.Detail, r.Endless = Failed, string(sim.Spin), "spins", true
		}
		return r, evidence{}, nil
	}
	var group group
	for i := range packages {
		var tests []Test
		for _, test := range table.tests {
			if test.Package == fmt.Sprint("package", i) {
				tests = append(tests, test)
			}
		}
		require.NoError(t, p.start(t.Context(), &group, p.trials("", tests)))
	}
	require.NoError(t, group.wait())
	require.NoError(t, p.release(t.Context()))
	p.one.finish()
	require.Len(t, p.one.Tests, len(table.tests))
	return p
}

func named(name string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("Test%s%02d2A", name, i))
	}
	return names
}

// states counts the results.
func (p *pretence) states() map[State]int {
	count := make(map[State]int)
	for _, t := range p.one.Tests {
		count[t.State]++
	}
	return count
}

// A submission that never ends costs few runs, and the report says which tests were run.
func TestNothingEnds(t *testing.T) {
	p := pretend(t, nil, named("EndlessA", 50), named("EndlessB", 50), named("EndlessC", 2))
	require.EqualValues(t, probes+fewProbes+2, p.short.Load())
	require.EqualValues(t, longRuns, p.long.Load())
	require.Equal(t, map[State]int{Failed: probes + fewProbes + 2, Endless: 50 - probes + 50 - fewProbes}, p.states())
	require.Zero(t, p.one.Points)
	const first = "the tests do not end, so the others were not run: TestEndlessA002A, TestEndlessA162A, TestEndlessA322A, TestEndlessA492A"
	require.Contains(t, p.one.summary(), "package package0: "+first)
	var feedback strings.Builder
	p.one.Feedback(&feedback)
	require.Equal(t, 1, strings.Count(feedback.String(), "NOT RUN: the tests of package package0\n    "+first))
}

// A slow submission has the whole limits of the table for every test, also beside tests that
// do not end.
func TestSlowIsNotEndless(t *testing.T) {
	p := pretend(t, nil, named("Slow", 20), named("Other", 20))
	require.Equal(t, map[State]int{Passed: 40}, p.states())
	require.EqualValues(t, 20, p.long.Load())
	p = pretend(t, nil, append(named("Endless", 1), named("Slow", 19)...))
	require.Equal(t, map[State]int{Failed: 1, Passed: 19}, p.states())
}

// The order in which runs end does not decide about points, and nor does a crash of the
// grader. Beyond the first longRuns tests in the order of the table, a test that does not end
// fails with the short limits.
func TestEndlessIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, false)
	require.NoError(t, err)
	names := append(append(append(named("A", 10), named("EndlessB", 5)...), named("SlowC", 5)...), named("D", 10)...)
	first := pretend(t, j, names)
	require.Equal(t, map[State]int{Passed: 20, Failed: 10}, first.states())
	require.EqualValues(t, longRuns, first.long.Load())
	for _, r := range first.one.Tests[12:15] {
		require.Contains(t, r.Detail, "spins (2 other runs of the submission did not end within the whole limits)")
	}
	for range 20 {
		again := pretend(t, nil, names)
		require.Equal(t, first.one.Tests, again.one.Tests)
	}
	require.NoError(t, j.close())
	j, err = openJournal(dir, true)
	require.NoError(t, err)
	resumed := pretend(t, j, names)
	require.Equal(t, first.one.Tests, resumed.one.Tests)
	require.Zero(t, resumed.short.Load()+resumed.long.Load())
}

// The runs of a package that are held late get the whole limits before those of a later
// package that never ends.
func TestHeldBeforeALaterPackage(t *testing.T) {
	names := append(named("A", 4), named("SlowB", 20)...)
	for range 20 {
		p := pretend(t, nil, names, named("EndlessC", 50))
		require.Equal(t, map[State]int{Passed: 24, Failed: probes, Endless: 50 - probes}, p.states())
	}
}

// The kernel's count of processor time is ahead of the figure of an ended process. A run that
// was killed for another reason has used less, and a crash is no limit.
func TestExhaustedRuns(t *testing.T) {
	const limit = 10 * time.Second
	for _, c := range []struct {
		cpu    time.Duration
		detail string
		want   bool
	}{
		{10 * time.Second, "virtual time limit reached", true},
		{9300 * time.Millisecond, "exit without a result: ended by killed", true},
		{8 * time.Second, "exit without a result: ended by killed", false},
		{9300 * time.Millisecond, "panic: of the package", false},
	} {
		require.Equal(t, c.want, exhausted(sim.Outcome{CPU: c.cpu, Detail: c.detail}, limit), "%+v", c)
	}
}
