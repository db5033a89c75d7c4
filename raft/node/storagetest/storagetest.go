// Package storagetest is the conformance test of [node.Storage]. The suite
// checks the promises of the interface through the interface alone. A test of
// an implementation calls Run:
//
//	func TestStorage(t *testing.T) {
//		storagetest.Run(t, 0, func(t *testing.T) storagetest.Open {
//			dir := t.TempDir()
//			return func(id node.Identity) (node.Storage, error) { return mystore.Open(dir, id) }
//		})
//	}
//
// RunOnFullDisk is a second suite, for storages that go on when the disk is full
// ([node.ErrNoRoom]).
//
// The package registers no flag and needs no other package of the project's
// tests.
package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Open opens a storage. The first call creates the storage for the identity,
// and later calls find the saved content. The suite closes a storage before the
// next call. For another identity than the first, the error matches
// [node.ErrStranger].
type Open func(id node.Identity) (node.Storage, error)

// Run runs the suite. fresh makes an empty storage for each test. Random choices
// come from the seed, or from the test's name if the seed is 0.
func Run(t *testing.T, seed uint64, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		test func(*subject)
	}{
		{"Empty", testEmpty},
		{"Identity", testIdentity},
		{"HardState", testHardState},
		{"Append", testAppend},
		{"Overwrite", testOverwrite},
		{"EntriesOfAnyKind", testEntriesOfAnyKind},
		{"EntriesBounds", testEntriesBounds},
		{"ManyGroups", testManyGroups},
		{"RefusedUpdates", testRefusedUpdates},
		{"RefusedBatch", testRefusedBatch},
		{"OwnSnapshot", testOwnSnapshot},
		{"ReceivedSnapshot", testReceivedSnapshot},
		{"Compaction", testCompaction},
		{"SnapshotCountsWhenNamed", testSnapshotCountsWhenNamed},
		{"SnapshotBodies", testSnapshotBodies},
		{"SnapshotRefused", testSnapshotRefused},
		{"SnapshotReaderOutlivesSnapshot", testSnapshotReader},
		{"Remove", testRemove},
		{"CallerKeepsItsSlices", testCallerKeepsItsSlices},
		{"ResultsStayAsTheyWere", testResultsStay},
		{"Usage", testUsage},
		{"Close", testClose},
		{"RandomHistory", testRandomHistory},
		{"Concurrent", testConcurrent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &subject{T: t, open: fresh(t), rand: newRand(t, seed), want: make(map[node.GroupID]*model)}
			s.reopen()
			defer s.close()
			tt.test(s)
			s.reopen()
		})
	}
}

func newRand(t *testing.T, seed uint64) *rand.Rand {
	if seed == 0 {
		h := fnv.New64a()
		h.Write([]byte(t.Name()))
		seed = h.Sum64()
	}
	return rand.New(rand.NewPCG(seed, 0))
}

var identity = node.Identity{Cluster: "storagetest", Host: 7}

// subject is the storage under test and a model of the expected content.
type subject struct {
	*testing.T
	node.Storage
	open Open
	rand *rand.Rand
	want map[node.GroupID]*model
}

func (s *subject) close() {
	s.Helper()
	if s.Storage == nil {
		return
	}
	s.ok(s.Storage.Close())
	s.Storage = nil
}

// reopen closes and opens the storage and compares the whole content.
func (s *subject) reopen() {
	s.Helper()
	s.close()
	storage, err := s.open(identity)
	s.ok(err)
	s.Storage = storage
	s.check()
}

func (s *subject) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// refused ends the test unless err matches want.
func (s *subject) refused(err, want error, what string, args ...any) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("%s: error %v; want one that matches %q", fmt.Sprintf(what, args...), err, want)
	}
}

// save saves updates, in the model too.
func (s *subject) save(updates ...node.Update) {
	s.Helper()
	s.ok(s.Save(updates))
	for i := range updates {
		s.group(updates[i].Group).apply(&updates[i])
	}
}

func (s *subject) group(id node.GroupID) *model {
	g := s.want[id]
	if g == nil {
		g = &model{}
		s.want[id] = g
	}
	return g
}

// check compares the content of the storage with the model.
func (s *subject) check() {
	s.Helper()
	groups, err := s.Groups()
	s.ok(err)
	if want := slices.Sorted(maps.Keys(s.want)); !slices.Equal(groups, want) {
		s.Fatalf("Groups returned %v; want %v", groups, want)
	}
	for _, id := range groups {
		s.checkGroup(id)
	}
}

func (s *subject) checkGroup(id node.GroupID) {
	s.Helper()
	g := s.group(id)
	got, err := s.Load(id)
	s.ok(err)
	if want := g.state(); !sameState(&got, &want) {
		s.Fatalf("group %d: Load returned\n%+v; want\n%+v", id, got, want)
	}
	if len(g.entries) > 0 {
		s.checkEntries(id, g.first(), g.last(), 1<<30)
	}
	if g.snapshot.Index > 0 {
		s.checkSnapshot(id)
	} else if _, err := s.OpenSnapshot(id); !errors.Is(err, node.ErrNoSnapshot) {
		s.Fatalf("group %d: OpenSnapshot without a snapshot: error %v", id, err)
	}
}

// checkEntries reads entries. If maxBytes has room for all, all must come.
func (s *subject) checkEntries(id node.GroupID, lo, hi uint64, maxBytes int) {
	s.Helper()
	got, err := s.Entries(id, lo, hi, maxBytes)
	if err != nil {
		s.Fatalf("group %d: Entries(%d, %d, %d): %v", id, lo, hi, maxBytes, err)
	}
	want := s.group(id).slice(lo, hi)
	size := 0
	for i := range got {
		size += len(got[i].Data)
	}
	switch {
	case len(got) == 0 || len(got) > len(want) || !slices.EqualFunc(got, want[:len(got)], sameEntry):
		s.Fatalf("group %d: Entries(%d, %d, %d) returned %s\nwant %s", id, lo, hi, maxBytes, describe(got), describe(want))
	case len(got) > 1 && size > maxBytes+slack:
		s.Fatalf("group %d: Entries(%d, %d, %d) returned %d bytes", id, lo, hi, maxBytes, size)
	case len(got) < len(want) && size+len(want[len(got)].Data) < maxBytes-slack*len(want):
		s.Fatalf("group %d: Entries(%d, %d, %d) returned only %d entries with %d bytes", id, lo, hi, maxBytes, len(got), size)
	}
}

// slack is the size that an implementation may count for an entry without data.
const slack = 64

func (s *subject) checkSnapshot(id node.GroupID) {
	s.Helper()
	g := s.group(id)
	r, err := s.OpenSnapshot(id)
	s.ok(err)
	defer r.Close()
	if header := r.Header(); !sameHeader(&header, &g.snapshot) {
		s.Fatalf("group %d: the snapshot's header is %+v; want %+v", id, header, g.snapshot)
	}
	if err := readAll(r, g.body); err != nil {
		s.Fatalf("group %d: the snapshot at %d: %v", id, g.snapshot.Index, err)
	}
}

func sameEntry(a, b core.Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

func sameHeader(a, b *node.SnapshotHeader) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Size == b.Size && a.Checksum == b.Checksum &&
		bytes.Equal(a.Configuration, b.Configuration)
}

func sameState(a, b *node.State) bool {
	return a.HardState == b.HardState && sameHeader(&a.Snapshot, &b.Snapshot) &&
		a.CompactedIndex == b.CompactedIndex && a.CompactedTerm == b.CompactedTerm && a.LastIndex == b.LastIndex &&
		slices.Equal(a.Terms, b.Terms) && slices.Equal(a.ConfigIndexes, b.ConfigIndexes)
}

func describe(entries []core.Entry) string {
	if len(entries) == 0 {
		return "no entries"
	}
	first, last := entries[0], entries[len(entries)-1]
	return fmt.Sprintf("%d/%d...%d/%d (%d entries, %.40q...)", first.Index, first.Term, last.Index, last.Term, len(entries), first.Data)
}
