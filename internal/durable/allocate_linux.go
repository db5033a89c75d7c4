package durable

import (
	"os"
	"syscall"
)

const keepSize = 1 // FALLOC_FL_KEEP_SIZE

// Allocate has the file system set blocks aside for a part of a file, so that later
// writes there find room. The part may lie behind the end of the file, and the size of the
// file stays. The error of a full disk matches [NoRoom]. Any other error means that the
// file system cannot do so.
func Allocate(f *os.File, offset, size int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			failed = syscall.Fallocate(int(fd), keepSize, offset, size)
		}
	})
	if err == nil && failed != nil {
		err = &os.PathError{Op: "fallocate", Path: f.Name(), Err: failed}
	}
	return err
}
