//go:build amd64 || arm64

package jail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// order is the task of the restarted program.
type order struct {
	Path       string // of the program to execute
	Limits     Limits
	Namespaces bool // the process is in namespaces of its own, and builds a root directory
	Calls      bool
	Scratch    string // the directory that becomes the root, with Namespaces
	Tmp        string // the path of the scratch directory within the root
	Probe      bool
}

// isolated are the namespaces of a confined process.
const isolated = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
	syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// Probe finds by trial the parts that hold here. The trial happens once.
var Probe = sync.OnceValue(func() Level {
	level := Level{Limits: true, Namespaces: true, Calls: true}
	if err := level.try(); err == nil {
		return level
	} else {
		level.Reason = err.Error()
	}
	for _, l := range []Level{{Limits: true, Calls: true}, {Limits: true, Namespaces: true}, {Limits: true}} {
		if l.try() == nil {
			l.Reason = level.Reason
			return l
		}
	}
	return Level{Reason: level.Reason}
})

// try starts a process with the parts of l, which reports success.
func (l Level) try() error {
	cmd := exec.Command("/proc/self/exe")
	dir, err := os.MkdirTemp("", "raftlab-jail-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	cmd.Env = []string{"TMPDIR=" + dir}
	if err := l.confine(cmd, Limits{CPU: 1e9, Files: 64, File: 1 << 20}, true); err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Confine changes cmd, so that Start starts the process within the parts of l. The
// environment of cmd has a TMPDIR, an existing directory. The program must be static,
// because the process sees no file but the program. Descriptors pass through.
func (l Level) Confine(cmd *exec.Cmd, lim Limits) error { return l.confine(cmd, lim, false) }

func (l Level) confine(cmd *exec.Cmd, lim Limits, probe bool) error {
	o := order{Path: cmd.Path, Limits: lim, Namespaces: l.Namespaces, Calls: l.Calls, Probe: probe}
	if !l.Limits {
		o.Limits = Limits{}
	}
	if l.Namespaces {
		for _, kv := range cmd.Environ() {
			if dir, ok := bytes.CutPrefix([]byte(kv), []byte("TMPDIR=")); ok {
				o.Tmp = string(dir)
			}
		}
		if !filepath.IsAbs(o.Tmp) {
			return fmt.Errorf("jail: TMPDIR is %q and not an absolute path", o.Tmp)
		}
		o.Scratch = o.Tmp
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Cloneflags |= isolated
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return restart(cmd, o)
}

// Limit applies the limits alone. The process and its children run as before
// otherwise.
func Limit(cmd *exec.Cmd, lim Limits) error { return restart(cmd, order{Path: cmd.Path, Limits: lim}) }

// restart makes cmd start this program with an order.
func restart(cmd *exec.Cmd, o order) error {
	if !filepath.IsAbs(o.Path) {
		path, err := exec.LookPath(o.Path)
		if err != nil {
			return fmt.Errorf("jail: %w", err)
		}
		if o.Path, err = filepath.Abs(path); err != nil {
			return fmt.Errorf("jail: %w", err)
		}
	}
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("jail: %w", err)
	}
	if cmd.Path, err = os.Executable(); err != nil {
		return fmt.Errorf("jail: %w", err)
	}
	cmd.Err = nil
	cmd.Env = append(cmd.Environ(), env+"="+string(data))
	return nil
}
