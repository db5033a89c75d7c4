//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"raftlab/internal/durable"
	"raftlab/raft/boltstore"
	"raftlab/raft/node"
)

var (
	// ErrHealthy reports a repair of an intact data file.
	ErrHealthy = errors.New("the data file is in order")
	// ErrNoMajority reports a repair without a majority of intact files.
	ErrNoMajority = errors.New("the intact data files are no majority")
)

const (
	repairSuffix = ".repair"
	oldSuffix    = ".old" // of the file that a repair has replaced
)

// Repair replaces a damaged, lost, foreign or older data file of a replica, and
// starts the replica. The other replicas may run.
//
// The new file is a copy of the most up-to-date file of the others, under the
// identity of the replica. The others must be a majority, so that their most
// up-to-date log holds every committed entry (section 5.4). The lost file may have
// voted in any term of the others, so the copy votes only in later terms.
func (s *servers) Repair(number int) error {
	return s.change(number, "repaired", (*replica).repair)
}

func (r *replica) repair() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.makeRoom(); err != nil {
		return err
	}
	store, err := r.group.open(r.peer, r.opts)
	if err == nil {
		err = errors.Join(r.group.checkAge(r.peer), r.group.release(r.peer, store))
	}
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s; start the replica", ErrHealthy, r.path)
	case !isBroken(err):
		return err
	}
	source, position, err := r.group.source(r.peer)
	if err != nil {
		return err
	}
	if err := r.group.copyFile(source, r.peer, position.CurrentTerm, r.group.recorded(r.peer)+1); err != nil {
		return err
	}
	if err := replaceFile(r.path); err != nil {
		return err
	}
	return r.open()
}

// replaceFile puts the repaired file in the place of a data file, and keeps the
// former file. An interrupted recovery that begins anew replaces its own files, so
// replaceFile never replaces a kept file.
func replaceFile(path string) error {
	kept := path + oldSuffix
	for n := 2; ; n++ {
		if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		kept = fmt.Sprint(path, oldSuffix, "-", n)
	}
	if err := durable.Replace(path, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Replace(path+repairSuffix, path)
}

// copyFile writes a copy of a file for a replica beside the replica's file. The copy
// votes only in later terms than term.
func (g *group) copyFile(source *boltstore.Store, peer int, term, sequence uint64) error {
	file := g.m.fileOptions(g.group, peer)
	return source.Copy(g.files[peer]+repairSuffix, boltstore.CopyOptions{
		Identity: file.Identity,
		Part:     file.Part,
		Terms:    map[node.GroupID]uint64{raftGroup: term},
		Sequence: sequence,
	})
}

// source returns the file to copy for a replica, and the term of the copy.
func (g *group) source(peer int) (best *boltstore.Store, at boltstore.Position, err error) {
	intact, term := 0, uint64(0)
	for i := range g.stores {
		store := g.stores[i].Load()
		if i == peer || store == nil {
			continue
		}
		p, err := store.Position(raftGroup)
		if err != nil {
			continue // its own replica reports that
		}
		intact++
		term = max(term, p.CurrentTerm)
		if best == nil || at.Behind(p) {
			best, at = store, p
		}
	}
	if intact < g.quorum() {
		return nil, at, fmt.Errorf("%w: %d of %d other replicas run; a repair needs %d", ErrNoMajority, intact, len(g.files)-1, g.quorum())
	}
	at.CurrentTerm = term
	return best, at, nil
}

// Compact gives the free space in a replica's data file back. The replica may
// run.
func (s *servers) Compact(number int) error {
	return s.change(number, "compacted", (*replica).compact)
}

func (r *replica) compact() error {
	if run := r.current(); run != nil {
		return run.store.Compact() // without the lock: Stop must not wait for the disk
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.closed(closePatience); err != nil {
		return err
	}
	store, err := r.group.open(r.peer, r.opts)
	if err != nil {
		return err
	}
	return errors.Join(store.Compact(), r.group.release(r.peer, store))
}

// Maintain opens the store in an existing data directory, calls do, and closes
// the store.
func Maintain(dir string, opts Options, do func(Store) error) error {
	if _, err := readManifest(dir); err != nil {
		return err
	}
	s, err := OpenAny(dir, opts)
	if err != nil {
		return err
	}
	err = do(s)
	if errors.Is(err, ErrRunning) { // the replica of this process, on a file without a fault
		err = ErrHealthy
	}
	return errors.Join(err, s.Close())
}
