package storagetest

import (
	"bytes"
	"math"
	"slices"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

func testEmpty(s *subject) {
	state, err := s.Load(1)
	s.ok(err)
	if !sameState(&state, &node.State{}) {
		s.Fatalf("Load of a group that was never saved returned %+v", state)
	}
	_, err = s.Entries(1, 1, 1, 100)
	s.refused(err, node.ErrNotStored, "Entries of an empty group")
	_, err = s.OpenSnapshot(1)
	s.refused(err, node.ErrNoSnapshot, "OpenSnapshot of an empty group")
	s.save()
	s.ok(s.Remove(1))
}

func testIdentity(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 3)})
	if got := s.Identity(); got != identity {
		s.Fatalf("Identity returned %+v; want %+v", got, identity)
	}
	s.close()
	for _, stranger := range []node.Identity{
		{Cluster: identity.Cluster, Host: identity.Host + 1},
		{Cluster: identity.Cluster + "2", Host: identity.Host},
	} {
		storage, err := s.open(stranger)
		if err == nil {
			storage.Close()
		}
		s.refused(err, node.ErrStranger, "opening the storage of %+v as %+v", identity, stranger)
	}
}

func testHardState(s *subject) {
	for _, hs := range []core.HardState{
		{CurrentTerm: 1}, {CurrentTerm: 1, VotedFor: 3}, {CurrentTerm: math.MaxUint64, VotedFor: math.MaxUint64}, {},
	} {
		s.save(node.Update{Group: 5, HardState: &hs})
		s.reopen()
	}
	s.save(node.Update{Group: 5, HardState: &core.HardState{CurrentTerm: 9, VotedFor: 2}})
	s.save(node.Update{Group: 5, Entries: entries(1, 9, 2)})
	s.check() // the hard state stays
}

func testAppend(s *subject) {
	next := uint64(1)
	for i := range 40 {
		s.save(node.Update{
			Group:     1,
			HardState: &core.HardState{CurrentTerm: uint64(i + 1), VotedFor: 2},
			Entries:   entries(next, uint64(i/4+1), i%5+1),
		})
		next += uint64(i%5 + 1)
		s.check()
		if i%10 == 0 {
			s.reopen()
		}
	}
}

func testOverwrite(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 10)})
	for _, e := range []struct{ first, term, n uint64 }{{6, 2, 2}, {8, 2, 5}, {12, 3, 1}, {3, 4, 30}, {3, 5, 1}, {1, 6, 2}, {2, 6, 2}} {
		s.save(node.Update{Group: 1, Entries: entries(e.first, e.term, int(e.n))})
		s.check()
		if s.rand.IntN(2) == 0 {
			s.reopen()
		}
	}
	// The same index and term again, with other data.
	other := entries(2, 6, 1)
	other[0].Data = []byte("other")
	s.save(node.Update{Group: 1, Entries: other})
	s.check()
}

func testEntriesOfAnyKind(s *subject) {
	made := []core.Entry{
		{Term: 1, Data: nil},
		{Term: 1, Data: []byte{}},
		{Term: 1, Type: core.NoOp},
		{Term: 1, Type: core.ConfigurationEntry, Data: []byte("members")},
		{Term: 7, Type: 255, Data: []byte("of a later version")},
		{Term: 7, Data: make([]byte, 300)},
		{Term: 7, Data: bytes.Repeat([]byte{0xff, 0}, 35_000)},
		{Term: 1 << 62, Data: bytes.Repeat([]byte("raft"), 3<<18)},
		{Term: math.MaxUint64, Data: []byte("last")},
	}
	for i := range made {
		made[i].Index = uint64(i + 1)
	}
	s.save(node.Update{Group: math.MaxUint64, Entries: made})
	s.reopen()
	for i := range made {
		s.checkEntries(math.MaxUint64, uint64(i+1), uint64(i+1), 0)
		s.checkEntries(math.MaxUint64, uint64(i+1), uint64(len(made)), 1)
	}
}

func testEntriesBounds(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 50)})
	header := s.write(1, 20, 1, []byte("body"))
	s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: 10, Entries: entries(51, 1, 50)})
	for range 200 {
		lo := 11 + s.rand.Uint64N(90)
		hi := lo + s.rand.Uint64N(101-lo)
		s.checkEntries(1, lo, hi, s.rand.IntN(1000))
	}
	for _, c := range []struct {
		lo, hi uint64
		want   error
	}{
		{0, 5, node.ErrCompacted}, {1, 5, node.ErrCompacted}, {10, 50, node.ErrCompacted}, {10, 500, node.ErrCompacted},
		{11, 101, node.ErrNotStored}, {101, 101, node.ErrNotStored}, {500, math.MaxUint64, node.ErrNotStored},
	} {
		_, err := s.Entries(1, c.lo, c.hi, 100)
		s.refused(err, c.want, "Entries(%d, %d) of a log from 11 to 100", c.lo, c.hi)
	}
	if _, err := s.Entries(1, 30, 29, 100); err == nil {
		s.Fatal("Entries took a range that ends before it begins")
	}
}

func testManyGroups(s *subject) {
	const groups = 300
	for round := range 4 {
		var updates []node.Update
		for id := node.GroupID(1); id <= groups; id++ {
			if s.rand.IntN(4) == 0 {
				continue
			}
			u := node.Update{Group: id * id, HardState: &core.HardState{CurrentTerm: uint64(round + 1), VotedFor: core.NodeID(id)}}
			if s.rand.IntN(2) == 0 {
				next := uint64(1)
				if g := s.want[u.Group]; g != nil {
					next = g.last() + 1
				}
				u.Entries = entries(next, uint64(round+1), 1+s.rand.IntN(3))
			}
			updates = append(updates, u)
		}
		s.rand.Shuffle(len(updates), func(i, j int) { updates[i], updates[j] = updates[j], updates[i] })
		s.save(updates...)
		s.check()
	}
	s.reopen()
}

// refusedUpdates do not fit a group 1 with entries 1 to 20 in term 3, a snapshot at
// 10 and a log from 6 on.
func refusedUpdates() map[string]node.Update {
	gap := entries(21, 3, 3)
	gap[2].Index++
	falling := entries(21, 4, 2)
	falling[1].Term = 3
	return map[string]node.Update{
		"no group":                      {Entries: entries(1, 1, 1)},
		"a gap before the entries":      {Group: 1, Entries: entries(22, 3, 1)},
		"a gap in the entries":          {Group: 1, Entries: gap},
		"a term that falls":             {Group: 1, Entries: falling},
		"a term below the log's":        {Group: 1, Entries: entries(21, 2, 1)},
		"entries in the snapshot":       {Group: 1, Entries: entries(10, 3, 1)},
		"entries below the log":         {Group: 1, Entries: entries(3, 3, 1)},
		"entry 0":                       {Group: 1, Entries: entries(0, 3, 1)},
		"term 0":                        {Group: 2, Entries: entries(1, 0, 1)},
		"entries beyond a new log":      {Group: 2, Entries: entries(2, 1, 1)},
		"compaction past the snapshot":  {Group: 1, CompactTo: 11},
		"compaction without a snapshot": {Group: 2, CompactTo: 1},
		"a snapshot of nobody":          {Group: 1, Snapshot: &node.SnapshotHeader{Index: 15, Term: 3, Size: 3}},
		"the snapshot again":            {Group: 1, Snapshot: &node.SnapshotHeader{Index: 10, Term: 3}},
		"an older snapshot":             {Group: 1, Snapshot: &node.SnapshotHeader{Index: 8, Term: 3}},
		"a snapshot at 0":               {Group: 2, Snapshot: &node.SnapshotHeader{}},
	}
}

func (s *subject) prepareRefusals() {
	s.save(node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 3}, Entries: entries(1, 3, 20)})
	header := s.write(1, 10, 3, []byte("body"))
	s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: 5})
}

func testRefusedUpdates(s *subject) {
	s.prepareRefusals()
	updates := refusedUpdates()
	for _, name := range slices.Sorted(mapKeys(updates)) {
		u := updates[name]
		u.HardState = &core.HardState{CurrentTerm: 99, VotedFor: 9}
		s.refused(s.Save([]node.Update{u}), node.ErrUpdate, "%s", name)
		s.check()
	}
}

func testRefusedBatch(s *subject) {
	s.prepareRefusals()
	good := node.Update{Group: 3, HardState: &core.HardState{CurrentTerm: 9}, Entries: entries(1, 1, 3)}
	updates := refusedUpdates()
	for _, name := range slices.Sorted(mapKeys(updates)) {
		s.refused(s.Save([]node.Update{good, updates[name]}), node.ErrUpdate, "a good update, then one with %s", name)
	}
	again := node.Update{Group: 3, HardState: &core.HardState{CurrentTerm: 10}}
	s.refused(s.Save([]node.Update{good, again}), node.ErrUpdate, "two updates of one group")
	s.check()
	s.save(good) // refusals do not end the use of a storage
}

func testCallerKeepsItsSlices(s *subject) {
	updates := []node.Update{{Group: 1, HardState: &core.HardState{CurrentTerm: 1}, Entries: entries(1, 1, 5)}}
	s.save(updates...)
	s.group(1).entries = slices.Clone(s.group(1).entries)
	updates[0].HardState.CurrentTerm = 77
	for i := range updates[0].Entries {
		updates[0].Entries[i] = core.Entry{Index: 77, Term: 77, Data: []byte("reused")}
	}
	updates[0] = node.Update{}
	s.check()

	header := s.write(1, 3, 1, []byte("body"))
	named := header
	named.Configuration = bytes.Clone(header.Configuration)
	s.save(node.Update{Group: 1, Snapshot: &named})
	clear(named.Configuration)
	s.check()
}

func testResultsStay(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 30)})
	before, err := s.Entries(1, 1, 30, 1<<20)
	s.ok(err)
	state, err := s.Load(1)
	s.ok(err)
	kept := slices.Clone(before)
	s.save(node.Update{Group: 1, Entries: entries(5, 2, 3)})
	s.save(node.Update{Group: 1, Entries: entries(8, 3, 40)})
	header := s.write(1, 20, 3, []byte("body"))
	s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: 20, Entries: entries(48, 3, 40)})
	if !slices.EqualFunc(before, kept, sameEntry) || !slices.EqualFunc(kept, entries(1, 1, 30), sameEntry) {
		s.Fatalf("what Entries returned has changed to %s", describe(before))
	}
	if want := []node.TermRun{{First: 1, Term: 1}}; !slices.Equal(state.Terms, want) {
		s.Fatalf("the terms that Load returned have changed to %v", state.Terms)
	}
	state, err = s.Load(1)
	s.ok(err)
	clear(state.Terms)
	clear(state.Snapshot.Configuration)
	s.check()
}
