package datadir

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"raftlab/internal/durable"
	"raftlab/internal/etcdapi"
	"raftlab/internal/shardstore"
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
	// Advance raises the revision, and Compact compacts all revisions of the backup. Both
	// are for a store without groups.
	Advance int64
	Compact bool
	// Groups is the number of groups of a store with groups. 0 means that of the backup.
	Groups int
}

// number returns the number of the new cluster, the same on all members.
func (o *RestoreOptions) number(backup [sha256.Size]byte) Number {
	sum := sha256.New()
	fmt.Fprintf(sum, "raftlab restore\n%q %q %d %t %x\n", o.Cluster, o.Token, o.Advance, o.Compact, backup)
	if o.Groups > 0 {
		fmt.Fprintf(sum, "%d groups\n", o.Groups)
	}
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
	m := &Manifest{Cluster: o.Cluster, Name: o.Name, Ready: true}
	var states []groupState
	if shardstore.IsBackup(file) {
		states, err = m.fromGroups(file, o)
	} else {
		states, err = m.fromEtcd(file, o)
	}
	if err != nil {
		return nil, err
	}
	identity := m.Identity().Cluster
	m.ID = Number(FirstID(identity, o.Name))
	var all []core.Member
	for name, address := range o.Members {
		all = append(all, core.Member{ID: FirstID(identity, name), Address: address})
	}
	if err := makeEmpty(dir); err != nil {
		return nil, err
	}
	if err = m.begin(dir, states, firstHeader(all), 1); err != nil {
		return nil, err
	}
	return m, nil
}

// firstIndex is the index of the first state in the log of a new cluster.
const firstIndex = 1

// firstHeader returns the place of the first state in the log of a new cluster, that of a
// first configuration.
func firstHeader(members []core.Member) node.SnapshotHeader {
	return node.SnapshotHeader{Index: firstIndex, Term: 1, Configuration: voters(members)}
}

// groupState is the state of a group in a new log.
type groupState struct {
	group node.GroupID
	write func(io.Writer) error
}

// fromEtcd reads the backup of a store without groups.
func (m *Manifest) fromEtcd(file *os.File, o RestoreOptions) ([]groupState, error) {
	if o.Groups > 0 {
		return nil, fmt.Errorf("%w: %s is of a store without groups, and cannot be restored as one with %d", ErrGroups, file.Name(), o.Groups)
	}
	machine, digest, err := etcdapi.ReadBackup(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	if err := machine.Renew(o.Advance, o.Compact); err != nil {
		return nil, err
	}
	m.ClusterNumber = o.number(digest)
	return machineState(machine)
}

// machineState returns the state of a store without groups.
func machineState(machine *etcdapi.Machine) ([]groupState, error) {
	body, err := machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return []groupState{{group, func(w io.Writer) error {
		_, err := body.WriteTo(w)
		return err
	}}}, nil
}

// fromGroups reads the backup of a store with groups.
func (m *Manifest) fromGroups(file *os.File, o RestoreOptions) ([]groupState, error) {
	if o.Advance != 0 || o.Compact {
		return nil, fmt.Errorf("%w: %s is of a store with groups, which has no revisions to raise or to compact", ErrGroups, file.Name())
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	b, digest, err := shardstore.ReadBackup(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	m.Members, m.Groups = slices.Sorted(maps.Keys(o.Members)), cmp.Or(o.Groups, b.Groups)
	if bad := slices.IndexFunc(m.Members, func(name string) bool { return strings.Contains(name, "/") }); bad >= 0 {
		return nil, fmt.Errorf("the member %q has a slash in its name, which names of members of a store with groups do not have", m.Members[bad])
	}
	m.ClusterNumber = o.number(digest)
	return m.groupStates(b)
}

// groupStates returns the states of the groups of the manifest with the content of a
// backup.
func (m *Manifest) groupStates(b *shardstore.Backup) ([]groupState, error) {
	all, err := b.NewStates(m.Groups, m.Members)
	if err != nil {
		return nil, err
	}
	var states []groupState
	for gid := range m.Groups + 1 {
		states = append(states, groupState{shardstore.GroupID(gid), func(w io.Writer) error {
			return all[gid].WriteSnapshot(w, firstIndex)
		}})
	}
	return states, nil
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

// begin makes a log with a snapshot of each group, and then the manifest. The manifest
// decides, so a failure before leaves no log.
func (m *Manifest) begin(dir string, states []groupState, h node.SnapshotHeader, term uint64) error {
	if err := m.makeLog(dir, states, h, term); err != nil {
		return errors.Join(err, os.RemoveAll(m.LogPath(dir)))
	}
	return m.Write(dir)
}

func (m *Manifest) makeLog(dir string, states []groupState, h node.SnapshotHeader, term uint64) error {
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
	var all []error
	for _, s := range states {
		all = append(all, s.save(store, h, term))
	}
	if err := errors.Join(append(all, store.Close())...); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// save writes the snapshot of a group.
func (s groupState) save(store *wal.Store, h node.SnapshotHeader, term uint64) error {
	w, err := store.CreateSnapshot(s.group, h)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := s.write(w); err != nil {
		return err
	}
	if h, err = w.Commit(); err != nil {
		return err
	}
	return store.Save([]node.Update{{Group: s.group, HardState: &core.HardState{CurrentTerm: term}, Snapshot: &h}})
}
