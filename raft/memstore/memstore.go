// Package memstore keeps the groups of a host in memory. The package is the
// [node.Storage] for tests and for hosts without durable state.
//
//	store := memstore.New(node.Identity{Cluster: "test", Host: 1})
//
// To restart a host, a test closes the host's store and calls [Store.Reopen]
// for a new store with the same content. [Store.BeforeSave] simulates a disk
// that hangs, is full or fails.
//
// Save and Entries copy no data. Save keeps the data of the entries, and
// Entries returns slices of the store's own log.
package memstore

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// Store is a [node.Storage] in memory.
type Store struct {
	identity node.Identity
	before   atomic.Pointer[func([]node.Update) error]
	*content
	failed error // the first failure of Save
}

var _ node.Storage = (*Store)(nil)

// content is shared by all stores in a chain of Reopen calls.
type content struct {
	mu     sync.Mutex // never held across a blocking call
	open   *Store     // the store that may be used, nil if none
	groups map[node.GroupID]*group
	ready  map[node.GroupID][]snapshot // committed, not named by an Update
}

// group is the stored state of one group.
type group struct {
	storekit.Group
	entries entryList // from CompactedIndex+1 on
	bytes   int64     // size of entries
	body    []byte    // of the newest snapshot
}

// snapshot is a committed snapshot.
type snapshot struct {
	header node.SnapshotHeader
	body   []byte
}

// entryOverhead is the size of an entry without data in [node.Usage], in bytes.
const entryOverhead = 48

// New returns an empty store. New panics if the identity has no host, or a
// cluster's name of less than 1 or more than 255 bytes.
func New(identity node.Identity) *Store {
	if err := storekit.CheckIdentity(identity); err != nil {
		panic(wrap(err))
	}
	s := &Store{identity: identity, content: &content{groups: make(map[node.GroupID]*group)}}
	s.open = s
	return s
}

// Reopen closes the store, unless the store is closed, and returns a new store
// with the same content. The new store has no failure of Save and no
// BeforeSave.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &Store{identity: s.identity, content: s.content}
	s.open, s.ready = next, nil
	return next
}

// BeforeSave makes each Save call f first. While f blocks, Save blocks, as on a
// hanging disk. An error of f is the error of this Save and of all later ones,
// and nothing is stored any more. nil ends the calls.
func (s *Store) BeforeSave(f func([]node.Update) error) {
	if f == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&f)
}

// Identity implements [node.Storage].
func (s *Store) Identity() node.Identity { return s.identity }

// wrap adds the context to an error.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("memstore: %w", err)
}

// lock locks the store unless it is closed.
func (s *Store) lock() error {
	s.mu.Lock()
	if s.open != s {
		s.mu.Unlock()
		return wrap(node.ErrStorageClosed)
	}
	return nil
}

// Groups implements [node.Storage].
func (s *Store) Groups() ([]node.GroupID, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.groups)), nil
}

// Load implements [node.Storage].
func (s *Store) Load(id node.GroupID) (node.State, error) {
	if err := s.lock(); err != nil {
		return node.State{}, err
	}
	defer s.mu.Unlock()
	return s.group(id).Clone(), nil
}

// Save implements [node.Storage].
func (s *Store) Save(updates []node.Update) error {
	if f := s.before.Load(); f != nil {
		if err := (*f)(updates); err != nil {
			s.fail(err)
		}
	}
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.failed != nil {
		return wrap(s.failed)
	}
	if err := s.check(updates); err != nil {
		return wrap(err)
	}
	for i := range updates {
		s.apply(&updates[i])
	}
	return nil
}

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// check refuses a Save as a whole, before anything changes.
func (s *Store) check(updates []node.Update) error {
	if err := storekit.CheckUnique(updates); err != nil {
		return err
	}
	for i := range updates {
		u := &updates[i]
		if err := s.group(u.Group).Check(u); err != nil {
			return err
		}
		if u.Snapshot != nil && s.find(u.Group, u.Snapshot) < 0 {
			return storekit.Uncommitted(u.Group, u.Snapshot)
		}
	}
	return nil
}

// group returns a group, or an empty one if the store does not hold the group.
func (s *Store) group(id node.GroupID) *group {
	if g := s.groups[id]; g != nil {
		return g
	}
	return &group{}
}

// find returns the place in s.ready of a group's snapshot with a header, or -1.
func (s *Store) find(id node.GroupID, h *node.SnapshotHeader) int {
	return slices.IndexFunc(s.ready[id], func(r snapshot) bool { return storekit.SameHeader(&r.header, h) })
}

// apply stores a checked update.
func (s *Store) apply(u *node.Update) {
	g := s.group(u.Group)
	s.groups[u.Group] = g
	own := *u
	if u.Snapshot != nil {
		named := s.ready[u.Group][s.find(u.Group, u.Snapshot)]
		own.Snapshot, g.body = &named.header, named.body
		s.ready[u.Group] = slices.DeleteFunc(s.ready[u.Group], func(r snapshot) bool {
			return r.header.Index <= named.header.Index
		})
	}
	before := g.CompactedIndex
	own.Entries = nil
	g.Apply(&own)
	switch {
	case g.CompactedIndex == g.LastIndex:
		g.compact(g.entries.length)
	case g.CompactedIndex > before:
		g.compact(int(g.CompactedIndex - before))
	}
	if len(u.Entries) > 0 {
		g.Apply(&node.Update{Group: u.Group, Entries: u.Entries})
		g.append(u.Entries)
	}
}

func sizeOf(e *core.Entry) int64 { return int64(len(e.Data)) + entryOverhead }

// compact drops n entries at the beginning of the log.
func (g *group) compact(n int) {
	for e := range g.entries.all(0, n) {
		g.bytes -= sizeOf(e)
	}
	g.entries.drop(n)
}

// append adds entries, in the place of those from the first one's index on.
func (g *group) append(entries []core.Entry) {
	kept := int(entries[0].Index - g.CompactedIndex - 1)
	for e := range g.entries.all(kept, g.entries.length) {
		g.bytes -= sizeOf(e)
	}
	g.entries.truncate(kept)
	for i := range entries {
		g.bytes += sizeOf(&entries[i])
	}
	g.entries.append(entries)
}

// Entries implements [node.Storage]. The result is a part of the store's log.
// Later changes of the log leave the result alone.
func (s *Store) Entries(id node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g := s.group(id)
	if err := g.CheckRange(id, lo, hi); err != nil {
		return nil, wrap(err)
	}
	first, end := int(lo-g.CompactedIndex-1), int(hi-g.CompactedIndex)
	count, bytes := 0, 0
	for e := range g.entries.all(first, end) {
		if bytes += len(e.Data); bytes > maxBytes && count > 0 {
			break
		}
		count++
	}
	return g.entries.slice(first, first+count), nil
}

// Remove implements [node.Storage].
func (s *Store) Remove(id node.GroupID) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.failed != nil {
		return wrap(s.failed)
	}
	delete(s.groups, id)
	delete(s.ready, id)
	return nil
}

// Usage implements [node.Storage].
func (s *Store) Usage() node.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var u node.Usage
	for _, g := range s.groups {
		u.Log += g.bytes
		u.Snapshots += int64(len(g.body))
	}
	for _, ready := range s.ready {
		for _, r := range ready {
			u.Snapshots += int64(len(r.body))
		}
	}
	return u
}

// Close implements [node.Storage].
func (s *Store) Close() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.open, s.ready = nil, nil
	return nil
}
