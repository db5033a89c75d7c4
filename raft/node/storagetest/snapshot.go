package storagetest

import (
	"iter"
	"maps"
	"math"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// body makes a snapshot's body of n random bytes.
func (s *subject) body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rand.Uint32())
	}
	return b
}

// The log agrees with the snapshot and stays (Figure 13, step 6).
func testOwnSnapshot(s *subject) {
	s.save(node.Update{Group: 1, Entries: append(entries(1, 1, 10), entries(11, 2, 10)...)})
	for _, at := range []struct{ index, term uint64 }{{5, 1}, {10, 1}, {11, 2}, {20, 2}} {
		header := s.write(1, at.index, at.term, s.body(100))
		s.save(node.Update{Group: 1, Snapshot: &header})
		s.check()
		s.reopen()
	}
	s.save(node.Update{Group: 1, Entries: entries(21, 2, 3)})
}

// The log does not agree with the snapshot and is dropped (Figure 13, step 7).
func testReceivedSnapshot(s *subject) {
	for id, c := range []struct{ entries, index, term uint64 }{
		{0, 10, 3},  // no log
		{5, 10, 3},  // a log that ends before
		{10, 10, 3}, // another entry at the snapshot's end
		{20, 10, 3}, // another entry there, and more behind
		{20, 10, 1}, // agrees: step 6
		{20, 21, 1}, // one past the end
		{0, math.MaxUint64 - 10, math.MaxUint64},
	} {
		group := node.GroupID(id + 1)
		u := node.Update{Group: group, HardState: &core.HardState{CurrentTerm: 1}}
		if c.entries > 0 {
			u.Entries = entries(1, 1, int(c.entries))
		}
		s.save(u)
		header := s.write(group, c.index, c.term, s.body(1000))
		s.save(node.Update{Group: group, Snapshot: &header})
		s.check()
		s.reopen()
		last := s.group(group).last()
		s.save(node.Update{Group: group, Entries: entries(last+1, c.term, 3)})
		s.check()
	}
	// A snapshot, a compaction and the entries behind in one update.
	s.save(node.Update{Group: 50, Entries: entries(1, 1, 3)})
	header := s.write(50, 8, 2, s.body(10))
	s.save(node.Update{
		Group: 50, HardState: &core.HardState{CurrentTerm: 2, VotedFor: 1},
		Snapshot: &header, CompactTo: 8, Entries: entries(9, 2, 4),
	})
	s.check()
}

func testCompaction(s *subject) {
	s.save(node.Update{Group: 2, Entries: entries(1, 1, 1100)})
	s.check() // reads all at once
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 40)})
	config := core.Entry{Index: 41, Term: 2, Type: core.ConfigurationEntry, Data: []byte("members")}
	s.save(node.Update{Group: 1, Entries: append([]core.Entry{config}, entries(42, 2, 40)...)})
	header := s.write(1, 60, 2, s.body(50))
	s.save(node.Update{Group: 1, Snapshot: &header})
	for _, to := range []uint64{10, 40, 7, 0, 41, 59, 60} {
		s.save(node.Update{Group: 1, CompactTo: to})
		s.check()
		if s.rand.IntN(2) == 0 {
			s.reopen()
		}
	}
	header = s.write(1, 81, 2, s.body(50))
	s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: 81}) // nothing is left
	s.reopen()
	s.save(node.Update{Group: 1, Entries: entries(82, 2, 1)})
}

func testSnapshotCountsWhenNamed(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 20)})
	half, err := s.CreateSnapshot(1, node.SnapshotHeader{Index: 9, Term: 1})
	s.ok(err)
	_, err = half.Write([]byte("half"))
	s.ok(err)
	lost := s.write(1, 7, 1, s.body(30))
	s.check()
	half.Abort()
	half.Abort()
	if _, err := half.Commit(); err == nil {
		s.Fatal("Commit of an aborted snapshot succeeded")
	}
	s.reopen()
	s.refused(s.Save([]node.Update{{Group: 1, Snapshot: &lost}}), node.ErrUpdate,
		"naming a snapshot that was committed before the storage was closed")

	// Two writers, one snapshot counts, and the older one is gone then.
	five, six := s.write(1, 5, 1, s.body(60)), s.write(1, 6, 1, s.body(50))
	s.save(node.Update{Group: 1, Snapshot: &six})
	s.check()
	s.refused(s.Save([]node.Update{{Group: 1, Snapshot: &five}}), node.ErrUpdate, "naming an older snapshot")
	// The header distinguishes two snapshots of one index.
	one, two := s.write(1, 8, 1, []byte("one")), s.write(1, 8, 1, []byte("another"))
	s.save(node.Update{Group: 1, Snapshot: &one})
	s.check()
	s.refused(s.Save([]node.Update{{Group: 1, Snapshot: &two}}), node.ErrUpdate, "naming a snapshot of the same index")
}

func testSnapshotBodies(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 20)})
	for i, size := range []int{0, 1, 4095, 4096, 65536, 65537, 1_000_003} {
		header := s.write(1, uint64(i+1), 1, s.body(size))
		s.save(node.Update{Group: 1, Snapshot: &header})
		s.check()
		s.reopen()
	}
	// Commit compares a received header with the body.
	body := s.body(5000)
	received := s.write(1, 15, 1, body)
	header, err := writeSnapshot(s.Storage, 1, received, body, 700)
	s.ok(err)
	s.save(node.Update{Group: 1, Snapshot: &header})
	// Finish ends the body. Commit and Abort may follow.
	for _, commit := range []bool{false, true} {
		w, err := s.CreateSnapshot(1, received)
		s.ok(err)
		s.ok(writeBody(w, body, 700))
		s.ok(w.Finish())
		if _, err := w.Write([]byte{1}); err == nil {
			s.Fatal("Write after Finish succeeded")
		}
		if commit {
			_, err = w.Commit()
			s.ok(err)
			continue
		}
		w.Abort()
		if err := w.Finish(); err == nil {
			s.Fatal("Finish of an aborted snapshot succeeded")
		}
	}
	long := node.SnapshotHeader{Index: 16, Term: 1, Configuration: s.body(node.MaxConfigurationBytes)}
	header, err = writeSnapshot(s.Storage, 1, long, body, 700)
	s.ok(err)
	s.group(1).bodies = append(s.group(1).bodies, written{header, body})
	s.save(node.Update{Group: 1, Snapshot: &header})
}

func testSnapshotRefused(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 20)})
	for name, header := range map[string]node.SnapshotHeader{
		"index 0":                      {Term: 1},
		"term 0":                       {Index: 1},
		"a configuration that is long": {Index: 1, Term: 1, Configuration: make([]byte, node.MaxConfigurationBytes+1)},
	} {
		_, err := s.CreateSnapshot(1, header)
		s.refused(err, node.ErrUpdate, "CreateSnapshot with %s", name)
	}
	_, err := s.CreateSnapshot(0, node.SnapshotHeader{Index: 1, Term: 1})
	s.refused(err, node.ErrUpdate, "CreateSnapshot of group 0")

	body := s.body(1000)
	good := s.write(1, 5, 1, body)
	shorter, other := good, good
	shorter.Size--
	other.Checksum++
	for _, header := range []node.SnapshotHeader{shorter, other} {
		w, err := s.CreateSnapshot(1, header)
		s.ok(err)
		_, err = w.Write(body)
		s.ok(err)
		_, err = w.Commit()
		s.refused(err, node.ErrDamaged, "Commit of a body that differs from its header")
		if _, err := w.Write(body); err == nil {
			s.Fatal("Write after Commit succeeded")
		}
	}
	s.check()
}

func testSnapshotReader(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 20)})
	bodies := [][]byte{s.body(200_000), s.body(100), s.body(3)}
	var readers []node.SnapshotReader
	for i, body := range bodies {
		header := s.write(1, uint64(i+1), 1, body)
		s.save(node.Update{Group: 1, Snapshot: &header})
		r, err := s.OpenSnapshot(1)
		s.ok(err)
		readers = append(readers, r)
	}
	s.ok(s.Remove(1))
	delete(s.want, 1)
	for i, r := range readers {
		if r.Header().Index != uint64(i+1) {
			s.Fatalf("the reader of the snapshot at %d has the header %+v", i+1, r.Header())
		}
		s.ok(readAll(r, bodies[i]))
		s.ok(r.Close())
	}
}

func testRemove(s *subject) {
	for id := node.GroupID(1); id <= 3; id++ {
		s.save(node.Update{Group: id, HardState: &core.HardState{CurrentTerm: 5}, Entries: entries(1, 1, 20)})
		header := s.write(id, 5, 1, s.body(500))
		s.save(node.Update{Group: id, Snapshot: &header, CompactTo: 3})
	}
	unnamed := s.write(2, 9, 1, s.body(500))
	s.ok(s.Remove(2))
	delete(s.want, 2)
	s.check()
	state, err := s.Load(2)
	s.ok(err)
	if !sameState(&state, &node.State{}) {
		s.Fatalf("a removed group has the state %+v", state)
	}
	s.refused(s.Save([]node.Update{{Group: 2, Snapshot: &unnamed}}), node.ErrUpdate, "naming a removed group's snapshot")
	s.reopen()
	s.save(node.Update{Group: 2, Entries: entries(1, 4, 2)}) // the id is used anew
	s.reopen()
	s.ok(s.Remove(2))
	s.ok(s.Remove(2))
	s.ok(s.Remove(99))
	delete(s.want, 2)
}

func testUsage(s *subject) {
	empty := s.Usage()
	s.save(node.Update{Group: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: s.body(3 << 20)}}})
	full := s.Usage()
	if full.Log < 3<<20 || full.Log < empty.Log {
		s.Fatalf("Usage is %+v with 3 MiB in the log, and %+v in an empty storage", full, empty)
	}
	header := s.write(1, 1, 1, s.body(1<<20))
	s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: 1})
	if u := s.Usage(); u.Snapshots < 1<<20 || u.Snapshots > 2<<20 {
		s.Fatalf("Usage is %+v with a snapshot of 1 MiB", u)
	}
	// No update can name a snapshot that is not newer. Its body does not stay.
	s.write(1, header.Index, 1, s.body(1<<20))
	s.write(1, header.Index, 1, s.body(1<<20))
	if u := s.Usage(); u.Snapshots > 2<<20 {
		s.Fatalf("Usage is %+v with a snapshot of 1 MiB, and after the commit of two that are not newer", u)
	}
	s.ok(s.Remove(1))
	delete(s.want, 1)
	if u := s.Usage(); u.Snapshots != 0 {
		s.Fatalf("Usage is %+v without a group", u)
	}
}

func testClose(s *subject) {
	s.save(node.Update{Group: 1, Entries: entries(1, 1, 3)})
	header := s.write(1, 2, 1, s.body(10))
	s.save(node.Update{Group: 1, Snapshot: &header})
	w, err := s.CreateSnapshot(1, node.SnapshotHeader{Index: 3, Term: 1})
	s.ok(err)
	closed := s.Storage
	s.close()
	_, err = closed.Groups()
	s.refused(err, node.ErrStorageClosed, "Groups")
	_, err = closed.Load(1)
	s.refused(err, node.ErrStorageClosed, "Load")
	s.refused(closed.Save([]node.Update{{Group: 1, Entries: entries(4, 1, 1)}}), node.ErrStorageClosed, "Save")
	_, err = closed.Entries(1, 1, 1, 1)
	s.refused(err, node.ErrStorageClosed, "Entries")
	_, err = closed.CreateSnapshot(1, node.SnapshotHeader{Index: 3, Term: 1})
	s.refused(err, node.ErrStorageClosed, "CreateSnapshot")
	_, err = w.Commit()
	s.refused(err, node.ErrStorageClosed, "Commit")
	_, err = closed.OpenSnapshot(1)
	s.refused(err, node.ErrStorageClosed, "OpenSnapshot")
	s.refused(closed.Remove(1), node.ErrStorageClosed, "Remove")
	s.refused(closed.Close(), node.ErrStorageClosed, "Close")
	if closed.Identity() != identity {
		s.Fatal("a closed storage forgot its identity")
	}
}
