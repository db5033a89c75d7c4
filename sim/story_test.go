package sim_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	requireOnce(t, story, text)
	held := slices.IndexFunc(story.Steps, func(s sim.Step) bool { return s.HeldUp })
	on := slices.IndexFunc(story.Steps, func(s sim.Step) bool { return s.GoesOn })
	require.Greater(t, on, held+1, text)
	for _, i := range []int{held, on} {
		require.Equal(t, one.At.Goroutine, story.Steps[i].Goroutine)
		require.Equal(t, one.At.Op, story.Steps[i].Op)
		require.Equal(t, 1, story.Steps[i].Point)
	}
	for _, s := range story.Steps[held+1 : on] {
		require.NotEqual(t, one.At.Goroutine, s.Goroutine)
		require.Equal(t, story.Steps[held].Shared, s.Shared, "the variable of the lost update:\n%s", text)
	}
	require.NotZero(t, story.Steps[held].Shared, text)
	require.Greater(t, len(one.Control), 1, text)
	require.Equal(t, one.At.Op, one.Control[0].Op)
	require.Contains(t, text, "The run ends in safety (memory_test.go:31: counted ")
	require.Regexp(t, `(?m)^A +\S+ +g\d+ +is held up before write #1 +schedules\.lostUpdate\.func1 memory_test\.go:25$`, text)
	require.Regexp(t, `(?m)^A +\S+ +g\d+ +goes on with write #1 `, text)
	require.Regexp(t, `A was injected\. Without A, the run passes\. There g\d+ did not stop, and its next steps were: write memory_test\.go:25; read memory_test\.go:25`, text)
	require.Contains(t, text, ": the test\n")
	require.Contains(t, text, ": schedules.lostUpdate.func1\n", "what the standard library started is named by its own function")

	_, text = told(t, p, c)
	require.Regexp(t, `(?m)^\d+ points were injected\. --shrink finds those that matter\.$`, text)
}

// requireOnce expects a story to tell each event once, in one line, in order.
func requireOnce(t *testing.T, story sim.Story, text string) {
	t.Helper()
	require.NotEmpty(t, story.Steps, text)
	for i, s := range story.Steps[1:] {
		require.Greater(t, s.Number, story.Steps[i].Number, text)
	}
	lines := regexp.MustCompile(`(?m)^(?:[A-Z]| ) +\d\S*s +g\d+ .*$`).FindAllString(text, -1)
	require.Len(t, lines, len(story.Steps), text)
	goroutines := map[uint64]int{}
	for _, s := range story.Steps {
		if !s.HeldUp && !s.GoesOn {
			goroutines[s.Goroutine]++
		}
	}
	require.Len(t, story.Goroutines, len(goroutines), text)
}

// TestStoryOfALongControl expects the story to find the point in a control that has lost
// its first events. Beside the point are the steps at the same lock, not those of a bystander.
func TestStoryOfALongControl(t *testing.T) {
	p := program(t, sim.Native, false)
	c, _ := firstFailure(t, p, sim.Case{Test: "TestLongControl", Explore: sim.Explore{Yields: 0.2}}, 50)
	small, _, err := (&sim.Shrinker{Program: p}).Shrink(t.Context(), c)
	require.NoError(t, err)
	story, text := told(t, p, small)
	require.Len(t, story.Points, 1, text)
	require.Equal(t, sim.Pass, story.Points[0].Verdict)
	require.NotEmpty(t, story.Points[0].Control, text)
	same, others := 0, 0
	held := slices.IndexFunc(story.Steps, func(s sim.Step) bool { return s.HeldUp })
	for _, s := range story.Steps[held+1:] {
		if s.GoesOn {
			break
		}
		if s.Object == story.Points[0].At.Object {
			same++
		} else if s.Function == "mini.bystander" {
			others++
		}
	}
	require.Positive(t, same, text)
	require.LessOrEqual(t, others, 4, text)
}

// TestStoryOfAWait expects the story of a deadlock to say who waits for what,
// since when, and who has it.
func TestStoryOfAWait(t *testing.T) {
	p := program(t, sim.Native, false)
	story, text := told(t, p, sim.Case{Test: "TestLockOrder", Limits: quick})
	requireOnce(t, story, text)
	var ids []uint64
	for _, s := range story.Steps {
		if s.What == "sync.(*Mutex).Lock" && s.Wait != nil {
			require.NotNil(t, s.Wait.Holder, text)
			require.Greater(t, s.Wait.For, quick.Virtual/2)
			ids = append(ids, s.ID, s.Wait.Holder.ID)
		}
	}
	require.Len(t, ids, 6, text)
	require.Equal(t, []uint64{ids[0], ids[1], ids[1], ids[0]}, ids[:4], "each waits for the other one:\n%s", text)
	require.Contains(t, ids[:2], ids[5], "the later one waits for a holder, not for one that waits:\n%s", text)
	require.Regexp(t, `g\d+ +Mutex\.Lock #\d, and waits +mini\.TestLockOrder\.func2 bad_test\.go:\d+ +to the end, for \S+: g\d+ has the lock since `, text)

	_, err := sim.Tell(t.Context(), program(t, sim.WASM, false), sim.Case{Test: "TestLockOrder"})
	require.ErrorIs(t, err, sim.ErrUnsupported)
	_, err = sim.Until(t.Context(), program(t, sim.WASM, false), sim.Case{Test: "TestLockOrder"}, 1)
	require.ErrorIs(t, err, sim.ErrUnsupported)
}

// TestStoryOfACrowd expects the story of many goroutines to tell those that matter, and
// to count the others.
func TestStoryOfACrowd(t *testing.T) {
	p := program(t, sim.Native, false)
	story, text := told(t, p, sim.Case{Test: "TestCrowdedDeadlock", Limits: quick})
	requireOnce(t, story, text)
	require.Less(t, len(story.Goroutines), 12, text)
	require.Greater(t, story.Untold, 20, text)
	waits := 0
	for _, s := range story.Steps {
		if s.Wait != nil && s.Wait.Holder != nil {
			waits++
		}
	}
	require.Equal(t, 2, waits, text)
	require.Contains(t, text, " more goroutines are left out")
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

// TestStoryOfAFault expects the story of a shrunk failure to have the reset that matters, and the
// steps before and after.
func TestStoryOfAFault(t *testing.T) {
	p := program(t, sim.Native, false)
	c, _ := firstFailure(t, p, sim.Case{Test: "TestBrittle", Net: sim.Net{Delay: 0.05, Reset: 0.002}, Faults: sim.Faults{Record: true}}, 50)
	small, _, err := (&sim.Shrinker{Program: p}).Shrink(t.Context(), c)
	require.NoError(t, err)
	story, text := told(t, p, small)
	fault := slices.IndexFunc(story.Steps, func(s sim.Step) bool { return s.Kind == sim.Meets })
	require.Positive(t, fault, text)
	require.Zero(t, story.Steps[fault-1].Gap, text)
	require.Regexp(t, `(?m)^ +\S+ +fault: reset from 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+$`, text)
	require.Regexp(t, `(?m)^ +\S+ +g\d+ +t\.Fatal +mini\.TestBrittle net_test\.go:\d+\nThe last step here is event \d+, for --until of a replay\.\n\z`, text)
	require.NotContains(t, text, "g0")
}

// TestStoryEndsAtTheFailure expects the story of a test that goes on after its failed check to
// end there. A call of the standard library is one step.
func TestStoryEndsAtTheFailure(t *testing.T) {
	story, text := told(t, program(t, sim.Native, false), sim.Case{Test: "TestGoesOn"})
	require.Equal(t, sim.Safety, story.Verdict)
	require.Regexp(t, `(?m)Mutex\.Unlock .*\n.* t\.Error +mini\.TestGoesOn bad_test\.go:\d+\nThe last step here is event \d+`, text)
	last := story.Steps[len(story.Steps)-1]
	stop, err := sim.Until(t.Context(), program(t, sim.Native, false), sim.Case{Test: "TestGoesOn"}, last.Number)
	require.NoError(t, err)
	require.Contains(t, string(stop.Outcome.Output), "mini.TestGoesOn", "the goroutine of the last step")
	require.Equal(t, last.Number, stop.Event)
}

// TestFaultsNameTheirFiles expects the events of a loss of power to name the files that lost
// something. Without a file there is a number of the disk alone.
func TestFaultsNameTheirFiles(t *testing.T) {
	requireNative(t)
	programs, err := sim.Build(t.Context(), sim.Options{Engine: sim.Native}, "./world")
	require.NoError(t, err)
	defer programs[0].Close()
	out, err := sim.Record(t.Context(), programs[0], sim.Case{Test: "TestSyncedIsSafe", Seed: 5})
	require.NoError(t, err)
	faults := map[string]int{}
	for _, e := range out.Events {
		if e.Kind == sim.Meets {
			faults[e.What]++
		}
	}
	require.Equal(t, map[string]int{"torn content of log": faults["torn content of log"]}, faults)
	require.Greater(t, faults["torn content of log"], 10)
}
