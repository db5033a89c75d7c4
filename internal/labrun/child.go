package labrun

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/trace"
)

// resultVariable names the file for the child's result.
const resultVariable = "RAFTLAB_LAB_RESULT"

// limit bounds a test's time, on its own clock and on the real clock. Under
// RAFTLAB_SOAK=1 the limits are ten times as long.
const (
	virtualLimit = time.Hour
	realLimit    = 5 * time.Minute
)

// collectAt is the growth of the heap, in percent, at which a child collects garbage. A
// child is short, and at the usual 100 percent a fifth of the CPU time of a suite went
// into collections.
const collectAt = 400

// A Verdict is the result of one test.
type Verdict string

const (
	Pass  Verdict = "pass"
	Fail  Verdict = "fail"
	Skip  Verdict = "skip"  // the implementation has no such case
	Still Verdict = "still" // virtual time stood still; the real clock must decide
)

// A Result is the child's result.
type Result struct {
	Verdict Verdict
	Notes   []string `json:",omitempty"`
	Why     string   `json:",omitempty"` // of Still
}

// notes collects the notes of the running test, in a child.
var notes struct {
	sync.Mutex
	all []string
}

// Strict makes each note a failure. The packages of this project keep habits that a
// submission need not have, and their ordinary tests set Strict.
var Strict bool

// Note adds a note to the result of a test that may nevertheless pass. Any goroutine
// may call Note before the test has ended.
func Note(t testing.TB, format string, args ...any) {
	t.Helper()
	note := fmt.Sprintf(format, args...)
	if Strict {
		t.Error(note)
		return
	}
	if os.Getenv(resultVariable) == "" {
		t.Logf("note: %s", note)
		return
	}
	notes.Lock()
	defer notes.Unlock()
	notes.all = append(notes.all, note)
}

// inProcess runs the body of a test in this process.
func inProcess(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	testkit.Seed(t)
	if file := os.Getenv(resultVariable); file != "" {
		t.Cleanup(func() { // the last to run
			saveRecording(file, t.Failed())
			writeResult(file, Result{Verdict: verdictOf(t)})
		})
		alarm := time.AfterFunc(time.Duration(testkit.SoakFactor())*realLimit, func() {
			quit(file, fmt.Sprintf("the test did not end within %v of real time", realLimit))
		})
		defer alarm.Stop()
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(collectAt)
		}
	} else {
		defer testkit.Watch(t)()
	}
	if testkit.RealTime() {
		body(t)
		return
	}
	bubble := testkit.Bubble{Limit: time.Duration(testkit.SoakFactor()) * virtualLimit, Beats: true}
	switch end := bubble.Run(t, body); {
	case end.Still != "" && os.Getenv(resultVariable) != "" && !Strict:
		writeResult(os.Getenv(resultVariable), Result{Verdict: Still, Why: end.Still})
		os.Exit(1)
	case end.Left != "" && t.Failed(): // a failed check ends a test in the middle
	case end.Left != "":
		Note(t, "goroutines of the package stay blocked for good after Kill\n\n%s", end.Left)
	case end.Still+end.Stuck != "":
		stuck(t.Name(), trace.Deadlock, end.Still+end.Stuck)
		t.Error(end.Still + end.Stuck)
	}
}

// Quit fails a test and ends the test's process, because goroutines of the test are
// blocked for good. Where tests share a process, Quit fails the test alone.
func Quit(t testing.TB, why string) {
	t.Helper()
	end(t, trace.Deadlock, why)
}

// end is Quit with the broken rule. raftlab sim also has a process for each test.
func end(t testing.TB, rule trace.Rule, why string) {
	t.Helper()
	stuck(t.Name(), rule, why+"\n\n"+testkit.Stacks())
	if file := os.Getenv(resultVariable); file != "" {
		quit(file, why)
	}
	t.Error(why)
	if testkit.Simulated() {
		fmt.Printf("%s\n--- FAIL: %s\n    %s\n", testkit.Stacks(), t.Name(), why)
		os.Exit(1)
	}
}

// Within carries out an operation that may retry for ever, such as one of a lab's clerk. An
// operation that takes longer than limit ends the test as Quit does, unless over is closed
// by then. Any goroutine may call Within.
func Within(t testing.TB, over <-chan struct{}, limit time.Duration, what string, operation func()) {
	t.Helper()
	alarm := time.AfterFunc(limit, func() {
		select {
		case <-over:
		default:
			end(t, trace.AnswerInTime, fmt.Sprintf("%s: not done within %v", what, limit))
		}
	})
	defer alarm.Stop()
	operation()
}

// QuitSkipped skips a test and ends the test's process, because the implementation has
// blocked goroutines of the test for good and breaks no rule. Where tests share a process,
// QuitSkipped fails the test.
func QuitSkipped(t testing.TB, why string) {
	t.Helper()
	if file := os.Getenv(resultVariable); file != "" {
		fmt.Printf("    %s\n", why)
		writeResult(file, Result{Verdict: Skip})
		os.Exit(1) // package testing forbids 0
	}
	t.Error(why)
}

// quit ends a child whose test has failed, with the stacks of all goroutines.
func quit(file, why string) {
	fmt.Printf("    %s\n\n%s\n", why, testkit.Stacks())
	saveRecording(file, true)
	writeResult(file, Result{Verdict: Fail})
	os.Exit(1)
}

func verdictOf(t *testing.T) Verdict {
	switch {
	case t.Failed():
		return Fail
	case t.Skipped():
		return Skip
	}
	return Pass
}

func writeResult(file string, r Result) {
	notes.Lock()
	r.Notes = notes.all
	notes.Unlock()
	data, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "labrun: no result: %v\n", err)
	}
}
