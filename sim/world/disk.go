package world

import (
	"fmt"
	"path/filepath"
	"time"

	"raftlab/sim/internal/kernel"
)

// A Disk is a directory with files as on a disk before a loss of power. The
// files are real files of the machine, so locks (flock), mappings for reading
// and directory listings work. Outside of a world the directory is an ordinary
// one.
//
// A call of Sync on a file makes the file's content safe, and a call of Sync on
// a directory makes the names in the directory safe. A file opened with O_SYNC
// or O_DSYNC is always safe. Everything else may be lost, see PowerLoss. Beyond
// 256 MiB, 2,048 names or 4,096 files, the oldest changes are safe, too.
// Writes through a shared mapping, and writes of other processes, count as safe.
type Disk struct {
	number uint64
	dir    string
}

// NewDisk declares a directory as a disk of its own. The present content counts
// as synced. A world has at most 256 disks, and none inside of another.
// Renames and links from one disk to another fail with EXDEV.
func NewDisk(dir string) (*Disk, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: directory of a disk: %w", ErrInvalid, err)
	}
	n, err := controlBytes(kernel.OpDisk, []byte(path))
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", path, err)
	}
	d := &Disk{number: uint64(n), dir: path}
	return d, d.SetFaults(DiskFaults{})
}

// Dir is the disk's directory.
func (d *Disk) Dir() string { return d.dir }

// PowerLoss takes away unsynced changes, as the seed decides. Outside of a
// world nothing is lost.
//
// Names are lost in the opposite order of their changes, so the
// remaining names are those of some moment since the last sync of the directory. Each file
// has lost all unsynced writes, or none, or the last ones with a torn one among
// them, or any sectors of 512 bytes. The file may have grown without the bytes.
//
// Open files of the disk fail with EIO from then on, and their locks are free.
// Files opened later work, as after a reboot. A test ends its users of the disk
// first, or lets them see the errors.
func (d *Disk) PowerLoss() error {
	_, err := control(kernel.OpPowerLoss, &kernel.DiskOp{Disk: d.number})
	return err
}

// DiskFaults are the faults of a disk. Each share is between 0 and 1. The seed
// decides which calls meet a fault. Faults are recorded and shrunk as those of
// the network are.
type DiskFaults struct {
	WriteError float64 // share of writes and truncations that fail with EIO
	SyncError  float64 // share of syncs that fail with EIO, and sync nothing
	ReadError  float64 // share of reads that fail with EIO
	SyncTime   time.Duration
	SyncJitter time.Duration // longest time of a sync beyond SyncTime
	Slow       float64       // share of writes, reads and syncs that take longer
	MaxSlow    time.Duration // how much longer at most
	Full       bool          // writes that make a file larger than Room allows fail with ENOSPC
	Room       int64         // bytes by which files may still grow, if Full
}

// SetFaults replaces the faults of a disk. The zero value is a perfect disk.
func (d *Disk) SetFaults(f DiskFaults) error {
	op := kernel.DiskOp{Disk: d.number}
	for _, share := range []struct {
		name  string
		share float64
		odds  *uint64
	}{
		{"WriteError", f.WriteError, &op.Conf.WriteError}, {"SyncError", f.SyncError, &op.Conf.SyncError},
		{"ReadError", f.ReadError, &op.Conf.ReadError}, {"Slow", f.Slow, &op.Conf.Slow},
	} {
		if share.share < 0 || share.share > 1 {
			return fmt.Errorf("%w: %s %v is not within 0 and 1", ErrInvalid, share.name, share.share)
		}
		*share.odds = uint64(share.share * (1 << 32))
	}
	for _, t := range []time.Duration{f.SyncTime, f.SyncJitter, f.MaxSlow} {
		if t < 0 || t > maxLatency {
			return fmt.Errorf("%w: duration %v is not within 0 and %v", ErrInvalid, t, maxLatency)
		}
	}
	if f.Room < 0 {
		return fmt.Errorf("%w: room of %d bytes is below 0", ErrInvalid, f.Room)
	}
	op.Conf.SyncMin, op.Conf.SyncMax = int64(f.SyncTime), int64(f.SyncTime+f.SyncJitter)
	op.Conf.MaxSlow = int64(f.MaxSlow)
	op.Conf.Free = -1
	if f.Full {
		op.Conf.Free = f.Room
	}
	_, err := control(kernel.OpDiskConf, &op)
	return err
}
