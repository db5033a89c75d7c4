//go:build linux

// Command seedtable runs the planted bugs of a package under the strategies of
// package sim, and under go test, and prints the number of runs to the first
// failure of each as a table. The number is the median of several starts.
//
//	go run ./sim/internal/seedtable [-starts 5] [-most 200] [-columns REGEXP] [-tests REGEXP] [-dir sim/testdata/schedules]
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftlab/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "seedtable:", err)
		os.Exit(1)
	}
}

// column is a way to look for a failure.
type column struct {
	name    string
	preempt bool
	sweep   *sim.Sweep // nil for go test
	flags   []string   // of go test -c
	most    int
	run     func(ctx context.Context, test string, start int) (int, error)
}

var (
	starts  = flag.Int("starts", 5, "starts with other seeds, of which the table shows the median")
	most    = flag.Int("most", 200, "runs of one start")
	columns = flag.String("columns", ".", "columns to fill")
	only    = flag.String("tests", ".", "tests to run")
	dir     = flag.String("dir", filepath.Join("sim", "testdata", "schedules"), "directory of the package")
)

func run(ctx context.Context) error {
	flag.Parse()
	wanted, err := regexp.Compile(*columns)
	if err != nil {
		return err
	}
	tests, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "seedtable")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	pct := func(depth int) sim.Explore { return sim.Explore{Strategy: sim.PCT, Depth: depth} }
	all := []column{
		{name: "go test", most: 1000},
		{name: "go test -race", most: 1000, flags: []string{"-race"}},
		{name: "control", sweep: &sim.Sweep{}},
		{name: "yields 0.1", sweep: &sim.Sweep{Explore: sim.Explore{Yields: 0.1}}},
		{name: "pct 3", sweep: &sim.Sweep{Explore: pct(3)}},
		{name: "preempt, yields 0.02", preempt: true, sweep: &sim.Sweep{Explore: sim.Explore{Yields: 0.02}}},
		{name: "preempt, yields 0.1", preempt: true, sweep: &sim.Sweep{Explore: sim.Explore{Yields: 0.1}}},
		{name: "preempt, yields 0.3", preempt: true, sweep: &sim.Sweep{Explore: sim.Explore{Yields: 0.3}}},
		{name: "preempt, pct 2", preempt: true, sweep: &sim.Sweep{Explore: pct(2)}},
		{name: "preempt, pct 3", preempt: true, sweep: &sim.Sweep{Explore: pct(3)}},
		{name: "preempt, pct 5", preempt: true, sweep: &sim.Sweep{Explore: pct(5)}},
		{name: "preempt, guided yields 0.1", preempt: true, sweep: &sim.Sweep{Explore: sim.Explore{Yields: 0.1}, Guided: true}},
		{name: "preempt, guided pct 3", preempt: true, sweep: &sim.Sweep{Explore: pct(3), Guided: true}},
	}
	all = slices.DeleteFunc(all, func(c column) bool { return !wanted.MatchString(c.name) })
	built := map[bool]sim.Program{}
	for i := range all {
		if err := all[i].prepare(ctx, temp, built); err != nil {
			return err
		}
	}
	defer func() {
		for _, p := range built {
			p.Close()
		}
	}()
	p, err := program(ctx, built, false)
	if err != nil {
		return err
	}
	names, err := p.Tests(ctx, ".")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "Fixed") || !tests.MatchString(n) })
	return table(ctx, names, all)
}

// program builds the package once with and once without preemption.
func program(ctx context.Context, built map[bool]sim.Program, preempt bool) (sim.Program, error) {
	if p := built[preempt]; p != nil {
		return p, nil
	}
	opt := sim.Options{Dir: *dir, Engine: sim.Native}
	if preempt {
		opt.Preempt = []string{"."}
	}
	programs, err := sim.Build(ctx, opt, ".")
	if err != nil {
		return nil, err
	}
	built[preempt] = programs[0]
	return programs[0], nil
}

func (c *column) prepare(ctx context.Context, temp string, built map[bool]sim.Program) error {
	if c.sweep == nil {
		bin := filepath.Join(temp, "plain"+strings.Join(c.flags, ""))
		cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-c", "-vet=off", "-o", bin}, append(c.flags, ".")...)...)
		cmd.Dir = *dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", c.name, err, out)
		}
		c.run = func(ctx context.Context, test string, _ int) (int, error) { return plain(ctx, bin, test, c.most) }
		return nil
	}
	p, err := program(ctx, built, c.preempt)
	c.most = *most
	c.run = func(ctx context.Context, test string, start int) (int, error) {
		s := *c.sweep
		s.Programs, s.Pattern, s.Jobs = []sim.Program{p}, "^"+test+"$", 1
		s.Seeds = sim.Seeds{First: uint64(start*10_000 + 1), Last: uint64(start*10_000 + c.most)}
		s.Limits.Virtual = time.Minute
		return simulated(ctx, &s)
	}
	return err
}

// simulated counts the runs of a sweep up to the first failure, without the
// control. The result is 0 if there was no failure.
func simulated(ctx context.Context, s *sim.Sweep) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runs, found := 0, 0
	s.OnResult = func(r sim.Result, _ sim.Outcome) {
		if r.Explore.Base() != s.Explore.Base() || found > 0 {
			return
		}
		runs++
		if r.Failed() {
			found = runs
			cancel()
		}
	}
	_, err := s.Run(ctx)
	if found > 0 {
		err = nil
	}
	return found, err
}

// hang is how long a test of go test may take. The limit of the go command counts all
// runs of a test together, and would call a slow test a hanging one.
const hang = 20 * time.Second

// plain counts the runs of a test binary up to the first failure.
func plain(ctx context.Context, bin, test string, most int) (int, error) {
	cmd := exec.CommandContext(ctx, bin, "-test.run=^"+test+"$", "-test.v", "-test.failfast", "-test.timeout=0", "-test.count="+strconv.Itoa(most))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	watchdog := time.AfterFunc(hang, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	passed := 0
	for lines := bufio.NewScanner(out); lines.Scan(); watchdog.Reset(hang) {
		if strings.HasPrefix(lines.Text(), "--- PASS: ") {
			passed++
		}
	}
	if err := cmd.Wait(); err == nil || ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 1 + passed, nil
}

// median is the median number of runs over the starts, or 0 if most starts
// found nothing.
func (c *column) median(ctx context.Context, test string) (int, error) {
	var found []int
	for start, missed := 1, 0; start <= *starts && missed <= *starts/2; start++ {
		n, err := c.run(ctx, test, start)
		if err != nil {
			return 0, fmt.Errorf("%s under %s: %w", test, c.name, err)
		}
		if n == 0 {
			missed++
			continue
		}
		found = append(found, n)
	}
	slices.Sort(found)
	if len(found) <= *starts/2 {
		return 0, nil
	}
	return found[*starts/2], nil
}

func table(ctx context.Context, tests []string, columns []column) error {
	fmt.Print("| test |")
	for _, c := range columns {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Println("\n|---|" + strings.Repeat("---|", len(columns)))
	totals := make([]int, len(columns))
	found := make([]int, len(columns))
	for _, test := range tests {
		fmt.Printf("| %s |", strings.TrimPrefix(test, "Test"))
		for i := range columns {
			n, err := columns[i].median(ctx, test)
			if err != nil {
				return err
			}
			if n == 0 {
				fmt.Print(" - |")
				totals[i] += columns[i].most
				continue
			}
			found[i]++
			totals[i] += n
			fmt.Printf(" %d |", n)
		}
		fmt.Println()
	}
	fmt.Print("| found |")
	for _, n := range found {
		fmt.Printf(" %d |", n)
	}
	fmt.Print("\n| runs in all, a miss as the most |")
	for _, n := range totals {
		fmt.Printf(" %d |", n)
	}
	fmt.Println()
	return nil
}
