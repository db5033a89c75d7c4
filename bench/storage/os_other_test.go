//go:build !linux

package storage

import (
	"os"
	"time"
)

func datasync(f *os.File) error { return f.Sync() }

// cpuTime is measured on Linux only.
func cpuTime() time.Duration { return 0 }
