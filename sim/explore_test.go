package sim_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// failingGap looks for a seed in which TestGap fails under e.
func failingGap(t *testing.T, p sim.Program, e sim.Explore) sim.Case {
	t.Helper()
	for seed := range uint64(60) {
		c := sim.Case{Test: "TestGap", Seed: seed, Explore: e}
		if run(t, p, c).Verdict == sim.Safety {
			return c
		}
	}
	t.Fatalf("no seed of 60 shows the bug with %v", e)
	return sim.Case{}
}

// TestExplorationFindsTheGap looks for a bug between unlock and relock. The
// base never shows the bug, and yields and sleeps do.
func TestExplorationFindsTheGap(t *testing.T) {
	p := program(t, sim.Native, false)
	for seed := range uint64(30) {
		if out := run(t, p, sim.Case{Test: "TestGap", Seed: seed}); out.Verdict != sim.Pass {
			t.Fatalf("the base fails with seed %d: %s", seed, out.Detail)
		}
	}
	failingGap(t, p, sim.Explore{Yields: 0.1})
	failingGap(t, p, sim.Explore{Sleeps: 0.05})
}

// TestExplorationFindsAStudentsGap runs a Raft that becomes leader without
// holding the lock since its last vote. Some explored worlds have two leaders
// in a term, and no world of the control does. Each failure repeats.
func TestExplorationFindsAStudentsGap(t *testing.T) {
	requireNative(t)
	programs, err := sim.Build(t.Context(), sim.Options{Dir: "testdata/mini", Engine: sim.Native}, "./student")
	require.NoError(t, err)
	defer programs[0].Close()
	sweep := sim.Sweep{
		Programs: programs, Seeds: sim.Seeds{First: 1, Last: 60},
		Explore: sim.Explore{Sleeps: 0.01, MaxSleep: 50 * time.Millisecond},
	}
	summary, err := sweep.Run(t.Context())
	require.NoError(t, err)
	if summary.Runs() != 120 || len(summary.Failures()) == 0 {
		t.Errorf("%d runs, no failure", summary.Runs())
	}
	for _, r := range summary.Failures() {
		if r.Explore.Base() || r.Verdict != sim.Safety || !contains(r.Detail, "has two leaders") || r.Replays != 2 {
			t.Errorf("failure %+v", r)
		}
	}
}

// TestStreamsAreSeparate expects yields to stay in place when sleeps are added,
// as long as goroutines do the same operations.
func TestStreamsAreSeparate(t *testing.T) {
	p := program(t, sim.Native, false)
	points := func(e sim.Explore) map[sim.Point]bool {
		all := map[sim.Point]bool{}
		for _, pt := range run(t, p, sim.Case{Test: "TestGap", Seed: 9, Explore: e}).Injected {
			all[pt] = true
		}
		return all
	}
	yields := points(sim.Explore{Yields: 0.1})
	both := points(sim.Explore{Yields: 0.1, Sleeps: 0.05})
	if len(yields) < 5 || len(both) <= len(yields) {
		t.Fatalf("%d yields; %d points with sleeps", len(yields), len(both))
	}
	for pt := range yields {
		if !both[pt] {
			t.Errorf("yield %+v is gone when sleeps are injected as well", pt)
		}
	}
}

// TestListedPointsRepeatTheRun lists the injected points of a run and expects
// the same run.
func TestListedPointsRepeatTheRun(t *testing.T) {
	p := program(t, sim.Native, false)
	c := sim.Case{Test: "TestMixed", Seed: 4, Explore: sim.Explore{Yields: 0.1, Sleeps: 0.02}}
	first := run(t, p, c)
	slices.Reverse(first.Injected) // the order of the list says nothing
	c.Explore = sim.Explore{Listed: true, Points: first.Injected}
	if again := run(t, p, c); again.Hash != first.Hash {
		t.Errorf("output %s\nlisted:\n%s", first.Output, again.Output)
	}
}

// TestShrink reduces a failure to a point or two, and saves the failure. The
// file fails in the same way.
func TestShrink(t *testing.T) {
	ctx := context.Background()
	p := program(t, sim.Native, false)
	for _, e := range []sim.Explore{{Yields: 0.2}, {Sleeps: 0.05, MaxSleep: 100 * time.Millisecond}} {
		c := failingGap(t, p, e)
		steps := 0
		s := sim.Shrinker{Program: p, OnStep: func(int, sim.Case) { steps++ }}
		small, out, err := s.Shrink(ctx, c)
		require.NoError(t, err)
		if n := len(small.Explore.Points); n < 1 || n > 3 || steps == 0 || out.Verdict != sim.Safety {
			t.Fatalf("%v: shrunk to %d points in %d steps, verdict %s", e, n, steps, out.Verdict)
		}
		saved, err := sim.NewReplay(ctx, p, small, out)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "gap.json")
		require.NoError(t, saved.Save(file))
		loaded, err := sim.LoadReplay(file)
		require.NoError(t, err)
		require.Equal(t, sim.DefaultStart, loaded.Start)
		if again := run(t, p, loaded.Case); again.Hash != saved.Hash {
			t.Errorf("the replay gives %s (%s), not the saved run", again.Verdict, again.Detail)
		}
	}
}

// TestShrinkThins shrinks a failure in which leaving out a point changes the
// later schedule. The result is still small.
func TestShrinkThins(t *testing.T) {
	var all []sim.Point
	for g := range uint64(60) {
		all = append(all, sim.Point{Goroutine: g, Op: 1})
	}
	p := fake{nil, func(c sim.Case) sim.Outcome {
		points := c.Explore.Points
		if !c.Explore.Listed {
			points = all
		}
		h := fnv.New32()
		fmt.Fprint(h, points)
		needed := slices.ContainsFunc(points, func(p sim.Point) bool { return p.Goroutine%20 == 7 })
		if !needed || len(points) < len(all) && h.Sum32()%16 != 0 {
			return sim.Outcome{Verdict: sim.Pass}
		}
		return sim.Outcome{Verdict: sim.Safety, Detail: "a_test.go:1: bad", Injected: points}
	}}
	s := sim.Shrinker{Program: p, MaxRuns: 3000}
	small, out, err := s.Shrink(t.Context(), sim.Case{Explore: sim.Explore{Yields: 0.1}})
	if err != nil || out.Verdict != sim.Safety {
		t.Fatal(out.Verdict, err)
	}
	if n := len(small.Explore.Points); n > 6 {
		t.Errorf("%d points are left", n)
	}
}

// TestShrinkNeedsAFailure shrinks a passing test and expects an error.
func TestShrinkNeedsAFailure(t *testing.T) {
	s := sim.Shrinker{Program: program(t, sim.Native, false)}
	_, _, err := s.Shrink(context.Background(), sim.Case{Test: "TestMixed", Explore: sim.Explore{Yields: 0.1}})
	require.ErrorIs(t, err, sim.ErrNotReproduced)
}

// TestExplain prints the stack at each injected point.
func TestExplain(t *testing.T) {
	p := program(t, sim.Native, false)
	c := failingGap(t, p, sim.Explore{Yields: 0.2})
	c.Explain = true
	out := run(t, p, c)
	if !contains(string(out.Output), "yields") || !contains(string(out.Output), "mini.TestGap.func1") {
		t.Errorf("no stacks of injected points in:\n%s", out.Output)
	}
}

// TestShrinkNetworkFaults keeps only the network faults that matter.
func TestShrinkNetworkFaults(t *testing.T) {
	for _, engine := range []string{sim.Native, sim.WASM} {
		t.Run(engine, func(t *testing.T) {
			p := program(t, engine, false)
			c := sim.Case{Test: "TestLossy"}
			for run(t, p, c).Verdict == sim.Pass {
				if c.Seed++; c.Seed == 100 {
					t.Fatal("no seed of 100 loses two messages in a row")
				}
			}
			s := sim.Shrinker{Program: p}
			small, out, err := s.Shrink(context.Background(), c)
			require.NoError(t, err)
			if len(out.Faults) != 2 || out.Faults[0].Number != 5 || out.Faults[1].Number != 6 || out.Faults[0].What != "lost" {
				t.Errorf("faults left: %+v of %d", out.Faults, len(out.Faults)+len(small.Faults.Calm))
			}
		})
	}
}

// TestReplayRuns builds and runs the case of a file.
func TestReplayRuns(t *testing.T) {
	requireNative(t)
	r := sim.Replay{Package: ".", Engine: sim.Native, Case: sim.Case{Test: "TestSlow", Seed: 1}, Verdict: sim.Liveness, Detail: "bad_test.go:61: one(9) failed to reach agreement"}
	p, err := r.Build(t.Context(), sim.Options{Dir: "testdata/mini"})
	require.NoError(t, err)
	defer p.Close()
	out := run(t, p, r.Case)
	require.Equal(t, r.Signature(), out.Signature(), "they differ in a number only")
	for _, bad := range []string{"{", "{}", `{"package":"p","case":{"test":"T","explore":{"yields":7}}}`} {
		file := filepath.Join(t.TempDir(), "bad.json")
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o600))
		if _, err := sim.LoadReplay(file); !errors.Is(err, sim.ErrInvalid) {
			t.Errorf("%s: error %v", bad, err)
		}
	}
	// The worlds of earlier versions began in 2009.
	file := filepath.Join(t.TempDir(), "old.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"package":"./setup","engine":"native","case":{"test":"TestStart"}}`), 0o600))
	old, err := sim.LoadReplay(file)
	require.NoError(t, err)
	p, err = old.Build(t.Context(), sim.Options{Dir: "testdata/mini"})
	require.NoError(t, err)
	defer p.Close()
	require.Contains(t, run(t, p, old.Case).Detail, "it is 2009-11-10 23h")
	_, err = sim.Build(t.Context(), sim.Options{Start: time.Unix(-1, 0)}, ".")
	require.ErrorIs(t, err, sim.ErrInvalid)
}
