package etcdapi

import (
	"context"
	"time"
)

// AutoCompaction has the settings of compactions by the leader. One of the fields is set,
// or none for no compactions.
type AutoCompaction struct {
	// Age compacts revisions that are older.
	Age time.Duration
	// Revisions is the number of revisions to keep.
	Revisions int64
}

// Intervals of compactions, as etcd's.
const (
	revisionInterval = 5 * time.Minute // between compactions by number
	maxAgeInterval   = time.Hour       // between compactions by age
	ageSamples       = 10              // samples of the revision in an interval
)

// interval returns the time between two looks at the revision.
func (a AutoCompaction) interval() time.Duration {
	if a.Revisions > 0 {
		return revisionInterval
	}
	return max(min(a.Age, maxAgeInterval)/ageSamples, time.Millisecond)
}

// sample is the store's revision at a time.
type sample struct {
	at       time.Time
	revision int64
}

// compactor compacts old revisions while the member leads.
type compactor struct {
	server  *Server
	samples []sample // oldest first, of at most Age and one more
	last    time.Time
}

// run compacts until ctx ends.
func (c *compactor) run(ctx context.Context) {
	ticks := time.NewTicker(c.server.cfg.AutoCompaction.interval())
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		if !c.server.node.IsLeader() {
			c.samples = nil // another leader has samples of its own
			continue
		}
		if revision := c.target(time.Now(), c.server.picture().view.Revision()); revision > 0 {
			c.compact(ctx, revision)
		}
	}
}

// target returns the revision to compact now, 0 for none.
func (c *compactor) target(now time.Time, current int64) int64 {
	rules := c.server.cfg.AutoCompaction
	if rules.Revisions > 0 {
		return max(current-rules.Revisions, 0)
	}
	c.samples = append(c.samples, sample{now, current})
	old := 0 // the newest sample of the age
	for old+1 < len(c.samples) && now.Sub(c.samples[old+1].at) >= rules.Age {
		old++
	}
	c.samples = c.samples[old:]
	first := c.samples[0]
	if now.Sub(first.at) < rules.Age || now.Sub(c.last) < min(rules.Age, maxAgeInterval) {
		return 0
	}
	c.last = now
	return first.revision
}

// compact compacts a revision, if the revision is not compacted already.
func (c *compactor) compact(ctx context.Context, revision int64) {
	s := c.server
	if revision <= s.picture().view.Compacted() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if err := s.compactHistory(limited, revision); err != nil {
		s.log.Warn("old revisions were not compacted; the next interval tries again", "revision", revision, "error", err)
		return
	}
	s.log.Info("old revisions were compacted", "revision", revision)
}
