//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
)

// Recover makes the data file of one replica the only truth of its group. The files
// of all replicas of the group become copies. Entries on the other files alone are
// lost, also acknowledged ones. Recover is the last resort for a group without a
// majority of usable files. With a majority Recover returns [ErrHealthy], and Repair
// loses nothing.
func Recover(dir string, number int, opts Options) (err error) {
	if _, err := readManifest(dir); err != nil {
		return err
	}
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	sets := m.sets(dir)
	if number < 1 || number > len(sets)*m.Replicas {
		return fmt.Errorf("%w: %d; there are 1 to %d", ErrNoReplica, number, len(sets)*m.Replicas)
	}
	g := newGroup(m, sets[(number-1)/m.Replicas])
	if _, err := g.openAll(s.opts); err == nil {
		return errors.Join(fmt.Errorf("%w: a majority of the group is usable; raftlab replica repair loses nothing", ErrHealthy), g.releaseAll())
	}
	return g.recover((number-1)%m.Replicas, s.opts)
}

// recover replaces the files of the group by copies of a replica's file.
func (g *group) recover(peer int, opts Options) error {
	source, err := g.open(peer, opts)
	if err != nil {
		return fmt.Errorf("%w; choose a replica with a usable file", err)
	}
	term, sequences, err := g.highest(opts)
	for i := range g.files {
		if err == nil {
			err = g.copyFile(source, i, term, sequences[i]+1)
		}
	}
	if err = errors.Join(err, g.releaseAll()); err != nil {
		return err
	}
	for _, file := range g.files {
		if err := replaceFile(file); err != nil {
			return err
		}
	}
	return nil
}

// highest returns the highest term and sequences in all readable files. The group
// may have voted up to the term, and acknowledged up to the sequences.
func (g *group) highest(opts Options) (term uint64, sequences []uint64, err error) {
	sequences = make([]uint64, len(g.files))
	for i := range g.files {
		store := g.stores[i].Load()
		if store == nil {
			if store, err = g.open(i, opts); err != nil {
				continue // unreadable
			}
		}
		p, err := store.Position(raftGroup)
		if err != nil {
			return 0, nil, err
		}
		term, sequences[i] = max(term, p.CurrentTerm), max(sequences[i], store.Sequence())
		peers := store.PeerSequences()
		for j := range sequences {
			sequences[j] = max(sequences[j], peers[hostID(j)])
		}
	}
	return term, sequences, nil
}
