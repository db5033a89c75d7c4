package sim_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// verdicts of both engines.
var verdicts = []expectation{
	{"TestMixed", sim.Pass, ""},
	{"TestParallel", sim.Pass, ""},
	{"TestBubble", sim.Pass, ""},
	{"TestFiles", sim.Pass, ""},
	{"TestTimeZone", sim.Pass, ""},
	{"TestQuotes", sim.Pass, ""},
	{"TestQuotesFails", sim.Safety, "bad_test.go:56: wrong \ufffd value"},
	{"TestAssertion", sim.Safety, "bad_test.go:48: Not equal: expected: 1 actual : 2"},
	{"TestSlow", sim.Liveness, "failed to reach agreement"},
	{"TestForever", sim.Liveness, "virtual time limit"},
	{"TestLockOrder", sim.Liveness, "virtual time limit"}, // nobody knows within seconds
	{"TestDeadlock", sim.Deadlock, "asleep"},
	{"TestPanic", sim.Crash, "assignment to entry in nil map"},
	{"TestExit", sim.Crash, "exit without a result"},
	{"TestFatalElsewhere", sim.Safety, "wrong value"},
	{"FuzzSeed", sim.Safety, "five"},
	{"TestBubbleDeadlock", sim.Deadlock, "all goroutines in bubble are blocked"},
	{"TestLoud", sim.Crash, "64 MiB of output"},
	{"TestSpin", sim.Spin, "in mini.TestSpin"},
}

// TestNativeVerdicts runs each kind of ending.
func TestNativeVerdicts(t *testing.T) {
	p := program(t, sim.Native, false)
	only := []expectation{
		{"TestPolling", sim.Pass, ""},
		{"TestTCP", sim.Pass, ""},
		{"TestHTTP", sim.Pass, ""},
		{"TestNamesByTheClock", sim.Pass, ""},
		{"TestSyncErrors", sim.Pass, ""},
		{"TestFileTimes", sim.Pass, ""},
		{"TestSignalDeadlock", sim.Deadlock, "asleep"},
		{"TestSubprocess", sim.Pass, ""},
		{"TestSubprocessReads", sim.Pass, ""},
		{"TestSubprocessPipes", sim.Pass, ""},
		{"TestSilentSubprocess", sim.Pass, ""},
		{"TestBusySubprocess", sim.Pass, ""},
		{"TestSubprocessTimeLimit", sim.Pass, ""},
		{"TestEndlessBubble", sim.Liveness, "virtual time limit"},
		{"TestBusyForever", sim.Liveness, "virtual time limit"},
		{"TestHoard", sim.Crash, "64 MiB of memory"},
	}
	for _, e := range append(only, verdicts...) {
		t.Run(e.test, func(t *testing.T) {
			t.Parallel()
			out := run(t, p, sim.Case{Test: e.test, Seed: 3, Limits: quick})
			e.check(t, out)
			if e.verdict == sim.Spin && !contains(out.Stack, "bad_test.go:") {
				t.Errorf("the stack does not say where it spins:\n%s", out.Stack)
			}
			if e.test == "TestDeadlock" && !bytes.Contains(out.Output, []byte("mini.TestDeadlock(")) {
				t.Errorf("no stacks in the output:\n%s", out.Output)
			}
		})
	}
}

// TestSignalsRepeat expects a test's signals to itself at the same moment of each run.
func TestSignalsRepeat(t *testing.T) {
	p := program(t, sim.Native, false)
	for seed := range uint64(3) {
		first := run(t, p, sim.Case{Test: "TestSignals", Seed: seed})
		require.Equal(t, sim.Pass, first.Verdict, "%s", first.Output)
		for range 3 {
			require.Equal(t, string(first.Output), string(run(t, p, sim.Case{Test: "TestSignals", Seed: seed}).Output))
		}
	}
}

// TestHoursPassInNoTime checks that sleeping costs nothing.
func TestHoursPassInNoTime(t *testing.T) {
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestHours", Limits: sim.Limits{Virtual: 6 * time.Hour}})
	if out.Verdict != sim.Pass || out.Virtual < 5*time.Hour {
		t.Errorf("verdict %s after %v", out.Verdict, out.Virtual)
	}
	if out.CPU > time.Second {
		t.Errorf("5 hours took %v of CPU time", out.CPU)
	}
}

// TestCrowdIsCheap measures a moment at which nothing can run. The cost must
// not grow with the number of sleeping goroutines.
func TestCrowdIsCheap(t *testing.T) {
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestCrowd"})
	expectation{"TestCrowd", sim.Pass, ""}.check(t, out)
	if out.CPU > 2*time.Second {
		t.Errorf("20,000 sleeps took %v of CPU time", out.CPU)
	}
}

// TestLimitHasStacks reaches the limit of virtual time and expects the stacks
// of the program's goroutines, with the time of each wait. Goroutines that wait
// for each other's mutex are a deadlock, although others go on. A mutex that
// always changes hands is no deadlock.
func TestLimitHasStacks(t *testing.T) {
	for _, engine := range []string{sim.Native, sim.WASM} {
		t.Run(engine, func(t *testing.T) {
			p := program(t, engine, false)
			lim := sim.Limits{Virtual: 10 * time.Minute}
			for _, e := range []expectation{
				{"TestLockOrder", sim.Deadlock, "a goroutine waits for a mutex for 9 minutes: in mini.TestLockOrder"},
				{"TestContended", sim.Liveness, "virtual time limit"},
				{"TestForever", sim.Liveness, "virtual time limit"},
			} {
				out := run(t, p, sim.Case{Test: e.test, Limits: lim})
				e.check(t, out)
				stacks := string(out.Output)
				if !contains(stacks, "mini."+e.test) || !contains(stacks, "bad_test.go:") || contains(stacks, "runtime.gopark") {
					t.Errorf("%s: these are not the stacks of the program's goroutines:\n%s", e.test, stacks)
				}
				if again := run(t, p, sim.Case{Test: e.test, Limits: lim}); again.Hash != out.Hash {
					t.Errorf("%s: other stacks the second time:\n%s\n%s", e.test, stacks, again.Output)
				}
			}
		})
	}
}

// TestMainFlagsAndEnvironment runs a package with a TestMain that prints. Flags
// and variables reach the tests, and the command that repeats a failure has
// both.
func TestMainFlagsAndEnvironment(t *testing.T) {
	start := time.Date(2031, time.May, 6, 7, 0, 0, 0, time.UTC)
	for _, engine := range []string{sim.Native, sim.WASM} {
		t.Run(engine, func(t *testing.T) {
			if engine == sim.Native {
				requireNative(t)
			}
			opt := sim.Options{Dir: "testdata/mini", Engine: engine, Env: []string{"PLACE=the dean's office"}, Args: []string{"-size=7"}, Start: start}
			programs, err := sim.Build(t.Context(), opt, "./setup")
			require.NoError(t, err)
			defer programs[0].Close()
			if tests, err := programs[0].Tests(t.Context(), "."); err != nil || !slices.Equal(tests, []string{"TestFlag", "TestStart"}) {
				t.Errorf("tests %q, error %v", tests, err)
			}
			expectation{"TestFlag", sim.Pass, ""}.check(t, run(t, programs[0], sim.Case{Test: "TestFlag"}))
			res, _, err := sim.Check(t.Context(), programs[0], sim.Case{Test: "TestNone", Limits: sim.Limits{Virtual: 1}})
			want := ` --virtual 1ns --start 2031-05-06T07:00:00Z --env 'PLACE=the dean'\''s office' -- -size=7`
			if err != nil || !strings.HasSuffix(res.Command, want) {
				t.Errorf("%s: repeated by %q, which does not end in %q (%v)", res.Verdict, res.Command, want, err)
			}
			expectation{"TestStart", sim.Safety, "it is 2031-05-06 07h"}.check(t, run(t, programs[0], sim.Case{Test: "TestStart"}))
		})
	}
}

// TestMemoryLimitKeepsRunsEqual collects garbage many times during a run.
func TestMemoryLimitKeepsRunsEqual(t *testing.T) {
	p := program(t, sim.Native, false)
	c := sim.Case{Test: "TestGarbage", Seed: 5, Limits: sim.Limits{Memory: 16 << 20}}
	first := run(t, p, c)
	for range 4 {
		if again := run(t, p, c); again.Hash != first.Hash || again.Schedules != first.Schedules {
			t.Fatalf("hash %s after %d schedules, then %s after %d", first.Hash, first.Schedules, again.Hash, again.Schedules)
		}
	}
}

// TestWaitingForTheRealWorld is reported as such.
func TestWaitingForTheRealWorld(t *testing.T) {
	p := program(t, sim.Native, false)
	out := run(t, p, sim.Case{Test: "TestOutside", Limits: sim.Limits{Wall: time.Second}})
	expectation{"TestOutside", sim.Stuck, "real time"}.check(t, out)
	require.NotContains(t, out.Detail, "computing")
	out = run(t, p, sim.Case{Test: "TestCalibrates", Limits: sim.Limits{Wall: time.Second}})
	expectation{"TestCalibrates", sim.Stuck, "not finished after 1s of real time, and still computing"}.check(t, out)
}

// TestEndlessComputing is reported with its cause, whether the portions of the work grow or not.
func TestEndlessComputing(t *testing.T) {
	p := program(t, sim.Native, false)
	lim := sim.Limits{SpinCPU: 200 * time.Millisecond}
	const cause = "computing takes no virtual time, so a loop that computes until some time has passed does not end: in mini."
	out := run(t, p, sim.Case{Test: "TestCalibrates", Limits: lim})
	expectation{"TestCalibrates", sim.Spin, cause + "TestCalibrates bad_test.go:"}.check(t, out)
	out = run(t, p, sim.Case{Test: "TestComputesOn", Limits: lim})
	expectation{"TestComputesOn", sim.Stuck, "computes for 2.4s of CPU time without a wait; " + cause + "TestComputesOn bad_test.go:"}.check(t, out)
}

// TestGoFlags expects the flags in GOFLAGS to hold, also in the command that
// repeats a failure.
func TestGoFlags(t *testing.T) {
	requireNative(t)
	t.Setenv("GOFLAGS", "-tags=blue -count=1")
	for _, engine := range []string{sim.Native, sim.WASM} {
		programs, err := sim.Build(t.Context(), sim.Options{Dir: "testdata/mini", Engine: engine, Tags: "green"}, "./setup")
		require.NoError(t, err)
		defer programs[0].Close()
		res, _, err := sim.Check(t.Context(), programs[0], sim.Case{Test: "TestTags"})
		expectation{"TestStart", sim.Safety, "it is 2026-01-01 00h"}.check(t, run(t, programs[0], sim.Case{Test: "TestStart"}))
		if err != nil || res.Verdict != sim.Safety || !contains(res.Detail, "blue and green") || !contains(res.Command, "--tags blue,green") {
			t.Errorf("%s: %+v, error %v", engine, res, err)
		}
	}
	for flag, engine := range map[string]string{"-race": sim.WASM, "-overlay=x": sim.Native} {
		t.Setenv("GOFLAGS", flag)
		if _, err := sim.Build(t.Context(), sim.Options{Dir: "testdata/mini", Engine: engine}, "."); !errors.Is(err, sim.ErrUnsupported) {
			t.Errorf("%s with %s: error %v", engine, flag, err)
		}
	}
}

// TestNoCompilerForRaces expects an error that names the missing compiler.
func TestNoCompilerForRaces(t *testing.T) {
	requireNative(t)
	t.Setenv("CC", "no-such-compiler -O2")
	_, err := sim.Build(t.Context(), sim.Options{Dir: "testdata/mini", Engine: sim.Native, Race: true}, ".")
	if !errors.Is(err, sim.ErrUnsupported) || !contains(err.Error(), `needs a C compiler, and "no-such-compiler" is not there`) {
		t.Errorf("error %v", err)
	}
}

// TestRunEndsWithItsContext leaves no process behind.
func TestRunEndsWithItsContext(t *testing.T) {
	for _, engine := range []string{sim.Native, sim.WASM} {
		t.Run(engine, func(t *testing.T) {
			p := program(t, engine, false)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			_, err := p.Run(ctx, sim.Case{Test: "TestSpin"})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// TestRaceDetector finds a race, the same each time.
func TestRaceDetector(t *testing.T) {
	if os.Getenv("RAFTLAB_SOAK") == "" {
		t.Skip("builds a runtime with the race detector: set RAFTLAB_SOAK=1")
	}
	p := program(t, sim.Native, true)
	c := sim.Case{Test: "TestRace", Seed: 2}
	out := run(t, p, c)
	expectation{"TestRace", sim.Race, "mini.TestRace"}.check(t, out)
	if again := run(t, p, c); again.Hash != out.Hash {
		t.Errorf("two reports of one race:\n%s\n%s", out.Output, again.Output)
	}
	expectation{"TestMixed", sim.Pass, ""}.check(t, run(t, p, sim.Case{Test: "TestMixed"}))
	for _, test := range []string{"TestPorts", "TestHTTP", "TestStreams", "TestUnix"} {
		expectation{test, sim.Pass, ""}.check(t, run(t, p, sim.Case{Test: test}))
	}
}

// TestBadOptions expects an error that names the wrong option.
func TestBadOptions(t *testing.T) {
	requireNative(t)
	ctx := context.Background()
	for name, opt := range map[string]sim.Options{
		"engine": {Dir: "testdata/mini", Engine: "quantum"},
		"race":   {Dir: "testdata/mini", Engine: sim.WASM, Race: true},
	} {
		if _, err := sim.Build(ctx, opt, "."); !errors.Is(err, sim.ErrInvalid) && !errors.Is(err, sim.ErrUnsupported) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	_, err := sim.Build(ctx, sim.Options{Dir: "testdata/mini", Engine: sim.Native}, "./withc")
	if !errors.Is(err, sim.ErrUnsupported) || !contains(err.Error(), "mini/withc uses cgo") {
		t.Errorf("a package with C code: error %v", err)
	}
	p := program(t, sim.Native, false)
	for _, e := range []sim.Explore{{Yields: 1.5}, {Sleeps: 0.06}, {Sleeps: 0.01, MaxSleep: time.Second}, {Points: []sim.Point{{}}}} {
		if _, err := p.Run(ctx, sim.Case{Test: "TestMixed", Explore: e}); !errors.Is(err, sim.ErrInvalid) {
			t.Errorf("%+v: error %v", e, err)
		}
	}
	_, err = program(t, sim.WASM, false).Run(ctx, sim.Case{Test: "TestMixed", Explore: sim.Explore{Yields: 0.1}})
	require.ErrorIs(t, err, sim.ErrUnsupported)
}
