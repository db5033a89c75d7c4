package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// replays is the number of replays of a failure before its report.
const replays = 2

// A Sweep runs the tests of some programs in many worlds.
type Sweep struct {
	Programs []Program
	Pattern  string        // of tests, as for go test -run; "" is all
	Seeds    Seeds         // used if For is 0
	For      time.Duration // seeds from Seeds.First on until so much real time has passed
	Shard    Shard
	Explore  Explore // if not the base, each world runs twice: base, as the control, and explored
	Guided   bool    // derive worlds from earlier ones that met new orders of points; needs Explore
	Net      Net     // faults of the worlds' networks, in both; native engine only
	Limits   Limits
	Jobs     int // runs at once; 0 is the number of CPUs

	// OnResult is called for each result with the outcome of its first run.
	// OnProgress is called now and then. One call runs at a time. Either
	// function may be nil.
	OnResult   func(Result, Outcome)
	OnProgress func(Progress)
}

// Progress says how far a sweep has come.
type Progress struct {
	Done, Total uint64 // Total is 0 if the sweep is limited by time
	Failures    int
	Elapsed     time.Duration
	Left        time.Duration // estimate
	Rate        float64       // runs per second
}

// job is a case of one program.
type job struct {
	program Program
	c       Case
	done    func(Outcome) // called when the case has run, unless nil
}

// Run runs the sweep and returns its summary. When ctx ends, Run returns the
// summary so far. An error means that something could not be run.
func (s *Sweep) Run(ctx context.Context) (*Summary, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	r := &sweepRun{Sweep: s, summary: NewSummary(), began: time.Now()}
	tests, err := r.tests(ctx)
	if err != nil || ctx.Err() != nil {
		return r.summary, err
	}
	r.total = s.total(len(tests))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := make(chan job)
	produce := s.produce
	if s.Guided {
		produce = s.guide
	}
	go produce(ctx, tests, jobs)
	workers := s.Jobs
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				if err := r.run(ctx, j); err != nil {
					r.fail(err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return r.summary, r.err
}

// Validate returns ErrInvalid for a value out of range, and ErrUnsupported for
// programs that lack a requested feature. Run validates too.
func (s *Sweep) Validate() error {
	if err := (Case{Explore: s.Explore, Net: s.Net, Limits: s.Limits}).Validate(); err != nil {
		return err
	}
	top, _, _ := strings.Cut(s.Pattern, "/")
	if _, err := regexp.Compile(top); err != nil {
		return fmt.Errorf("%w: tests %q: %w", ErrInvalid, s.Pattern, err)
	}
	if s.For < 0 || s.For > MaxDuration {
		return fmt.Errorf("%w: real time %v of a sweep is not within 0 and %v", ErrInvalid, s.For, MaxDuration)
	}
	if s.Jobs < 0 {
		return fmt.Errorf("%w: number of runs at once %d is negative", ErrInvalid, s.Jobs)
	}
	if s.Guided && s.Explore.Base() {
		return fmt.Errorf("%w: a guided sweep needs an exploration to guide", ErrInvalid)
	}
	if len(s.Explore.Turns) > 0 && (s.Explore.Base() || s.Guided) {
		return fmt.Errorf("%w: the turns %s need an exploration that no sweep guides", ErrInvalid, FormatTurns(s.Explore.Turns))
	}
	if (!s.Explore.Base() || s.Net != Net{}) && slices.ContainsFunc(s.Programs, func(p Program) bool { return p.Engine() == WASM }) {
		return errUnpatched
	}
	return nil
}

// tests lists the cases of one seed, every test in every exploration. A broken
// package is reported. If all packages are broken, tests returns an error.
func (s *sweepRun) tests(ctx context.Context) ([]job, error) {
	explores := []Explore{{}}
	if !s.Explore.Base() {
		explores = append(explores, s.Explore)
	}
	top, sub, hasSub := strings.Cut(s.Pattern, "/")
	var jobs []job
	var broken []error
	for _, p := range s.Programs {
		names, err := p.Tests(ctx, orAll(top))
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case errors.Is(err, ErrBroken):
			broken = append(broken, err)
			s.broken(p, err)
		case err != nil:
			return nil, err
		}
		for _, name := range names {
			if hasSub {
				name += "/" + sub
			}
			for _, e := range explores {
				c := Case{Test: name, Seed: s.Seeds.First, Explore: e, Net: s.Net, Limits: s.Limits}
				if c, err = Measured(ctx, p, c); err != nil {
					return nil, err
				}
				jobs = append(jobs, job{program: p, c: c})
			}
		}
	}
	if len(broken) > 0 && len(broken) == len(s.Programs) {
		return nil, errors.Join(broken...)
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%w %q", ErrNoTest, s.Pattern)
	}
	return jobs, nil
}

// measuring is the number of worlds that are measured before a sweep with PCT.
const measuring = 4

// Measured returns the case with the number of steps that PCT needs. If the case
// has none, the number is the largest number of points with a choice in a few
// worlds without change points.
func Measured(ctx context.Context, p Program, c Case) (Case, error) {
	if c.Explore.Strategy != PCT || c.Explore.Steps > 0 {
		return c, nil
	}
	calm := c
	calm.Explore.Depth = 1
	c.Explore.Steps = 1
	for range measuring {
		out, err := p.Run(ctx, calm)
		if err != nil {
			return c, err
		}
		c.Explore.Steps = max(c.Explore.Steps, out.Choices)
		calm.Seed++
	}
	return c, nil
}

// broken reports a package that cannot be run.
func (s *sweepRun) broken(p Program, err error) {
	res := Result{Package: p.Package(), Engine: p.Engine(), Verdict: Broken, Detail: brokenDetail(err)}
	s.summary.Add(res)
	if s.OnResult != nil {
		s.OnResult(res, Outcome{Verdict: Broken, Detail: res.Detail, Output: []byte(err.Error() + "\n")})
	}
}

// brokenDetail returns the compiler's first complaint, or else the first
// informative line.
func brokenDetail(err error) string {
	text := strings.TrimPrefix(err.Error(), ErrBroken.Error()+": ")
	if line := complaintRE.FindString(text); line != "" {
		return line
	}
	if _, reason, found := strings.Cut(text, "does not build:\n"); found {
		text = reason
	}
	return trimLine([]byte(text))
}

var complaintRE = regexp.MustCompile(`(?m)^\S+\.go:\d+.*: .*`)

func orAll(pattern string) string {
	if pattern == "" {
		return "."
	}
	return pattern
}

// total is the number of results to expect, 0 if time decides.
func (s *Sweep) total(cases int) uint64 {
	if s.For > 0 {
		return 0
	}
	return s.Shard.size(s.Seeds.Count()) * uint64(cases)
}

// produce sends the cases seed by seed, so that a sweep that ends early has
// covered all tests alike.
func (s *Sweep) produce(ctx context.Context, tests []job, jobs chan<- job) {
	defer close(jobs)
	s.each(ctx, func(ctx context.Context, seed uint64) bool {
		for _, j := range tests {
			j.c.Seed = seed
			select {
			case jobs <- j:
			case <-ctx.Done():
				return false
			}
		}
		return true
	})
}

// each calls f for the seeds of this shard in order, until f returns false or
// the time is over.
func (s *Sweep) each(ctx context.Context, f func(ctx context.Context, seed uint64) bool) {
	last := s.Seeds.Last
	if s.For > 0 {
		last = math.MaxUint64
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.For)
		defer cancel()
	}
	for n := uint64(0); ; n++ {
		if s.Shard.has(n) && !f(ctx, s.Seeds.First+n) || s.Seeds.First+n == last {
			return
		}
	}
}

// sweepRun is the state of a sweep under way.
type sweepRun struct {
	*Sweep
	began time.Time
	total uint64

	mu      sync.Mutex
	summary *Summary
	err     error // the first
}

func (r *sweepRun) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *sweepRun) run(ctx context.Context, j job) error {
	if ctx.Err() != nil {
		if j.done != nil {
			j.done(Outcome{})
		}
		return nil
	}
	res, out, err := Check(ctx, j.program, j.c)
	if j.done != nil {
		j.done(out)
	}
	if ctx.Err() != nil {
		return nil // cut off: not a result
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Add(res)
	if r.OnResult != nil {
		r.OnResult(res, out)
	}
	if r.OnProgress != nil {
		r.OnProgress(r.progress())
	}
	return nil
}

func (r *sweepRun) progress() Progress {
	p := Progress{
		Done: uint64(r.summary.runs), Total: r.total,
		Failures: len(r.summary.failures), Elapsed: time.Since(r.began),
	}
	p.Rate = float64(p.Done) / p.Elapsed.Seconds()
	if r.total == 0 {
		p.Left = max(0, r.For-p.Elapsed)
	} else if p.Rate > 0 && p.Done < p.Total {
		p.Left = time.Duration(float64(p.Total-p.Done) / p.Rate * float64(time.Second))
	}
	return p
}

// Check runs one case, and replays a failure twice. Replays that differ make
// the verdict Diverged, unless the output alone differs, and a file or an address
// is the cause.
func Check(ctx context.Context, p Program, c Case) (Result, Outcome, error) {
	began := time.Now()
	out, err := p.Run(ctx, c)
	if err != nil {
		return Result{}, out, err
	}
	res := Result{
		Package: p.Package(), Test: c.Test, Seed: c.Seed, Engine: p.Engine(), Explore: c.Explore, Net: c.Net,
		Verdict: out.Verdict, Detail: out.Detail, Hash: out.Hash,
		Virtual: out.Virtual, CPU: out.CPU, Wall: out.Wall,
	}
	opt := optionsOf(p)
	res.Race = opt.Race
	if out.Verdict == Pass {
		return res, out, nil
	}
	res.Command = repeatLine(res, c.Limits, opt)
	for range replays {
		again, err := p.Run(ctx, c)
		if err != nil {
			return res, out, err
		}
		if again.Hash == out.Hash && again.Signature() == out.Signature() {
			res.Replays++
			continue
		}
		if res.Verdict == Diverged || res.Cause != "" {
			continue
		}
		cause, err := whyDifferent(ctx, p, c, began, out, again)
		if err != nil {
			return res, out, err
		}
		if cause != "" && sameRun(out, again) {
			res.Cause = cause
			continue
		}
		res.Verdict, res.Cause = Diverged, cause
		res.Detail = fmt.Sprintf("first %s (%s), then %s (%s)", out.Verdict, out.Detail, again.Verdict, again.Detail)
	}
	return res, out, nil
}
