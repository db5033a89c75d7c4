package etcdapi

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"raftlab/mvcc"
	"raftlab/raft/core"
)

// Stats are figures of a server, for a page of metrics.
type Stats struct {
	Revision   int64 // of the store
	Compacted  int64 // revision of the last compaction, -1 before the first one
	Keys       int   // that exist
	Versions   int   // in memory
	Bytes      int64 // accounted size of the store
	QuotaBytes int64
	Leases     int
	Alarms     int
	Sessions   int // of writes, see Write

	Watches       int   // of this member's clients
	WatchStreams  int   // that carry the watches
	SlowWatches   int   // with events older than slowWatch
	EventsPending int   // not sent to watches yet
	EventsSent    int64 // since the start
	LeasesExpired int64 // that this member has revoked since the start
	LeasesRenewed int64 // by this member since the start

	Applied     mvcc.Counts // operations that this member has applied since the start, also those in the log before
	Ranges      int64       // reads of clients of this member, those of Applied not included
	ReadsFailed int64       // requests to the leader for the index of a linearizable read
	ReadsSlow   int64       // those of ReadsFailed that the leader did not answer within Config.RequestTimeout
	Pending     int         // writes of this member's clients under way
	Peers       []Peer
}

// Peer is another member.
type Peer struct {
	ID        core.NodeID
	Connected bool // this member has a connection to the other
}

// counters are the figures that no other part of the server knows.
type counters struct {
	events, expired, renewed, ranges, readsFailed, readsSlow atomic.Int64
}

// Stats returns the server's figures.
func (s *Server) Stats() Stats {
	p, watches := s.picture(), s.hub.figures()
	return Stats{
		Revision: p.view.Revision(), Compacted: p.view.Compacted(), Keys: p.view.Keys(), Versions: p.view.Versions(),
		Bytes: p.view.Size(), QuotaBytes: s.cfg.Quota, Leases: p.view.LeaseCount(), Alarms: len(p.alarms), Sessions: p.known,
		Watches: watches.running, WatchStreams: watches.streams, SlowWatches: watches.slow, EventsPending: watches.pending,
		EventsSent:    s.counters.events.Load(),
		LeasesExpired: s.counters.expired.Load(), LeasesRenewed: s.counters.renewed.Load(),
		Applied: p.counts, Ranges: s.counters.ranges.Load(), ReadsFailed: s.counters.readsFailed.Load(), ReadsSlow: s.counters.readsSlow.Load(),
		Pending: s.machine.pending(), Peers: s.peersConnected(p),
	}
}

// peersConnected returns the other members that have published their names, if the
// connections are known.
func (s *Server) peersConnected(p *picture) []Peer {
	if s.cfg.Connections == nil {
		return nil
	}
	var all []Peer
	for _, id := range slices.Sorted(maps.Keys(p.members)) {
		if id != s.node.ID() {
			all = append(all, Peer{id, s.cfg.Connections.lasting(id) > 0})
		}
	}
	return all
}

// hubFigures are the figures of a hub.
type hubFigures struct{ running, streams, slow, pending int }

func (h *hub) figures() hubFigures {
	h.mu.Lock()
	f := hubFigures{running: h.running}
	streams := slices.Collect(maps.Keys(h.streams))
	h.mu.Unlock()
	f.streams = len(streams)
	now := time.Now()
	for _, w := range streams {
		slow, pending := w.waiting(now)
		f.slow += slow
		f.pending += pending
	}
	return f
}

// slowWatch is the age of an unsent event in a slow watch. etcd brings slow watches up to
// date in this interval.
const slowWatch = 100 * time.Millisecond

// waiting returns the number of slow watches, and of unsent events.
func (w *watchStream) waiting(now time.Time) (slow, pending int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := func(one *watch) {
		pending += one.pending
		if now.Sub(one.behind) > slowWatch {
			slow++
		}
	}
	for _, one := range w.delivering {
		count(one)
	}
	for _, one := range w.marked {
		if !one.delivering {
			count(one)
		}
	}
	return slow, pending
}
