package durable

import (
	"errors"
	"syscall"
)

// NoRoom reports whether the error of an operation on a file says that the disk is full,
// or that a quota is used up.
func NoRoom(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var number syscall.Errno
	return errors.As(err, &number) && isFull(number)
}
