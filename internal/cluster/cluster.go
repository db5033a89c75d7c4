//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"raftlab/raft/node"
	"raftlab/shardctrler"
)

const (
	// DefaultReplicas is the default number of replicas of a new cluster.
	DefaultReplicas = 3
	// MaxReplicas is the largest number of replicas, of each group.
	MaxReplicas = 9
	// MaxGroups is the largest number of groups of a sharded store.
	MaxGroups = shardctrler.NShards
	// DefaultSnapshotBytes is the default of Options.SnapshotBytes.
	DefaultSnapshotBytes = 16 << 20

	// DefaultStorageTimeout is the default of Options.StorageTimeout, less than two
	// election timeouts.
	DefaultStorageTimeout = 500 * time.Millisecond

	// snapshotGrowth is the growth of the log between two snapshots, in multiples of
	// the last snapshot. With 1, snapshots of a growing store write at most twice the
	// bytes of the log, and snapshots of a store of constant size at most the bytes of
	// the log.
	snapshotGrowth = 1
)

// Errors of Open.
var (
	// ErrInUse reports a data directory in use by another process.
	ErrInUse = errors.New("the data directory is in use by another process")
	// ErrReplicas reports a number of replicas out of range, or different from the
	// data directory's.
	ErrReplicas = errors.New("wrong number of replicas")
	// ErrMember reports the data directory of a member that is a process of its own.
	ErrMember = errors.New("the data directory belongs to a member of a cluster")
	// ErrGroups reports a number of groups out of range, or different from the data
	// directory's.
	ErrGroups = errors.New("wrong number of groups")
)

// Options are a cluster's settings. The zero value of each means its default.
type Options struct {
	// Replicas is the number of replicas of each group, 1 to [MaxReplicas]. 0 means
	// the number in the data directory, and [DefaultReplicas] in a new one.
	Replicas int
	// Groups is the number of groups of a sharded store, 1 to [MaxGroups]. 0 means
	// the number in the data directory, and no groups in a new one.
	Groups int
	// SnapshotBytes is the size of a replica's log before a snapshot replaces the
	// log. Default [DefaultSnapshotBytes].
	SnapshotBytes int
	// StorageTimeout bounds the time of a small save on a replica's disk while the
	// others have saved the same entries, see node.HostConfig. Default
	// [DefaultStorageTimeout].
	StorageTimeout time.Duration
	// Quota bounds the accounted size of a store without groups, in bytes. Default 2 GiB,
	// see etcdapi.Config.
	Quota int64
	// ClientURL is the address at which clients reach the store, for MemberList.
	ClientURL string
	// CompactBytes is the least size for the automatic compaction of a data file, see
	// boltstore.Options.
	CompactBytes int64
	// Logger receives changes of leadership, and failures. Default: silent.
	Logger *slog.Logger

	// storage, if set, wraps the storage of a replica. For tests.
	storage func(replica int, s node.Storage) node.Storage
	// step is called before each change of a name by a conversion. For tests.
	step func()
}

func (o *Options) setDefaults() error {
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = DefaultSnapshotBytes
	}
	if o.StorageTimeout == 0 {
		o.StorageTimeout = DefaultStorageTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.step == nil {
		o.step = func() {}
	}
	if o.Replicas < 0 || o.Replicas > MaxReplicas {
		return fmt.Errorf("%w: %d; want 1 to %d", ErrReplicas, o.Replicas, MaxReplicas)
	}
	if o.Groups < 0 || o.Groups > MaxGroups {
		return fmt.Errorf("%w: %d; want 1 to %d", ErrGroups, o.Groups, MaxGroups)
	}
	if o.SnapshotBytes < 0 {
		return fmt.Errorf("a snapshot at %d bytes of log; want at least 1", o.SnapshotBytes)
	}
	if o.Quota < 0 {
		return fmt.Errorf("a quota of %d bytes; want at least 1", o.Quota)
	}
	if o.StorageTimeout < 0 {
		return fmt.Errorf("a storage timeout of %v; want more than 0", o.StorageTimeout)
	}
	return nil
}

// all runs do for each of n replicas at the same time.
func all(n int, do func(i int) error) error {
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { errs[i] = do(i) })
	}
	running.Wait()
	return errors.Join(errs...)
}
