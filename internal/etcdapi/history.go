package etcdapi

import (
	"context"
	"errors"
	"time"

	"raftlab/mvcc"
)

const (
	// minHistory is the size of the history from which on the leader compacts it, in
	// bytes, if the keys are smaller.
	minHistory = 32 << 20
	// roomShare divides the room that the quota leaves beside the keys. The history gets
	// one share, and four shares for changes of the last historyAge.
	roomShare = 8
	// historyAge is the age of changes that a compaction leaves to slow watches, unless
	// the history has outgrown its bound four times over.
	historyAge = 5 * time.Second
)

// historian decides when the leader compacts the history of the store. See
// Config.BoundHistory.
type historian struct {
	// moments are revisions of the last historyAge, at intervals, and one before.
	moments []moment
}

type moment struct {
	at       time.Time
	revision int64
}

// due notes the store's revision, and returns the revision for a compaction, 0 for no
// compaction.
func (h *historian) due(view *mvcc.View, quota int64, now time.Time) (revision int64) {
	h.moments = append(h.moments, moment{now, view.Revision()})
	for len(h.moments) > 1 && now.Sub(h.moments[1].at) >= historyAge {
		h.moments = h.moments[1:]
	}
	bound := min(max(view.KeysSize(), minHistory), max(quota-view.KeysSize(), 0)/roomShare)
	history := view.Size() - view.KeysSize()
	switch oldest := h.moments[0]; {
	case history > 4*bound:
		revision = view.Revision()
	case history > bound && now.Sub(oldest.at) >= historyAge:
		revision = oldest.revision
	}
	if revision <= max(view.Compacted(), 1) {
		return 0
	}
	return revision
}

// boundHistory has the leader compact the history of the store, until ctx ends.
func (s *Server) boundHistory(ctx context.Context) {
	var h historian
	for ctx.Err() == nil {
		s.pause(s.cfg.Node.ElectionTimeout)
		if s.machine.released(ctx) != nil {
			return // ctx has ended
		}
		revision := h.due(s.picture().view, s.cfg.Quota, time.Now())
		if revision == 0 || !s.node.IsLeader() {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		err := s.compactHistory(limited, revision)
		cancel()
		if err != nil {
			s.log.Debug("compacting the history", "revision", revision, "error", err)
		}
	}
}

// compactHistory compacts a revision. A revision that is compacted already is no failure.
func (s *Server) compactHistory(ctx context.Context, revision int64) error {
	if revision <= s.picture().view.Compacted() {
		return nil
	}
	o, err := s.propose(ctx, &entry{caller: caller{own: true}, command: &mvcc.Command{Compact: &mvcc.CompactCommand{Revision: revision}}})
	if err == nil && !errors.Is(o.err, mvcc.ErrCompacted) {
		err = answer(o.err)
	}
	return err
}
