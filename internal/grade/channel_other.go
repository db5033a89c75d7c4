//go:build !linux

package grade

import (
	"os"

	"raftlab/internal/jail"
)

// socketPair is for Linux, as the engine of the grader is.
func socketPair() (ours, theirs *os.File, err error) { return nil, nil, jail.ErrUnsupported }
