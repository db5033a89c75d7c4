package mvcc

import (
	"slices"
	"sort"
)

// Compact gives up the revisions before revision. Of each key stay the version that
// is current at revision and all later ones. Compact takes constant time. The memory
// is released by [Store.Scavenge] and by the following writes.
//
// A revision that is compacted already is [ErrCompacted], and one above the current
// revision [ErrFutureRevision].
func (s *Store) Compact(revision int64) error {
	switch {
	case revision <= s.state.compacted:
		return ErrCompacted
	case revision > s.state.revision:
		return ErrFutureRevision
	}
	s.state.compacted = revision
	s.scavenged = s.state.events.begin
	return nil
}

// Advance raises the revision without a change. A store that was restored from an older
// snapshot advances beyond the revisions that clients have seen since the snapshot, so
// that no revision gets a second meaning. A revision up to the current one changes
// nothing.
func (s *Store) Advance(revision int64) { s.state.revision = max(s.state.revision, revision) }

// Scavenge releases the memory of compacted versions, of at most max changes of keys,
// and reports whether more is left. No result of the store or of its views depends on
// the time of Scavenge, except for sizes and numbers of versions. A View keeps what it
// had.
func (s *Store) Scavenge(max int) (more bool) {
	log := &s.state.events
	for range max {
		if !s.unscavenged() {
			break
		}
		s.release(log.at(s.scavenged).Key)
		s.scavenged++
	}
	// The events of the compacted revision itself stay readable.
	begin := log.begin
	for begin < s.scavenged && log.at(begin).ModRevision < s.state.compacted {
		begin++
	}
	s.scavenged -= log.trim(begin)
	return s.unscavenged()
}

// unscavenged reports whether the next event is compacted.
func (s *Store) unscavenged() bool {
	log := &s.state.events
	return s.scavenged < log.end && log.at(s.scavenged).ModRevision <= s.state.compacted
}

// release drops the compacted versions of a key.
func (s *Store) release(key string) {
	r, ok := s.state.keys.Get(key)
	if !ok {
		return
	}
	drop, count := s.state.firstKept(r), r.count()
	if drop == 0 {
		return
	}
	s.state.versions -= drop
	for i := range drop {
		s.state.bytes -= int64(len(r.at(i).Value))
	}
	if drop == count {
		s.state.bytes -= int64(len(key))
		s.state.keys.Delete(key)
		s.state.gone.Delete(key) // the last version is a tombstone
		return
	}
	fresh := record{last: r.last}
	if drop < count-1 {
		fresh.old = &history{slices.Clone(r.old.versions[drop:])}
	}
	s.state.keys.Set(key, fresh)
}

// firstKept returns the place of the first version of a record that the last
// compaction leaves, and the number of versions if there is none. The compaction leaves
// the version that is current at the compacted revision, and all later ones. A
// tombstone of the compacted revision itself stays, because the deletion is an event
// that watchers may ask for. An earlier tombstone goes.
func (s *state) firstKept(r record) int {
	later := sort.Search(r.count(), func(i int) bool { return r.at(i).ModRevision > s.compacted })
	if later == 0 {
		return 0
	}
	if v := r.at(later - 1); v.deleted && v.ModRevision < s.compacted {
		return later
	}
	return later - 1
}
