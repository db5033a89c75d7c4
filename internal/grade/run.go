package grade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"raftlab/internal/jail"
	"raftlab/internal/verdict"
	"raftlab/sim"
)

// A State is the state of a test in a grade.
type State string

// The states. Only Passed earns points.
const (
	Passed  State = "pass"
	Failed  State = "fail"
	Skipped State = "skip"  // the test cannot reach its case with this implementation
	Broken  State = "build" // the package does not build
	Missing State = "none"  // the package is not submitted
	Refused State = "refused"
	Endless State = "endless" // not run, because runs of the package do not end
)

// Unproven is the kind of a failure where the process ended well and the harness did
// not confirm a result.
const Unproven = "unproven"

// Limits of a build, besides the table's time.
const (
	buildMemory = 4 << 30
	buildFile   = 1 << 30
	openFiles   = 256
	maxExcerpt  = 4 << 10 // bytes of output kept in a result
	maxNotes    = 8

	maxExcerptLines = 40
)

// programs are the test binaries of a submission.
type programs map[string]sim.Program

func (p programs) close() {
	for _, one := range p {
		one.Close()
	}
}

// tool limits a go command, and keeps the command off the network.
func (g *grader) tool(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Environ(), "GOFLAGS=-trimpath -mod=readonly -ldflags=-s", "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local")
	if g.level.Limits {
		// An error shows when the command starts.
		cmd.Err = errors.Join(cmd.Err, jail.Limit(cmd, jail.Limits{CPU: g.table.Limits.Build, Memory: buildMemory, File: buildFile}))
	}
}

// compile builds the suite of a package in a work copy.
func (g *grader) compile(ctx context.Context, dir, pkg string) (sim.Program, error) {
	ctx, cancel := context.WithTimeout(ctx, g.table.Limits.Build)
	defer cancel()
	built, err := sim.Build(ctx, sim.Options{Engine: sim.Native, Dir: dir, Tool: g.tool}, "./"+pkg)
	if ctx.Err() == context.DeadlineExceeded {
		return nil, fmt.Errorf("%w: not built within %v", sim.ErrBroken, g.table.Limits.Build)
	}
	if err != nil {
		return nil, err
	}
	return built[0], nil
}

// compilerText removes the lines of the go command around the compiler's messages.
func compilerText(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "sim: ") && !strings.HasPrefix(line, "FAIL") {
			lines = append(lines, line)
		}
	}
	if len(lines) > 20 {
		lines = append(lines[:20], "...")
	}
	return clip(strings.Join(lines, "\n"), maxExcerpt)
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// repeatText is the command that repeats a run, for the owner of the submission.
func (t *Table) repeatText(test string, seed uint64) string {
	edition := ""
	if t.edition != editions[0] {
		edition = " --edition " + t.edition.name
	}
	return fmt.Sprintf("raftlab grade%s --run '^%s$' --seed %d DIRECTORY", edition, test, seed)
}

// runTest runs a test of a submission once, with the process confined. An error means that
// there was no run.
func (g *grader) runTest(ctx context.Context, p sim.Program, test string, seed uint64, lim runLimits) (run, evidence, error) {
	ch, err := newChannel()
	if err != nil {
		return run{}, evidence{}, err
	}
	defer ch.close()
	c := sim.Case{Test: test, Seed: seed, Limits: sim.Limits{SpinCPU: lim.spin, Wall: lim.Wall, Memory: lim.Memory << 20}}
	c.Prepare = func(cmd *exec.Cmd) error {
		fd := 3 + len(cmd.ExtraFiles)
		cmd.ExtraFiles = append(cmd.ExtraFiles, ch.theirs)
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", verdict.Env, fd), sim.RepeatEnv+"="+g.table.repeatText(test, seed))
		if !g.level.Limits {
			return nil
		}
		return g.level.Confine(cmd, jail.Limits{CPU: lim.CPU, Memory: 4 * lim.Memory << 20, File: lim.File << 20, Files: openFiles})
	}
	out, err := p.Run(ctx, c)
	if err != nil {
		return run{}, evidence{}, err
	}
	r := run{Test: test, Seed: seed, Kind: string(out.Verdict), Detail: out.Detail, CPU: out.CPU.Seconds(), Virtual: out.Virtual.Seconds(), Hash: out.Hash}
	r.Notes = notesOf(out.Output)
	sent, err := ch.result()
	r.State, r.Detail = judge(out, sent, err)
	if r.State == Failed && out.Verdict == sim.Pass {
		r.Kind = Unproven
	}
	overCPU := r.State == Failed && exhausted(out, lim.CPU)
	if overCPU {
		r.Detail = fmt.Sprintf("more than %v of CPU time", lim.CPU)
	}
	if r.State != Passed {
		r.Excerpt = excerpt(out.Output)
	}
	r.Endless = r.State == Failed && (out.Verdict == sim.Spin || out.Verdict == sim.Stuck || overCPU)
	ev := evidence{output: out.Output}
	if sent != nil && r.State == Failed {
		ev.picture = sent.Picture
		r.Picture = len(sent.Picture) > 0
	}
	return r, ev, nil
}

// exhausted reports whether a run used up its CPU time. The kernel ends the run by its own
// count, and the figure of the ended process has been up to 8 % lower.
func exhausted(out sim.Outcome, limit time.Duration) bool {
	killed := strings.HasSuffix(out.Detail, "ended by "+syscall.SIGKILL.String())
	return out.CPU >= limit || killed && out.CPU >= limit-limit/10
}

// evidence is what a run leaves beside its result.
type evidence struct {
	output  []byte
	picture []byte // an HTML page
}

// judge joins the outcome of a process with the message of the harness. A pass needs
// both.
func judge(out sim.Outcome, sent *verdict.Result, err error) (State, string) {
	switch {
	case err != nil:
		return Failed, "the verdict did not come from the harness: " + err.Error()
	case out.Verdict != sim.Pass:
		return Failed, out.Detail
	case sent == nil:
		return Failed, "the process ended with exit code 0 before the test had a result, as after a call of os.Exit"
	case sent.State == verdict.Pass:
		return Passed, ""
	case sent.State == verdict.Skip:
		return Skipped, skipText(out.Output)
	}
	return Failed, "the harness reports a failure, and the exit code of the process is 0"
}

var (
	noteLine = regexp.MustCompile(`(?m)^\s+[\w.-]+\.go:\d+: note: (.*)`)
	skipLine = regexp.MustCompile(`(?m)^\s+[\w.-]+\.go:\d+: (.*)\n(?:.*\n)*?\s*--- SKIP`)
	skipTail = regexp.MustCompile(`(?m)^\s*--- SKIP.*\n\s+[\w.-]+\.go:\d+: (.*)`)
)

// notesOf returns the notes of the harness in an output. Tested code could write such
// lines, so a note never decides about points.
func notesOf(output []byte) []string {
	var notes []string
	for _, m := range noteLine.FindAllSubmatch(output, -1) {
		if note := clip(string(m[1]), 300); !slices.Contains(notes, note) && len(notes) < maxNotes {
			notes = append(notes, note)
		}
	}
	return notes
}

func skipText(output []byte) string {
	for _, re := range []*regexp.Regexp{skipLine, skipTail} {
		if m := re.FindSubmatch(output); m != nil {
			return clip(string(m[1]), 300)
		}
	}
	return "the test cannot reach its case"
}

// excerpt returns the part of an output with the failure, which is mostly the end.
func excerpt(output []byte) string {
	if i := bytes.Index(output, []byte("--- FAIL")); i >= 0 && len(output)-i <= maxExcerpt {
		start := max(0, i-maxExcerpt/2)
		output = output[start:]
	}
	if cut := len(output) - maxExcerpt; cut > 0 {
		output = output[cut:]
	}
	lines := strings.Split(strings.ToValidUTF8(string(output), "?"), "\n")
	return strings.Join(lines[max(0, len(lines)-maxExcerptLines):], "\n")
}

// cpuTime is a number of seconds as a duration.
func cpuTime(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
