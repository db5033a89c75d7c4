package sim_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// schedules builds the planted bugs with points at memory accesses.
func schedules(t testing.TB) sim.Program {
	t.Helper()
	requireNative(t)
	return built(t, "schedules", sim.Options{Dir: "testdata/schedules", Engine: sim.Native, Preempt: []string{"."}})
}

// firstFailure looks for a seed with a failure, of at most so many.
func firstFailure(t testing.TB, p sim.Program, c sim.Case, seeds uint64) (sim.Case, sim.Outcome) {
	t.Helper()
	c, err := sim.Measured(context.Background(), p, c)
	require.NoError(t, err)
	for c.Seed = 1; c.Seed <= seeds; c.Seed++ {
		if out := run(t, p, c); out.Verdict != sim.Pass {
			return c, out
		}
	}
	return c, sim.Outcome{Verdict: sim.Pass}
}

// strategies are explorations that find bugs of any kind.
var strategies = []sim.Explore{{Yields: 0.2}, {Strategy: sim.PCT}}

// TestPlantedBugs finds each planted bug with one strategy or the other, and no
// bug in its fixed twin.
func TestPlantedBugs(t *testing.T) {
	p := schedules(t)
	names, err := p.Tests(t.Context(), ".")
	require.NoError(t, err)
	bugs := 0
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fixed := strings.HasSuffix(name, "Fixed")
			seeds := uint64(100)
			if fixed {
				seeds = 10
			}
			for _, e := range strategies {
				c, out := firstFailure(t, p, sim.Case{Test: name, Explore: e, Limits: quick}, seeds)
				if fixed && out.Verdict != sim.Pass {
					t.Errorf("the fixed twin fails with seed %d and %s: %s %s", c.Seed, e, out.Verdict, out.Detail)
				} else if !fixed && out.Verdict != sim.Pass {
					return
				}
			}
			if !fixed {
				t.Errorf("not found within %d seeds", seeds)
			}
		})
		if !strings.HasSuffix(name, "Fixed") {
			bugs++
		}
	}
	require.Equal(t, 30, bugs, "planted bugs")
}

// TestPreemption finds a lost update without a lock, which the synchronization
// points alone never show. The failure repeats, shrinks to a point or two, and
// replays from its file.
func TestPreemption(t *testing.T) {
	p := schedules(t)
	plain := built(t, "schedules without points at accesses", sim.Options{Dir: "testdata/schedules", Engine: sim.Native})
	for _, name := range []string{"TestLostUpdate", "TestLostUpdateAtomic"} {
		for _, e := range strategies {
			if c, out := firstFailure(t, plain, sim.Case{Test: name, Explore: e}, 20); out.Verdict != sim.Pass {
				t.Errorf("%s fails with seed %d and %s without points at memory accesses", name, c.Seed, e)
			}
			c, out := firstFailure(t, p, sim.Case{Test: name, Explore: e}, 100)
			require.Equal(t, sim.Safety, out.Verdict, "%s with %s", name, e)
			require.Equal(t, out.Hash, run(t, p, c).Hash)
			small, shrunk, err := (&sim.Shrinker{Program: p}).Shrink(t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, sim.Safety, shrunk.Verdict)
			require.LessOrEqual(t, len(small.Explore.Points), 2, "%s with %s: %+v", name, e, small.Explore)
			saved, err := sim.NewReplay(t.Context(), p, small, shrunk)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "lost.json")
			require.NoError(t, saved.Save(file))
			loaded, err := sim.LoadReplay(file)
			require.NoError(t, err)
			require.Equal(t, []string{"."}, loaded.Preempt)
			require.Equal(t, saved.Hash, run(t, p, loaded.Case).Hash)
		}
	}
}

// TestPCTListed lists the change points of a run under PCT and expects the same
// run.
func TestPCTListed(t *testing.T) {
	p := schedules(t)
	c, err := sim.Measured(t.Context(), p, sim.Case{Test: "TestABA", Explore: sim.Explore{Strategy: sim.PCT, Depth: 6}})
	require.NoError(t, err)
	worlds := map[string]bool{}
	for c.Seed = range 20 {
		out := run(t, p, c)
		require.LessOrEqual(t, len(out.Injected), 5)
		listed := c
		listed.Explore = sim.Explore{Strategy: sim.PCT, Listed: true, Points: out.Injected}
		again := run(t, p, listed)
		require.Equal(t, out.Hash, again.Hash)
		require.Equal(t, out.Points, again.Points)
		worlds[fmt.Sprint(out.Injected)] = true
	}
	require.Greater(t, len(worlds), 10, "other seeds have other change points")
}

// TestTurns changes the seed of an exploration in the middle of a run. The
// points before the turn stay.
func TestTurns(t *testing.T) {
	p := schedules(t)
	c := sim.Case{Test: "TestABA", Seed: 3, Explore: sim.Explore{Yields: 0.2}}
	whole := run(t, p, c)
	changed := 0
	for seed := range uint64(10) {
		c.Explore.Turns = []sim.Turn{{After: whole.Points / 2, Seed: seed + 1000}}
		out := run(t, p, c)
		require.Equal(t, out.Hash, run(t, p, c).Hash)
		require.Equal(t, whole.Injected[0], out.Injected[0])
		if fmt.Sprint(out.Injected) != fmt.Sprint(whole.Injected) {
			changed++
		}
	}
	require.Positive(t, changed)
}

// TestGuidedSweep expects a guided sweep to derive worlds, and to run the same
// cases with any number of jobs. A derived world repeats from its turns.
func TestGuidedSweep(t *testing.T) {
	p := schedules(t)
	for _, e := range strategies {
		guided := func(jobs int) map[string]sim.Result {
			results := map[string]sim.Result{}
			s := sim.Sweep{
				Programs: []sim.Program{p}, Pattern: "^TestABA$", Seeds: sim.Seeds{First: 1, Last: 40}, Explore: e, Guided: true, Jobs: jobs,
				OnResult: func(r sim.Result, _ sim.Outcome) {
					results[fmt.Sprint(r.Seed, r.Explore.Strategy, r.Explore.Yields, r.Explore.Turns)] = r
				},
			}
			_, err := s.Run(t.Context())
			require.NoError(t, err)
			return results
		}
		one, four := guided(1), guided(4)
		require.Len(t, four, len(one))
		derived := 0
		for key, r := range one {
			require.Equal(t, r.Hash, four[key].Hash, key)
			if len(r.Explore.Turns) == 0 {
				continue
			}
			derived++
			require.Equal(t, r.Hash, run(t, p, sim.Case{Test: r.Test, Seed: r.Seed, Explore: r.Explore}).Hash)
			if r.Failed() {
				require.Contains(t, r.Command, "--turns "+sim.FormatTurns(r.Explore.Turns))
			}
		}
		require.Greater(t, derived, 5)
	}
}

// TestExploreValues expects an error for values out of range, and text that
// reads back.
func TestExploreValues(t *testing.T) {
	for _, e := range []sim.Explore{
		{Strategy: "luck"}, {Strategy: sim.PCT, Yields: 0.1}, {Strategy: sim.PCT, Depth: 65}, {Depth: 3},
		{Strategy: sim.PCT, Depth: -1}, {Yields: 0.1, Turns: []sim.Turn{{After: 2}, {After: 1}}}, {Turns: make([]sim.Turn, 65)},
	} {
		require.ErrorIs(t, e.Validate(), sim.ErrInvalid, "%+v", e)
	}
	turns, err := sim.ParseTurns("120:7,300:8")
	require.NoError(t, err)
	require.Equal(t, []sim.Turn{{After: 120, Seed: 7}, {After: 300, Seed: 8}}, turns)
	require.Equal(t, "120:7,300:8", sim.FormatTurns(turns))
	for _, s := range []string{"7", "a:b", "1:2,0:1", ":"} {
		_, err := sim.ParseTurns(s)
		require.ErrorIs(t, err, sim.ErrInvalid, s)
	}
}

// TestPreemptRefuses expects errors for packages and engines without points at
// memory accesses.
func TestPreemptRefuses(t *testing.T) {
	requireNative(t)
	for want, opt := range map[string]sim.Options{
		"the wasm engine has no preemption": {Engine: sim.WASM, Preempt: []string{"."}},
		"need the same instrumentation":     {Engine: sim.Native, Race: true, Preempt: []string{"."}},
		"package time belongs to the stand": {Engine: sim.Native, Preempt: []string{"time"}},
		"nosuch/package":                    {Engine: sim.Native, Preempt: []string{"nosuch/package"}},
	} {
		opt.Dir = "testdata/schedules"
		_, err := sim.Build(t.Context(), opt, ".")
		require.ErrorContains(t, err, want)
	}
	s := sim.Sweep{Programs: []sim.Program{fake{}}, Guided: true}
	require.ErrorIs(t, s.Validate(), sim.ErrInvalid)
}
