//go:build !linux

package labrun

import (
	"fmt"
	"os"
)

// openStream returns a function that appends lines to a file, or nil.
func openStream(path string, header []byte) func(line []byte) {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintf(os.Stderr, "labrun: no stream of events: %v\n", err)
		return nil
	}
	write := func(line []byte) { _, _ = f.Write(line) }
	write(header)
	return write
}
