// Package storagetest is the conformance test of [raft.Storage]. The test checks the
// needs of a Raft server through the interface alone. A test of the implementation
// calls [Run]:
//
//	func TestStorage(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storagetest.Open {
//			path := filepath.Join(t.TempDir(), "raft.db")
//			return func() (raft.Storage, error) { return mystore.Open(path) }
//		})
//	}
package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"raftlab/internal/testkit"
	"raftlab/raft"
	"raftlab/raft/core"
)

// Open opens one storage with the content of the calls before. The tests close a
// storage before the next call.
type Open func() (raft.Storage, error)

// Run runs the tests. fresh makes an empty storage for each test.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		test func(*subject)
	}{
		{"Empty", testEmpty},
		{"HardState", testHardState},
		{"Append", testAppend},
		{"Overwrite", testOverwrite},
		{"EntriesOfAnyKind", testEntriesOfAnyKind},
		{"SaveSnapshotDropsTheLog", testSaveSnapshot},
		{"SaveSnapshotOfTheWholeLog", testSnapshotOfAll},
		{"OlderSnapshotIsIgnored", testOlderSnapshot},
		{"ReceivedSnapshotReplacesAll", testReceived},
		{"LargeSnapshot", testLargeSnapshot},
		{"StateSize", testStateSize},
		{"CallerKeepsItsBytes", testAliasing},
		{"Close", testClose},
		{"RandomHistory", testRandom},
		{"Concurrent", testConcurrent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &subject{T: t, open: fresh(t)}
			s.reopen()
			defer s.close()
			tt.test(s)
		})
	}
}

// subject is the storage under test and a model of its content.
type subject struct {
	*testing.T
	open Open
	raft.Storage
	want core.Persistent // with the snapshot's data
}

func (s *subject) close() {
	s.Helper()
	if s.Storage == nil {
		return
	}
	if err := s.Storage.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	s.Storage = nil
}

func (s *subject) reopen() {
	s.Helper()
	s.close()
	storage, err := s.open()
	if err != nil {
		s.Fatalf("opening: %v", err)
	}
	s.Storage = storage
	s.check()
}

// check compares the storage with the model.
func (s *subject) check() {
	s.Helper()
	got, err := s.Load()
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	if got.Snapshot.Data != nil {
		s.Errorf("Load returned %d bytes of snapshot data; want none", len(got.Snapshot.Data))
	}
	if got.HardState != s.want.HardState {
		s.Fatalf("hard state %+v; want %+v", got.HardState, s.want.HardState)
	}
	if !slices.EqualFunc(got.Entries, s.want.Entries, sameEntry) {
		s.Fatalf("log %s\nwant %s", describe(got.Entries), describe(s.want.Entries))
	}
	snap, err := s.ReadSnapshot()
	if err != nil {
		s.Fatalf("ReadSnapshot: %v", err)
	}
	for _, end := range []core.Snapshot{got.Snapshot, snap} {
		if want := s.want.Snapshot; end.LastIncludedIndex != want.LastIncludedIndex || end.LastIncludedTerm != want.LastIncludedTerm {
			s.Fatalf("snapshot ends at %d/%d; want %d/%d", end.LastIncludedIndex, end.LastIncludedTerm,
				want.LastIncludedIndex, want.LastIncludedTerm)
		}
	}
	if !bytes.Equal(snap.Data, s.want.Snapshot.Data) {
		s.Fatalf("the snapshot at %d has other data than was saved (%d bytes; want %d)",
			snap.LastIncludedIndex, len(snap.Data), len(s.want.Snapshot.Data))
	}
}

func sameEntry(a, b core.Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

func describe(entries []core.Entry) string {
	if len(entries) == 0 {
		return "(empty)"
	}
	first, last := entries[0], entries[len(entries)-1]
	return fmt.Sprintf("%d/%d...%d/%d (%d entries)", first.Index, first.Term, last.Index, last.Term, len(entries))
}

// save saves an update, also in the model.
func (s *subject) save(u raft.Update) {
	s.Helper()
	if err := s.Save(u); err != nil {
		s.Fatalf("Save: %v", err)
	}
	if u.HardState != nil {
		s.want.HardState = *u.HardState
	}
	if u.Snapshot != nil {
		s.want.Snapshot, s.want.Entries = clone(*u.Snapshot), nil
	}
	if len(u.Entries) > 0 {
		kept := u.Entries[0].Index - s.want.Snapshot.LastIncludedIndex - 1
		s.want.Entries = slices.Concat(s.want.Entries[:kept], u.Entries)
	}
}

// saveSnapshot saves a snapshot of the server's own state, also in the model.
func (s *subject) saveSnapshot(snap core.Snapshot) {
	s.Helper()
	if err := s.SaveSnapshot(snap); err != nil {
		s.Fatalf("SaveSnapshot: %v", err)
	}
	before := s.want.Snapshot.LastIncludedIndex
	if snap.LastIncludedIndex <= before {
		return
	}
	dropped := min(snap.LastIncludedIndex-before, uint64(len(s.want.Entries)))
	s.want.Snapshot, s.want.Entries = clone(snap), s.want.Entries[dropped:]
}

func clone(snap core.Snapshot) core.Snapshot {
	snap.Data = bytes.Clone(snap.Data)
	return snap
}

// entries makes a run of entries of one term.
func entries(first, last, term uint64) []core.Entry {
	var es []core.Entry
	for i := first; i <= last; i++ {
		es = append(es, core.Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "command %d of term %d", i, term)})
	}
	return es
}

func testEmpty(s *subject) { s.reopen() }

func testHardState(s *subject) {
	for _, hs := range []core.HardState{{CurrentTerm: 1, VotedFor: 3}, {CurrentTerm: 2}, {CurrentTerm: 1 << 60, VotedFor: 1 << 60}} {
		s.save(raft.Update{HardState: &hs})
		s.check()
		s.reopen()
	}
}

func testAppend(s *subject) {
	s.save(raft.Update{Entries: entries(1, 3, 1)})
	s.check()
	s.save(raft.Update{HardState: &core.HardState{CurrentTerm: 2}, Entries: entries(4, 4, 2)})
	s.check()
	s.save(raft.Update{})
	s.reopen()
	s.save(raft.Update{Entries: entries(5, 300, 2)})
	s.reopen()
}

func testOverwrite(s *subject) {
	s.save(raft.Update{Entries: entries(1, 300, 1)})
	s.save(raft.Update{Entries: entries(200, 202, 2)})
	s.check()
	s.reopen()
	s.save(raft.Update{Entries: entries(203, 210, 3)})
	s.save(raft.Update{Entries: entries(1, 1, 4)})
	s.reopen()
}

func testEntriesOfAnyKind(s *subject) {
	s.save(raft.Update{Entries: []core.Entry{
		{Index: 1, Term: 1, Type: core.NoOp},
		{Index: 2, Term: 1, Data: []byte{}},
		{Index: 3, Term: 1, Data: []byte{0}},
		{Index: 4, Term: 1, Data: bytes.Repeat([]byte{0xc1, 0, 0xff}, 1<<20)},
		{Index: 5, Term: 1 << 62, Data: []byte("\x93\x01\x00")},
	}})
	s.check()
	s.reopen()
}

func testSaveSnapshot(s *subject) {
	s.save(raft.Update{HardState: &core.HardState{CurrentTerm: 1, VotedFor: 2}, Entries: entries(1, 10, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 4, LastIncludedTerm: 1, Data: []byte("four")})
	s.check()
	s.reopen()
	s.save(raft.Update{Entries: entries(11, 12, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 5, LastIncludedTerm: 1})
	s.reopen()
	s.save(raft.Update{Entries: entries(6, 6, 2)}) // replaces the whole log
	s.check()
	s.reopen()
}

func testSnapshotOfAll(s *subject) {
	s.save(raft.Update{Entries: entries(1, 10, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 10, LastIncludedTerm: 1, Data: []byte("all")})
	s.check()
	s.reopen()
	s.save(raft.Update{Entries: entries(11, 12, 2)})
	s.reopen()
}

func testOlderSnapshot(s *subject) {
	s.save(raft.Update{Entries: entries(1, 10, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 6, LastIncludedTerm: 1, Data: []byte("six")})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 6, LastIncludedTerm: 1, Data: []byte("six again")})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 3, LastIncludedTerm: 1, Data: []byte("three")})
	s.check()
	s.reopen()
}

func testReceived(s *subject) {
	s.save(raft.Update{Entries: entries(1, 500, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 3, LastIncludedTerm: 1, Data: []byte("own")})
	s.save(raft.Update{
		HardState: &core.HardState{CurrentTerm: 5},
		Snapshot:  &core.Snapshot{LastIncludedIndex: 400, LastIncludedTerm: 4, Data: []byte("the leader's")},
	})
	s.check()
	s.reopen()
	s.save(raft.Update{
		Snapshot: &core.Snapshot{LastIncludedIndex: 1000, LastIncludedTerm: 5, Data: []byte("a later one")},
		Entries:  entries(1001, 1003, 5),
	})
	s.check()
	s.reopen()
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 1002, LastIncludedTerm: 5, Data: []byte("own again")})
	s.reopen()
}

func testLargeSnapshot(s *subject) {
	data := make([]byte, 7<<20/2)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	s.save(raft.Update{Entries: entries(1, 10, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 4, LastIncludedTerm: 1, Data: data})
	s.check()
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 5, LastIncludedTerm: 1, Data: data[:1<<20]})
	s.reopen()
	s.save(raft.Update{Snapshot: &core.Snapshot{LastIncludedIndex: 50, LastIncludedTerm: 2, Data: data[1:]}})
	s.check()
	s.reopen()
}

func testStateSize(s *subject) {
	empty := s.StateSize()
	s.save(raft.Update{HardState: &core.HardState{CurrentTerm: 1}, Entries: entries(1, 1000, 1)})
	full := s.StateSize()
	if full < empty+1000 {
		s.Errorf("StateSize is %d with 1000 entries, and %d without", full, empty)
	}
	s.reopen()
	if again := s.StateSize(); again != full {
		s.Errorf("StateSize is %d, and %d after a restart", full, again)
	}
	for i := range uint64(8) {
		s.save(raft.Update{Entries: []core.Entry{{Index: 1001 + i, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 1<<20)}}})
	}
	full = s.StateSize()
	if full < empty+8<<20 {
		s.Errorf("StateSize is %d with 8 entries of 1 MiB", full)
	}
	s.reopen()
	if again := s.StateSize(); again != full {
		s.Errorf("StateSize is %d with large entries, and %d after a restart", full, again)
	}
	s.save(raft.Update{Entries: entries(1000, 1000, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 999, LastIncludedTerm: 1, Data: make([]byte, 1<<20)})
	if small := s.StateSize(); small < empty || small > empty+1000 {
		s.Errorf("StateSize is %d with one small entry; was %d when empty", small, empty)
	}
	s.save(raft.Update{Entries: entries(1000, 2000, 2)})
	s.save(raft.Update{Entries: entries(1001, 1001, 3)})
	s.save(raft.Update{Snapshot: &core.Snapshot{LastIncludedIndex: 5000, LastIncludedTerm: 3}})
	if small := s.StateSize(); small < 0 || small > empty+1000 {
		s.Errorf("StateSize is %d with an empty log; was %d at first", small, empty)
	}
}

func testAliasing(s *subject) {
	data := []byte("snapshot")
	s.save(raft.Update{Entries: entries(1, 2, 1)})
	s.saveSnapshot(core.Snapshot{LastIncludedIndex: 1, LastIncludedTerm: 1, Data: data})
	clear(data)
	s.check()
	s.reopen()
}

func testClose(s *subject) {
	s.save(raft.Update{Entries: entries(1, 2, 1)})
	closed := s.Storage
	s.close()
	if _, err := closed.Load(); err == nil {
		s.Error("Load after Close returned no error")
	}
	if err := closed.Save(raft.Update{Entries: entries(3, 3, 1)}); err == nil {
		s.Error("Save after Close returned no error")
	}
	if err := closed.SaveSnapshot(core.Snapshot{LastIncludedIndex: 1, LastIncludedTerm: 1}); err == nil {
		s.Error("SaveSnapshot after Close returned no error")
	}
	if _, err := closed.ReadSnapshot(); err == nil {
		s.Error("ReadSnapshot after Close returned no error")
	}
	s.reopen()
}

// testRandom makes a random history, like a server's, and compares after each
// operation.
func testRandom(s *subject) {
	rng := testkit.Rand(s)
	term := uint64(1)
	for range 200 * testkit.SoakFactor() {
		first := s.want.Snapshot.LastIncludedIndex + 1
		next := first + uint64(len(s.want.Entries))
		switch rng.IntN(10) {
		case 0:
			term++
			s.save(raft.Update{HardState: &core.HardState{CurrentTerm: term, VotedFor: core.NodeID(rng.IntN(4))}})
		case 1:
			s.saveSnapshot(core.Snapshot{
				LastIncludedIndex: first - 1 + rng.Uint64N(next-first+1),
				LastIncludedTerm:  term,
				Data:              bytes.Repeat([]byte{byte(term)}, rng.IntN(5000)),
			})
		case 2:
			at := next + rng.Uint64N(20)
			s.save(raft.Update{
				Snapshot: &core.Snapshot{LastIncludedIndex: at, LastIncludedTerm: term, Data: fmt.Appendf(nil, "at %d", at)},
				Entries:  entries(at+1, at+rng.Uint64N(3), term),
			})
		case 3:
			at := first + rng.Uint64N(next-first+1)
			s.save(raft.Update{HardState: &core.HardState{CurrentTerm: term}, Entries: entries(at, at+rng.Uint64N(5), term)})
		case 4:
			s.reopen()
		default:
			s.save(raft.Update{Entries: entries(next, next+rng.Uint64N(30), term)})
		}
		s.check()
	}
}

// testConcurrent saves entries, snapshots and reads at the same time, as a
// server does.
func testConcurrent(s *subject) {
	const last = 300
	var both sync.WaitGroup
	saved := make(chan uint64, last)
	both.Go(func() {
		defer close(saved)
		for i := uint64(1); i <= last; i++ {
			if err := s.Save(raft.Update{HardState: &core.HardState{CurrentTerm: i}, Entries: entries(i, i, 1)}); err != nil {
				s.Errorf("Save: %v", err)
				return
			}
			saved <- i
		}
	})
	data := make([]byte, 3<<19)
	both.Go(func() {
		for i := range saved {
			if i%20 != 0 {
				continue
			}
			if err := s.SaveSnapshot(core.Snapshot{LastIncludedIndex: i, LastIncludedTerm: 1, Data: data}); err != nil {
				s.Errorf("SaveSnapshot: %v", err)
			}
			if snap, err := s.ReadSnapshot(); err != nil || snap.LastIncludedIndex != i || !bytes.Equal(snap.Data, data) {
				s.Errorf("ReadSnapshot returned the one at %d, %d bytes, error %v; want the one at %d", snap.LastIncludedIndex, len(snap.Data), err, i)
			}
		}
	})
	both.Wait()
	s.want = core.Persistent{
		HardState: core.HardState{CurrentTerm: last},
		Snapshot:  core.Snapshot{LastIncludedIndex: last, LastIncludedTerm: 1, Data: data},
	}
	s.check()
	s.reopen()
}
