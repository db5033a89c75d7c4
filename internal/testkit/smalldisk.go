package testkit

import "testing"

// SmallDisk is a file system of 32 MiB in memory, for tests of a full disk.
type SmallDisk struct {
	Dir string // where the file system is mounted
	t   *testing.T
}

// smallDiskBytes is the size of a small disk.
const smallDiskBytes = 32 << 20
