// Command mutants plants bugs, one at a time, and runs the lab-suite test that
// must fail with each. A suite that does not notice is no good, and neither is a
// bug that no longer fits the source: both are failures.
//
//	go run ./mutants            all of them
//	go run ./mutants -run vote  those whose name matches
//
// A bug is a replacement of text in one file, built by go test's -overlay: the
// source tree stays as it is. Run it from the module's root.
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
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A mutant is a bug, and the test that must find it.
type mutant struct {
	name string
	why  string // what is wrong, in words
	file string // from the module's root, with slashes
	old  string // stands in the file exactly once
	new  string // takes its place
	pkg  string // package of the test; default ./raft
	test string // names of tests, separated by |; one of them must fail
}

// all are the bugs of all packages.
var all = slices.Concat(raftMutants, kvraftMutants, shardMutants)

// tries is how often a test may pass before its mutant has survived: what a
// test leaves to chance is drawn anew each time.
const tries = 3

func main() {
	pattern := flag.String("run", "", "only mutants whose `name` matches this regular expression")
	jobs := flag.Int("j", runtime.GOMAXPROCS(0), "how many to run at a time")
	flag.Parse()
	if err := run(*pattern, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(pattern string, jobs int) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var (
		mu            sync.Mutex
		wg            sync.WaitGroup
		slots         = make(chan struct{}, max(jobs, 1))
		killed, wrong int
	)
	for _, m := range all {
		if !re.MatchString(m.name) {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := time.Now()
			by, err := m.kill(filepath.Join(dir, m.name))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wrong++
				fmt.Printf("%-30s %v\n%30s %s\n", m.name, err, "", m.why)
				return
			}
			killed++
			fmt.Printf("%-30s killed by %s (%.1fs)\n", m.name, by, time.Since(start).Seconds())
		})
	}
	wg.Wait()
	fmt.Printf("%d killed, %d not\n", killed, wrong)
	switch {
	case wrong > 0:
		return errors.New("the suites did not find every bug")
	case killed == 0:
		return fmt.Errorf("no mutant's name matches %q", pattern)
	}
	return nil
}

// errSurvived says that every try of the test passed.
var errSurvived = errors.New("SURVIVED")

// kill runs the test with the bug planted, and returns what failed.
func (m mutant) kill(dir string) (string, error) {
	overlay, err := m.plant(".", dir)
	if err != nil {
		return "", err
	}
	for range tries {
		by, err := m.try(overlay)
		if !errors.Is(err, errSurvived) {
			return by, err
		}
	}
	return "", fmt.Errorf("%w %s", errSurvived, m.test)
}

// plant writes the file with the bug into dir, and the overlay that puts it in
// the place of the file below root.
func (m mutant) plant(root, dir string) (overlay string, err error) {
	path, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("DOES NOT APPLY: %s has the text to replace %d times, want once", m.file, n)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	planted := filepath.Join(dir, filepath.Base(path))
	mutated := strings.Replace(string(source), m.old, m.new, 1)
	if err := os.WriteFile(planted, []byte(mutated), 0o644); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: planted}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o644)
}

// failure finds what go test says failed.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*|fatal error: .*)$`)

func (m mutant) try(overlay string) (string, error) {
	cmd := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-ldflags=-s -w", "-count=1", "-failfast", "-timeout=30s",
		"-run", "^("+m.test+")$", cmp.Or(m.pkg, "./raft"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		return "", errSurvived
	}
	if strings.Contains(out.String(), "[build failed]") || strings.Contains(out.String(), "[setup failed]") {
		return "", fmt.Errorf("DOES NOT BUILD:\n%s", out.String())
	}
	found := failure.FindStringSubmatch(out.String())
	if found == nil {
		return "", fmt.Errorf("go test: %w\n%s", err, out.String())
	}
	return cmp.Or(found[1], found[2]), nil
}
