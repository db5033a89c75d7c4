//go:build !linux

package durable

import (
	"errors"
	"os"
)

// Allocate fails, because the system cannot set blocks aside behind the end of a file.
func Allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }
