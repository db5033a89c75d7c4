package datadir

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"raftlab/internal/etcdapi"
	"raftlab/mvcc"
	"raftlab/raft/core"
)

// Report is a picture of a data directory.
type Report struct {
	Directory string `json:"directory"`
	// InUse says that a member runs on the directory.
	InUse         bool   `json:"in_use"`
	Format        int    `json:"format"`
	Cluster       string `json:"cluster"`
	ClusterNumber Number `json:"cluster_number,omitempty"`
	// ClusterID is the id in the answers to clients.
	ClusterID Number `json:"cluster_id"`
	Name      string `json:"name"`
	ID        Number `json:"id"`
	Joined    bool   `json:"joined"`
	Ready     bool   `json:"ready"`

	Log   LogReport   `json:"log"`
	Store StoreReport `json:"store"`
	// Groups has the groups of a store with groups, the controllers last. Log then has
	// the files alone, and Store is empty. Processes are the names of the processes.
	Groups    []GroupReport `json:"groups,omitempty"`
	Processes []string      `json:"processes,omitempty"`
}

// LogReport is a picture of the log and of Raft's state.
type LogReport struct {
	Directory string `json:"directory"`
	RaftReport

	Segments  []FileReport `json:"segments"`
	Snapshots []FileReport `json:"snapshots"`
	Others    []FileReport `json:"others,omitempty"` // neither of both, nor the lock
}

// RaftReport is a picture of a group's log and of Raft's state.
type RaftReport struct {
	Term     uint64 `json:"term"`
	VotedFor Number `json:"voted_for,omitempty"`
	// FirstIndex is the first index in the log, and LastIndex the last one. The log is
	// empty if FirstIndex is above LastIndex.
	FirstIndex uint64 `json:"first_index"`
	LastIndex  uint64 `json:"last_index"`
	LastTerm   uint64 `json:"last_term"`

	Snapshot SnapshotReport `json:"snapshot"`
	// Members are those of the newest configuration in the snapshot and the log, which
	// stands at MembersIndex.
	Members      []MemberReport `json:"members"`
	MembersIndex uint64         `json:"members_index"`
}

// SnapshotReport is the newest snapshot of the log. Index 0 means none.
type SnapshotReport struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Bytes uint64 `json:"bytes"`
}

// MemberReport is a member of the configuration.
type MemberReport struct {
	ID         Number   `json:"id"`
	Name       string   `json:"name,omitempty"` // "" if the member has not published its name
	Address    string   `json:"address"`
	ClientURLs []string `json:"client_urls,omitempty"`
	// Role is voter, learner or outgoing. An outgoing member votes until a change of
	// members is complete.
	Role string `json:"role"`
}

// FileReport is a file of the log.
type FileReport struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// StoreReport is the store with all entries of the log applied. The last entries of the
// log may not be committed, and then another leader may replace them.
type StoreReport struct {
	Revision  int64         `json:"revision"`
	Compacted int64         `json:"compacted"` // -1 before the first compaction
	Keys      int           `json:"keys"`
	Versions  int           `json:"versions"`
	Bytes     int64         `json:"bytes"`
	Leases    int           `json:"leases"`
	Alarms    []AlarmReport `json:"alarms"`
	// Level is the level of the cluster, which versions of raftlab agree on.
	Level int `json:"level"`
	// Hash is HashKV up to Revision, set by Verify.
	Hash *uint32 `json:"hash,omitempty"`
	// Entries is the number of entries in the log. Replayed is the number of commands
	// behind the snapshot.
	Entries  uint64 `json:"entries"`
	Replayed uint64 `json:"replayed"`

	view *mvcc.View
}

// AlarmReport is a raised alarm.
type AlarmReport struct {
	Member Number `json:"member"`
	Alarm  string `json:"alarm"`
}

// View returns the store itself, nil if it could not be read.
func (r *StoreReport) View() *mvcc.View { return r.view }

// Inspect returns a picture of a data directory. The member may run, or may have crashed,
// and not a byte changes. Beside an error Inspect returns the readable part.
func Inspect(dir string) (*Report, error) {
	c, err := read(dir)
	r := c.report(dir)
	return r, err
}

// Verify checks the manifest, the chain
// of checksums over all segments, the snapshot, and the replay of the log onto the
// snapshot, and computes the store's hash. The error of a damaged directory matches
// [ErrDamaged] and names the file and the offset.
func Verify(dir string) (*Report, error) {
	c, err := read(dir)
	r := c.report(dir)
	if err != nil || len(r.Groups) > 0 {
		return r, err
	}
	h, err := c.machine.View().HashKV(0)
	r.Store.Hash = &h.Sum
	return r, err
}

// report describes the content.
func (c *content) report(dir string) *Report {
	m := &c.manifest
	r := &Report{
		Directory: dir, Format: m.Format, Cluster: m.Cluster, ClusterNumber: m.ClusterNumber,
		ClusterID: m.ClusterNumber, Name: m.Name, ID: m.ID, Joined: m.Joined, Ready: m.Ready,
	}
	if r.ClusterID == 0 && m.Cluster != "" {
		r.ClusterID = Number(etcdapi.ClusterID(m.Cluster))
	}
	r.InUse, _ = inUse(dir)
	r.Log.Directory = filepath.Base(m.LogPath(dir))
	r.Log.listFiles(m.LogPath(dir))
	if m.Groups > 0 {
		for _, p := range c.processes() {
			r.Processes = append(r.Processes, p.Name)
		}
		for _, g := range c.groups {
			r.Groups = append(r.Groups, g.report(m))
		}
		return r
	}
	r.Log.RaftReport = c.replica.report()
	if c.machine == nil {
		return r
	}
	for i := range r.Log.Members {
		one := &r.Log.Members[i]
		one.Name, one.ClientURLs = c.machine.Published(core.NodeID(one.ID))
	}
	v := c.machine.View()
	r.Store = StoreReport{
		Revision: v.Revision(), Compacted: v.Compacted(), Keys: v.Keys(), Versions: v.Versions(), Bytes: v.Size(),
		Leases: v.LeaseCount(), Entries: c.entries, Replayed: c.commands, Level: c.machine.Level(), view: v,
	}
	for _, a := range c.machine.Alarms() {
		r.Store.Alarms = append(r.Store.Alarms, AlarmReport{Number(a.MemberID), a.Alarm.String()})
	}
	return r
}

// report describes the log of a group.
func (c *replica) report() RaftReport {
	r := RaftReport{
		Term: c.raft.HardState.CurrentTerm, VotedFor: Number(c.raft.HardState.VotedFor),
		FirstIndex: c.raft.CompactedIndex + 1, LastIndex: c.raft.LastIndex, LastTerm: c.lastTerm(),
		Snapshot:     SnapshotReport{c.raft.Snapshot.Index, c.raft.Snapshot.Term, c.raft.Snapshot.Size},
		MembersIndex: c.configIndex,
	}
	for _, id := range c.configuration.IDs() {
		r.Members = append(r.Members, MemberReport{ID: Number(id), Address: c.configuration.Member(id).Address, Role: role(&c.configuration, id)})
	}
	return r
}

func role(c *core.Configuration, id core.NodeID) string {
	switch {
	case slices.Contains(c.Voters, id):
		return "voter"
	case slices.Contains(c.Outgoing, id):
		return "outgoing"
	}
	return "learner"
}

// listFiles lists the files of the log by kind.
func (r *LogReport) listFiles(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return // reading the log has reported the error
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == "LOCK" {
			continue
		}
		f := FileReport{e.Name(), info.Size()}
		switch {
		case strings.HasSuffix(f.Name, ".wal"):
			r.Segments = append(r.Segments, f)
		case strings.HasSuffix(f.Name, ".snap"):
			r.Snapshots = append(r.Snapshots, f)
		default:
			r.Others = append(r.Others, f)
		}
	}
}

// Compare compares the stores of members of one cluster at the lowest of their
// revisions. The error of different stores matches [ErrDamaged]. A store that is
// compacted beyond that revision, or to another revision, is not compared.
func Compare(reports []*Report) error {
	if len(reports) < 2 {
		return nil
	}
	if slices.ContainsFunc(reports, func(r *Report) bool { return len(r.Groups) > 0 }) {
		return compareGroups(reports)
	}
	first := slices.MinFunc(reports, func(a, b *Report) int { return cmp.Compare(a.Store.Revision, b.Store.Revision) })
	want, err := first.Store.view.HashKV(0)
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.ClusterID != first.ClusterID {
			return fmt.Errorf("%s is of cluster %s (%s), and %s of %s (%s)", r.Directory, r.Cluster, r.ClusterID, first.Directory, first.Cluster, first.ClusterID)
		}
		got, err := r.Store.view.HashKV(want.Revision)
		if err != nil || got.Compacted != want.Compacted {
			continue
		}
		if got.Sum != want.Sum {
			return fmt.Errorf("%w: at revision %d the hash of %s is %08x, and that of %s %08x", ErrDamaged, want.Revision, r.Directory, got.Sum, first.Directory, want.Sum)
		}
	}
	return nil
}
