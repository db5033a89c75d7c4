package durable

import (
	"os"
	"syscall"
)

// SyncData makes the content of a file durable. SyncData leaves out the times in
// the inode, because they would cost a second write. EINTR comes before the call
// has begun to write. Any other error is final.
func SyncData(f *os.File) error {
	return call(f, "fdatasync", syscall.Fdatasync)
}

// call makes a system call on a file, again after EINTR.
func call(f *os.File, name string, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			failed = do(int(fd))
		}
	})
	if err == nil && failed != nil {
		err = &os.PathError{Op: name, Path: f.Name(), Err: failed}
	}
	return err
}
