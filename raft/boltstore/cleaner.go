//go:build !wasip1

package boltstore

import (
	"maps"
	"slices"
	"sync"

	"raftlab/raft/node"
)

// cleanKeys bounds the values that one transaction of the cleaner removes. Tests
// make it less.
var cleanKeys = 1024

// cleaner is the goroutine that removes the leftovers of a store, in short
// transactions. When nothing is left, the cleaner compacts a wasteful file.
type cleaner struct {
	wake    chan struct{}
	stopped chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

func (c *cleaner) start(s *Store) {
	c.wake = make(chan struct{}, 1)
	c.stopped = make(chan struct{})
	c.notify()
	c.running.Go(func() {
		for {
			select {
			case <-c.stopped:
				return
			case <-c.wake:
			}
			s.clean()
		}
	})
}

// notify tells the cleaner that there is work.
func (c *cleaner) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine after the transaction under way, without waiting.
func (c *cleaner) stop() { c.once.Do(func() { close(c.stopped) }) }

func (c *cleaner) wait() { c.running.Wait() }

// clean removes all leftovers. A failure of a transaction is the failure of the
// store, and the next Save reports the failure.
func (s *Store) clean() {
	for {
		more, err := s.cleanSome()
		if err != nil {
			s.log.Error("the cleaning of the data file failed", "error", err)
			return
		}
		if !more {
			break
		}
	}
	s.compactIfWasteful()
}

// cleanSome removes as many leftovers as one transaction should, and reports
// whether there may be more.
func (s *Store) cleanSome() (more bool, err error) {
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	found := s.garbage
	found.bodies = maps.Clone(found.bodies)
	s.mu.Unlock()
	if s.closed || found.none() {
		return false, nil
	}
	var done leftovers
	err = s.commit(usesReserve, func(t *transaction) error {
		done, err = t.clean(&found, cleanKeys)
		return err
	})
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range done.compacted {
		delete(s.garbage.compacted, id)
	}
	for id := range done.removed {
		delete(s.garbage.removed, id)
	}
	for number := range done.bodies {
		delete(s.garbage.bodies, number)
	}
	return true, nil
}

func newLeftovers() leftovers {
	return leftovers{
		compacted: make(map[node.GroupID]struct{}),
		removed:   make(map[node.GroupID]struct{}),
		bodies:    make(map[uint64]struct{}),
	}
}

func (l *leftovers) none() bool { return len(l.compacted)+len(l.removed)+len(l.bodies) == 0 }

// clean removes up to limit values, and returns the leftovers that are gone.
func (t *transaction) clean(l *leftovers, limit int) (done leftovers, err error) {
	done = newLeftovers()
	for _, id := range slices.Sorted(maps.Keys(l.compacted)) {
		end := afterEntry(id, t.store.groups[id].CompactedIndex)
		if err := t.cleanLog(id, end, &limit); err != nil || limit <= 0 {
			return done, err
		}
		done.compacted[id] = struct{}{}
	}
	for _, id := range slices.Sorted(maps.Keys(l.removed)) {
		if err := t.cleanLog(id, afterGroup(id), &limit); err != nil || limit <= 0 {
			return done, err
		}
		done.removed[id] = struct{}{}
	}
	for _, number := range slices.Sorted(maps.Keys(l.bodies)) {
		n, _, err := deleteBetween(t.tx.Bucket(bodyBucket), bodyKey(number, 0), bodyKey(number+1, 0), limit)
		if limit -= n; err != nil || limit <= 0 {
			return done, err
		}
		done.bodies[number] = struct{}{}
	}
	return done, nil
}

// cleanLog removes the beginning of a log.
func (t *transaction) cleanLog(id node.GroupID, end []byte, limit *int) error {
	n, size, err := deleteBetween(t.log(), entryKey(id, 0), end, *limit)
	*limit -= n
	t.grown -= size
	return err
}
