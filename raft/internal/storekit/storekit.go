// Package storekit has the rules common to all implementations of
// [node.Storage], such as the effect of an Update on a group and the refusal of
// wrong updates and reads.
package storekit

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"slices"
	"sort"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Group tracks the state of a stored group, without the entries.
type Group struct{ node.State }

// Check reports why the update does not fit the state. The error matches
// [node.ErrUpdate]. Check does not look for the body of the update's snapshot.
func (g *Group) Check(u *node.Update) error {
	if u.Group == 0 {
		return fmt.Errorf("%w: Group is 0", node.ErrUpdate)
	}
	after := *g // the slices are read only
	if h := u.Snapshot; h != nil {
		if err := g.checkSnapshot(u.Group, h); err != nil {
			return err
		}
		after.applySnapshot(*h)
	}
	if u.CompactTo > after.Snapshot.Index {
		return fmt.Errorf("%w: group %d: CompactTo is %d, beyond the snapshot, which ends at %d",
			node.ErrUpdate, u.Group, u.CompactTo, after.Snapshot.Index)
	}
	if len(u.Entries) == 0 {
		return nil
	}
	return after.checkEntries(u.Group, u.Entries)
}

func (g *Group) checkSnapshot(id node.GroupID, h *node.SnapshotHeader) error {
	if err := CheckHeader(id, h); err != nil {
		return err
	}
	if h.Index <= g.Snapshot.Index {
		return fmt.Errorf("%w: group %d: the snapshot ends at %d, and the stored one at %d",
			node.ErrUpdate, id, h.Index, g.Snapshot.Index)
	}
	return nil
}

// checkEntries checks that entries follow the log without a gap, lie behind the
// snapshot, and have terms in ascending order.
func (g *Group) checkEntries(id node.GroupID, entries []core.Entry) error {
	first := entries[0].Index
	if first <= g.Snapshot.Index || first > g.LastIndex+1 {
		return fmt.Errorf("%w: group %d: the entries begin at %d; the limits are %d and %d",
			node.ErrUpdate, id, first, g.Snapshot.Index+1, g.LastIndex+1)
	}
	term, _ := g.Term(first - 1)
	for i, e := range entries {
		if e.Index != first+uint64(i) {
			return fmt.Errorf("%w: group %d: entry %d of the update has index %d instead of %d",
				node.ErrUpdate, id, i, e.Index, first+uint64(i))
		}
		if e.Term < max(term, 1) {
			return fmt.Errorf("%w: group %d: the entry at %d has term %d, and the term before is %d",
				node.ErrUpdate, id, e.Index, e.Term, term)
		}
		term = e.Term
	}
	return nil
}

// Apply changes the state as the update says. The update has passed
// [Group.Check]. Apply keeps no slice of the update but the snapshot's
// Configuration.
func (g *Group) Apply(u *node.Update) {
	if u.HardState != nil {
		g.HardState = *u.HardState
	}
	if u.Snapshot != nil {
		g.applySnapshot(*u.Snapshot)
	}
	if u.CompactTo > g.CompactedIndex {
		term, _ := g.Term(u.CompactTo)
		g.Compact(u.CompactTo, term)
	}
	if len(u.Entries) > 0 {
		g.Truncate(u.Entries[0].Index)
		g.Append(u.Entries)
	}
}

func (g *Group) applySnapshot(h node.SnapshotHeader) {
	g.Snapshot = h
	if !g.Agrees(&h) {
		g.Reset(h.Index, h.Term)
	}
}

// Agrees reports whether the log has the last entry of a snapshot, so that the
// log stays (Figure 13, step 6).
func (g *Group) Agrees(h *node.SnapshotHeader) bool {
	term, ok := g.Term(h.Index)
	return ok && term == h.Term
}

// Reset drops the whole log. The log continues behind index (Figure 13, step
// 7).
func (g *Group) Reset(index, term uint64) {
	g.CompactedIndex, g.CompactedTerm, g.LastIndex = index, term, index
	g.Terms, g.ConfigIndexes = nil, nil
}

// Compact drops the log up to and including index, where the entry's term is term.
func (g *Group) Compact(index, term uint64) {
	gone := sort.Search(len(g.Terms), func(i int) bool { return g.Terms[i].First > index+1 }) - 1
	g.Terms = slices.Delete(g.Terms, 0, max(gone, 0))
	switch {
	case index >= g.LastIndex:
		g.Terms, g.LastIndex = nil, index
	case len(g.Terms) > 0:
		g.Terms[0].First = max(g.Terms[0].First, index+1)
	}
	configs := sort.Search(len(g.ConfigIndexes), func(i int) bool { return g.ConfigIndexes[i] > index })
	g.ConfigIndexes = slices.Delete(g.ConfigIndexes, 0, configs)
	g.CompactedIndex, g.CompactedTerm = index, term
}

// Truncate drops the log from index on.
func (g *Group) Truncate(index uint64) {
	for n := len(g.Terms); n > 0 && g.Terms[n-1].First >= index; n-- {
		g.Terms = g.Terms[:n-1]
	}
	for n := len(g.ConfigIndexes); n > 0 && g.ConfigIndexes[n-1] >= index; n-- {
		g.ConfigIndexes = g.ConfigIndexes[:n-1]
	}
	g.LastIndex = index - 1
}

// Append adds entries at the end of the log.
func (g *Group) Append(entries []core.Entry) {
	for i := range entries {
		e := &entries[i]
		if n := len(g.Terms); n == 0 || g.Terms[n-1].Term != e.Term {
			g.Terms = append(g.Terms, node.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Type == core.ConfigurationEntry {
			g.ConfigIndexes = append(g.ConfigIndexes, e.Index)
		}
		g.LastIndex = e.Index
	}
}

// Clone returns a deep copy of the state.
func (g *Group) Clone() node.State {
	c := g.State
	c.Snapshot.Configuration = slices.Clone(g.Snapshot.Configuration)
	c.Terms = slices.Clone(g.Terms)
	c.ConfigIndexes = slices.Clone(g.ConfigIndexes)
	return c
}

// CheckRange reports why the entries from lo to hi are not stored. The error
// matches [node.ErrCompacted] or [node.ErrNotStored].
func (g *Group) CheckRange(id node.GroupID, lo, hi uint64) error {
	switch {
	case lo <= g.CompactedIndex:
		return fmt.Errorf("group %d: entry %d: %w: the log begins at %d", id, lo, node.ErrCompacted, g.CompactedIndex+1)
	case hi > g.LastIndex:
		return fmt.Errorf("group %d: entry %d: %w: the log ends at %d", id, hi, node.ErrNotStored, g.LastIndex)
	case lo > hi:
		return fmt.Errorf("group %d: entries %d to %d: %w: the range is empty", id, lo, hi, node.ErrNotStored)
	}
	return nil
}

// CheckUnique reports a group with several updates.
func CheckUnique(updates []node.Update) error {
	if len(updates) < 2 {
		return nil
	}
	seen := make(map[node.GroupID]struct{}, len(updates))
	for i := range updates {
		id := updates[i].Group
		if _, twice := seen[id]; twice {
			return NamedTwice(id)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// NamedTwice is the error of a Save with two updates of one group.
func NamedTwice(id node.GroupID) error {
	return fmt.Errorf("%w: two updates name group %d", node.ErrUpdate, id)
}

// CheckIdentity reports an invalid identity.
func CheckIdentity(id node.Identity) error {
	switch {
	case len(id.Cluster) < 1 || len(id.Cluster) > 255:
		return fmt.Errorf("the cluster's name has %d bytes; the limits are 1 and 255", len(id.Cluster))
	case id.Host == core.None:
		return fmt.Errorf("the host's id is 0")
	}
	return nil
}

// CheckHeader reports why no snapshot of a group can have a header.
func CheckHeader(id node.GroupID, h *node.SnapshotHeader) error {
	switch {
	case id == 0:
		return fmt.Errorf("%w: the group of the snapshot is 0", node.ErrUpdate)
	case h.Index == 0 || h.Term == 0:
		return fmt.Errorf("%w: group %d: the snapshot ends at index %d in term %d; both are at least 1",
			node.ErrUpdate, id, h.Index, h.Term)
	case len(h.Configuration) > node.MaxConfigurationBytes:
		return fmt.Errorf("%w: group %d: the snapshot's configuration has %d bytes; the limit is %d",
			node.ErrUpdate, id, len(h.Configuration), node.MaxConfigurationBytes)
	}
	return nil
}

// Uncommitted is the error of an update with a snapshot that was never
// committed.
func Uncommitted(id node.GroupID, h *node.SnapshotHeader) error {
	return fmt.Errorf("%w: group %d: no committed snapshot at %d has the header of the update", node.ErrUpdate, id, h.Index)
}

// CloneHeader returns a deep copy of h.
func CloneHeader(h node.SnapshotHeader) node.SnapshotHeader {
	h.Configuration = bytes.Clone(h.Configuration)
	return h
}

// SameHeader reports whether two headers are equal.
func SameHeader(a, b *node.SnapshotHeader) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Size == b.Size && a.Checksum == b.Checksum &&
		bytes.Equal(a.Configuration, b.Configuration)
}

var ecma = crc64.MakeTable(crc64.ECMA)

// Checksum continues the checksum of a snapshot's body with p.
func Checksum(sum uint64, p []byte) uint64 { return crc64.Update(sum, ecma, p) }

// Complete returns the header with the size and the checksum of the body. If the
// header has a size or a checksum already, and the body differs, the error matches
// [node.ErrDamaged].
func Complete(h node.SnapshotHeader, size, sum uint64) (node.SnapshotHeader, error) {
	if (h.Size != 0 || h.Checksum != 0) && (h.Size != size || h.Checksum != sum) {
		return node.SnapshotHeader{}, fmt.Errorf("%w: the body of the snapshot at %d has %d bytes and checksum %016x instead of %d and %016x",
			node.ErrDamaged, h.Index, size, sum, h.Size, h.Checksum)
	}
	h.Size, h.Checksum = size, sum
	return h, nil
}
