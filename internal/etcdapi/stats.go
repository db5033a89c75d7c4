package etcdapi

import "sync/atomic"

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
	WatchStreams  int64 // that carry the watches
	EventsSent    int64 // since the start
	LeasesExpired int64 // that this member has revoked since the start
}

// counters are the figures that no other part of the server knows.
type counters struct {
	streams, events, expired atomic.Int64
}

// Stats returns the server's figures.
func (s *Server) Stats() Stats {
	p := s.picture()
	return Stats{
		Revision: p.view.Revision(), Compacted: p.view.Compacted(), Keys: p.view.Keys(), Versions: p.view.Versions(),
		Bytes: p.view.Size(), QuotaBytes: s.cfg.Quota, Leases: p.view.LeaseCount(), Alarms: len(p.alarms), Sessions: p.known,
		Watches: s.hub.count(), WatchStreams: s.counters.streams.Load(), EventsSent: s.counters.events.Load(),
		LeasesExpired: s.counters.expired.Load(),
	}
}

// count returns the number of watches.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}
