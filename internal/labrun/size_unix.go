//go:build unix

package labrun

import "syscall"

// outputSize returns a function for the length of the output so far, or nil unless the
// output is a file, as in a child.
func outputSize() func() int64 {
	var s syscall.Stat_t
	if syscall.Fstat(1, &s) != nil || s.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil
	}
	return func() int64 {
		var s syscall.Stat_t
		if syscall.Fstat(1, &s) != nil {
			return 0
		}
		return s.Size
	}
}
