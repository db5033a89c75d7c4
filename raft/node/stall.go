package node

import (
	"math"
	"time"

	"raftlab/raft/core"
)

const (
	// slowestBytes is the rate of a slow disk, in bytes a second. A disk below that
	// rate counts as hung.
	slowestBytes = 8 << 20
	// sharedPatience multiplies the limit for a save while the others have not saved
	// the entries either. All hosts may share a slow disk, and another leader would
	// then be no better.
	sharedPatience = 4
	// nothingSaved is Node.savingFrom without entries in a save.
	nothingSaved = math.MaxUint64
)

// stallLimit returns how long a save of so many bytes may take before the member
// counts as stalled. See [HostConfig.StorageTimeout].
func (n *Node) stallLimit(bytes int64) time.Duration {
	limit := n.host.cfg.StorageTimeout
	if limit == 0 {
		return n.cfg.ElectionTimeout
	}
	limit += time.Duration(bytes) * time.Second / slowestBytes
	// A committed entry is saved on a majority.
	if n.commit.Load() < n.savingFrom.Load() {
		limit *= sharedPatience
	}
	return limit
}

// firstIndex is Node.savingFrom during the save of entries.
func firstIndex(entries []core.Entry) uint64 {
	if len(entries) == 0 {
		return nothingSaved
	}
	return entries[0].Index
}
