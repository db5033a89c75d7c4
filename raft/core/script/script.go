// Package script runs interaction scripts. A script tells a story about a small cluster by
// commands and their recorded effects. raft/core/testdata/README.md has the language.
//
// A [World] runs one command at a time. [Run] runs a whole script and records the effects
// anew, for a comparison with the recorded ones. The same commands make the same run.
package script

import (
	"fmt"
	"strings"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// Bounds of a script. A larger script is refused.
const (
	MaxBytes    = 1 << 20
	MaxLines    = 10_000
	maxServers  = 9
	maxLog      = 200    // entries of a log command
	maxTicks    = 10_000 // of one command
	maxData     = 1000   // bytes of one proposed command
	maxInFlight = 2000   // messages on their way
)

// Error is an error of a script, with its place.
type Error struct {
	File string
	Line int
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Effect is one thing that a command has done.
type Effect struct {
	// Text is the line of the trace.
	Text string
	// Message is the delivered message, nil for any other effect. Before and After are
	// the receiver's.
	Message       *core.Message
	Before, After core.Status
}

// World is a cluster in the hands of a script. The zero value has no cluster yet. A World
// belongs to one goroutine.
type World struct {
	disks    map[core.NodeID]core.Persistent // for the cluster to come
	cluster  *coretest.Cluster
	effects  []Effect
	reported int   // violations that are among the effects
	broken   error // of a core that panicked
}

// Cluster returns the cluster of the world, nil before the first cluster command.
func (w *World) Cluster() *coretest.Cluster { return w.cluster }

// Do runs one line, and then lets every host do its duties. A remark does nothing. After
// an error the world is as the command left it, and the next command may go on. A panic of
// a core is an error, too, and ends the world.
func (w *World) Do(line string) (effects []Effect, err error) {
	if w.broken != nil {
		return nil, w.broken
	}
	w.effects = nil
	defer func() {
		if r := recover(); r != nil {
			w.broken = fmt.Errorf("%w: %v", ErrPanic, r)
			effects, err = w.effects, w.broken
		}
	}()
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return nil, nil
	}
	err = w.command(line)
	w.reportViolations()
	return w.effects, err
}

// reportViolations adds the new violations to the effects.
func (w *World) reportViolations() {
	if w.cluster == nil {
		return
	}
	all := w.cluster.Violations()
	for _, v := range all[w.reported:] {
		w.printf("%s%v", Violation, v)
	}
	w.reported = len(all)
}

// Violation begins the effect that reports a violation of a property.
const Violation = "VIOLATION "

func (w *World) printf(format string, args ...any) {
	w.effects = append(w.effects, Effect{Text: fmt.Sprintf(format, args...)})
}

// stepped completes the effect of a delivered message.
func (w *World) stepped(m core.Message, before, after core.Status) {
	if n := len(w.effects); n > 0 {
		e := &w.effects[n-1]
		e.Message, e.Before, e.After = &m, before, after
	}
}

// Run runs a script and returns the script with its effects of now. The error is an
// [*Error] with the file's name and the line.
func Run(file, text string) (string, error) {
	if err := check(text); err != nil {
		return "", &Error{file, 1, err}
	}
	var (
		w        World
		result   []string
		effects  []string
		recorded bool // inside of a block's recorded effects
	)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		switch {
		case line == "":
			recorded = false
			result = append(result, line)
		case recorded:
		case line == Separator:
			result = append(append(result, line), orNothing(effects)...)
			effects, recorded = nil, true
		default:
			result = append(result, line)
			done, err := w.Do(line)
			if err != nil {
				return "", &Error{file, i + 1, err}
			}
			for _, e := range done {
				effects = append(effects, e.Text)
			}
		}
	}
	if len(effects) > 0 {
		return "", &Error{file, len(lines), ErrOpenBlock}
	}
	return strings.Join(result, "\n") + "\n", nil
}

// Separator is the line between the commands of a block and their effects.
const Separator = "----"

func orNothing(effects []string) []string {
	if len(effects) == 0 {
		return []string{"nothing to see"}
	}
	return effects
}

// check refuses scripts beyond the bounds.
func check(text string) error {
	if n := len(text); n > MaxBytes {
		return fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrLimit, n, MaxBytes)
	}
	if n := strings.Count(text, "\n"); n > MaxLines {
		return fmt.Errorf("%w: %d lines; at most %d are allowed", ErrLimit, n, MaxLines)
	}
	return nil
}

// Commands returns the commands of a script with their line numbers, and leaves out
// remarks and recorded effects.
func Commands(text string) ([]Command, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	var all []Command
	recorded := false
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r ")
		switch {
		case line == "":
			recorded = false
		case line == Separator:
			recorded = true
		case recorded || strings.HasPrefix(line, "#"):
		default:
			all = append(all, Command{i + 1, line})
		}
	}
	return all, nil
}

// Command is a command of a script.
type Command struct {
	Line int
	Text string
}
