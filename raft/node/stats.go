package node

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets that double. Bucket i counts those
// below 2^i microseconds that no lower bucket counts; the last one has no bound.
type Histogram struct {
	Buckets [32]int64
	Sum     time.Duration
}

// Count returns the number of durations.
func (h Histogram) Count() int64 {
	n := int64(0)
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	h.Buckets[h.bucket(d)]++
	h.Sum += d
}

// bucket returns the index of a duration's bucket.
func (h *Histogram) bucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(d, 0)/time.Microsecond)), len(h.Buckets)-1)
}

// Quantile returns an upper bound of the q-quantile, 0 < q <= 1; 0 if there are
// no durations.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := int64(q*float64(h.Count()) + 0.5)
	for i, b := range h.Buckets {
		if rank -= b; rank <= 0 && h.Count() > 0 {
			return time.Microsecond << i
		}
	}
	return 0
}

// histogram is a Histogram that is being counted.
type histogram struct {
	buckets [32]atomic.Int64
	sum     atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	h.buckets[(*Histogram)(nil).bucket(d)].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) picture() Histogram {
	var p Histogram
	for i := range h.buckets {
		p.Buckets[i] = h.buckets[i].Load()
	}
	p.Sum = time.Duration(h.sum.Load())
	return p
}

// HostStats are the counters of a host since its start.
type HostStats struct {
	// Saves is how long saves took, syncs included.
	Saves Histogram
	// GroupSaves is the number of updates of groups in these saves.
	GroupSaves int64
	// Strangers is the number of messages for groups that do not run here.
	Strangers int64
	// DroppedEvents is the number of events that HostConfig.Observe was too slow for.
	DroppedEvents int64
	// Storage is what the storage occupies.
	Storage Usage
}

type hostStats struct {
	saves      histogram
	groupSaves atomic.Int64
	strangers  atomic.Int64
}

func (s *hostStats) observeSave(took time.Duration, groups int) {
	s.saves.observe(took)
	s.groupSaves.Add(int64(groups))
}

// Stats returns the host's counters.
func (h *Host) Stats() HostStats {
	return HostStats{
		Saves:         h.stats.saves.picture(),
		GroupSaves:    h.stats.groupSaves.Load(),
		Strangers:     h.stats.strangers.Load(),
		DroppedEvents: h.events.dropped.Load(),
		Storage:       h.storage.Usage(),
	}
}

// Stats are the counters of a member since its start.
type Stats struct {
	// Proposals is how long the commands took that were proposed here and
	// applied, from the call to the result.
	Proposals Histogram
	// Commands is the number of executed commands, and Applies has the durations of
	// the calls of Apply.
	Commands int64
	Applies  Histogram
	// Refused and Unknown are the numbers of commands that were proposed here and ended
	// with an error that matches [ErrRefused] or [ErrUnknown].
	Refused, Unknown int64
	// Reads is how long the calls of ReadIndex and Barrier took that succeeded.
	Reads Histogram
	// Leaders counts how often the member has become the leader, or has come to know
	// one.
	Leaders int64
	// SnapshotsSaved is the number of snapshots of the member's own,
	// SnapshotsInstalled the number of the leader's snapshots, SnapshotsPostponed the
	// number of attempts without room on the disk, and SnapshotBytesSent the size of the
	// chunks for other members.
	SnapshotsSaved, SnapshotsInstalled, SnapshotsPostponed, SnapshotBytesSent int64
	// Dropped is the number of messages that were malformed, or beyond
	// Config.MaxReceiveBytes.
	Dropped int64
}

type nodeStats struct {
	proposals histogram
	commands  atomic.Int64
	applies   histogram
	dropped   atomic.Int64
	refused   atomic.Int64
	unknown   atomic.Int64
	reads     histogram
	leaders   atomic.Int64

	snapshotsSaved, snapshotsInstalled, snapshotBytesSent atomic.Int64
}

// count counts the outcome of a proposal and returns the outcome.
func (s *nodeStats) count(err error) error {
	switch {
	case err == nil:
	case errors.Is(err, ErrRefused):
		s.refused.Add(1)
	default:
		s.unknown.Add(1)
	}
	return err
}

// Stats returns the member's counters.
func (n *Node) Stats() Stats {
	return Stats{
		Proposals: n.stats.proposals.picture(),
		Commands:  n.stats.commands.Load(),
		Applies:   n.stats.applies.picture(),
		Dropped:   n.stats.dropped.Load(),
		Refused:   n.stats.refused.Load(),
		Unknown:   n.stats.unknown.Load(),
		Reads:     n.stats.reads.picture(),
		Leaders:   n.stats.leaders.Load(),

		SnapshotsSaved:     n.stats.snapshotsSaved.Load(),
		SnapshotsInstalled: n.stats.snapshotsInstalled.Load(),
		SnapshotsPostponed: n.own.count.Load() + n.leaders.count.Load(),
		SnapshotBytesSent:  n.stats.snapshotBytesSent.Load(),
	}
}
