//go:build !wasip1

package main

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"raftlab/sim"
)

// simReport prints, saves and shrinks the failures of a sweep.
type simReport struct {
	flags    *simFlags
	ctx      context.Context
	programs []sim.Program
	out      io.Writer
	errOut   io.Writer
	bar      *simBar
	err      error               // the first that saving or shrinking met
	kinds    map[string]*simKind // failures by test, exploration and signature
	order    []*simKind          // as they were met
}

// simKind is a kind of failures with one signature. The smallest failure, with
// the fewest injected points and the shortest run, is shrunk.
type simKind struct {
	count    int
	smallest simFailure
}

type simFailure struct {
	res sim.Result
	c   sim.Case
	out sim.Outcome
}

func (f simFailure) smaller(g simFailure) bool {
	return cmp.Or(cmp.Compare(len(f.out.Injected), len(g.out.Injected)), cmp.Compare(f.out.Virtual, g.out.Virtual)) < 0
}

// simLongest bounds the length of a file's name. Most systems allow 255 bytes.
const simLongest = 200

// simShownFaults is how many faults of a shrunk failure are printed.
const simShownFaults = 5

// simShown is how many failures of a kind are printed.
const simShown = 5

// result is called by the sweep, one call at a time.
func (r *simReport) result(res sim.Result, out sim.Outcome) {
	if r.flags.json {
		r.note(sim.WriteResult(r.out, res))
	}
	if res.Verdict == sim.Broken {
		fmt.Fprintf(r.errOut, "%s", out.Output)
		return
	}
	if !res.Failed() {
		return
	}
	f := simFailure{res, sim.Case{Test: res.Test, Seed: res.Seed, Explore: res.Explore, Net: res.Net, Limits: r.flags.limits}, out}
	kind, first := r.kind(f)
	if kind.count > simShown {
		return
	}
	r.bar.clear()
	fmt.Fprintln(r.errOut, failureLine(res))
	if kind.count == simShown {
		fmt.Fprintln(r.errOut, "         more of this kind are only counted")
	}
	if r.flags.verbose {
		r.errOut.Write(out.Output)
	}
	if out.Stack != "" {
		fmt.Fprintln(r.errOut, out.Stack)
	}
	if first && res.Verdict != sim.Diverged {
		r.note(r.save(res, f.c, out))
	}
}

// kind counts a failure, and reports whether the failure is the first of its
// kind.
func (r *simReport) kind(f simFailure) (k *simKind, first bool) {
	key := f.res.Package + f.res.Test + f.res.Explore.String() + f.out.Signature()
	if k = r.kinds[key]; k == nil {
		k = &simKind{smallest: f}
		r.kinds[key] = k
		r.order = append(r.order, k)
	}
	k.count++
	if f.smaller(k.smallest) {
		k.smallest = f
	}
	return k, k.count == 1
}

func (r *simReport) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

// simTold is how many kinds of failures are told in full.
const simTold = 5

// finish shrinks the smallest failure of each kind, if asked to, tells what
// happened in the first kinds, and returns the first error there was.
func (r *simReport) finish() error {
	for i, kind := range r.order {
		k := kind.smallest
		if k.res.Verdict == sim.Diverged {
			continue
		}
		if r.err != nil || r.ctx.Err() != nil {
			break
		}
		if !r.flags.shrink {
			if i < simTold {
				r.note(tell(r.ctx, r.program(k.res.Package), k.c, k.res.Verdict, r.errOut))
			}
			continue
		}
		s := sim.Shrinker{Program: r.program(k.res.Package), MaxRuns: r.flags.shrinkRuns}
		small, out, err := s.Shrink(r.ctx, k.c)
		if err != nil {
			fmt.Fprintf(r.errOut, "%s seed %d is not shrunk: %v\n", k.res.Test, k.res.Seed, err)
			continue
		}
		fmt.Fprintf(r.errOut, "%s seed %d: shrunk from %d injected points to %d%s\n",
			k.res.Test, k.res.Seed, len(k.out.Injected), len(small.Explore.Points), faultsLeft(small, out))
		for _, f := range out.Faults[:min(len(out.Faults), simShownFaults)] {
			fmt.Fprintf(r.errOut, "         %s\n", f.What)
		}
		if i < simTold {
			r.note(tell(r.ctx, r.program(k.res.Package), small, out.Verdict, r.errOut))
		}
		r.note(r.save(k.res, small, out))
		r.note(r.page(k.res, small))
	}
	return r.err
}

// tell prints what happened in a failure. The wasm engine records no events, and
// a run that the watchdog ends has no end to tell.
func tell(ctx context.Context, p sim.Program, c sim.Case, v sim.Verdict, w io.Writer) error {
	if p.Engine() != sim.Native || v == sim.Spin || v == sim.Stuck {
		return nil
	}
	story, err := sim.Tell(ctx, p, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "What happened in %s, seed %d:\n", c.Test, c.Seed)
	story.Print(w, "         ")
	return nil
}

// save writes the output of a failure and the file for a replay.
func (r *simReport) save(res sim.Result, c sim.Case, out sim.Outcome) error {
	if r.flags.save == "" {
		return nil
	}
	if err := os.MkdirAll(r.flags.save, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(r.fileName(res, ".out"), out.Output, 0o644); err != nil {
		return err
	}
	replay, err := sim.NewReplay(context.WithoutCancel(r.ctx), r.program(res.Package), c, out)
	if err != nil {
		return err
	}
	name := r.fileName(res, ".json")
	fmt.Fprintf(r.errOut, "         raftlab sim --replay %s\n", name)
	return replay.Save(name)
}

// fileName is the name of a failure's file. With several packages, the name
// starts with the package.
func (r *simReport) fileName(res sim.Result, ext string) string {
	name := res.Test
	if len(r.programs) > 1 {
		name = res.Package + "-" + name
	}
	name = strings.NewReplacer("/", "_", "^", "", "$", "").Replace(name)
	if len(name) > simLongest {
		name = fmt.Sprintf("%s-%08x", strings.ToValidUTF8(name[:simLongest], ""), crc32.ChecksumIEEE([]byte(name)))
	}
	if !res.Explore.Base() {
		name += "-explored"
	}
	return filepath.Join(r.flags.save, fmt.Sprintf("%s-%d%s", name, res.Seed, ext))
}

// faultsLeft reports how far shrinking has reduced the network's faults.
func faultsLeft(c sim.Case, o sim.Outcome) string {
	if !c.Faults.Record {
		return ""
	}
	return fmt.Sprintf(", from %d faults to %d", len(c.Faults.Calm)+len(o.Faults), len(o.Faults))
}

func (r *simReport) program(pkg string) sim.Program {
	for _, p := range r.programs {
		if p.Package() == pkg {
			return p
		}
	}
	return nil
}

// simBar is a progress bar on a terminal, and a line every half minute
// elsewhere.
type simBar struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	last     time.Time
	shown    bool
}

func newSimBar(w io.Writer) *simBar {
	b := &simBar{w: w, last: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			b.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return b
}

const (
	simBarWidth     = 30
	simBarOften     = 100 * time.Millisecond
	simBarElsewhere = 30 * time.Second
)

func (b *simBar) show(p sim.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.print(simBarLine(p), false)
}

// print shows a line unless another one was shown a moment ago. The caller holds
// the lock.
func (b *simBar) print(line string, always bool) {
	every := simBarElsewhere
	if b.terminal {
		every = simBarOften
	}
	if !always && time.Since(b.last) < every {
		return
	}
	b.last = time.Now()
	if b.terminal {
		fmt.Fprintf(b.w, "\r\x1b[K%s", line)
		b.shown = true
		return
	}
	fmt.Fprintln(b.w, line)
}

// building shows the package that is compiled next, always for the first
// package, and then as often as show.
func (b *simBar) building(pkg string, done, total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := fmt.Sprintf("building %s, %d of %d", pkg, done+1, total)
	if done == 0 {
		line += " (the first build with an engine compiles the standard library too)"
	}
	b.print(line, done == 0)
}

// simBarLine is the bar with rate, failures and the time left.
func simBarLine(p sim.Progress) string {
	share := 0.0
	total := ""
	switch {
	case p.Total > 0:
		share = float64(p.Done) / float64(p.Total)
		total = fmt.Sprintf("/%d", p.Total)
	case p.Elapsed+p.Left > 0:
		share = float64(p.Elapsed) / float64(p.Elapsed+p.Left)
	}
	full := min(simBarWidth, int(share*simBarWidth))
	return fmt.Sprintf("[%s%s] %d%s runs, %.1f/s, %d failures, %v left",
		strings.Repeat("=", full), strings.Repeat(" ", simBarWidth-full), p.Done, total, p.Rate, p.Failures, p.Left.Round(time.Second))
}

// clear removes the bar, so that a line can be printed.
func (b *simBar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.shown = false
	}
}
