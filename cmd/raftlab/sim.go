//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"raftlab/sim"
)

// Exit codes of raftlab sim, besides the codes for a wrong command line and for
// a package that could not be run.
const (
	exitSimFailed   = 1
	exitSimDiverged = 3
)

// simPreemptYields is the share of points that yield with --preempt and without
// another exploration. It found the planted bugs in the fewest runs.
const simPreemptYields = 0.3

// simError gives an error of package sim its exit code.
func simError(err error) error {
	var coded *exitError
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, sim.ErrInvalid):
		return &exitError{exitUsage, err}
	}
	return &exitError{exitFailure, err}
}

// simFlags are the flags of raftlab sim as given.
type simFlags struct {
	run, seeds, engine, shard, liveness, tags, save, net string
	binary                                               string // built by go test
	turns, breakAt, dlv                                  string
	until                                                uint64
	debugger                                             bool
	replay, merge, env, args, preempt                    []string
	race, json, shrink, explain, verbose, guided         bool
	forTime                                              time.Duration
	jobs, shrinkRuns                                     int
	explore                                              sim.Explore
	limits                                               sim.Limits
	memory                                               int64
	start                                                time.Time
}

const simLong = `Run the tests of packages in many simulated worlds. Each seed is a world: the
same seed gives the same run to the byte, sleeping takes no time, and a failure
prints the line that repeats it.

  raftlab sim ./raft --run 2C --seeds 1..1000
  raftlab sim ./... --for 10m --sleeps 0.01
  raftlab sim ./raft --run '^TestFastBackup2B$' --seeds 17 --yields 0.05 --shrink --save bugs
  raftlab sim --replay bugs/TestFastBackup2B-17.json --explain
  raftlab sim ./raft --seeds 1..10000 --shard 3/20 --json > 3.jsonl
  raftlab sim --merge 1.jsonl,2.jsonl,3.jsonl

Exit code: 0 if every run passed, 1 if one failed, 3 if a run did not repeat, 64
if the command line is wrong, 70 if something could not be run: a package that does
not build, say, while the others were.`

// newSimCommand makes the command raftlab sim.
func newSimCommand() *cobra.Command {
	cmd, _ := simCommand()
	return cmd
}

// simCommand makes the command with its flags.
func simCommand() (*cobra.Command, *simFlags) {
	f := &simFlags{}
	cmd := &cobra.Command{
		Use:   "sim [packages] [-- arguments of the test binary]",
		Short: "Run Go tests in virtual time, each seed an exactly repeatable world",
		Long:  simLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args, f.args = args[:dash], args[dash:]
			}
			args = f.moreFiles(args)
			if err := f.check(args); err != nil {
				return err
			}
			// Also if nobody reads the output any more, as in raftlab sim | head.
			ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
			defer stop()
			return orInterrupted(ctx, simError(f.main(ctx, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.run, "run", "", "tests to run, as for go test -run")
	fl.StringVar(&f.seeds, "seeds", "1..100", "seeds, one number or a range A..B")
	fl.DurationVar(&f.forTime, "for", 0, "take seeds from the first of --seeds on for so much real time")
	fl.StringVar(&f.engine, "engine", "", "native or wasm; chosen by the Go version if empty")
	fl.BoolVar(&f.race, "race", false, "run under the race detector (native engine, needs a C compiler)")
	fl.IntVarP(&f.jobs, "jobs", "j", 0, "runs at once; 0 is the number of CPUs")
	fl.BoolVar(&f.json, "json", false, "write each result as a line of JSON to standard output")
	fl.Float64Var(&f.explore.Yields, "yields", 0, "share of synchronization points that yield, 0 to 1")
	fl.Float64Var(&f.explore.Sleeps, "sleeps", 0, "share of synchronization points that sleep for a while in virtual time, 0 to 0.05")
	fl.DurationVar(&f.explore.MaxSleep, "max-sleep", 20*time.Millisecond, "longest of these sleeps, at most 200ms")
	fl.StringVar(&f.explore.Strategy, "strategy", "", "pct: random priorities with a few change points, instead of --yields and --sleeps")
	fl.IntVar(&f.explore.Depth, "depth", 0, "with --strategy pct: one more than the number of change points (default 3)")
	fl.Uint64Var(&f.explore.Steps, "steps", 0, "with --strategy pct: the change points lie among so many points (default: the most that a few runs without change points pass)")
	fl.BoolVar(&f.guided, "guided", false, "derive worlds from earlier ones in which points followed each other in a new order")
	fl.StringVar(&f.turns, "turns", "", "points at which the exploration goes on with another seed, as in 120:7,300:8; guided sweeps print it")
	fl.StringSliceVar(&f.preempt, "preempt", nil, "packages whose memory accesses are points too; without another exploration, with --yields 0.3 (native engine, not with --race)")
	fl.StringVar(&f.net, "net", "", "faults and properties of the world's network, as in cut=0.01,reset=0.001,latency=2ms; docs/sim.md lists them")
	fl.DurationVar(&f.limits.Virtual, "virtual", 0, "limit of virtual time for a run (default 1h)")
	fl.DurationVar(&f.limits.SpinCPU, "spin", 0, "CPU time without progress after which a run spins (default 10s)")
	fl.DurationVar(&f.limits.Wall, "wall", 0, "limit of real time for a run (default 10m)")
	fl.Int64Var(&f.memory, "memory", 0, "MiB of heap of a run at which garbage is collected (default 1024); twice as much ends it")
	fl.StringVar(&f.shard, "shard", "", "run part i of n, as i/n")
	fl.StringSliceVar(&f.merge, "merge", nil, "read results that --json wrote, and print their summary")
	fl.StringSliceVar(&f.replay, "replay", nil, "run saved failures again")
	fl.BoolVar(&f.explain, "explain", false, "with --replay: show the stack at each injected point")
	fl.Uint64Var(&f.until, "until", 0, "with --replay: stop at the event of this number, and print the last events and all goroutines (native engine)")
	fl.StringVar(&f.breakAt, "break", "", "with --replay: stop at the first entry of this function, for example pkg.(*T).Method (native engine)")
	fl.BoolVar(&f.debugger, "debug", false, "with --replay: read commands from standard input: step, back, goto N, break FUNC, goroutines, events, quit (native engine)")
	fl.StringVar(&f.dlv, "dlv", "", "with --replay: run under the debugger dlv, which waits at this address for dlv connect (native engine)")
	fl.BoolVar(&f.shrink, "shrink", false, "reduce the smallest failure of each kind to the fewest injected points and faults that still show it")
	fl.IntVar(&f.shrinkRuns, "shrink-runs", 1000, "runs that reducing one failure may take; where smaller runs rarely fail, more of them find a smaller one")
	fl.StringVar(&f.save, "save", "", "directory for the output and the replay file of the first failure of each kind, and of the one that is shrunk")
	fl.StringVar(&f.liveness, "liveness", sim.DefaultLiveness, "messages of failed checks that mean: did not happen in time")
	fl.StringVar(&f.tags, "tags", "", "build tags")
	fl.StringArrayVar(&f.env, "env", nil, "KEY=value that the tests see; may be repeated")
	fl.TimeVar(&f.start, "start", sim.DefaultStart, []string{time.RFC3339Nano, time.DateOnly}, "the clock of a world begins within the hour after this time or date")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print the output of each failure")
	return cmd, f
}

// moreFiles takes the files of --replay and --merge that a shell's pattern left among the
// arguments, and returns the others.
func (f *simFlags) moreFiles(args []string) (others []string) {
	for _, arg := range args {
		switch isFile := strings.HasSuffix(arg, ".json"); {
		case isFile && len(f.replay) > 0:
			f.replay = append(f.replay, arg)
		case isFile && len(f.merge) > 0:
			f.merge = append(f.merge, arg)
		default:
			others = append(others, arg)
		}
	}
	return others
}

// check refuses flags that package sim does not see.
func (f *simFlags) check(args []string) error {
	const most = sim.MaxMemory >> 20
	if f.memory < 0 || f.memory > most {
		return usageError("--memory %d is not within 0 and %d MiB", f.memory, most)
	}
	f.limits.Memory = f.memory << 20
	if f.shrinkRuns < 1 {
		return usageError("--shrink-runs %d is below 1", f.shrinkRuns)
	}
	for _, kv := range f.env {
		if key, _, ok := strings.Cut(kv, "="); !ok || key == "" {
			return usageError("--env %q is not KEY=value", kv)
		}
	}
	if saved := len(f.replay) + len(f.merge); saved > 0 && len(args) > 0 {
		return usageError("--replay and --merge take files and no packages; %q is too much", args[0])
	}
	if len(f.replay) == 0 && (f.explain || f.until > 0 || f.breakAt != "" || f.debugger || f.dlv != "") {
		return usageError("--explain, --until, --break, --debug and --dlv go with --replay")
	}
	if f.dlv != "" && (f.until > 0 || f.breakAt != "" || f.debugger) {
		return usageError("--dlv is another debugger than that of --until, --break and --debug")
	}
	if f.until > 0 && f.breakAt != "" {
		return usageError("--until %d and --break %s are two places to stop at", f.until, f.breakAt)
	}
	return nil
}

func (f *simFlags) main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) error {
	switch {
	case len(f.merge) > 0:
		return f.mergeResults(out)
	case f.dlv != "":
		return f.underDlv(ctx, out, errOut)
	case f.until > 0 || f.breakAt != "" || f.debugger:
		return f.debug(ctx, in, out, errOut)
	case len(f.replay) > 0:
		return f.replayAll(ctx, out, errOut)
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	sweep, err := f.sweep(ctx, args, errOut)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted while building")
	}
	if err != nil {
		return err
	}
	defer func() {
		for _, p := range sweep.Programs {
			p.Close()
		}
	}()
	rep := &simReport{flags: f, ctx: ctx, programs: sweep.Programs, out: out, bar: newSimBar(errOut), errOut: errOut, kinds: map[string]*simKind{}}
	sweep.OnResult, sweep.OnProgress = rep.result, rep.bar.show
	summary, err := sweep.Run(ctx)
	rep.bar.clear()
	if err != nil {
		return err
	}
	table := out
	if f.json {
		table = errOut
	}
	if err := summary.Print(table); err != nil {
		return err
	}
	if err := rep.finish(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after %d runs", summary.Runs())
	}
	return verdictOf(summary)
}

// sweep checks the flags and builds the packages.
func (f *simFlags) sweep(ctx context.Context, args []string, errOut io.Writer) (*sim.Sweep, error) {
	opt := sim.Options{Engine: f.engine, Race: f.race, Preempt: f.preempt, Tags: f.tags, Env: f.env, Args: f.args, Start: f.start}
	s := &sim.Sweep{Pattern: f.run, For: f.forTime, Guided: f.guided, Explore: f.explore, Limits: f.limits, Jobs: f.jobs}
	var err error
	if s.Seeds, err = sim.ParseSeeds(f.seeds); err != nil {
		return nil, err
	}
	if s.Explore.Turns, err = sim.ParseTurns(f.turns); err != nil {
		return nil, err
	}
	if s.Net, err = sim.ParseNet(f.net); err != nil {
		return nil, err
	}
	if f.shard != "" {
		if s.Shard, err = sim.ParseShard(f.shard); err != nil {
			return nil, err
		}
	}
	if len(f.preempt) > 0 && s.Explore.Base() {
		s.Explore.Yields = simPreemptYields
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if opt.Liveness, err = regexp.Compile(f.liveness); err != nil {
		return nil, usageError("--liveness: %w", err)
	}
	if f.binary != "" {
		p, err := sim.Prebuilt(ctx, opt, f.binary)
		s.Programs = []sim.Program{p}
		return s, err
	}
	if opt.Engine == "" {
		var why string
		if opt.Engine, why, err = sim.Select(ctx, ""); err != nil {
			return nil, err
		}
		fmt.Fprintf(errOut, "engine %s: %s\n", opt.Engine, why)
	}
	began := time.Now()
	bar := newSimBar(errOut)
	opt.OnBuild = bar.building
	s.Programs, err = sim.Build(ctx, opt, args...)
	bar.clear()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(errOut, "prepared %d packages in %v\n", len(s.Programs), time.Since(began).Round(100*time.Millisecond))
	return s, nil
}

func verdictOf(s *sim.Summary) error {
	failures := len(s.Failures())
	switch {
	case len(s.Broken()) > 0:
		return &exitError{exitFailure, fmt.Errorf("%d packages could not be run; of the others %d of %d runs failed", len(s.Broken()), failures, s.Runs())}
	case s.Diverged():
		return &exitError{exitSimDiverged, errors.New("a run did not repeat")}
	case failures > 0:
		return &exitError{exitSimFailed, fmt.Errorf("%d of %d runs failed", failures, s.Runs())}
	}
	return nil
}

func (f *simFlags) mergeResults(out io.Writer) error {
	summary := sim.NewSummary()
	for _, name := range f.merge {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		err = sim.ReadResults(file, summary.Add)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, r := range summary.Failures() {
		fmt.Fprintln(out, failureLine(r))
	}
	if err := summary.Print(out); err != nil {
		return err
	}
	return verdictOf(summary)
}

// replayAll runs saved failures again. A replay that still fails is a failure.
func (f *simFlags) replayAll(ctx context.Context, out, errOut io.Writer) error {
	bar := newSimBar(errOut)
	failed := 0
	for _, name := range f.replay {
		r, err := sim.LoadReplay(name)
		if err != nil {
			return err
		}
		p, err := r.Build(ctx, sim.Options{Env: f.env, Args: f.args, OnBuild: bar.building})
		bar.clear()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		o, err := f.again(ctx, p, r, errOut)
		p.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if f.explain || f.verbose {
			out.Write(o.Output)
		}
		if o.Verdict == sim.Pass {
			fmt.Fprintf(out, "%s: %s passes now\n", name, r.Case.Test)
			continue
		}
		failed++
		what := "fails in another way"
		if o.Hash == r.Hash {
			what = "fails, to the byte as then"
		} else if o.Signature() == r.Signature() {
			what = "fails in the same way"
		}
		fmt.Fprintf(out, "%s: %s %s: %s %s\n", name, r.Case.Test, what, o.Verdict, o.Detail)
	}
	if failed > 0 {
		return &exitError{exitSimFailed, fmt.Errorf("%d of %d replays fail", failed, len(f.replay))}
	}
	return nil
}

// again runs a replay, and explains a failure if asked to.
func (f *simFlags) again(ctx context.Context, p sim.Program, r sim.Replay, errOut io.Writer) (sim.Outcome, error) {
	c := r.Case
	c.Explain = f.explain
	o, err := p.Run(ctx, c)
	if err != nil || !f.explain || o.Verdict == sim.Pass {
		return o, err
	}
	return o, tell(ctx, p, r.Case, o.Verdict, errOut)
}

func failureLine(r sim.Result) string {
	s := fmt.Sprintf("%-8s %s seed %d: %s", strings.ToUpper(string(r.Verdict)), r.Test, r.Seed, r.Detail)
	if !r.Explore.Base() {
		s += " [" + r.Explore.String() + "]"
	}
	if r.Cause != "" {
		s += "\n         the output differs between the runs by " + r.Cause
	}
	return s + "\n         " + r.Command
}
