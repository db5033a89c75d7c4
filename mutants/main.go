// Command mutants plants bugs, one at a time, and runs the lab-suite test that must
// fail with the bug. A suite that passes with a bug is a failure, and so is a bug
// that no longer fits the source.
//
// Some bugs are planted in this module's own packages. A state machine without locks
// has no room for most of the mistakes that people make. Therefore other bugs are
// planted in mutants/student, a Raft with one mutex and many goroutines, such as a
// student writes. The student's Raft then replaces package raft. Without a bug, the
// student's Raft is the control and must pass the suites of all labs. A suite that
// accuses a correct implementation is worse than a suite that misses a bug.
//
// With -schedules, the simulator of package core alone has to find the bugs of package
// core.
//
// A bug is a replacement of text in one file, built with go test's -overlay, so the
// source tree is unchanged. Run the command from the module's root.
//
// With -table the command judges whole implementations in many styles
// (mutants/styles/README.md).
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A mutant is a bug, and the test that must fail.
type mutant struct {
	name string
	why  string // description of the bug
	file string // slash-separated path from the module's root
	old  string // occurs exactly once in the file
	new  string // replaces old
	also []edit // further edits of the same file
	pkg  string // package of the test; default ./raft
	test string // names of tests, separated by |; one of them must fail
}

// An edit replaces old by new. The file contains old exactly once, unless all
// occurrences are replaced.
type edit struct {
	old, new string
	all      bool
}

// controls are the correct implementations.
var controls = slices.Concat(studentControls, innocents, serviceInnocents, partials, y2025Controls)

// all are the bugs of all packages.
var all = slices.Concat(raftMutants, coreMutants, studentMutants, kvraftMutants, shardMutants, y2025Mutants)

// schedules replaces the tests of package core by the simulator, if it is not 0.
var schedules int64

// simulated reports whether the simulator of package core must find the bug.
func (m mutant) simulated() bool { return m.pkg == "./raft/core" }

// tries bounds the runs of a test. A mutant survives if all runs pass. Each run
// makes other random choices.
const tries = 3

func main() {
	pattern := flag.String("run", "", "only mutants whose `name` matches this regular expression")
	flag.Int64Var(&schedules, "schedules", 0, "plant the bugs of package core alone, and require TestSimulation to find each bug within this `number` of schedules")
	jobs := flag.Int("j", runtime.GOMAXPROCS(0), "number of mutants to run at a time")
	asTable := flag.Bool("table", false, "judge whole implementations, and write a table: simulated worlds without accusations, mistakes found in one run")
	times := flag.Int("rate", 0, "run the test of each mutant so many `times`, and show the mutants that are not always killed")
	seeds := flag.String("seeds", "1..5", "with -table: seeds of the worlds, `A..B`, or nothing for no worlds")
	mistakes := flag.Bool("mistakes", true, "with -table: plant each implementation's mistakes")
	only := flag.String("only", "", "with -table: plant only mistakes whose `name` matches this regular expression, and judge no correct implementation")
	suites := flag.String("suites", "", "with -table: only the suites of packages whose `name` matches this regular expression")
	flag.Parse()
	re, err := regexp.Compile(*pattern)
	switch {
	case err != nil:
		err = fmt.Errorf("-run: %w", err)
	case *asTable:
		err = table(os.Stdout, re, *suites, *only, *seeds, *mistakes)
	case *times > 0:
		err = rate(os.Stdout, re, *times)
	default:
		err = run(re, *jobs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// A trial runs tests with an overlay below dir, and returns a verdict, or an error
// if the result is wrong.
type trial struct {
	name string
	run  func(dir string) (string, error)
}

// trials returns the controls and the mutants with a name that matches re.
func trials(re *regexp.Regexp) (found []trial) {
	for _, c := range controls {
		if schedules == 0 && re.MatchString(c.name) {
			found = append(found, trial{c.name, c.pass})
		}
	}
	for _, m := range all {
		switch {
		case !re.MatchString(m.name) || schedules > 0 && !m.simulated():
		case schedules > 0:
			found = append(found, trial{m.name, m.simulate})
		default:
			found = append(found, trial{m.name, m.kill})
		}
	}
	return found
}

func run(re *regexp.Regexp, jobs int) error {
	found := trials(re)
	if len(found) == 0 {
		return fmt.Errorf("no mutant's name matches %q", re)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, max(jobs, 1))
		wrong int
	)
	for _, tr := range found {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			verdict, err := tr.run(filepath.Join(dir, tr.name))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wrong++
				fmt.Printf("%-36s %v\n", tr.name, err)
				return
			}
			fmt.Printf("%-36s %s (%.1fs)\n", tr.name, verdict, time.Since(start).Seconds())
		})
	}
	wg.Wait()
	fmt.Printf("%d right, %d wrong\n", len(found)-wrong, wrong)
	if wrong > 0 {
		return errors.New("the suites missed a bug or failed a correct implementation")
	}
	return nil
}

// errSurvived means every try of the test passed.
var errSurvived = errors.New("SURVIVED")

// kill runs the test with the bug planted, and names the failed test.
func (m mutant) kill(dir string) (string, error) {
	overlay, err := m.plant(".", dir)
	if err != nil {
		return "", err
	}
	for range tries {
		by, err := try(overlay, cmp.Or(m.pkg, "./raft"), "^("+m.test+")$", "-failfast", "-timeout=2m")
		if !errors.Is(err, errSurvived) {
			return "killed by " + by, err
		}
	}
	return "", fmt.Errorf("%w %s\n%37s%s", errSurvived, m.test, "", m.why)
}

// simulate runs the simulator with the bug planted. Its schedules are always the same.
func (m mutant) simulate(dir string) (string, error) {
	overlay, err := m.plant(".", dir)
	if err != nil {
		return "", err
	}
	by, err := try(overlay, m.pkg, "^TestSimulation$", "-failfast", "-timeout=1h", fmt.Sprint("-schedules=", schedules))
	if errors.Is(err, errSurvived) {
		return "", fmt.Errorf("%w %d schedules\n%37s%s", errSurvived, schedules, "", m.why)
	}
	return "found by " + by, err
}

// plant writes the file with the bug into dir. The overlay replaces the original
// file below root.
func (m mutant) plant(root, dir string) (overlay string, err error) {
	original, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	mutated := string(source)
	mutated, err = applyEdits(mutated, append([]edit{{old: m.old, new: m.new}}, m.also...))
	if err != nil {
		return "", fmt.Errorf("%w of %s", err, m.file)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	planted := filepath.Join(dir, filepath.Base(original))
	if err := os.WriteFile(planted, []byte(mutated), 0o644); err != nil {
		return "", err
	}
	replace := map[string]string{original: planted}
	switch pkg, plain := strings.CutPrefix(path.Dir(m.file), "mutants/y2025/"); {
	case m.file == student:
		replace, err = inPlaceOfRaft(root, planted)
	case plain:
		replace, err = inPlaceOf(root, "y2025/"+pkg, map[string]string{path.Base(m.file): planted})
	}
	if err != nil {
		return "", err
	}
	return writeOverlay(dir, replace)
}

// writeOverlay writes an overlay for the go command into dir.
func writeOverlay(dir string, replace map[string]string) (overlay string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o644)
}

// failure finds the failed test or the panic in the output of go test.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*|fatal error: .*)$`)

// try runs tests with an overlay. try returns the first failure, or errSurvived if
// all tests pass.
func try(overlay, pkg, tests string, flags ...string) (string, error) {
	out, err := goTest(overlay, pkg, tests, flags...)
	if err == nil {
		return "", errSurvived
	}
	if unbuilt(out) {
		return "", fmt.Errorf("DOES NOT BUILD:\n%s", out)
	}
	found := failure.FindStringSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("go test: %w\n%s", err, out)
	}
	return cmp.Or(found[1], found[2]), nil
}

// goTest runs tests with an overlay and returns the output. A failure is not repeated.
func goTest(overlay, pkg, tests string, flags ...string) (string, error) {
	args := []string{"test", "-overlay", overlay, "-vet=off", "-ldflags=-s -w", "-count=1", "-run", tests, pkg}
	cmd := exec.Command("go", append(args, flags...)...)
	cmd.Env = append(os.Environ(), "RAFTLAB_REPEATS=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func unbuilt(out string) bool {
	return strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]")
}
