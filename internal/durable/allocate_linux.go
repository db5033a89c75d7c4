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
	return call(f, "fallocate", func(fd int) error { return syscall.Fallocate(fd, keepSize, offset, size) })
}
