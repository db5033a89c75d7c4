//go:build !linux && !darwin && !freebsd

package labrun

import "os"

// outputSize returns a function for the length of the output so far, or nil unless the
// output is a file, as in a child.
func outputSize() func() int64 {
	info, err := os.Stdout.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return func() int64 {
		info, err := os.Stdout.Stat()
		if err != nil {
			return 0
		}
		return info.Size()
	}
}
