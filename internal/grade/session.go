package grade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"raftlab/sim"
)

// Each run has short limits at first, because a submission that never ends would cost the
// time of many others. A run that does not end within the short limits is held. The held
// runs are repeated with the table's limits, in the order of the table, until longRuns of
// them did not end then either. The order of the runs therefore does not decide about points.
const (
	shortCPU  = 10 * time.Second // more than any test of a plain implementation takes on a busy machine
	shortSpin = 3 * time.Second
	shortWall = time.Minute
	longRuns  = 2
)

// The probes of a package are some of its tests, from the first to the last one, which run
// before the others. If no probe ends, the others are not run.
const (
	probes    = 4
	fewProbes = 2 // of a submission whose long runs did not end
)

// runLimits are the limits of a run.
type runLimits struct {
	TableLimits
	spin time.Duration // CPU time without a sign of progress; 0 is the engine's default
}

// runLimits returns the limits of a run.
func (t *Table) runLimits(long bool) runLimits {
	lim := runLimits{TableLimits: t.Limits}
	if !long {
		lim.CPU, lim.Wall, lim.spin = min(lim.CPU, shortCPU), min(lim.Wall, shortWall), shortSpin
	}
	return lim
}

// A session runs the tests of one submission.
type session struct {
	*grader
	one   *Grade
	tree  *copyTree
	key   string // of the runs in the journal
	built programs
	exec  func(ctx context.Context, p sim.Program, test string, seed uint64, lim runLimits) (run, evidence, error)

	mu      sync.Mutex
	held    []*trial
	endless int // long runs that did not end
}

// hopeless reports whether the submission gets no more long runs.
func (s *session) hopeless() bool { return s.endless >= longRuns }

// A trial is a test with its runs so far.
type trial struct {
	Test
	program sim.Program // nil if the journal has all runs
	seeds   []uint64    // of the runs to come
	last    run
}

func newSession(g *grader, one *Grade, tree *copyTree) *session {
	return &session{grader: g, one: one, tree: tree, built: make(programs), exec: g.runTest, key: one.Digest + "-" + g.harness + "-" + g.table.digest()}
}

// run builds the packages and runs the tests. The tests of a package run while the next
// package is built.
func (s *session) run(ctx context.Context) error {
	defer s.built.close()
	byPackage := make(map[string][]Test)
	for _, test := range s.chosen() {
		byPackage[test.Package] = append(byPackage[test.Package], test)
	}
	var group group
	for _, suite := range s.tree.edition.suites {
		tests := byPackage[suite.dir]
		if len(tests) == 0 {
			continue
		}
		if !s.tree.tested(suite) {
			s.one.set(tests, Missing, "package "+strings.Join(suite.labs, " or ")+" is not submitted")
			continue
		}
		err := s.build(ctx, suite.dir, tests)
		if errors.Is(err, sim.ErrBroken) {
			s.one.set(tests, Broken, compilerText(err))
			continue
		}
		if err == nil {
			err = s.start(ctx, &group, s.trials(suite.dir, tests))
		}
		if err != nil {
			return errors.Join(err, group.wait())
		}
	}
	if err := group.wait(); err != nil {
		return err
	}
	if err := s.release(ctx); err != nil {
		return err
	}
	if s.journal != nil {
		return s.journal.sync()
	}
	return nil
}

// group runs functions at the same time.
type group struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	first error
}

func (g *group) do(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.first = cmp.Or(g.first, err)
		}
	})
}

// wait waits for all functions, and returns the first error.
func (g *group) wait() error {
	g.wg.Wait()
	return g.first
}

func (s *session) trials(pkg string, tests []Test) []*trial {
	var all []*trial
	for _, test := range tests {
		all = append(all, &trial{Test: test, program: s.built[pkg], seeds: s.seeds(test.Name)})
	}
	return all
}

// build builds a package, unless the journal has all runs of the tests.
func (s *session) build(ctx context.Context, pkg string, tests []Test) error {
	if s.allKnown(tests) {
		return nil
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	p, err := s.compile(ctx, s.tree.dir, pkg)
	if err == nil {
		s.built[pkg] = p
	}
	return err
}

// allKnown reports whether the journal has every run of the tests.
func (s *session) allKnown(tests []Test) bool {
	if s.journal == nil {
		return false
	}
	for _, test := range tests {
		for _, seed := range s.seeds(test.Name) {
			r, ok := s.journal.find(runID{s.key, test.Name, seed, false})
			if ok && r.Endless {
				r, ok = s.journal.find(runID{s.key, test.Name, seed, true})
			}
			if !ok {
				return false
			}
			if r.State != Passed {
				break
			}
		}
	}
	return true
}

// start runs the probes of a package, and starts the other tests in the group.
func (s *session) start(ctx context.Context, running *group, all []*trial) error {
	others, err := s.probe(ctx, running, all)
	for _, t := range others {
		running.do(func() error { return s.try(ctx, t, false) })
	}
	return err
}

// probe runs the probes of a package, and returns the other tests. If no probe ends, the
// other tests get their result here, and probe returns none. The held runs of the packages
// before are known by then, because the decision waits for the running tests.
func (s *session) probe(ctx context.Context, running *group, all []*trial) (others []*trial, err error) {
	n := probes
	if s.hopeless() {
		n = fewProbes
	}
	if len(all) <= n {
		return all, nil
	}
	var first []*trial
	for i := range n {
		first = append(first, all[i*(len(all)-1)/(n-1)])
	}
	var group group
	for _, t := range first {
		group.do(func() error { return s.try(ctx, t, false) })
	}
	if err := group.wait(); err != nil {
		return nil, err
	}
	others = slices.DeleteFunc(slices.Clone(all), func(t *trial) bool { return slices.Contains(first, t) })
	if slices.ContainsFunc(first, func(t *trial) bool { return !t.last.Endless }) {
		return others, nil
	}
	if err := running.wait(); err != nil {
		return nil, err
	}
	if err := s.release(ctx); err != nil || !s.hopeless() {
		return others, err
	}
	var names []string
	for _, t := range first {
		names = append(names, t.Name)
	}
	var tests []Test
	for _, t := range others {
		tests = append(tests, t.Test)
	}
	s.one.set(tests, Endless, "the tests do not end, so the others were not run: "+strings.Join(names, ", "))
	return nil, nil
}

// release repeats the held runs with the table's limits.
func (s *session) release(ctx context.Context) error {
	order := make(map[string]int)
	for i, t := range s.table.tests {
		order[t.Name] = i
	}
	held := s.held
	s.held = nil
	slices.SortFunc(held, func(a, b *trial) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	for len(held) > 0 && !s.hopeless() {
		n := min(longRuns-s.endless, len(held))
		var group group
		for _, t := range held[:n] {
			group.do(func() error { return s.try(ctx, t, true) })
		}
		if err := group.wait(); err != nil {
			return err
		}
		for _, t := range held[:n] {
			if t.last.Endless {
				s.endless++
			}
		}
		held = held[n:]
	}
	for _, t := range held {
		t.last.Detail += fmt.Sprintf(" (%d other runs of the submission did not end within the whole limits)", s.endless)
		s.one.record(t.Test, t.last)
	}
	return nil
}

// try runs a test with one seed after another, until a run does not pass. A run that does not
// end within the short limits is held.
func (s *session) try(ctx context.Context, t *trial, long bool) error {
	for len(t.seeds) > 0 {
		r, err := s.once(ctx, t, long)
		if err != nil {
			return err
		}
		r.CPU += t.last.CPU
		t.last = r
		if r.Endless && !long {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.held = append(s.held, t)
			return nil
		}
		if r.State != Passed {
			break
		}
		t.seeds = t.seeds[1:]
	}
	s.one.record(t.Test, t.last)
	return nil
}

// once returns the result of a run, from the journal if the journal has it.
func (s *session) once(ctx context.Context, t *trial, long bool) (run, error) {
	seed := t.seeds[0]
	if s.journal != nil {
		if r, ok := s.journal.find(runID{s.key, t.Name, seed, long}); ok {
			return r, nil
		}
	}
	if err := s.take(ctx); err != nil {
		return run{}, err
	}
	defer s.give()
	r, left, err := s.exec(ctx, t.program, t.Name, seed, s.table.runLimits(long))
	if err != nil {
		return run{}, fmt.Errorf("%s: %w", t.Name, err)
	}
	r.Key, r.Long = s.key, long
	s.grader.mu.Lock()
	s.grader.cpu += cpuTime(r.CPU)
	s.grader.mu.Unlock()
	if s.Out != "" && (long || r.State == Failed) {
		if err := left.write(s.Out, s.one.Name, t.Name, r.State == Failed); err != nil {
			return run{}, err
		}
	}
	if s.journal != nil {
		return r, s.journal.add(r)
	}
	return r, nil
}
