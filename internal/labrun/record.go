package labrun

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labtrace"
	"raftlab/internal/testkit"
	"raftlab/trace"
)

const (
	// traceVariable is 1 for a log of all messages, 0 for neither recordings nor pages, or the
	// directory for pages.
	traceVariable = "RAFTLAB_TRACE"
	// StreamVariable names a file that receives each event at once, also of a run that ends
	// without warning.
	StreamVariable = "RAFTLAB_TRACE_STREAM"
)

// A Recording is the recording of one network of a test.
type Recording struct {
	*trace.Recorder
	onFailure []func(*trace.Recording)
	on        bool
	untap     func()
	stop      sync.Once
}

// Tap connects a source of events, unless RAFTLAB_TRACE=0 turns recordings off. listen
// starts the source, and the function that it returns ends the source with the recording.
func (r *Recording) Tap(listen func() (untap func())) {
	if r.on {
		r.untap = listen()
	}
}

// Stop ends the recording. A test calls Stop before it ends its servers, so calls of killed
// servers cost nothing.
func (r *Recording) Stop() {
	r.Recorder.Stop()
	if r.untap != nil {
		r.stop.Do(r.untap)
	}
}

// OnFailure adds a function that completes the recording of a failed test. The function is
// called after the end of the test, when no goroutine of the test adds events.
func (r *Recording) OnFailure(complete func(*trace.Recording)) {
	r.onFailure = append(r.onFailure, complete)
}

// recordings holds the recordings of running tests by name. A test keeps the first one with
// a breach, or the newest one.
var recordings struct {
	sync.Mutex
	byTest map[string]*Recording
}

// Record starts the recording of a network. If the test fails, the log names the page of
// the failure. A simulated run leaves no page, because raftlab sim makes the pages.
func Record(t testing.TB) *Recording {
	t.Helper()
	if os.Getenv(traceVariable) == "0" {
		r := &Recording{Recorder: trace.NewRecorder(trace.Options{})}
		r.Stop()
		return r
	}
	r := &Recording{Recorder: trace.NewRecorder(recordOptions(t.Name())), on: true}
	recordings.Lock()
	defer recordings.Unlock()
	if recordings.byTest == nil {
		recordings.byTest = make(map[string]*Recording)
	}
	last := recordings.byTest[t.Name()]
	if last == nil || !last.Broken() {
		recordings.byTest[t.Name()] = r
	}
	if last == nil && os.Getenv(resultVariable) == "" {
		t.Cleanup(func() {
			run := takeRecording(t.Name(), t.Failed() && !testkit.Simulated())
			if run != nil {
				seed := testkit.Seed(t)
				run.Repeat = testkit.RepeatLine(t.Name(), seed, testkit.RealTime())
				t.Log(savePage(run, seed))
			}
		})
	}
	return r
}

// recordOptions says what recordings do beside collecting events.
func recordOptions(test string) trace.Options {
	o := trace.Options{Spin: testkit.Simulated()}
	if os.Getenv(resultVariable) != "" {
		o.Output = outputSize()
	}
	o.Stream = openStream(os.Getenv(StreamVariable), trace.Header(test, ""))
	return o
}

// takeRecording ends the recording of a test, and returns the recording if it is wanted and there is one.
func takeRecording(test string, wanted bool) *trace.Recording {
	recordings.Lock()
	r := recordings.byTest[test]
	delete(recordings.byTest, test)
	recordings.Unlock()
	if r == nil {
		return nil
	}
	r.Stop()
	if !wanted {
		return nil
	}
	run := r.Recording()
	run.Test = test
	for _, complete := range r.onFailure {
		complete(run)
	}
	labtrace.Describe(run)
	return run
}

// traceFile is the file of a child's recording.
func traceFile(result string) string { return result + ".trace" }

// saveLimit bounds the time for completing a recording. A goroutine of a failed test may
// hold a lock for good.
const saveLimit = 10 * time.Second

// saveRecording writes the recording of a child's test for the parent, if the test failed.
func saveRecording(file string, failed bool) {
	done := make(chan struct{})
	go func() { // ends with the process, if not before
		defer close(done)
		recordings.Lock()
		var tests []string
		for test := range recordings.byTest {
			tests = append(tests, test)
		}
		recordings.Unlock()
		for _, test := range tests {
			if run := takeRecording(test, failed); run != nil {
				if err := trace.WriteFile(traceFile(file), run); err != nil {
					fmt.Fprintf(os.Stderr, "labrun: no recording: %v\n", err)
				}
			}
		}
	}()
	timeout := time.NewTimer(saveLimit)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}

// stuck notes that a test cannot end, with the broken rule and the stacks behind the first line of why. The
// recording may have stopped before, because servers also block in Kill.
func stuck(test string, rule trace.Rule, why string) {
	recordings.Lock()
	r := recordings.byTest[test]
	recordings.Unlock()
	if r == nil {
		return
	}
	text, stacks, _ := strings.Cut(why, "\n\n")
	b := trace.Breach{Rule: rule, Text: text, Waits: waits(stacks)}
	r.OnFailure(func(run *trace.Recording) {
		if n := len(run.Events); n > 0 {
			b.Time = run.Events[n-1].Time
		}
		run.Breaches = append(run.Breaches, b)
	})
}

// PagesDir is the directory for pages.
func PagesDir() string {
	switch dir := os.Getenv(traceVariable); dir {
	case "", "0", "1":
		return filepath.Join(os.TempDir(), "raftlab-pages")
	default:
		return dir
	}
}

// maxPages bounds the pages in the directory of temporary files. Older pages are removed.
const maxPages = 50

// savePage writes the page of a failed run, and returns the line for the log.
func savePage(run *trace.Recording, seed int64) string {
	dir := PagesDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Sprintf("the failure has no page: %v", err)
	}
	name := strings.NewReplacer("/", "_", "#", "_").Replace(run.Test) + "-" + strconv.FormatInt(seed, 10) + ".html"
	path := filepath.Join(dir, name)
	if err := trace.WritePageFile(path, run); err != nil {
		return fmt.Sprintf("the failure has no page: %v", err)
	}
	if os.Getenv(traceVariable) == "" {
		removeOldest(dir, maxPages)
	}
	return "what happened: " + path
}

// removeOldest leaves so many files in a directory.
func removeOldest(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for len(entries) > keep {
		oldest := 0
		for i, e := range entries {
			if modified(e).Before(modified(entries[oldest])) {
				oldest = i
			}
		}
		_ = os.Remove(filepath.Join(dir, entries[oldest].Name()))
		entries = append(entries[:oldest], entries[oldest+1:]...)
	}
}

func modified(e os.DirEntry) (t time.Time) {
	if info, err := e.Info(); err == nil {
		t = info.ModTime()
	}
	return t
}

// OutputMark stands in the output of a streamed simulated run, once for each event.
const OutputMark = '\x1e'
