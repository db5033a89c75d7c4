//go:build !linux

package testkit

import "testing"

// OnSmallDisks skips the test, because only Linux mounts file systems without privileges.
func OnSmallDisks(t *testing.T, _ func(disk func(t *testing.T) *SmallDisk)) {
	t.Skip("small disks need Linux")
}

// Limit leaves the disk more bytes of room.
func (d *SmallDisk) Limit(int64) {}
