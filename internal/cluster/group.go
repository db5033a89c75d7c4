//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/node"
)

// ErrRolledBack reports an older copy of a data file. Its replica has acknowledged
// later entries and votes, and must not vote without them, because a leader without
// an acknowledged entry could win.
var ErrRolledBack = errors.New("the data file is an older copy")

// group is the replicas of one Raft group.
type group struct {
	set
	m       manifest
	network *memnet.Network                   // of the replicas
	stores  []atomic.Pointer[boltstore.Store] // open ones, by replica
	closed  []atomic.Uint64                   // sequences of files when they were closed
}

func newGroup(m manifest, s set) *group {
	return &group{
		set:     s,
		m:       m,
		network: memnet.New(memnet.Options{}),
		stores:  make([]atomic.Pointer[boltstore.Store], len(s.files)),
		closed:  make([]atomic.Uint64, len(s.files)),
	}
}

// quorum is the size of a majority.
func (g *group) quorum() int { return len(g.files)/2 + 1 }

// sequences returns the sequence of each open file but that of peer.
func (g *group) sequences(peer int) map[core.NodeID]uint64 {
	others := make(map[core.NodeID]uint64)
	for i := range g.stores {
		if store := g.stores[i].Load(); store != nil && i != peer {
			others[hostID(i)] = store.Sequence()
		}
	}
	return others
}

// open opens the data file of a replica.
func (g *group) open(peer int, opts Options) (*boltstore.Store, error) {
	file := g.m.fileOptions(g.group, peer)
	file.PeerSequences = func() map[core.NodeID]uint64 { return g.sequences(peer) }
	file.CompactBytes = opts.CompactBytes
	file.Logger = opts.Logger
	store, err := boltstore.Open(g.files[peer], file)
	if err == nil {
		g.stores[peer].Store(store)
	}
	return store, err
}

// release closes the data file of a replica.
func (g *group) release(peer int, store *boltstore.Store) error {
	g.stores[peer].CompareAndSwap(store, nil)
	g.closed[peer].Store(max(g.closed[peer].Load(), store.Sequence()))
	return store.Close()
}

// recorded returns the highest sequence of a replica's file in the records of the
// other open files and of this process.
func (g *group) recorded(peer int) uint64 {
	highest := g.closed[peer].Load()
	for i := range g.stores {
		if store := g.stores[i].Load(); store != nil && i != peer {
			highest = max(highest, store.PeerSequences()[hostID(peer)])
		}
	}
	return highest
}

// checkAge refuses a file with a lower sequence than recorded.
func (g *group) checkAge(peer int) error {
	want := g.recorded(peer)
	if has := g.stores[peer].Load().Sequence(); has < want {
		return fmt.Errorf("%w: %s has taken %d updates, and the other replicas have recorded %d", ErrRolledBack, g.files[peer], has, want)
	}
	return nil
}

// config has the settings of the group's members.
func (g *group) config() node.Config {
	cfg := node.Config{
		Group:             raftGroup,
		HeartbeatInterval: heartbeatInterval,
		ElectionTimeout:   electionTimeout,
		MaxCommandBytes:   maxCommandBytes,
		TrailingEntries:   -1,
	}
	for i := range g.files {
		cfg.Members = append(cfg.Members, node.Member{ID: hostID(i)})
	}
	return cfg
}

const (
	heartbeatInterval = 100 * time.Millisecond
	electionTimeout   = 300 * time.Millisecond
	// maxCommandBytes bounds a command in the log. Every operation within the limits
	// of the services is smaller.
	maxCommandBytes = 16 << 20
)

// openAll opens the data files of the group, and returns an error for each unusable
// file. If the usable files are no majority, openAll closes all files and fails.
func (g *group) openAll(opts Options) (errs []error, err error) {
	errs = make([]error, len(g.files))
	all(len(g.files), func(i int) error {
		_, errs[i] = g.open(i, opts)
		return nil
	})
	// The check of a file needs the records of all others, so none is closed before.
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
	err = errors.Join(append(errs, fmt.Errorf("%d of %d data files can be used, and so no majority: put intact files back in place; without them the last writes are lost, and raftlab replica recover N makes the file of replica N the truth", usable, len(g.files)))...)
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

// recordAll makes every open file record the sequences of the others.
func (g *group) recordAll() error {
	return all(len(g.stores), func(i int) error {
		if store := g.stores[i].Load(); store != nil {
			return store.RecordPeers()
		}
		return nil
	})
}

// isBroken reports whether a file needs a repair. Other errors, for example a locked
// file or a missing permission, may pass.
func isBroken(err error) bool {
	for _, kind := range []error{node.ErrDamaged, node.ErrStranger, boltstore.ErrReplaced, ErrRolledBack, fs.ErrNotExist} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
