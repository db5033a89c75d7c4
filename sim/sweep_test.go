package sim_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// fake is a program whose function run returns the outcomes.
type fake struct {
	tests []string
	run   func(c sim.Case) sim.Outcome
}

func (f fake) Package() string                                        { return "fake" }
func (f fake) Engine() string                                         { return "fake" }
func (f fake) Close() error                                           { return nil }
func (f fake) Tests(context.Context, string) ([]string, error)        { return f.tests, nil }
func (f fake) Run(_ context.Context, c sim.Case) (sim.Outcome, error) { return f.run(c), nil }

// failsOn fails in the same way for every seed that n divides.
func failsOn(n uint64) fake {
	return fake{[]string{"TestA", "TestB"}, func(c sim.Case) sim.Outcome {
		if c.Seed%n == 0 {
			return sim.Outcome{Verdict: sim.Safety, Detail: "a_test.go:1: bad", Hash: "x", CPU: time.Millisecond}
		}
		return sim.Outcome{Verdict: sim.Pass, Hash: "y", CPU: time.Millisecond}
	}}
}

func TestSweepRunsEachSeedOfEachTest(t *testing.T) {
	var results []sim.Result
	var last sim.Progress
	s := sim.Sweep{
		Programs: []sim.Program{failsOn(5)}, Seeds: sim.Seeds{First: 1, Last: 20}, Explore: sim.Explore{Yields: 0.5},
		OnResult:   func(r sim.Result, _ sim.Outcome) { results = append(results, r) },
		OnProgress: func(p sim.Progress) { last = p },
	}
	summary, err := s.Run(context.Background())
	require.NoError(t, err)
	// 20 seeds and 2 tests run as base and explored. 4 seeds fail.
	if summary.Runs() != 80 || len(summary.Failures()) != 16 || len(results) != 80 {
		t.Errorf("%d runs, %d failures, %d results", summary.Runs(), len(summary.Failures()), len(results))
	}
	if last.Done != 80 || last.Total != 80 || last.Failures != 16 || last.Left != 0 {
		t.Errorf("last progress %+v", last)
	}
	for _, r := range summary.Failures() {
		if r.Replays != 2 || !strings.Contains(r.Command, "--seeds") {
			t.Errorf("failure %+v was not replayed twice, or cannot be", r)
		}
	}
}

// TestDivergenceIsReported expects the verdict Diverged for a failure that does
// not repeat.
func TestDivergenceIsReported(t *testing.T) {
	n := 0
	p := fake{[]string{"TestA"}, func(sim.Case) sim.Outcome {
		n++
		return sim.Outcome{Verdict: sim.Safety, Detail: "bad", Hash: strings.Repeat("x", n)}
	}}
	s := sim.Sweep{Programs: []sim.Program{p}, Seeds: sim.Seeds{First: 1, Last: 1}}
	summary, err := s.Run(context.Background())
	require.NoError(t, err)
	if !summary.Diverged() || summary.Failures()[0].Verdict != sim.Diverged {
		t.Errorf("failures %+v", summary.Failures())
	}
}

// TestSweepForATime ends by the clock.
func TestSweepForATime(t *testing.T) {
	s := sim.Sweep{Programs: []sim.Program{failsOn(1 << 40)}, Seeds: sim.Seeds{First: 1}, For: 50 * time.Millisecond, Jobs: 2}
	summary, err := s.Run(context.Background())
	if err != nil || summary.Runs() == 0 {
		t.Errorf("%d runs, error %v", summary.Runs(), err)
	}
}

// TestInterruptedSweepKeepsWhatItHas ends the context of a sweep. The sweep
// returns its results without an error. A program that cannot be run is an
// error.
func TestInterruptedSweepKeepsWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := sim.Sweep{Programs: []sim.Program{failsOn(1 << 40)}, Seeds: sim.Seeds{First: 1, Last: 1 << 40}, Jobs: 1}
	s.OnResult = func(r sim.Result, _ sim.Outcome) {
		if r.Seed == 5 {
			cancel(errors.New("enough"))
		}
	}
	summary, err := s.Run(ctx)
	if err != nil || summary.Runs() < 9 {
		t.Errorf("%d runs, error %v", summary.Runs(), err)
	}
	s = sim.Sweep{Programs: []sim.Program{broken{}}, Seeds: sim.Seeds{First: 1, Last: 9}}
	if _, err := s.Run(context.Background()); !errors.Is(err, errBroken) {
		t.Errorf("error %v of a program that cannot be run", err)
	}
}

var errBroken = errors.New("broken")

// broken is a program that cannot be run.
type broken struct{ fake }

func (broken) Tests(context.Context, string) ([]string, error) { return []string{"TestA"}, nil }
func (broken) Run(context.Context, sim.Case) (sim.Outcome, error) {
	return sim.Outcome{}, errBroken
}

// TestShardsMergeIntoTheWhole merges the lines of all shards into the whole
// sweep. A line that occurs twice counts once.
func TestShardsMergeIntoTheWhole(t *testing.T) {
	const shards = 3
	merged := sim.NewSummary()
	var lines bytes.Buffer
	runs := 0
	for i := 1; i <= shards; i++ {
		s := sim.Sweep{
			Programs: []sim.Program{failsOn(4)}, Seeds: sim.Seeds{First: 3, Last: 22}, Shard: sim.Shard{Index: i, Count: shards},
			OnResult: func(r sim.Result, _ sim.Outcome) {
				if sim.WriteResult(&lines, r) != nil {
					t.Errorf("result %+v cannot be written", r) // from a goroutine of the sweep
				}
			},
		}
		part, err := s.Run(context.Background())
		require.NoError(t, err)
		runs += part.Runs()
	}
	if runs != 40 {
		t.Errorf("the shards ran %d cases, not 40", runs)
	}
	for range 2 {
		require.NoError(t, sim.ReadResults(bytes.NewReader(lines.Bytes()), merged.Add))
	}
	if merged.Runs() != 40 || len(merged.Failures()) != 10 {
		t.Errorf("merged: %d runs, %d failures", merged.Runs(), len(merged.Failures()))
	}
	var table strings.Builder
	if err := merged.Print(&table); err != nil || !strings.Contains(table.String(), "40 runs, 10 failures") {
		t.Errorf("table:\n%s%v", table.String(), err)
	}
}

func TestReadResultsRefusesOtherLines(t *testing.T) {
	err := sim.ReadResults(strings.NewReader("{\"test\":\"TestA\",\"verdict\":\"pass\"}\n{}\n"), func(sim.Result) {})
	if !errors.Is(err, sim.ErrInvalid) || !strings.Contains(err.Error(), "result 2") {
		t.Errorf("error %v", err)
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]sim.Seeds{"7": {First: 7, Last: 7}, "1..1000": {First: 1, Last: 1000}} {
		if got, err := sim.ParseSeeds(in); err != nil || got != want || got.String() != in {
			t.Errorf("ParseSeeds(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "5..4", "1..", "-1..3", "1..2..3"} {
		if _, err := sim.ParseSeeds(in); !errors.Is(err, sim.ErrInvalid) {
			t.Errorf("ParseSeeds(%q): %v", in, err)
		}
	}
	for _, in := range []string{"", "0/3", "4/3", "1", "a/b", "1/2/3"} {
		if _, err := sim.ParseShard(in); !errors.Is(err, sim.ErrInvalid) {
			t.Errorf("ParseShard(%q): %v", in, err)
		}
	}
}
