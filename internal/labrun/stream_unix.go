//go:build unix || wasip1

package labrun

import (
	"fmt"
	"os"
	"syscall"

	"raftlab/internal/testkit"
	"raftlab/trace"
)

// openStream returns a function that appends lines to a file, or nil. The system calls do
// without package os, whose locks would change the schedule of a simulated run. In a
// simulated run each line also leaves a mark in the output, so that the place of the
// program's own lines is known.
func openStream(path string, header []byte) func(line []byte) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		fmt.Fprintf(os.Stderr, "labrun: no stream of events: %s: %v\n", path, err)
		return nil
	}
	write := func(line []byte) {
		for len(line) > 0 {
			n, err := syscall.Write(fd, line)
			if err != nil || n <= 0 {
				return
			}
			line = line[n:]
		}
	}
	write(header)
	if !testkit.Simulated() {
		return write
	}
	return func(line []byte) {
		write(line)
		if trace.IsEvent(line) {
			_, _ = syscall.Write(1, []byte{OutputMark})
		}
	}
}
