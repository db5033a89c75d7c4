//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft/boltstore"
)

const (
	// DefaultReplicas is how many replicas a new cluster has by default.
	DefaultReplicas = 3
	// MaxReplicas is how many it has at most.
	MaxReplicas = 9
	// DefaultSnapshotBytes is the size of a replica's log from which on it takes
	// a snapshot, by default.
	DefaultSnapshotBytes = 16 << 20
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
)

// Options are a cluster's settings. The zero value of each means its default.
type Options struct {
	// Replicas is the number of replicas, 1 to [MaxReplicas]; 0: what the
	// data directory was made for, [DefaultReplicas] in a new one.
	Replicas int
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
	if o.SnapshotBytes < 0 {
		return fmt.Errorf("a snapshot at %d bytes of log; want at least 1", o.SnapshotBytes)
	}
	return nil
}

// Cluster is a running cluster. Its methods may be called from any goroutine.
type Cluster struct {
	log      *slog.Logger
	lock     *os.File
	net      *labrpc.Network
	replicas []*replica

	mu   sync.Mutex
	idle []session // sessions of the cluster's own that no request uses now
}

// Open starts a cluster on a data directory, which is made if it is not there.
// If a data file is missing or damaged the error says which and what to do, and
// nothing was changed; it matches fs.ErrNotExist or boltstore.ErrCorrupt then.
func Open(dir string, opts Options) (*Cluster, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	n, err := prepare(dir, opts.Replicas)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	stores, err := openAll(dir, n)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c := &Cluster{log: opts.Logger, lock: lock, net: labrpc.MakeNetwork()}
	for number := 1; number <= n; number++ {
		c.replicas = append(c.replicas, &replica{
			number: number,
			path:   dataFile(dir, number),
			ends:   makeEnds(c.net, number, n),
			opts:   opts,
			net:    c.net,
		})
	}
	err = all(n, func(i int) error { return c.replicas[i].startOn(stores[i]) })
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// makeEnds makes the ends from one replica to each.
func makeEnds(net *labrpc.Network, from, n int) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, n)
	for i := range ends {
		name := [2]int{from, i + 1}
		ends[i] = net.MakeEnd(name)
		net.Connect(name, i+1)
		net.Enable(name, true)
	}
	return ends
}

// Close stops the replicas that run, and gives the directory free.
func (c *Cluster) Close() error {
	var errs []error
	for _, r := range c.replicas {
		if err := r.stop(); err != nil && !errors.Is(err, ErrStopped) {
			errs = append(errs, fmt.Errorf("stopping replica %d: %w", r.number, err))
		}
	}
	c.net.Cleanup()
	return errors.Join(append(errs, c.lock.Close())...)
}

// Start starts a replica that was stopped.
func (c *Cluster) Start(number int) error { return c.change(number, "started", (*replica).start) }

// Stop stops a replica. The others do not notice but by its silence.
func (c *Cluster) Stop(number int) error { return c.change(number, "stopped", (*replica).stop) }

func (c *Cluster) change(number int, done string, do func(*replica) error) error {
	if number < 1 || number > len(c.replicas) {
		return fmt.Errorf("%w: %d; there are 1 to %d", ErrNoReplica, number, len(c.replicas))
	}
	if err := do(c.replicas[number-1]); err != nil {
		return fmt.Errorf("replica %d: %w", number, err)
	}
	c.log.Info("replica "+done, "replica", number)
	return nil
}

// Status returns a picture of each replica, in order.
func (c *Cluster) Status() []Status {
	all := make([]Status, len(c.replicas))
	for i, r := range c.replicas {
		all[i] = r.status()
	}
	return all
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

// openAll opens the data files of all replicas, or says what to do about those
// that cannot be opened.
func openAll(dir string, replicas int) ([]*boltstore.Store, error) {
	stores := make([]*boltstore.Store, replicas)
	broken := all(replicas, func(i int) (err error) {
		stores[i], err = boltstore.Open(dataFile(dir, i+1), boltstore.Options{})
		return err
	})
	if broken == nil {
		return stores, nil
	}
	healthy := 0
	var best position
	var others []error
	for i, store := range stores {
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
	return nil, errors.Join(append([]error{broken, advice(dir, replicas, healthy, best)}, others...)...)
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
func advice(dir string, replicas, healthy int, best position) error {
	if healthy <= replicas/2 {
		return fmt.Errorf("nothing was changed. %d of %d data files can be used, which is no majority: put intact files back in place; without them what was written last is lost", healthy, replicas)
	}
	return fmt.Errorf("nothing was changed. A majority of the replicas is intact: move each damaged file away and, while nothing runs on this directory, copy %s in its place (that replica's log is the most up to date)", dataFile(dir, best.replica))
}
