package sim_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

func told(t *testing.T, p sim.Program, c sim.Case) (sim.Story, string) {
	t.Helper()
	story, err := sim.Tell(t.Context(), p, c)
	require.NoError(t, err)
	var text bytes.Buffer
	story.Print(&text, "")
	return story, text.String()
}

// TestStoryOfAPoint expects the story of a shrunk failure to name the point that
// matters, what ran meanwhile, and what happens without the point.
func TestStoryOfAPoint(t *testing.T) {
	p := schedules(t)
	c, _ := firstFailure(t, p, sim.Case{Test: "TestLostUpdate", Explore: sim.Explore{Yields: 0.2}}, 100)
	small, out, err := (&sim.Shrinker{Program: p}).Shrink(t.Context(), c)
	require.NoError(t, err)
	recorded, err := sim.Record(t.Context(), p, small)
	require.NoError(t, err)
	require.Equal(t, out.Hash, recorded.Hash, "a recorded run is the same run")
	require.NotEmpty(t, recorded.Events)

	story, text := told(t, p, small)
	require.Len(t, story.Points, len(small.Explore.Points))
	one := story.Points[0]
	require.Equal(t, sim.Pass, one.Verdict)
	require.Contains(t, one.At.Function, "schedules.lostUpdate", text)
	require.NotEmpty(t, one.Meanwhile, text)
	for _, e := range one.Meanwhile {
		require.NotEqual(t, one.At.Goroutine, e.Goroutine)
	}
	require.Equal(t, one.At.Goroutine, one.Then.Goroutine)
	require.Greater(t, len(one.Control), 1, text)
	require.Equal(t, one.At.Op, one.Control[0].Op)
	require.Contains(t, text, "is held up before write in schedules.lostUpdate.func1 memory_test.go:")
	require.Contains(t, text, "without this point, the run passes")
	require.Contains(t, text, "the last events of each goroutine:")
}

// TestStoryOfAWait expects the story of a deadlock to say who waits for what,
// since when, and who has it.
func TestStoryOfAWait(t *testing.T) {
	p := program(t, sim.Native, false)
	story, text := told(t, p, sim.Case{Test: "TestLockOrder", Limits: quick})
	var ids []uint64
	for _, w := range story.Waits {
		if w.Reason == "sync.Mutex.Lock" {
			require.NotNil(t, w.Holder, text)
			require.Greater(t, w.For, quick.Virtual/2)
			ids = append(ids, w.Goroutine, w.Holder.ID)
		}
	}
	require.Len(t, ids, 6, text)
	require.Equal(t, []uint64{ids[0], ids[1], ids[1], ids[0]}, ids[:4], "each waits for the other one:\n%s", text)
	require.Contains(t, ids[:2], ids[5], "the later one waits for a holder, not for one that waits:\n%s", text)
	require.Contains(t, text, "holds since")

	_, err := sim.Tell(t.Context(), program(t, sim.WASM, false), sim.Case{Test: "TestLockOrder"})
	require.ErrorIs(t, err, sim.ErrUnsupported)
	_, err = sim.Until(t.Context(), program(t, sim.WASM, false), sim.Case{Test: "TestLockOrder"}, 1)
	require.ErrorIs(t, err, sim.ErrUnsupported)
}

// TestCauseIsNamed expects a failure whose output alone differs between replays
// to keep its verdict, with the file or the address that makes the difference.
func TestCauseIsNamed(t *testing.T) {
	requireNative(t)
	counter := filepath.Join(t.TempDir(), "counter")
	require.NoError(t, os.WriteFile(counter, []byte("7"), 0o600))
	programs, err := sim.Build(t.Context(), sim.Options{Dir: "testdata/mini", Engine: sim.Native, Env: []string{"COUNTER=" + counter}}, ".")
	require.NoError(t, err)
	defer programs[0].Close()
	res, _, err := sim.Check(t.Context(), programs[0], sim.Case{Test: "TestCounter"})
	require.NoError(t, err)
	require.Equal(t, sim.Safety, res.Verdict, "%+v", res)
	require.Contains(t, res.Cause, "the content of "+counter)
	require.Contains(t, res.Cause, "run 7 fails")

	runs := 0
	printed := func(format string) sim.Result {
		p := fake{nil, func(sim.Case) sim.Outcome {
			runs++
			text := fmt.Sprintf(format, 0xc000012340+int64(runs))
			return sim.Outcome{Verdict: sim.Safety, Detail: "a_test.go:1: bad", Output: []byte(text), Hash: text}
		}}
		res, _, err := sim.Check(t.Context(), p, sim.Case{})
		require.NoError(t, err)
		return res
	}
	res = printed("object at 0x%x\n")
	require.Equal(t, sim.Safety, res.Verdict)
	require.Contains(t, res.Cause, `an address: "object at 0xc000012341", then "object at 0xc000012342"`)
	res = printed("%d objects of nobody\n")
	require.Equal(t, sim.Diverged, res.Verdict, "a number is no address")
}

// TestPanicsHavePlaces expects panics with one message at two places to be two
// kinds.
func TestPanicsHavePlaces(t *testing.T) {
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestPanic"})
	require.Equal(t, sim.Crash, out.Verdict)
	require.Regexp(t, `^panic: assignment to entry in nil map: in mini\.TestPanic\.func1 bad_test\.go:\d+$`, out.Detail)
	require.Contains(t, out.Signature(), "bad_test.go:")
}
