package grade

import (
	"fmt"
	"os"
	"syscall"
)

// socketPair returns two connected sockets.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("grade: no channel for the verdict: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "verdict"), os.NewFile(uintptr(fds[1]), "verdict"), nil
}
