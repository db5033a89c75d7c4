package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// namespaceVariable is set in the process that may mount file systems.
const namespaceVariable = "RAFTLAB_TEST_NAMESPACE"

// OnSmallDisks runs the test again in a process with namespaces of its own, which may
// mount file systems, and calls body there. disk mounts an empty file system until the end
// of a test. OnSmallDisks skips the test where namespaces are not permitted.
func OnSmallDisks(t *testing.T, body func(disk func(t *testing.T) *SmallDisk)) {
	if os.Getenv(namespaceVariable) == t.Name() {
		body(mountSmallDisk)
		return
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.count=1"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), namespaceVariable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	output, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", output)
	case errors.As(err, &ended):
		t.Fatalf("in a namespace: %v\n%s", err, output)
	default:
		t.Skipf("namespaces are not permitted here: %v", err)
	}
}

func mountSmallDisk(t *testing.T) *SmallDisk {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", smallDiskBytes)); err != nil {
		t.Skipf("mounting a file system is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return &SmallDisk{t: t, Dir: dir}
}

// Limit leaves the disk more bytes of room, and all of its room for a negative number. A
// file occupies the rest.
func (d *SmallDisk) Limit(more int64) {
	d.t.Helper()
	err := d.limit(more)
	for range 100 {
		if !errors.Is(err, syscall.ENOSPC) {
			break
		}
		err = d.limit(more) // somebody has taken room meanwhile
	}
	if err != nil {
		d.t.Fatalf("filling the disk: %v", err)
	}
}

func (d *SmallDisk) limit(more int64) error {
	filler := filepath.Join(d.Dir, "filler")
	if err := os.Remove(filler); err != nil && !os.IsNotExist(err) {
		return err
	}
	if more < 0 {
		return nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.Dir, &fs); err != nil {
		return err
	}
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	defer f.Close()
	rest := int64(fs.Bavail)*int64(fs.Bsize) - more
	if rest <= 0 {
		return nil
	}
	return syscall.Fallocate(int(f.Fd()), 0, 0, rest)
}
