//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"raftlab/kv"
	"raftlab/raft"
	"raftlab/shardctrler"
)

const (
	// DefaultReplicas is how many replicas a new cluster has by default.
	DefaultReplicas = 3
	// MaxReplicas is how many it has at most.
	MaxReplicas = 9
	// MaxGroups is how many groups a sharded store has at most.
	MaxGroups = shardctrler.NShards
	// DefaultSnapshotBytes is the size of a replica's log from which on it takes
	// a snapshot, by default.
	DefaultSnapshotBytes = 16 << 20

	// DefaultStorageTimeout is the default of Options.StorageTimeout: less than two
	// election timeouts.
	DefaultStorageTimeout = 500 * time.Millisecond

	// snapshotGrowth is how much is written to the log, in multiples of the last
	// snapshot, before the next one is taken. With 1 the snapshots of a store that
	// only grows add at most twice the bytes of its log, and those of a store that
	// keeps its size at most the same again.
	snapshotGrowth = 1
)

// Limits bound keys and values.
var Limits = kv.Limits{Key: 1 << 10, Value: 1 << 20}

// Errors of Open.
var (
	// ErrInUse: another process uses the data directory.
	ErrInUse = errors.New("the data directory is in use by another process")
	// ErrReplicas: the number of replicas is out of range, or not what the data
	// directory was made for.
	ErrReplicas = errors.New("wrong number of replicas")
	// ErrGroups: the number of groups is out of range, or not what the data
	// directory was made for.
	ErrGroups = errors.New("wrong number of groups")
)

// Options are a cluster's settings. The zero value of each means its default.
type Options struct {
	// Replicas is the number of replicas, of each group if there are groups, 1 to
	// [MaxReplicas]; 0: what the data directory was made for, [DefaultReplicas] in
	// a new one.
	Replicas int
	// Groups is the number of groups of a sharded store, 1 to [MaxGroups]; 0: what
	// the data directory was made for, none in a new one.
	Groups int
	// SnapshotBytes is the size of a replica's log from which on it takes a
	// snapshot; default [DefaultSnapshotBytes].
	SnapshotBytes int
	// StorageTimeout bounds how long a replica's disk may take for a small save
	// while the others have saved the same entries, see raft.Options. Default
	// [DefaultStorageTimeout].
	StorageTimeout time.Duration
	// CompactBytes is the size from which on a data file is compacted if it is
	// mostly free, see boltstore.Options.
	CompactBytes int64
	// Logger is told what happens; default: silent.
	Logger *slog.Logger

	// storage, if set, wraps the storage of a replica. For tests.
	storage func(replica int, s raft.Storage) raft.Storage
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
	if o.Replicas < 0 || o.Replicas > MaxReplicas {
		return fmt.Errorf("%w: %d; want 1 to %d", ErrReplicas, o.Replicas, MaxReplicas)
	}
	if o.Groups < 0 || o.Groups > MaxGroups {
		return fmt.Errorf("%w: %d; want 1 to %d", ErrGroups, o.Groups, MaxGroups)
	}
	if o.SnapshotBytes < 0 {
		return fmt.Errorf("a snapshot at %d bytes of log; want at least 1", o.SnapshotBytes)
	}
	if o.StorageTimeout < 0 {
		return fmt.Errorf("a storage timeout of %v; want more than 0", o.StorageTimeout)
	}
	return nil
}

// Cluster is a running cluster of replicas of one store. Its methods may be
// called from any goroutine.
type Cluster struct {
	*servers
	sessions sessions
}

// Open starts a cluster on a data directory, and makes a missing directory. A
// replica whose data file cannot be used does not start, and its Status says why;
// Repair rebuilds it. If the other files are no majority of their group, Open
// fails with the reasons, which match fs.ErrNotExist, boltstore.ErrCorrupt,
// boltstore.ErrIdentity or [ErrRolledBack].
func Open(dir string, opts Options) (*Cluster, error) {
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return nil, err
	}
	if m.Groups != 0 {
		return nil, errors.Join(fmt.Errorf("%w: the data directory %s was made for %s", ErrGroups, dir, groupsInWords(m.Groups)), s.Close())
	}
	if err := s.start(m, dir, func(string, int) launcher { return startKV }); err != nil {
		return nil, err
	}
	return &Cluster{servers: s}, nil
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
