package world

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"raftlab/sim/internal/kernel"
)

// active asks the kernel of the world once. The variable keeps the question
// away from a real kernel, because a sandbox may not like unknown system calls.
var active = sync.OnceValue(func() bool {
	if _, ok := os.LookupEnv("RAFTLAB_SIM"); !ok {
		return false
	}
	r, _, errno := syscall.Syscall(kernel.Control, kernel.OpActive, 0, 0)
	return errno == 0 && r == kernel.Active
})

// control carries out an operation with fixed operands.
func control[T any](op uintptr, operands *T) (uintptr, error) {
	return controlBytes(op, unsafe.Slice((*byte)(unsafe.Pointer(operands)), unsafe.Sizeof(*operands)))
}

func controlBytes(op uintptr, operands []byte) (uintptr, error) {
	if !active() {
		return 0, nil
	}
	r, _, errno := syscall.Syscall(kernel.Control, op, uintptr(unsafe.Pointer(&operands[0])), uintptr(len(operands)))
	return r, controlError(op, errno)
}

// controlNumber carries out an operation on a machine or a process.
func controlNumber(op, n uintptr) (uintptr, error) {
	if !active() {
		return 0, nil
	}
	r, _, errno := syscall.Syscall(kernel.Control, op, n, 0)
	return r, controlError(op, errno)
}

func controlError(op uintptr, errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOBUFS:
		return fmt.Errorf("%w: operation %d", ErrLimit, op)
	}
	return fmt.Errorf("%w: operation %d: %w", ErrInvalid, op, errno)
}
