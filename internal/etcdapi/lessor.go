package etcdapi

import (
	"context"
	"sync"
	"time"

	"raftlab/mvcc"
)

// lessorInterval is how often the leader looks for expired leases.
const lessorInterval = 500 * time.Millisecond

// maxRevokes bounds the leases that the leader revokes in an interval, and
// maxCheckpoints the leases in a log entry.
const (
	maxRevokes     = 500
	maxCheckpoints = 1000
)

// lessor keeps the deadlines of the leases while the member leads.
type lessor struct {
	server *Server

	mu        sync.Mutex
	term      uint64 // in which this member keeps the deadlines, 0 for none
	deadlines map[int64]time.Time
	recorded  time.Time // of the last checkpoint
}

func newLessor(s *Server) *lessor { return &lessor{server: s} }

// shortest returns the shortest time to live that is granted, in seconds.
func (l *lessor) shortest() int64 {
	return int64((l.server.cfg.Node.ElectionTimeout*3/2 + time.Second - 1) / time.Second)
}

// run takes over the deadlines when the member leads, and revokes expired leases, until
// ctx ends.
func (l *lessor) run(ctx context.Context) {
	ticks := time.NewTicker(lessorInterval)
	defer ticks.Stop()
	for {
		changed := l.server.node.Changed()
		term, leads := l.server.node.Leadership()
		switch {
		case !leads:
			l.demote()
		case !l.keeps(term):
			l.promote(ctx, term)
		default:
			l.expire(ctx)
			l.record(ctx)
		}
		select {
		case <-ticks.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (l *lessor) demote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.deadlines = 0, nil
}

// keeps reports whether the member keeps the deadlines in a term.
func (l *lessor) keeps(term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term
}

// promote gives each lease its whole time, or what the last checkpoint has left, from now
// on. The time is never shorter than with the former leader.
func (l *lessor) promote(ctx context.Context, term uint64) {
	limited, cancel := context.WithTimeout(ctx, l.server.cfg.RequestTimeout)
	defer cancel()
	if _, err := l.server.node.ReadIndex(limited); err != nil {
		return // the next tick tries again
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	view := l.server.picture().view
	l.term, l.deadlines, l.recorded = term, make(map[int64]time.Time), time.Now()
	for _, lease := range view.Leases() {
		l.deadlines[lease.ID] = time.Now().Add(duration(lease))
	}
}

// duration returns the time of a lease for a new leader.
func duration(lease mvcc.Lease) time.Duration {
	seconds := lease.TTL
	if lease.Remaining > 0 {
		seconds = lease.Remaining
	}
	return time.Duration(seconds) * time.Second
}

// deadline returns the deadline of a lease, which begins now if the lease is new. l.mu is
// held.
func (l *lessor) deadline(lease mvcc.Lease) time.Time {
	d, ok := l.deadlines[lease.ID]
	if !ok {
		d = time.Now().Add(duration(lease))
		l.deadlines[lease.ID] = d
	}
	return d
}

// forget drops the deadlines of revoked leases, because a new lease may take the id of a
// revoked one. Under l.mu, a deadline belongs to the lease that the picture has. So publish,
// which makes the picture, runs under l.mu.
func (l *lessor) forget(revoked []int64, publish func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	publish()
	for _, id := range revoked {
		delete(l.deadlines, id)
	}
}

// renew gives a lease its whole time again. An expired lease is not renewed, because its
// revocation may be in the log.
func (l *lessor) renew(id int64) (mvcc.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, ok := l.server.picture().view.Lease(id)
	if !ok || l.term == 0 || !time.Now().Before(l.deadline(lease)) {
		return mvcc.Lease{}, false
	}
	l.deadlines[id] = time.Now().Add(time.Duration(lease.TTL) * time.Second)
	return lease, true
}

// left returns the time left of a lease, 0 for an expired one.
func (l *lessor) left(id int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, ok := l.server.picture().view.Lease(id)
	if !ok || l.term == 0 {
		return 0
	}
	return max(time.Until(l.deadline(lease)), 0)
}

// expire revokes the leases whose time is over.
func (l *lessor) expire(ctx context.Context) {
	var revocations sync.WaitGroup
	for _, id := range l.expired() {
		revocations.Go(func() {
			_, err := l.server.propose(ctx, &entry{caller: caller{own: true}, command: &mvcc.Command{Revoke: &mvcc.RevokeCommand{Lease: id}}})
			if err != nil {
				l.server.log.Debug("revoking an expired lease", "lease", id, "error", err)
				return
			}
			l.server.counters.expired.Add(1)
		})
	}
	revocations.Wait()
}

func (l *lessor) expired() (ids []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	leases, now := l.server.picture().view.Leases(), time.Now()
	if l.term == 0 {
		return nil
	}
	granted := make(map[int64]time.Time, len(leases))
	for _, lease := range leases {
		d := l.deadline(lease)
		granted[lease.ID] = d
		if !now.Before(d) && len(ids) < maxRevokes {
			ids = append(ids, lease.ID)
		}
	}
	l.deadlines = granted // without those that are revoked
	return ids
}

// record writes the time left of the leases that live longer than the interval of
// checkpoints.
func (l *lessor) record(ctx context.Context) {
	interval := l.server.cfg.CheckpointInterval
	l.mu.Lock()
	if l.term == 0 || time.Since(l.recorded) < interval {
		l.mu.Unlock()
		return
	}
	l.recorded = time.Now()
	leases := l.server.picture().view.Leases()
	var all []mvcc.LeaseCheckpoint
	for _, lease := range leases {
		if time.Duration(lease.TTL)*time.Second > interval {
			left := int64((time.Until(l.deadline(lease)) + time.Second - 1) / time.Second)
			all = append(all, mvcc.LeaseCheckpoint{Lease: lease.ID, Remaining: max(left, 1)})
		}
	}
	l.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), maxCheckpoints)
		if err := l.server.checkpoint(ctx, all[:n]); err != nil {
			l.server.log.Debug("recording the time left of leases", "error", err)
			return
		}
		all = all[n:]
	}
}
