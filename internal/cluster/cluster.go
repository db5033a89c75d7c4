//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"raftlab/kv"
	"raftlab/raft/boltstore"
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
	// Logger is told what happens; default: silent.
	Logger *slog.Logger
}

func (o *Options) setDefaults() error {
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = DefaultSnapshotBytes
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
	return nil
}

// Cluster is a running cluster of replicas of one store. Its methods may be
// called from any goroutine.
type Cluster struct {
	*servers
	sessions sessions
}

// Open starts a cluster on a data directory, which is made if it is not there.
// If a data file is missing or damaged the error says which and what to do, and
// nothing was changed; it matches fs.ErrNotExist or boltstore.ErrCorrupt then.
func Open(dir string, opts Options) (*Cluster, error) {
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return nil, err
	}
	if m.Groups != 0 {
		return nil, errors.Join(fmt.Errorf("%w: the data directory %s was made for %s", ErrGroups, dir, groupsInWords(m.Groups)), s.Close())
	}
	if err := s.start(m.sets(dir), func(string, int) launcher { return startKV }); err != nil {
		return nil, err
	}
	return &Cluster{servers: s}, nil
}

// all does something for each of n replicas at the same time: at the start it is
// mostly decoding.
func all(n int, do func(i int) error) error {
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { errs[i] = do(i) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// openAll opens the data files of all replicas of a group, or says what to do
// about those that cannot be opened.
func openAll(files []string) ([]*boltstore.Store, error) {
	stores := make([]*boltstore.Store, len(files))
	errs := make([]error, len(files))
	broken := all(len(files), func(i int) error {
		stores[i], errs[i] = boltstore.Open(files[i], boltstore.Options{})
		return errs[i]
	})
	if broken == nil {
		return stores, nil
	}
	healthy, damaged := 0, 0
	var best position
	var others []error
	for i, store := range stores {
		if isBroken(errs[i]) {
			damaged++
		}
		if store == nil {
			continue
		}
		healthy++
		at, err := lastOf(store)
		if at.ahead(best) {
			at.replica = i + 1
			best = at
		}
		others = append(others, err, store.Close())
	}
	if healthy+damaged == len(files) {
		broken = errors.Join(broken, advice(files, healthy, best))
	}
	return nil, errors.Join(append([]error{broken}, others...)...)
}

// isBroken says that a data file is damaged or lost, and not just held by another or
// closed to us.
func isBroken(err error) bool {
	return errors.Is(err, boltstore.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)
}

// position is how far a replica's log reaches (section 5.4.1).
type position struct {
	replica     int
	term, index uint64
}

func (p position) ahead(q position) bool {
	return q.replica == 0 || p.term > q.term || p.term == q.term && p.index > q.index
}

func lastOf(store *boltstore.Store) (position, error) {
	saved, err := store.Load()
	at := position{term: saved.Snapshot.LastIncludedTerm, index: saved.Snapshot.LastIncludedIndex}
	if n := len(saved.Entries); n > 0 {
		at.term, at.index = saved.Entries[n-1].Term, saved.Entries[n-1].Index
	}
	return at, err
}

// advice says what to do about broken data files. A replica must not come back
// with less than it has acknowledged, so an empty file or an old copy will not
// do. The file of the healthy replica whose log is most up to date will, if the
// healthy ones are a majority: that log holds every committed entry (section 5.4).
func advice(files []string, healthy int, best position) error {
	if healthy <= len(files)/2 {
		return fmt.Errorf("nothing was changed. %d of %d data files can be used, which is no majority: put intact files back in place; without them what was written last is lost", healthy, len(files))
	}
	return fmt.Errorf("nothing was changed. A majority of the replicas is intact: move each damaged file away and, while nothing runs on this directory, copy %s in its place (that replica's log is the most up to date)", files[best.replica-1])
}
