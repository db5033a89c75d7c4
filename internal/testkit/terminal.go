package testkit

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"
)

// Terminal is a process that answers each line on its standard input with a line on
// its standard output.
type Terminal struct {
	tb    testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // closed when the process has ended
}

// StartTerminal starts a process. The end of the test kills the process.
func StartTerminal(tb testing.TB, cmd *exec.Cmd) *Terminal {
	tb.Helper()
	term := &Terminal{tb: tb, cmd: cmd, lines: make(chan string, 1)}
	var err error
	if term.stdin, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(term.Kill)
	go func() { // ends with the process
		defer close(term.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			term.lines <- s.Text()
		}
	}()
	return term
}

// Ask writes a line and returns the answer, or an error if the process has ended. A
// process that does not answer for a minute fails the test.
func (term *Terminal) Ask(line string) (string, error) {
	term.tb.Helper()
	if _, err := fmt.Fprintln(term.stdin, line); err != nil {
		return "", err
	}
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	select {
	case answer, ok := <-term.lines:
		if !ok {
			return "", io.EOF
		}
		return answer, nil
	case <-timeout.C:
		term.tb.Fatalf("no answer to %q within a minute", line)
		return "", nil
	}
}

// Kill ends the process at once. Kill may be called more than once.
func (term *Terminal) Kill() {
	_ = term.cmd.Process.Kill()
	for range term.lines { // answers that nobody waits for
	}
	_ = term.cmd.Wait()
}

// Close ends the standard input, and returns how the process ends.
func (term *Terminal) Close() error {
	_ = term.stdin.Close()
	for range term.lines {
	}
	return term.cmd.Wait()
}
