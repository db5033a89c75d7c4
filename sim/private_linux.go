package sim

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// privateCopy returns the directories with which a run changes files of its module in
// memory, where no other run sees them (simPrivate of the runtime). The result is empty
// if the run works in the real directory: the system refuses the copy, the run's other
// files are there too, or Prepare confines the process.
func (p *nativeProgram) privateCopy(tmp string, c Case) []byte {
	root := p.pkg.Dir
	if p.pkg.Module != nil && p.pkg.Module.Dir != "" {
		root = p.pkg.Module.Dir
	}
	within := func(dir string) bool {
		rel, err := filepath.Rel(root, dir)
		return err == nil && filepath.IsLocal(rel)
	}
	if p.shared.Load() || c.Prepare != nil || within(tmp) || within(p.dir) || strings.ContainsAny(root+p.dir, `:,\`) {
		return nil
	}
	memory := filepath.Join(p.dir, "memory")
	if err := os.Mkdir(memory, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil
	}
	upper, work := filepath.Join(memory, "upper"), filepath.Join(memory, "work")
	options := "lowerdir=" + root + ",upperdir=" + upper + ",workdir=" + work
	if os.Geteuid() != 0 {
		options += ",userxattr"
	}
	dirs := strings.Join([]string{memory, upper, work, root, options, p.pkg.Dir}, "\x00") + "\x00"
	if len(dirs) > maxDirs {
		return nil
	}
	return []byte(dirs)
}

// mayMount gives cmd a mount namespace of its own, in which it may mount. Without the
// rights of root it gets a user namespace too, in which its ids stay the same. The process gives
// the rights back when it has mounted.
func mayMount(cmd *exec.Cmd) {
	const capChown, capDACOverride, capFOwner, capSysAdmin = 0, 1, 3, 21
	a := cmd.SysProcAttr
	a.Unshareflags = syscall.CLONE_NEWNS // makes all mounts private too
	if os.Geteuid() != 0 {
		a.Cloneflags = syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		a.AmbientCaps = []uintptr{capChown, capDACOverride, capFOwner, capSysAdmin}
	}
}
