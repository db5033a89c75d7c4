//go:build !linux || !(amd64 || arm64)

package jail

import "os/exec"

// Probe returns a level without any part.
func Probe() Level { return Level{Reason: ErrUnsupported.Error()} }

// Confine returns ErrUnsupported.
func (l Level) Confine(*exec.Cmd, Limits) error { return ErrUnsupported }

// Limit leaves cmd as it is.
func Limit(*exec.Cmd, Limits) error { return ErrUnsupported }
