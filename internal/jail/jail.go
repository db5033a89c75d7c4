// Package jail starts processes with limits. A confined process has no network, no
// files but an empty scratch directory in memory, no child processes, and bounds on
// CPU time, memory and the size of files. The parts are Linux namespaces, a root
// directory of its own, resource limits, no capabilities, and a list of permitted
// system calls (seccomp).
//
// A machine may forbid some parts, as many containers forbid namespaces. [Probe]
// tells which parts hold.
//
// The confinement happens in this same program, started again with the variable
// RAFTLAB_JAIL, which then executes the confined program in its own place. Therefore a
// program that imports this package needs nothing else.
package jail

import (
	"errors"
	"strings"
	"time"
)

// env tells the restarted program what to do.
const env = "RAFTLAB_JAIL"

// ErrUnsupported is returned on systems without a jail.
var ErrUnsupported = errors.New("jail: confinement needs Linux on amd64 or arm64")

// Limits bound a process. A field of zero does not limit.
type Limits struct {
	CPU    time.Duration // CPU time, rounded up to seconds
	Memory int64         // bytes of writable memory
	File   int64         // bytes of a file, and of the scratch directory
	Files  int           // open files
}

// Level names the parts of the jail that hold on this machine.
type Level struct {
	Limits     bool   `json:"limits"`     // CPU, memory, files
	Namespaces bool   `json:"namespaces"` // no network, no files, no other processes
	Calls      bool   `json:"calls"`      // only permitted system calls, no child processes
	Reason     string `json:"reason,omitempty"`
}

// Full reports whether all parts hold.
func (l Level) Full() bool { return l.Limits && l.Namespaces && l.Calls }

// Missing describes the parts that do not hold, or returns "".
func (l Level) Missing() string {
	var parts []string
	for _, p := range []struct {
		holds bool
		what  string
	}{
		{l.Limits, "limits on CPU time, memory and files"},
		{l.Namespaces, "the isolation of network, files and processes"},
		{l.Calls, "the list of permitted system calls, which also forbids child processes"},
	} {
		if !p.holds {
			parts = append(parts, p.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "; ") + " (" + l.Reason + ")"
}
