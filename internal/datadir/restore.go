package datadir

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"raftlab/internal/durable"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// ErrNotEmpty is matched by the error of a restore into a directory with files.
var ErrNotEmpty = errors.New("the directory is not empty")

// RestoreOptions describe a new cluster and one of its members. All members of the new
// cluster are restored from the same backup, with the same options but Name.
type RestoreOptions struct {
	// Name is the member's name, one of Members.
	Name string
	// Cluster is the name of the new cluster. It may be that of the old one.
	Cluster string
	// Members are the peer addresses of the new cluster's members by name.
	Members map[string]string
	// Token tells two new clusters apart that have the same backup, name and members.
	Token string
	// Advance raises the revision, and Compact compacts all revisions of the backup.
	Advance int64
	Compact bool
}

// number returns the number of the new cluster, the same on all members.
func (o *RestoreOptions) number(backup etcdapi.Digest) Number {
	sum := sha256.New()
	fmt.Fprintf(sum, "raftlab restore\n%q %q %d %t %x\n", o.Cluster, o.Token, o.Advance, o.Compact, backup)
	for _, name := range slices.Sorted(maps.Keys(o.Members)) {
		fmt.Fprintf(sum, "%q %q\n", name, o.Members[name])
	}
	return Number(max(binary.BigEndian.Uint64(sum.Sum(nil))>>1, 1))
}

// Restore makes the data directory of a member of a new cluster from a backup. The
// cluster has a number of its own, and its members have new ids, so members of the old
// cluster and of the new one refuse each other. The users and the leases of the backup
// stay. The alarms do not. If the directory has files, the error matches [ErrNotEmpty].
func Restore(backup, dir string, o RestoreOptions) (*Manifest, error) {
	if o.Members[o.Name] == "" {
		return nil, fmt.Errorf("the member %q is not among the members %v", o.Name, slices.Sorted(maps.Keys(o.Members)))
	}
	if o.Advance < 0 || o.Advance > 1<<62 {
		return nil, fmt.Errorf("the revision cannot advance by %d; want 0 to %d", o.Advance, int64(1)<<62)
	}
	file, err := os.Open(backup)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	machine, digest, err := etcdapi.ReadBackup(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", backup, err)
	}
	if err := machine.Renew(o.Advance, o.Compact); err != nil {
		return nil, err
	}
	m := &Manifest{Cluster: o.Cluster, ClusterNumber: o.number(digest), Name: o.Name, Ready: true}
	identity := m.Identity().Cluster
	m.ID = Number(FirstID(identity, o.Name))
	var all []core.Member
	for name, address := range o.Members {
		all = append(all, core.Member{ID: FirstID(identity, name), Address: address})
	}
	if err := makeEmpty(dir); err != nil {
		return nil, err
	}
	// The place of the state in the log is that of a first configuration.
	err = m.begin(dir, machine, node.SnapshotHeader{Index: 1, Term: 1, Configuration: voters(all)}, 1)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// makeEmpty makes sure that a directory is there, and is empty.
func makeEmpty(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return err
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range found {
		if entry.Name() != "lost+found" { // a file system of its own has it
			return fmt.Errorf("%s: %w: it has %s", dir, ErrNotEmpty, entry.Name())
		}
	}
	return nil
}

// voters encodes the configuration of some voters.
func voters(members []core.Member) []byte {
	slices.SortFunc(members, func(a, b core.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	cfg := core.Configuration{Members: members}
	for _, m := range members {
		cfg.Voters = append(cfg.Voters, m.ID)
	}
	return cfg.Encode()
}

// begin makes a log with a snapshot of the machine, and then the manifest. The manifest
// decides, so a failure before leaves no log.
func (m *Manifest) begin(dir string, machine *etcdapi.Machine, h node.SnapshotHeader, term uint64) error {
	if err := m.makeLog(dir, machine, h, term); err != nil {
		return errors.Join(err, os.RemoveAll(m.LogPath(dir)))
	}
	return m.Write(dir)
}

func (m *Manifest) makeLog(dir string, machine *etcdapi.Machine, h node.SnapshotHeader, term uint64) error {
	if _, err := core.DecodeConfiguration(h.Configuration); err != nil {
		return fmt.Errorf("the members: %w", err)
	}
	opts := wal.Options{Identity: m.Identity()}
	if err := wal.Create(m.LogPath(dir), opts); err != nil {
		return err
	}
	store, err := wal.Open(m.LogPath(dir), opts)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(store, machine, h, term), store.Close()); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// fill writes the snapshot.
func fill(store *wal.Store, machine *etcdapi.Machine, h node.SnapshotHeader, term uint64) error {
	body, err := machine.Snapshot()
	if err != nil {
		return err
	}
	w, err := store.CreateSnapshot(group, h)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := body.WriteTo(w); err != nil {
		return err
	}
	if h, err = w.Commit(); err != nil {
		return err
	}
	return store.Save([]node.Update{{Group: group, HardState: &core.HardState{CurrentTerm: term}, Snapshot: &h}})
}
