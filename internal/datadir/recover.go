package datadir

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"raftlab/internal/durable"
	"raftlab/internal/shardstore"
	"raftlab/raft/core"
	"raftlab/shardkv"
)

// Recovery is a plan for the data directory of the survivor of a lost quorum.
type Recovery struct {
	// Before is the directory as it is.
	Before *Report
	// Kept is the name of the copy of the former manifest, in the directory. The former
	// log stays under its name.
	Kept string
	// After is the manifest of the new cluster.
	After Manifest

	// Groups has what is known of a store with groups, nil for a store without.
	Groups *GroupsRecovery

	dir      string
	held     closers
	content  *content
	assembly *assembly // of a store with groups
}

// GroupsRecovery is what a recovery of a store with groups has of the store.
type GroupsRecovery struct {
	Processes []string // of the store so far
	Sources   []GroupSource
	Keys      int
	// Lost are the shards whose data is in none of the logs.
	Lost []int
	// Torn is the number of transactions that may have taken effect in part. Transactions
	// that have left no trace do not count.
	Torn int
}

// GroupSource is the log that a recovery takes of a group.
type GroupSource struct {
	Group               string
	Directory           string
	LastIndex, LastTerm uint64
}

// ErrMajority is matched by the error of a recovery from the directories of a majority.
var ErrMajority = errors.New("no need for a recovery")

// PlanRecovery reads the directories of survivors, and keeps members away from them until
// Close. Of a store without groups one directory is given. Nothing changes before Run, which
// changes the first directory.
func PlanRecovery(dirs []string) (_ *Recovery, err error) {
	held, err := lockAll(dirs)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, held.Close())
		}
	}()
	all, err := readAll(dirs)
	if err != nil {
		return nil, err
	}
	dir, c := dirs[0], all[0]
	p := &Recovery{Before: c.report(dir), dir: dir, held: held, content: c}
	if c.manifest.Groups > 0 {
		if err := p.assemble(dirs, all); err != nil {
			return nil, err
		}
	} else if c.raft.LastIndex == 0 {
		return nil, fmt.Errorf("%s: the log is empty: there is nothing to recover", dir)
	}
	if p.address() == "" {
		return nil, fmt.Errorf("%s: member %s is not a member of its cluster: %v", dir, c.manifest.ID, c.members().IDs())
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	p.After = Manifest{
		Cluster: c.manifest.Cluster, ClusterNumber: Number(max(binary.BigEndian.Uint64(random[:])>>1, 1)),
		Name: c.manifest.Name, Ready: true, Groups: c.manifest.Groups,
	}
	if p.After.Groups > 0 {
		p.After.Members = []string{p.After.Name}
	}
	p.After.ID = Number(FirstID(p.After.Identity().Cluster, p.After.Name))
	p.After.Log = defaultLog + "-" + p.After.ClusterNumber.String()
	p.Kept = ManifestName + ".before-" + p.After.ClusterNumber.String()
	return p, nil
}

// assemble puts the store with groups together.
func (p *Recovery) assemble(dirs []string, all []*content) error {
	present, err := presentProcesses(dirs, all)
	if err != nil {
		return err
	}
	if most := len(present); 2*len(all) > most {
		return fmt.Errorf("%w: the directories are of %d of %d processes, a majority; start the processes, or make a backup of the directories and restore the backup", ErrMajority, len(all), most)
	}
	p.assembly = assemble(dirs, all)
	b := p.assembly.backup
	g := &GroupsRecovery{Lost: p.assembly.lost, Torn: shardkv.Reconcile(b.Extracts)}
	for _, m := range present {
		g.Processes = append(g.Processes, m.Name)
	}
	for _, e := range b.Extracts {
		g.Keys += e.Keys()
	}
	for i, best := range p.assembly.best {
		from := all[best].groups[i]
		g.Sources = append(g.Sources, GroupSource{shardstore.GroupName(from.gid), dirs[best], from.raft.LastIndex, from.lastTerm()})
	}
	p.Groups = g
	return nil
}

// members returns the members of the store, of a store with groups those of the
// controllers.
func (c *content) members() *core.Configuration {
	if len(c.groups) > 0 {
		return &c.groups[len(c.groups)-1].configuration
	}
	return &c.configuration
}

// address returns the address of the member for the others, "" if the member is none.
func (p *Recovery) address() string {
	_, address := shardstore.SplitAddress(p.content.members().Member(core.NodeID(p.content.manifest.ID)).Address)
	return address
}

// Run makes the first directory that of the only member of a new cluster. The state has all
// entries of the former logs. Run keeps the former log and a copy of the former manifest.
// If the copy replaces the manifest, the directory is as it was. A crash leaves the
// former manifest or the new one. Run raises the revision by advance, and then compacts
// all earlier revisions if compact is set. A store with groups has no revisions.
func (p *Recovery) Run(advance int64, compact bool) error {
	c := p.content
	if advance < 0 || advance > 1<<62 {
		return fmt.Errorf("the revision cannot advance by %d; want 0 to %d", advance, int64(1)<<62)
	}
	self := []core.Member{{ID: core.NodeID(p.After.ID), Address: p.address()}}
	h, term := firstHeader(self), uint64(1)
	var states []groupState
	var err error
	if p.assembly != nil {
		if advance != 0 || compact {
			return fmt.Errorf("%w: a store with groups has no revisions to raise or to compact", ErrGroups)
		}
		states, err = p.After.groupStates(p.assembly.backup)
	} else {
		h.Index, h.Term, term = c.raft.LastIndex, c.lastTerm(), c.raft.HardState.CurrentTerm
		if err := c.machine.Renew(advance, compact); err != nil {
			return err
		}
		states, err = machineState(c.machine)
	}
	if err != nil {
		return err
	}
	former, err := os.ReadFile(filepath.Join(p.dir, ManifestName))
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(p.dir, p.Kept), former, 0o600); err != nil {
		return err
	}
	return p.After.begin(p.dir, states, h, term)
}

// Close lets members use the directories.
func (p *Recovery) Close() error { return p.held.Close() }
