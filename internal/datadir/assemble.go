package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"raftlab/internal/kvstore"
	"raftlab/internal/shardstore"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// ErrMinority is matched by the error of a backup from the directories of less than a
// majority.
var ErrMinority = errors.New("no majority")

// ErrFormer is matched by the error of the directory of a process that the store has
// replaced or removed.
var ErrFormer = errors.New("the process is no longer one of the store")

// closers are things to be closed together.
type closers []io.Closer

// Close implements io.Closer.
func (c closers) Close() error {
	var all []error
	for _, one := range c {
		all = append(all, one.Close())
	}
	return errors.Join(all...)
}

// lockAll keeps members away from data directories until the result is closed.
func lockAll(dirs []string) (closers, error) {
	var held closers
	for _, dir := range dirs {
		f, err := lockDirectory(dir)
		if err != nil {
			return nil, errors.Join(err, held.Close())
		}
		held = append(held, f)
	}
	return held, nil
}

// readAll reads the directories of members of one store. A store without groups has one
// directory.
func readAll(dirs []string) ([]*content, error) {
	var all []*content
	for i, dir := range dirs {
		c, err := read(dir)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			if err := sameStore(dirs[0], &all[0].manifest, dir, &c.manifest); err != nil {
				return nil, err
			}
			for j, other := range all {
				if other.manifest.Name == c.manifest.Name && other.manifest.ID == c.manifest.ID {
					return nil, fmt.Errorf("%s and %s are both of the process %s", dirs[j], dir, c.manifest.Name)
				}
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// sameStore refuses directories that are not of one store with groups.
func sameStore(dir string, m *Manifest, other string, n *Manifest) error {
	switch {
	case m.Groups == 0 || n.Groups == 0:
		return fmt.Errorf("%w: %s has %d, and %s has %d; several directories are given for a store with groups alone", ErrGroups, dir, m.Groups, other, n.Groups)
	case m.Identity().Cluster != n.Identity().Cluster:
		return fmt.Errorf("%s is of cluster %s, and %s of %s", dir, m.Identity().Cluster, other, n.Identity().Cluster)
	case !slices.Equal(m.Members, n.Members) && len(m.Processes) == 0 && len(n.Processes) == 0:
		return fmt.Errorf("%s has the processes %s, and %s has %s", dir, strings.Join(m.Members, ", "), other, strings.Join(n.Members, ", "))
	}
	return nil
}

// assembly is a store with groups, put together from the directories of some processes.
type assembly struct {
	backup *shardstore.Backup
	// best are the directories with the most up-to-date logs of the groups, in the order
	// of content.groups.
	best []int
	// lost are the shards that had an owner, and whose data is in none of the logs.
	lost []int
}

// assemble takes the most up-to-date log of each group. The log of a majority with the
// highest last term, and among those with the highest last index, holds every committed
// entry (section 5.4 of the paper). Of each shard assemble takes the newest data.
func assemble(dirs []string, all []*content) *assembly {
	a := &assembly{backup: &shardstore.Backup{Groups: all[0].manifest.Groups}}
	assigned := make(map[int]bool)
	var newest [shardctrler.NShards]*shardkv.Extract
	for i := range all[0].groups {
		best := 0
		for j := range dirs {
			if moreUpToDate(all[j].groups[i], all[best].groups[i]) {
				best = j
			}
		}
		a.best = append(a.best, best)
		g := all[best].groups[i]
		if g.shards == nil {
			continue
		}
		for shard := range newest {
			assigned[shard] = assigned[shard] || g.shards.Assigned(shard)
		}
		for _, e := range g.shards.Extracts() {
			if before := newest[e.Shard]; before == nil || e.From > before.From {
				newest[e.Shard], a.backup.Owners[e.Shard] = e, g.gid
			}
		}
	}
	for shard, e := range newest {
		if e == nil {
			e = shardkv.EmptyExtract(shard, kvstore.Limits)
			if assigned[shard] {
				a.lost = append(a.lost, shard)
			}
		}
		a.backup.Extracts[shard] = e
	}
	return a
}

func moreUpToDate(g, other *groupContent) bool {
	return cmp.Or(cmp.Compare(g.lastTerm(), other.lastTerm()), cmp.Compare(g.raft.LastIndex, other.raft.LastIndex)) > 0
}
