package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mistakeLimit bounds the processor time of the one run of the suites that must find a
// mistake. The clock on the wall would also count the machine's other work. wallLimit ends
// a run that does nothing.
const (
	mistakeLimit = 60 * time.Second
	wallLimit    = 5 * time.Minute
)

// A row is the result of one implementation.
type row struct {
	impl                 implementation
	worlds, accusations  int
	mistakes, killed     int
	slowest              time.Duration // of the runs that killed a mistake
	survivors, accusedBy []string
	endless              []string // mistakes without a verdict in mistakeLimit
}

// table judges implementations, and writes a table: simulated worlds of the correct
// implementation, none of which may fail, and its mistakes, of which each should fail
// in one run of the suites. seeds is empty for no worlds. With a pattern in only, table
// plants the mistakes with a matching name and judges nothing else. suites limits the
// packages.
func table(out io.Writer, re *regexp.Regexp, suites, only, seeds string, withMistakes bool) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	suite, err := regexp.Compile(suites)
	if err != nil {
		return fmt.Errorf("-suites: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := implementations(".", dir)
	if err != nil {
		return err
	}
	var rows []row
	for _, impl := range all {
		if !re.MatchString(impl.name) || !impl.limit(suite) {
			continue
		}
		r := row{impl: impl}
		if only != "" {
			r.kill(filepath.Join(dir, impl.name+"-mistakes"), wanted)
			rows = append(rows, r)
			continue
		}
		if err := r.plain(filepath.Join(dir, impl.name+"-plain")); err != nil {
			return fmt.Errorf("%s: %w", impl.name, err)
		}
		if seeds != "" {
			if err := r.simulate(filepath.Join(dir, impl.name), seeds); err != nil {
				return fmt.Errorf("%s: %w", impl.name, err)
			}
		}
		if withMistakes {
			r.kill(filepath.Join(dir, impl.name+"-mistakes"), wanted)
		}
		rows = append(rows, r)
	}
	return writeTable(out, rows, seeds)
}

// plain runs each test once as go test does, in virtual time or on the real clock.
func (r *row) plain(dir string) error {
	for _, pkg := range r.impl.packages() {
		binary, err := buildSuite(filepath.Join(dir, pkg), pkg, func(root, dir string) (string, error) {
			replace, err := r.impl.inPlace(root)
			if err != nil {
				return "", err
			}
			return writeOverlay(dir, replace)
		})
		if err != nil {
			return err
		}
		cmd := exec.Command(binary, "-test.run="+partsOf(pkg), "-test.timeout=30m")
		cmd.Dir = pkg
		out, _ := cmd.CombinedOutput()
		os.Remove(binary)
		for _, m := range failure.FindAllSubmatch(out, -1) {
			r.accusations++
			r.accusedBy = append(r.accusedBy, fmt.Sprintf("%s%s in a plain run\n%s", m[1], m[2], out))
		}
	}
	return nil
}

// simulate runs each test of the implementation in a world for each seed.
func (r *row) simulate(dir, seeds string) error {
	copied, raftlab := filepath.Join(dir, "copy"), filepath.Join(dir, "raftlab")
	replace, err := r.impl.inPlace(".")
	if err != nil {
		return err
	}
	if err := materialize(".", copied, replace); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-o", raftlab, "./cmd/raftlab").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, pkg := range r.impl.packages() {
		cmd := exec.Command(raftlab, "sim", "./"+pkg, "--run", partsOf(pkg), "--seeds", seeds, "--json")
		cmd.Dir = copied
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 1 { // 1 means that a run failed
			return fmt.Errorf("raftlab sim: %w\n%s", err, exit.Stderr)
		}
		if err := r.count(out); err != nil {
			return err
		}
	}
	return nil
}

// count adds the results of raftlab sim --json.
func (r *row) count(lines []byte) error {
	scan := bufio.NewScanner(bytes.NewReader(lines))
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		var result struct{ Test, Verdict, Detail, Replay string }
		if err := json.Unmarshal(scan.Bytes(), &result); err != nil {
			return err
		}
		r.worlds++
		if result.Verdict != "pass" {
			r.accusations++
			r.accusedBy = append(r.accusedBy, fmt.Sprintf("%s: %s (%s)", result.Test, result.Detail, result.Replay))
		}
	}
	return scan.Err()
}

// kill runs the suites once with each wanted mistake.
func (r *row) kill(dir string, wanted *regexp.Regexp) {
	for _, m := range r.impl.mistakes {
		if !wanted.MatchString(m.name) {
			continue
		}
		r.mistakes++
		start := time.Now()
		by, took, err := killOnce(filepath.Join(dir, m.name), m)
		switch {
		case err != nil:
			r.survivors = append(r.survivors, fmt.Sprintf("%s: %v", m.name, err))
		case by == endless:
			r.endless = append(r.endless, fmt.Sprintf("%s: %s", m.name, m.why))
		case by == "":
			r.survivors = append(r.survivors, fmt.Sprintf("%s: %s", m.name, m.why))
		default:
			r.killed++
			r.slowest = max(r.slowest, took)
		}
		fmt.Fprintf(os.Stderr, "%-12s %-36s %-40s %4.1fs of %.1fs\n", r.impl.name, m.name, by, took.Seconds(), time.Since(start).Seconds())
	}
}

// killOnce runs all tests of the mistake's package once, and returns the first failure
// and the time of the run. by is empty if the mistake survives.
func killOnce(dir string, m mistake) (by string, took time.Duration, err error) {
	binary, err := buildSuite(dir, m.pkg, m.plant)
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(binary)
	by, took = runSuite(binary, m.pkg, partsOf(m.pkg))
	return by, took, nil
}

// buildSuite builds the tests of a package with a bug planted.
func buildSuite(dir, pkg string, plant func(root, dir string) (string, error)) (binary string, err error) {
	overlay, err := plant(".", dir)
	if err != nil {
		return "", err
	}
	if binary, err = filepath.Abs(filepath.Join(dir, "suite.test")); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-vet=off", "-ldflags=-s -w", "-o", binary, "./"+pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("DOES NOT BUILD: %w\n%s", err, out)
	}
	return binary, nil
}

// endless is the result of a run beyond a limit. A mistake may make a test hang, or the
// machine may be busy, so the run proves nothing.
const endless = "no verdict in time"

// runSuite runs tests once within the limits, and returns the first failure and the
// processor time.
func runSuite(binary, pkg, tests string) (by string, took time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wallLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run="+tests, "-test.failfast")
	cmd.Dir, cmd.Env = pkg, append(os.Environ(), "RAFTLAB_REPEATS=0")
	cmd.WaitDelay = time.Second
	killGroup(cmd)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState != nil { // the process and its children
		took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	found := failure.FindSubmatch(out)
	switch {
	case took > mistakeLimit, found == nil && ctx.Err() != nil:
		return endless, took
	case found == nil:
		return "", took
	}
	return string(found[1]) + string(found[2]), took
}

// rate runs the test of each mutant many times, and writes the mutants that some runs
// miss. Their tests need more rounds.
func rate(out io.Writer, re *regexp.Regexp, times int) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, m := range all {
		if !re.MatchString(m.name) {
			continue
		}
		pkg := strings.TrimPrefix(cmp.Or(m.pkg, "./raft"), "./")
		binary, err := buildSuite(filepath.Join(dir, m.name), pkg, m.plant)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		missed := 0
		for range times {
			if by, _ := runSuite(binary, pkg, "^("+m.test+")$"); by == "" || by == endless {
				missed++
			}
		}
		os.Remove(binary)
		if missed > 0 {
			fmt.Fprintf(out, "%-36s missed in %d of %d runs by %s\n", m.name, missed, times, m.test)
		}
	}
	return nil
}

// apart are the directories and files that no test of a lab needs.
var apart = map[string]bool{".git": true, "bench": true, "docs": true, "deploy": true, "mutants": true, "bin": true}

// materialize copies the module at root, and puts an implementation in the place of
// the project's packages as an overlay does.
func materialize(root, to string, replace map[string]string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	copyAll := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch _, replaced := replace[path]; {
		case err != nil:
			return err
		case apart[rel] && d.IsDir():
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case apart[rel] || replaced || !d.Type().IsRegular():
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	}
	if err := filepath.WalkDir(root, copyAll); err != nil {
		return err
	}
	for path, by := range replace {
		rel, err := filepath.Rel(root, path)
		if err == nil && by != "" {
			err = copyFile(by, filepath.Join(to, rel))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// writeTable writes the rows as Markdown, with everything that is not right below. The
// error says whether that is too much.
func writeTable(out io.Writer, rows []row, seeds string) error {
	fmt.Fprintf(out, "| implementation | style | packages | worlds | accusations | mistakes | killed in one run | slowest |\n|---|---|---|---|---|---|---|---|\n")
	var sum row
	for _, r := range rows {
		fmt.Fprintf(out, "| %s | %s | %s | %d | %d | %d | %d | %.0f s |\n", r.impl.name, r.impl.about, strings.Join(r.impl.packages(), ", "),
			r.worlds, r.accusations, r.mistakes, r.killed, r.slowest.Seconds())
		sum.worlds, sum.accusations = sum.worlds+r.worlds, sum.accusations+r.accusations
		sum.mistakes, sum.killed = sum.mistakes+r.mistakes, sum.killed+r.killed
		sum.slowest = max(sum.slowest, r.slowest)
	}
	fmt.Fprintf(out, "| all %d | | | %d | %d | %d | %d | %.0f s |\n", len(rows), sum.worlds, sum.accusations, sum.mistakes, sum.killed, sum.slowest.Seconds())
	fmt.Fprintf(out, "\nA world is a test with one seed of %s, run by raftlab sim. Accusations in one plain run of the suites count, too.\n", seeds)
	for _, r := range rows {
		for _, s := range r.accusedBy {
			fmt.Fprintf(out, "\nACCUSED %s by %s\n", r.impl.name, s)
		}
		for _, s := range r.survivors {
			fmt.Fprintf(out, "\nSURVIVED %s %s\n", r.impl.name, s)
		}
		for _, s := range r.endless {
			fmt.Fprintf(out, "\nNO VERDICT in %v: %s %s\n", mistakeLimit, r.impl.name, s)
		}
	}
	switch {
	case len(rows) == 0:
		return errors.New("-run matches no implementation")
	case sum.accusations > 0:
		return fmt.Errorf("%d accusations of correct implementations", sum.accusations)
	case sum.killed*100 < sum.mistakes*minKilled:
		return fmt.Errorf("%d of %d mistakes were killed in one run; want %d %%", sum.killed, sum.mistakes, minKilled)
	}
	return nil
}

// minKilled is the share of mistakes, in percent, that one run must find.
const minKilled = 95
