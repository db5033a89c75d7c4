//go:build !windows

package durable

import "syscall"

func isFull(syscall.Errno) bool { return false }
