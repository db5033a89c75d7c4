//go:build !wasip1

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"raftlab/sim"
)

// simDebugger walks through a replay. Each step runs the replay again, up to
// another event.
type simDebugger struct {
	ctx context.Context
	p   sim.Program
	c   sim.Case
	out io.Writer
	at  sim.Stop
}

// simShownEvents is how many events a stop shows.
const simShownEvents = 10

const simDebugHelp = `step [N]        to the event N behind this one (1)
back [N]        to the event N before this one (1)
goto N          to event N
break FUNC      to the first entry of a function
continue        to the end of the run
goroutines      print the goroutines of this event
events [N]      print the last N events (10)
quit`

// oneReplay loads and builds the replay file of a debugger.
func (f *simFlags) oneReplay(ctx context.Context, errOut io.Writer) (sim.Replay, sim.Program, error) {
	if len(f.replay) != 1 {
		return sim.Replay{}, nil, usageError("--until, --break, --debug and --dlv take one --replay file, not %d", len(f.replay))
	}
	r, err := sim.LoadReplay(f.replay[0])
	if err != nil {
		return r, nil, err
	}
	bar := newSimBar(errOut)
	p, err := r.Build(ctx, sim.Options{Env: f.env, Args: f.args, OnBuild: bar.building})
	bar.clear()
	if err != nil {
		return r, nil, fmt.Errorf("%s: %w", f.replay[0], err)
	}
	return r, p, nil
}

// underDlv runs one file under dlv. The run's process inherits the descriptors of
// dlv, and with them its world.
func (f *simFlags) underDlv(ctx context.Context, out, errOut io.Writer) error {
	dlv, err := exec.LookPath("dlv")
	if err != nil {
		return fmt.Errorf("--dlv needs the debugger (go install github.com/go-delve/delve/cmd/dlv@latest): %w", err)
	}
	r, p, err := f.oneReplay(ctx, errOut)
	if err != nil {
		return err
	}
	defer p.Close()
	c := r.Case
	c.Prepare = func(cmd *exec.Cmd) error {
		args := []string{dlv, "exec", "--headless", "--api-version=2", "--listen=" + f.dlv, cmd.Path, "--"}
		cmd.Path, cmd.Args = dlv, append(args, cmd.Args[1:]...)
		cmd.Stdout, cmd.Stderr = out, errOut
		return nil
	}
	fmt.Fprintf(errOut, "the run waits for: dlv connect %s\n", f.dlv)
	_, err = sim.Attend(ctx, p, c)
	return err
}

// debug replays one file under the debugger. With a terminal, or a pipe, as
// standard input, the debugger reads commands.
func (f *simFlags) debug(ctx context.Context, in io.Reader, out, errOut io.Writer) error {
	r, programs, err := f.oneReplay(ctx, errOut)
	if err != nil {
		return err
	}
	defer programs.Close()
	d := &simDebugger{ctx: ctx, p: programs, c: r.Case, out: out}
	switch {
	case f.until > 0:
		err = d.goTo(f.until)
	case f.breakAt != "":
		err = d.breakAt(f.breakAt)
	default:
		err = d.goTo(1)
	}
	if err != nil || !f.debugger {
		return err
	}
	return d.prompt(in)
}

func (d *simDebugger) goTo(event uint64) error {
	at, err := sim.Until(d.ctx, d.p, d.c, event)
	return d.show(at, err)
}

func (d *simDebugger) breakAt(function string) error {
	at, err := sim.Break(d.ctx, d.p, d.c, function)
	return d.show(at, err)
}

// show prints the last events and the goroutines of a stop.
func (d *simDebugger) show(at sim.Stop, err error) error {
	if err != nil {
		return err
	}
	d.at = at
	d.events(simShownEvents)
	if !at.Stopped {
		fmt.Fprintf(d.out, "the run ended after event %d: %s %s\n", at.Event, at.Outcome.Verdict, at.Outcome.Detail)
		return nil
	}
	d.goroutines()
	return nil
}

func (d *simDebugger) events(n int) {
	events := d.at.Outcome.Events
	for _, e := range events[max(0, len(events)-n):] {
		fmt.Fprintln(d.out, e)
	}
}

// goroutines prints the stacks behind the line of the stop.
func (d *simDebugger) goroutines() {
	text := string(d.at.Outcome.Output)
	if i := strings.LastIndex(text, "sim: stopped at "); i >= 0 {
		text = text[i:]
	}
	fmt.Fprintln(d.out, strings.TrimSpace(text))
}

// prompt reads commands up to quit or the end of the input. A mistake does not
// end the debugger.
func (d *simDebugger) prompt(in io.Reader) error {
	lines := bufio.NewScanner(in)
	last := "step"
	for {
		fmt.Fprintf(d.out, "(event %d) ", d.at.Event)
		if !lines.Scan() {
			fmt.Fprintln(d.out)
			return lines.Err()
		}
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			line = last // an empty line repeats the last command
		}
		last = line
		name, arg, _ := strings.Cut(line, " ")
		if name == "quit" || name == "q" {
			return nil
		}
		if err := d.command(name, strings.TrimSpace(arg)); err != nil {
			if d.ctx.Err() != nil {
				return err
			}
			fmt.Fprintln(d.out, err)
		}
	}
}

func (d *simDebugger) command(name, arg string) error {
	n := uint64(1)
	if name == "events" {
		n = simShownEvents
	}
	if arg != "" && name != "break" && name != "b" {
		var err error
		if n, err = strconv.ParseUint(arg, 10, 32); err != nil {
			return usageError("%q is not a number of events", arg)
		}
	}
	switch name {
	case "step", "s":
		return d.goTo(d.at.Event + n)
	case "back":
		return d.goTo(d.at.Event - min(n, d.at.Event-1))
	case "goto", "g":
		if arg == "" {
			return usageError("goto needs the number of an event")
		}
		return d.goTo(n)
	case "break", "b":
		return d.breakAt(arg)
	case "continue", "c":
		return d.goTo(1 << 62)
	case "goroutines":
		d.goroutines()
	case "events":
		d.events(int(n))
	case "help", "h", "?":
		fmt.Fprintln(d.out, simDebugHelp)
	default:
		return usageError("%q is no command; the commands are:\n%s", name, simDebugHelp)
	}
	return nil
}
