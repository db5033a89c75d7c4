package datadir

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"raftlab/internal/durable"
	"raftlab/raft/core"
	"raftlab/raft/node"
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

	dir     string
	held    *os.File
	content *content
}

// PlanRecovery reads the directory of a survivor, and keeps members away from it until
// Close. Nothing changes before Run.
func PlanRecovery(dir string) (*Recovery, error) {
	held, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	c, err := withoutGroups(dir, "recover")
	if err == nil && c.raft.LastIndex == 0 {
		err = fmt.Errorf("%s: the log is empty: there is nothing to recover", dir)
	}
	if err == nil && c.configuration.Member(core.NodeID(c.manifest.ID)).Address == "" {
		err = fmt.Errorf("%s: member %s is not a member of its cluster: %v", dir, c.manifest.ID, c.configuration.IDs())
	}
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	p := &Recovery{Before: c.report(dir), dir: dir, held: held, content: c}
	p.After = Manifest{
		Cluster: c.manifest.Cluster, ClusterNumber: Number(max(binary.BigEndian.Uint64(random[:])>>1, 1)),
		Name: c.manifest.Name, Ready: true,
	}
	p.After.ID = Number(FirstID(p.After.Identity().Cluster, p.After.Name))
	p.After.Log = defaultLog + "-" + p.After.ClusterNumber.String()
	p.Kept = ManifestName + ".before-" + p.After.ClusterNumber.String()
	return p, nil
}

// Run makes the directory that of the only member of a new cluster. The state has all
// entries of the former log. Run keeps the former log and a copy of the former manifest.
// If the copy replaces the manifest, the directory is as it was. A crash leaves the
// former manifest or the new one. Run raises the revision by advance, and then compacts
// all earlier revisions if compact is set.
func (p *Recovery) Run(advance int64, compact bool) error {
	c := p.content
	if advance < 0 || advance > 1<<62 {
		return fmt.Errorf("the revision cannot advance by %d; want 0 to %d", advance, int64(1)<<62)
	}
	if err := c.machine.Renew(advance, compact); err != nil {
		return err
	}
	former, err := os.ReadFile(filepath.Join(p.dir, ManifestName))
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(p.dir, p.Kept), former, 0o600); err != nil {
		return err
	}
	self := core.Member{ID: core.NodeID(p.After.ID), Address: c.configuration.Member(core.NodeID(c.manifest.ID)).Address}
	h := node.SnapshotHeader{Index: c.raft.LastIndex, Term: c.lastTerm(), Configuration: voters([]core.Member{self})}
	return p.After.begin(p.dir, c.machine, h, c.raft.HardState.CurrentTerm)
}

// Close lets members use the directory.
func (p *Recovery) Close() error { return p.held.Close() }
