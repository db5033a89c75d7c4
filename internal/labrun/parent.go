//go:build !wasip1

package labrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	isolateVariable = "RAFTLAB_ISOLATE"
	repeatsVariable = "RAFTLAB_REPEATS"

	defaultRepeats = 3
	// repeatBelow bounds the duration of a test that is repeated after a failure.
	repeatBelow = 20 * time.Second
	// clockTests is the number of tests that run on the real clock at a time, where
	// they mostly sleep.
	clockTests = 8
	// beforeTimeout is how long before go test's -timeout a child is ended.
	beforeTimeout = 3 * time.Second
	// grace is how much later than the child's own limit the parent ends a child.
	grace = 15 * time.Second
)

var (
	virtualSlots = make(chan struct{}, runtime.GOMAXPROCS(0))
	clockSlots   = make(chan struct{}, clockTests)
	// alone is held for writing by a test that runs while no other does.
	alone sync.RWMutex
	// noted holds the kinds of notes that a log has shown.
	noted sync.Map
)

// Run runs a test of a lab suite.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if !isolated() {
		inProcess(t, body)
		return
	}
	seed, err := testkit.ChooseSeed()
	if err != nil {
		t.Fatal(err)
	}
	(&parent{t: t, seed: seed}).run()
}

// Main runs the tests of a package with as many parallel tests as mostly sleep on the
// real clock, unless -parallel says otherwise. Children that compute are limited to
// GOMAXPROCS.
func Main(m *testing.M) {
	flag.Parse()
	if isolated() {
		testkit.AtOnce(clockTests)
	}
	os.Exit(m.Run())
}

// isolated reports whether tests run in processes of their own.
func isolated() bool {
	if os.Getenv(isolateVariable) == "0" || os.Getenv(resultVariable) != "" || testkit.Simulated() || testing.CoverMode() != "" {
		return false
	}
	for _, profile := range []string{"cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace"} {
		if f := flag.Lookup("test." + profile); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// A parent runs one test in children.
type parent struct {
	t    *testing.T
	seed int64
	// stream has a child write each event at once, because an attempt has ended without a
	// recording.
	stream bool
}

// An attempt is the run of one child.
type attempt struct {
	Result
	output []byte
	took   time.Duration
	clock  bool // on the real clock
	run    *trace.Recording
}

func (p *parent) run() {
	p.t.Helper()
	a := p.attempt(testkit.RealTime(), false)
	if a.Verdict == Still {
		p.t.Log("on the real clock") // of this test alone, so each says it
		p.note("clock", "tests run on the real clock where virtual time stands still for this implementation\n\n"+a.Why)
		a = p.attempt(true, false)
	}
	if a.clock && a.Verdict == Fail && a.took < realLimit {
		a = p.attempt(true, true) // the machine may have been too busy
	}
	for _, note := range a.Notes {
		kind, _, _ := strings.Cut(note, "\n")
		p.note(kind, note)
	}
	if a.Verdict != Pass || testing.Verbose() {
		p.t.Output().Write(logOf(a.output))
	}
	switch a.Verdict {
	case Pass:
	case Skip:
		p.t.SkipNow()
	default:
		line := p.repeat(&a)
		p.t.Log(line)
		if a.run != nil {
			a.run.Repeat, _, _ = strings.Cut(line, "\n")
			p.t.Log(savePage(a.run, p.seed))
		}
		p.t.FailNow()
	}
}

// note logs the first note of a kind. Others of the kind are the same habit.
func (p *parent) note(kind, text string) {
	p.t.Helper()
	if _, again := noted.LoadOrStore(kind, true); !again {
		p.t.Logf("note: %s", text)
	}
}

// repeat repeats a failed test, and returns the line with the command that fails
// again.
func (p *parent) repeat(a *attempt) string {
	line := testkit.RepeatLine(p.t.Name(), p.seed, a.clock)
	if a.clock || a.took > repeatBelow {
		return line
	}
	repeats, failed := repeats(), 0
	for range repeats {
		p.stream = a.run == nil
		if again := p.attempt(false, false); again.Verdict == Fail {
			failed++
			a.run = cmp.Or(a.run, again.run)
		}
	}
	if failed == repeats {
		return line
	}
	test, _, _ := strings.Cut(p.t.Name(), "/")
	tags := ""
	if testkit.Tags != "" {
		tags = " --tags " + testkit.Tags
	}
	return fmt.Sprintf("%s -count=50 -failfast\nThis seed failed in %d of %d runs, because it does not fix the order of goroutines. "+
		"A run that repeats exactly: raftlab sim %s --run '^%s$' --seeds 1..200%s", line, failed+1, repeats+1, testkit.PackageDir(), test, tags)
}

// repeats returns how often a failed test is repeated.
func repeats() int {
	n, err := strconv.Atoi(os.Getenv(repeatsVariable))
	if err != nil || n < 0 {
		return defaultRepeats
	}
	return n
}

// attempt runs the test in a child.
func (p *parent) attempt(clock, exclusive bool) attempt {
	if exclusive {
		alone.Lock()
		defer alone.Unlock()
	} else {
		alone.RLock()
		defer alone.RUnlock()
	}
	slots := virtualSlots
	if clock {
		slots = clockSlots
	}
	slots <- struct{}{}
	defer func() { <-slots }()
	dir, err := os.MkdirTemp("", "labrun")
	if err != nil {
		p.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	return p.child(filepath.Join(dir, "result"), clock)
}

func (p *parent) child(file string, clock bool) attempt {
	limit := time.Duration(testkit.SoakFactor())*realLimit + grace
	if deadline, ok := p.t.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-beforeTimeout)
	}
	if limit <= 0 {
		return attempt{Result: Result{Verdict: Fail}, output: []byte("    go test's -timeout leaves no time for this test\n"), clock: clock, took: realLimit}
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := newOutput(file + ".out")
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.close()
	cmd := exec.CommandContext(ctx, os.Args[0], p.arguments()...)
	cmd.Env = append(os.Environ(), resultVariable+"="+file, "RAFTLAB_REALTIME=", "GOMAXPROCS="+strconv.Itoa(runtime.GOMAXPROCS(0)))
	if clock {
		cmd.Env = append(cmd.Env, "RAFTLAB_REALTIME=1")
	}
	if p.stream {
		cmd.Env = append(cmd.Env, StreamVariable+"="+traceFile(file))
	}
	cmd.Stdout, cmd.Stderr = out.file, out.file
	cmd.WaitDelay = time.Second // for processes that it started
	start := time.Now()
	err = cmd.Run()
	a := attempt{clock: clock, took: time.Since(start)}
	data, missing := os.ReadFile(file)
	if missing == nil {
		missing = json.Unmarshal(data, &a.Result)
	}
	switch {
	case ctx.Err() != nil:
		a.Verdict = Fail
		fmt.Fprintf(out.file, "\n    the test did not end within %v of real time\n", limit.Round(time.Second))
	case missing != nil:
		a.Verdict = Fail
		fmt.Fprintf(out.file, "\n    the process of the test ended without a result: %v\n", exitOf(err))
	case a.Verdict == Pass && err != nil: // an exit or a panic after the test's last check
		a.Verdict = Fail
		fmt.Fprintf(out.file, "\n    the process of the test failed: %v\n", err)
	}
	a.output = out.bytes()
	if a.Verdict == Fail {
		a.run = p.recording(file, out)
	}
	return a
}

// recording reads the recording of a failed child, and adds the lines of the output.
func (p *parent) recording(file string, out *output) *trace.Recording {
	run, err := trace.ReadFile(traceFile(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		p.t.Logf("the recording of the failure cannot be read: %v", err)
		return nil
	}
	run.Test = p.t.Name()
	labtrace.Describe(run)
	run.AddOutput(out.whole())
	return run
}

func exitOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// arguments are the child's flags.
func (p *parent) arguments() []string {
	args := []string{
		"-test.run=" + testkit.RunPattern(p.t.Name()), "-test.v=true", "-test.count=1", "-test.timeout=0",
		"-test.parallel=1", "-test.paniconexit0", fmt.Sprint("-seed=", p.seed),
	}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	return args
}
