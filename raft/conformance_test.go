package raft_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"raftlab/internal/testkit"
	"raftlab/raft"
	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
	"raftlab/raft/node/storagetest"
)

// The storage over a Persister serves a lab's server, which has one group, fixed members
// and no log from before a snapshot. Its host makes no wrong update. The suite wants
// more, so shelf adds these things and leaves the terms, votes, entries and
// snapshots to Persisters.
func TestStorageOverPersisters(t *testing.T) {
	storagetest.Run(t, uint64(testkit.Seed(t)), func(*testing.T) storagetest.Open {
		s := &shelf{}
		return s.open
	})
}

// shelf is a node.Storage with a Persister for each group.
type shelf struct {
	identity node.Identity
	groups   map[node.GroupID]*persisted
}

// persisted is a group on a Persister.
type persisted struct {
	node.Storage // over ps, replaced at each opening
	ps           *raft.Persister
	state        storekit.Group // the suite's rules, and the configurations
	trailing     []core.Entry   // between state.CompactedIndex and the snapshot
	complete     []node.SnapshotHeader
}

// openShelf is a shelf from the opening to the end.
type openShelf struct {
	*shelf
	mu     sync.Mutex
	closed bool
}

func (s *shelf) open(id node.Identity) (node.Storage, error) {
	if s.groups == nil {
		s.identity, s.groups = id, make(map[node.GroupID]*persisted)
	}
	if id != s.identity {
		return nil, node.ErrStranger
	}
	for _, g := range s.groups {
		var err error
		g.ps = g.ps.Copy() // as the harness does for a crash
		if g.Storage, err = raft.OpenPersister(g.ps); err != nil {
			return nil, err
		}
		g.complete = nil
	}
	return &openShelf{shelf: s}, nil
}

func newPersisted() *persisted {
	g := &persisted{ps: raft.MakePersister()}
	var err error
	if g.Storage, err = raft.OpenPersister(g.ps); err != nil {
		panic(err) // a new Persister is empty
	}
	return g
}

// group returns a group, an empty one if the shelf has none. The lock is held.
func (s *openShelf) group(id node.GroupID) *persisted {
	if g := s.groups[id]; g != nil {
		return g
	}
	return newPersisted()
}

func (s *openShelf) lock() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return node.ErrStorageClosed
	}
	return nil
}

func (s *openShelf) Identity() node.Identity { return s.identity }

func (s *openShelf) Groups() ([]node.GroupID, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []node.GroupID
	for id, g := range s.groups {
		if g.ps.RaftStateSize() > 0 {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all, nil
}

func (s *openShelf) Load(id node.GroupID) (node.State, error) {
	if err := s.lock(); err != nil {
		return node.State{}, err
	}
	defer s.mu.Unlock()
	g := s.group(id)
	got, err := g.Storage.Load(1)
	if err != nil {
		return got, err
	}
	state := g.state.Clone()
	behind := slices.Clone(state.Terms) // the runs behind the snapshot
	for len(behind) > 1 && behind[1].First <= state.Snapshot.Index+1 {
		behind = behind[1:]
	}
	if len(behind) > 0 {
		behind[0].First = max(behind[0].First, state.Snapshot.Index+1)
	}
	if state.LastIndex == state.Snapshot.Index {
		behind = nil
	}
	if got.CompactedIndex != state.Snapshot.Index || got.CompactedTerm != state.Snapshot.Term || !slices.Equal(got.Terms, behind) {
		return got, fmt.Errorf("group %d: the Persister has %+v; want %+v", id, got, state)
	}
	got.Snapshot.Configuration = state.Snapshot.Configuration
	state.HardState, state.Snapshot, state.LastIndex = got.HardState, got.Snapshot, got.LastIndex
	return state, nil
}

func (s *openShelf) Save(updates []node.Update) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := storekit.CheckUnique(updates); err != nil {
		return err
	}
	for i := range updates {
		u := &updates[i]
		g := s.group(u.Group)
		if err := g.state.Check(u); err != nil {
			return err
		}
		same := func(h node.SnapshotHeader) bool { return storekit.SameHeader(&h, u.Snapshot) }
		if u.Snapshot != nil && !slices.ContainsFunc(g.complete, same) {
			return storekit.Uncommitted(u.Group, u.Snapshot)
		}
	}
	for i := range updates {
		if err := s.save(&updates[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *openShelf) save(u *node.Update) error {
	g := s.group(u.Group)
	s.groups[u.Group] = g
	update := *u
	update.Entries = slices.Clone(u.Entries)
	for i := range update.Entries {
		update.Entries[i].Data = slices.Clone(update.Entries[i].Data)
	}
	if u.Snapshot != nil {
		h := storekit.CloneHeader(*u.Snapshot)
		update.Snapshot = &h
		if g.state.Agrees(&h) && h.Index > g.state.Snapshot.Index {
			part, err := g.Storage.Entries(1, g.state.Snapshot.Index+1, h.Index, 1<<30)
			if err != nil {
				return err
			}
			g.trailing = append(g.trailing, part...)
		} else {
			g.trailing = nil
		}
	}
	if err := g.Storage.Save([]node.Update{update}); err != nil {
		return err
	}
	g.state.Apply(&update)
	g.trailing = slices.DeleteFunc(g.trailing, func(e core.Entry) bool { return e.Index <= g.state.CompactedIndex })
	return nil
}

func (s *openShelf) Entries(id node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g := s.group(id)
	if err := g.state.CheckRange(id, lo, hi); err != nil {
		return nil, err
	}
	if behind := g.state.Snapshot.Index + 1; lo >= behind {
		return g.Storage.Entries(1, lo, hi, maxBytes)
	}
	var part []core.Entry
	for _, e := range g.trailing {
		if e.Index >= lo && e.Index <= hi {
			part = append(part, e)
		}
	}
	if behind := g.state.Snapshot.Index + 1; hi >= behind {
		rest, err := g.Storage.Entries(1, behind, hi, 1<<30)
		if err != nil {
			return nil, err
		}
		part = append(part, rest...)
	}
	for i := range part {
		if maxBytes -= len(part[i].Data); maxBytes < 0 && i > 0 {
			return part[:i], nil
		}
	}
	return part, nil
}

func (s *openShelf) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := storekit.CheckHeader(id, &header); err != nil {
		return nil, err
	}
	g := s.groups[id]
	if g == nil {
		g = newPersisted()
		s.groups[id] = g
	}
	w, err := g.CreateSnapshot(1, header)
	return &shelfWriter{SnapshotWriter: w, shelf: s, group: g, configuration: slices.Clone(header.Configuration)}, err
}

// shelfWriter adds the configuration to a snapshot's header.
type shelfWriter struct {
	node.SnapshotWriter
	shelf         *openShelf
	group         *persisted
	configuration []byte
	ended, gone   bool
}

func (w *shelfWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, node.ErrUpdate
	}
	return w.SnapshotWriter.Write(p)
}

func (w *shelfWriter) Finish() error {
	if w.gone {
		return node.ErrUpdate
	}
	w.ended = true
	return w.SnapshotWriter.Finish()
}

func (w *shelfWriter) Abort() {
	w.gone = true
	w.SnapshotWriter.Abort()
}

func (w *shelfWriter) Commit() (node.SnapshotHeader, error) {
	if w.gone {
		return node.SnapshotHeader{}, node.ErrUpdate
	}
	w.ended, w.gone = true, true
	if err := w.shelf.lock(); err != nil {
		return node.SnapshotHeader{}, err
	}
	defer w.shelf.mu.Unlock()
	header, err := w.SnapshotWriter.Commit()
	header.Configuration = w.configuration
	if err == nil {
		w.group.complete = append(w.group.complete, storekit.CloneHeader(header))
	}
	return header, err
}

func (s *openShelf) OpenSnapshot(id node.GroupID) (node.SnapshotReader, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g := s.group(id)
	r, err := g.Storage.OpenSnapshot(1)
	if err != nil {
		return nil, err
	}
	return shelfReader{r, slices.Clone(g.state.Snapshot.Configuration)}, nil
}

type shelfReader struct {
	node.SnapshotReader
	configuration []byte
}

func (r shelfReader) Header() node.SnapshotHeader {
	h := r.SnapshotReader.Header()
	h.Configuration = r.configuration
	return h
}

func (s *openShelf) Remove(id node.GroupID) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.groups, id)
	return nil
}

func (s *openShelf) Usage() (sum node.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range maps.Values(s.groups) {
		u := g.Storage.Usage()
		sum.Log += u.Log
		sum.Snapshots += u.Snapshots
	}
	return sum
}

func (s *openShelf) Close() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.closed = true
	for _, g := range s.groups {
		if err := g.Storage.Close(); err != nil {
			return err
		}
	}
	return nil
}
