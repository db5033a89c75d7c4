//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"raftlab/raft/boltstore"
)

// ErrRolledBack reports a data file that is older than the file with which its
// replica acknowledged entries or votes. The replica must not vote with it: a
// leader could win that lacks an acknowledged entry.
var ErrRolledBack = errors.New("the data file is an older copy")

// group is the replicas of one Raft group.
type group struct {
	set
	m      manifest
	stores []atomic.Pointer[boltstore.Store] // open ones, by replica
	closed []atomic.Uint64                   // sequences of files when they were closed
}

func newGroup(m manifest, s set) *group {
	return &group{
		set:    s,
		m:      m,
		stores: make([]atomic.Pointer[boltstore.Store], len(s.files)),
		closed: make([]atomic.Uint64, len(s.files)),
	}
}

// quorum is the size of a majority.
func (g *group) quorum() int { return len(g.files)/2 + 1 }

// sequences returns how far each open file is.
func (g *group) sequences() []uint64 {
	all := make([]uint64, len(g.stores))
	for i := range all {
		if store := g.stores[i].Load(); store != nil {
			all[i] = store.Sequence()
		}
	}
	return all
}

// open opens the data file of a replica.
func (g *group) open(peer int, opts Options) (*boltstore.Store, error) {
	store, err := boltstore.Open(g.files[peer], g.m.identity(g.group, peer), boltstore.Options{
		PeerSequences: g.sequences,
		CompactBytes:  opts.CompactBytes,
		Logger:        opts.Logger,
	})
	if err == nil {
		g.stores[peer].Store(store)
	}
	return store, err
}

// release closes the data file of a replica, unless another replica run has
// opened it again.
func (g *group) release(peer int, store *boltstore.Store) error {
	g.stores[peer].CompareAndSwap(store, nil)
	g.closed[peer].Store(max(g.closed[peer].Load(), store.Sequence()))
	return store.Close()
}

// recorded returns the highest sequence of a replica's file that the other open
// files have recorded, or that this process has seen.
func (g *group) recorded(peer int) (highest uint64, err error) {
	highest = g.closed[peer].Load()
	for i := range g.stores {
		store := g.stores[i].Load()
		if i == peer || store == nil {
			continue
		}
		peers, err := store.PeerSequences()
		if err != nil {
			return 0, err
		}
		if peer < len(peers) {
			highest = max(highest, peers[peer])
		}
	}
	return highest, nil
}

// checkAge refuses a file that is older than the one that the other replicas of
// the group have last recorded.
func (g *group) checkAge(peer int) error {
	want, err := g.recorded(peer)
	if err != nil {
		return err
	}
	if has := g.stores[peer].Load().Sequence(); has < want {
		return fmt.Errorf("%w: %s has taken %d updates, and the other replicas know of %d", ErrRolledBack, g.files[peer], has, want)
	}
	return nil
}

// openAll opens the data files of the group. A replica whose file cannot be used
// stays down, with the error of its place. openAll fails if the others are no
// majority, and then closes all files.
func (g *group) openAll(opts Options) (errs []error, err error) {
	errs = make([]error, len(g.files))
	all(len(g.files), func(i int) error {
		_, errs[i] = g.open(i, opts)
		return nil
	})
	// All ages are compared before any file is closed.
	for i := range errs {
		if errs[i] == nil {
			errs[i] = g.checkAge(i)
		}
	}
	usable := 0
	for i := range errs {
		store := g.stores[i].Load()
		switch {
		case errs[i] == nil:
			usable++
		case store != nil:
			errs[i] = errors.Join(errs[i], g.release(i, store))
		}
	}
	if usable >= g.quorum() {
		return errs, nil
	}
	err = errors.Join(append(errs, fmt.Errorf("%d of %d data files can be used, which is no majority: put intact files back in place; without them what was written last is lost", usable, len(g.files)))...)
	return errs, errors.Join(err, g.releaseAll())
}

func (g *group) releaseAll() error {
	var errs []error
	for i := range g.stores {
		if store := g.stores[i].Load(); store != nil {
			errs = append(errs, g.release(i, store))
		}
	}
	return errors.Join(errs...)
}

// recordAll makes every open file record how far the others are.
func (g *group) recordAll() error {
	return all(len(g.stores), func(i int) error {
		if store := g.stores[i].Load(); store != nil {
			return store.RecordPeers()
		}
		return nil
	})
}

// isBroken says that a file needs a repair. Other errors, like a locked file or a
// missing permission, may pass.
func isBroken(err error) bool {
	for _, kind := range []error{boltstore.ErrCorrupt, boltstore.ErrIdentity, boltstore.ErrReplaced, ErrRolledBack, fs.ErrNotExist} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
