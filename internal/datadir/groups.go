package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"raftlab/internal/kvstore"
	"raftlab/internal/msgpack"
	"raftlab/internal/shardstore"
	"raftlab/kv"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// groupContent is what a directory holds of one group of a store with groups.
type groupContent struct {
	replica
	gid         int                // 0 for the controllers
	shards      *shardkv.Image     // nil for the controllers
	controllers *shardctrler.Image // nil for others
}

// newGroupContent returns a group in its initial state.
func newGroupContent(gid int) (*groupContent, error) {
	g := &groupContent{gid: gid}
	return g, g.begin(nil)
}

// begin replaces the state by a snapshot, or by the initial state for nil.
func (g *groupContent) begin(snapshot []byte) error {
	if g.gid == 0 {
		image, err := shardctrler.NewImage(snapshot)
		if err == nil {
			g.controllers = image
		}
		return err
	}
	image, err := shardkv.NewImage(g.gid, snapshot, kvstore.Limits)
	if err == nil {
		g.shards = image
	}
	return err
}

func (g *groupContent) restore(body *io.SectionReader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return g.begin(data)
}

func (g *groupContent) apply(entries []core.Entry) error {
	for _, e := range entries {
		var err error
		if g.gid == 0 {
			err = g.controllers.Apply(e.Index, e.Data)
		} else {
			err = g.shards.Apply(e.Index, e.Data)
		}
		if other := (*msgpack.VersionError)(nil); errors.As(err, &other) {
			return fmt.Errorf("entry %d of term %d: %w", e.Index, e.Term, err)
		}
		if err != nil {
			return fmt.Errorf("%w: entry %d of term %d: %w", ErrDamaged, e.Index, e.Term, err)
		}
	}
	return nil
}

// sum returns the hash of the state.
func (g *groupContent) sum() string {
	if g.gid == 0 {
		return fmt.Sprintf("%x", g.controllers.Sum())[:16]
	}
	return fmt.Sprintf("%x", g.shards.Sum())[:16]
}

// loadGroups reads the groups of the manifest. The error of a group names the group, and
// the others are read.
func (c *content) loadGroups(store *wal.Store) error {
	known := []node.GroupID{shardstore.GroupID(0)}
	var all []error
	for gid := 1; gid <= c.manifest.Groups; gid++ {
		known = append(known, shardstore.GroupID(gid))
		all = append(all, c.loadGroup(store, gid))
	}
	all = append(all, c.loadGroup(store, 0))
	stored, err := store.Groups()
	for _, id := range stored {
		if !slices.Contains(known, id) {
			all = append(all, fmt.Errorf("%w: the log has a group with the number %d", ErrDamaged, id))
		}
	}
	return errors.Join(append(all, err)...)
}

func (c *content) loadGroup(store *wal.Store, gid int) error {
	g, err := readGroup(store, gid, ^uint64(0))
	c.groups = append(c.groups, g)
	if err != nil {
		return fmt.Errorf("group %s: %w", shardstore.GroupName(gid), err)
	}
	return nil
}

// readGroup reads a group as after the entry at index last.
func readGroup(store *wal.Store, gid int, last uint64) (*groupContent, error) {
	g, err := newGroupContent(gid)
	if err != nil {
		return g, err
	}
	return g, g.load(store, shardstore.GroupID(gid), last, g)
}

// GroupReport is a picture of a group of a store with groups, with all entries of the log
// applied. The last entries may not be committed, and then another leader may replace
// them.
type GroupReport struct {
	Group string `json:"group"` // "1" and so on, or "controller"
	RaftReport
	// Entries is the number of entries in the log. Replayed is the number of commands
	// behind the snapshot.
	Entries  uint64 `json:"entries"`
	Replayed uint64 `json:"replayed"`

	// Config is the newest configuration that the group has taken, of the controllers
	// the newest one.
	Config int           `json:"config"`
	Keys   int           `json:"keys"`
	Shards []ShardReport `json:"shards,omitempty"`
	// Hash is a hash of the state. The groups of two processes have the same hash after
	// the same entry.
	Hash string `json:"hash"`

	content *groupContent
}

// ShardReport is a shard at a group.
type ShardReport struct {
	Shard    int    `json:"shard"`
	State    string `json:"state"` // served, arriving or leaving
	Keys     int    `json:"keys"`
	Sessions int    `json:"sessions"`
	Locked   int    `json:"locked"` // transactions that hold locks
}

// report describes a group.
func (g *groupContent) report(m *Manifest) GroupReport {
	r := GroupReport{
		Group: shardstore.GroupName(g.gid), RaftReport: g.replica.report(),
		Entries: g.entries, Replayed: g.commands, Hash: g.sum(), content: g,
	}
	roster := shardstore.NewRoster(m.Roster(nil))
	for i := range r.Members {
		one := &r.Members[i]
		if _, address := shardstore.SplitAddress(one.Address); address != one.Address {
			one.Name, one.Address = roster.Named([]node.Member{{ID: core.NodeID(one.ID), Address: one.Address}})[0].Name, address
		} else {
			one.Name = roster.NameOf(core.NodeID(one.ID))
		}
	}
	if g.gid == 0 {
		r.Config = g.controllers.Newest().Num
		return r
	}
	status := g.shards.Status()
	r.Config = status.Config
	for _, s := range status.Shards {
		r.Keys += s.Keys
		r.Shards = append(r.Shards, ShardReport{s.Shard, string(s.State), s.Keys, s.Sessions, s.Locked})
	}
	return r
}

// Pairs passes the pairs of the group's shards to do, by shard and in the order of the
// keys.
func (r *GroupReport) Pairs(do func(shard int, p kv.Pair)) {
	if r.content.shards == nil {
		return
	}
	for shard := range shardctrler.NShards {
		r.content.shards.Pairs(shard, func(p kv.Pair) { do(shard, p) })
	}
}

// compareGroups compares the groups of processes of one store. A group of two processes is
// compared after the last entry that both have. If the terms of the entry differ there,
// the entry was not committed. A log that begins behind the entry is not compared.
func compareGroups(reports []*Report) error {
	first := reports[0]
	for _, r := range reports {
		if r.Cluster != first.Cluster || r.ClusterID != first.ClusterID || len(r.Groups) != len(first.Groups) {
			return fmt.Errorf("%s is of cluster %s with %d groups, and %s of %s with %d", r.Directory, r.Cluster, max(len(r.Groups)-1, 0), first.Directory, first.Cluster, max(len(first.Groups)-1, 0))
		}
	}
	for i := range first.Groups {
		if err := compareGroup(reports, i); err != nil {
			return fmt.Errorf("group %s: %w", first.Groups[i].Group, err)
		}
	}
	return nil
}

// compareGroup compares the group at index i of each two reports.
func compareGroup(reports []*Report, i int) error {
	byLength := slices.SortedFunc(slices.Values(reports), func(a, b *Report) int {
		return cmp.Compare(a.Groups[i].LastIndex, b.Groups[i].LastIndex)
	})
	for n, longer := range byLength {
		for _, shorter := range byLength[:n] {
			if err := compareTwo(shorter, longer, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareTwo compares a group of two reports after the last entry of the shorter one.
func compareTwo(shorter, longer *Report, i int) error {
	want, g := &shorter.Groups[i], &longer.Groups[i]
	term, known := g.content.raft.Term(want.LastIndex)
	if !known || term != want.LastTerm || g.Snapshot.Index > want.LastIndex {
		return nil
	}
	sum := g.Hash
	if g.LastIndex > want.LastIndex {
		earlier, err := readEarlier(longer.Directory, g.content.gid, want.LastIndex)
		if err != nil || earlier.raft.Snapshot.Index > want.LastIndex { // a snapshot has come meanwhile
			return nil
		}
		sum = earlier.sum()
	}
	if sum != want.Hash {
		return fmt.Errorf("%w: after entry %d the hash of %s is %s, and that of %s %s", ErrDamaged, want.LastIndex, longer.Directory, sum, shorter.Directory, want.Hash)
	}
	return nil
}

// readEarlier reads a group of a directory as after the entry at index last.
func readEarlier(dir string, gid int, last uint64) (g *groupContent, err error) {
	m, err := Read(dir)
	if err != nil {
		return nil, err
	}
	files, err := freeze(m.LogPath(dir))
	if err != nil {
		return nil, err
	}
	store, err := wal.OpenIn(files, wal.Options{Identity: m.Identity()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return readGroup(store, gid, last)
}

// processes returns the processes of a store with groups, by name. They are the voters of
// the controllers.
func (c *content) processes() []shardstore.Member {
	roster := shardstore.NewRoster(c.manifest.Roster(nil))
	cfg := c.members()
	var voters []node.Member
	for _, id := range cfg.Voters {
		voters = append(voters, node.Member{ID: id, Address: cfg.Member(id).Address})
	}
	if len(voters) == 0 { // the process has not heard of a leader yet
		return roster.Members()
	}
	return roster.Named(voters)
}

// presentProcesses returns the processes as the most up-to-date log of the controllers names
// them, and refuses the directory of a process that is no longer one.
func presentProcesses(dirs []string, all []*content) ([]shardstore.Member, error) {
	newest := all[0]
	for _, c := range all[1:] {
		if last := len(c.groups) - 1; moreUpToDate(c.groups[last], newest.groups[last]) {
			newest = c
		}
	}
	present := newest.processes()
	for i, c := range all {
		if !slices.ContainsFunc(present, func(m shardstore.Member) bool { return m.ID == core.NodeID(c.manifest.ID) }) {
			return nil, fmt.Errorf("%w: %s is of process %s with the id %s, and the processes are %s", ErrFormer, dirs[i], c.manifest.Name, c.manifest.ID, names(present))
		}
	}
	return present, nil
}

// names lists processes with their ids.
func names(processes []shardstore.Member) string {
	var all []string
	for _, m := range processes {
		all = append(all, fmt.Sprintf("%s (%s)", m.Name, Number(m.ID)))
	}
	return strings.Join(all, ", ")
}
