package sim

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// RepeatEnv is the variable in which a test finds the command that repeats its
// run. A harness should print this command as the way to repeat a failure.
// Blanks pad the value at the end. The reason is that the length of the
// environment decides where the heap's objects lie, and a run with listed
// points must equal the run that injected them.
const RepeatEnv = "RAFTLAB_SIM_REPEAT"

const repeatWidth = 1000

// ready completes a case before its run.
func (p *program) ready(c Case) Case {
	if c.Explore.Listed || len(c.Faults.Calm) > 0 {
		c.repeat = "raftlab sim --replay FILE, with the file that --save wrote"
	} else {
		opt := p.opt
		opt.Liveness = nil // how a failure is called does not change the run
		c.repeat = repeatLine(Result{Package: p.Package(), Engine: p.Engine(), Test: c.Test, Seed: c.Seed, Explore: c.Explore, Net: c.Net, Race: opt.Race}, c.Limits, opt)
	}
	c.Limits = c.Limits.orDefault()
	return c
}

// repeatLine is the command that repeats a result.
func repeatLine(r Result, lim Limits, opt Options) string {
	args := []string{"raftlab", "sim", r.Package, "--engine", r.Engine, "--run", anchored(r.Test), "--seeds", fmt.Sprint(r.Seed)}
	add := func(set bool, flag string, value any) {
		if set {
			args = append(args, flag, fmt.Sprint(value))
		}
	}
	add(r.Explore.Yields > 0, "--yields", r.Explore.Yields)
	add(r.Explore.Sleeps > 0, "--sleeps", r.Explore.Sleeps)
	add(r.Explore.Sleeps > 0, "--max-sleep", r.Explore.longest())
	add(r.Explore.Strategy != "", "--strategy", r.Explore.Strategy)
	add(r.Explore.Depth > 0, "--depth", r.Explore.Depth)
	add(r.Explore.Strategy == PCT, "--steps", r.Explore.Steps)
	add(len(r.Explore.Turns) > 0, "--turns", FormatTurns(r.Explore.Turns))
	for _, pattern := range opt.Preempt {
		add(true, "--preempt", pattern)
	}
	add(r.Net != Net{}, "--net", r.Net)
	add(lim.Virtual > 0, "--virtual", lim.Virtual)
	add(lim.SpinCPU > 0, "--spin", lim.SpinCPU)
	add(lim.Wall > 0, "--wall", lim.Wall)
	add(lim.Memory > 0, "--memory", lim.Memory>>20)
	add(opt.Tags != "", "--tags", opt.Tags)
	add(!opt.Start.IsZero() && !opt.Start.Equal(DefaultStart), "--start", opt.Start.UTC().Format(time.RFC3339Nano))
	add(opt.Liveness != nil && opt.Liveness.String() != DefaultLiveness, "--liveness", opt.Liveness)
	for _, kv := range opt.Env {
		add(true, "--env", kv)
	}
	if r.Race {
		args = append(args, "--race")
	}
	if len(opt.Args) > 0 {
		args = append(append(args, "--"), opt.Args...)
	}
	for i, arg := range args {
		args[i] = quoted(arg)
	}
	return strings.Join(args, " ")
}

var plainArg = regexp.MustCompile(`^[\w./:=,@%+-]+$`)

// quoted quotes an argument for a shell.
func quoted(arg string) string {
	if plainArg.MatchString(arg) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
