package storagetest

import (
	"errors"
	"fmt"
	"hash/crc64"
	"sync"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// testRandomHistory saves random updates of a few groups, with now and then a
// reopening, and compares everything with the model.
func testRandomHistory(s *subject) {
	groups := []node.GroupID{1, 2, 3, 1000, 1 << 40}
	for step := range 400 {
		switch r := s.rand.IntN(100); {
		case r < 3:
			s.reopen()
		case r < 5:
			id := groups[s.rand.IntN(len(groups))]
			s.ok(s.Remove(id))
			delete(s.want, id)
		default:
			var updates []node.Update
			for _, i := range s.rand.Perm(len(groups))[:1+s.rand.IntN(len(groups))] {
				updates = append(updates, s.randomUpdate(groups[i]))
			}
			s.save(updates...)
		}
		if step%20 == 0 {
			s.check()
		}
		if s.rand.IntN(4) == 0 {
			s.randomRead(groups[s.rand.IntN(len(groups))])
		}
	}
	s.check()
}

// randomUpdate makes an update according to the model.
func (s *subject) randomUpdate(id node.GroupID) node.Update {
	g := s.group(id)
	after := *g // what the group is after the parts made so far
	u := node.Update{Group: id, HardState: &core.HardState{CurrentTerm: s.rand.Uint64N(1000), VotedFor: core.NodeID(s.rand.Uint64N(5))}}
	if s.rand.IntN(12) == 0 {
		index := g.snapshot.Index + 1 + s.rand.Uint64N(12)
		term := max(g.snapshot.Term, 1)
		if index <= g.last() && index > g.compacted {
			term = g.term(index)
		}
		if s.rand.IntN(3) == 0 {
			term = g.term(g.last()) + 1 // not the log's: received
		}
		header := s.write(id, index, term, s.body(s.rand.IntN(3000)))
		u.Snapshot = &header
		after.bodies = g.bodies
		after.apply(&node.Update{Snapshot: &header})
	}
	if span := after.snapshot.Index; span > 0 && s.rand.IntN(3) == 0 {
		u.CompactTo = s.rand.Uint64N(span + 1)
		after.apply(&node.Update{CompactTo: u.CompactTo})
	}
	if s.rand.IntN(5) > 0 {
		first := after.last() + 1
		if lowest := max(after.snapshot.Index, after.compacted) + 1; s.rand.IntN(6) == 0 {
			first = lowest + s.rand.Uint64N(first-lowest+1)
		}
		u.Entries = s.randomEntries(first, max(after.term(first-1), 1), s.rand.IntN(20))
	}
	return u
}

func (s *subject) randomEntries(first, term uint64, n int) []core.Entry {
	var made []core.Entry
	for i := range n {
		if s.rand.IntN(8) == 0 {
			term++
		}
		e := core.Entry{Index: first + uint64(i), Term: term, Data: s.body(s.rand.IntN(200))}
		switch s.rand.IntN(60) {
		case 0:
			e.Type = core.ConfigurationEntry
		case 1:
			e.Type, e.Data = core.NoOp, nil
		case 2:
			e.Data = s.body(20_000)
		}
		made = append(made, e)
	}
	return made
}

func (s *subject) randomRead(id node.GroupID) {
	g := s.want[id]
	if g == nil || len(g.entries) == 0 {
		return
	}
	lo := g.first() + s.rand.Uint64N(uint64(len(g.entries)))
	s.checkEntries(id, lo, lo+s.rand.Uint64N(g.last()-lo+1), s.rand.IntN(5000))
}

// testConcurrent calls all methods that are allowed during Save.
func testConcurrent(s *subject) {
	const groups, rounds = 3, 150
	for id := node.GroupID(1); id <= groups; id++ {
		s.save(node.Update{Group: id, Entries: entries(1, 1, 5)})
	}
	ready := make(chan named, 1)
	stop := make(chan struct{})
	failures := make(chan error, 3)
	var workers sync.WaitGroup
	workers.Go(func() { failures <- s.concurrentReads(stop, groups) })
	workers.Go(func() { failures <- s.concurrentSnapshots(stop, ready) })
	workers.Go(func() { failures <- s.concurrentSmallCalls(stop) })
	err := s.concurrentSaves(groups, rounds, ready)
	close(stop)
	workers.Wait()
	for range 3 {
		err = errors.Join(err, <-failures)
	}
	s.ok(err)
	for id := range s.want {
		s.checkGroup(id)
	}
}

// named is a committed snapshot, to be named by the next Save.
type named struct {
	header node.SnapshotHeader
	body   []byte
}

func (s *subject) concurrentSaves(groups node.GroupID, rounds int, ready <-chan named) error {
	for range rounds {
		var updates []node.Update
		for id := node.GroupID(1); id <= groups; id++ {
			updates = append(updates, node.Update{Group: id, Entries: entries(s.group(id).last()+1, 1, 3)})
		}
		select {
		case n := <-ready:
			updates[0].Snapshot = &n.header
			updates[0].CompactTo = n.header.Index - 2
			s.group(1).bodies = append(s.group(1).bodies, written(n))
		default:
		}
		if err := s.Save(updates); err != nil {
			return err
		}
		for i := range updates {
			s.group(updates[i].Group).apply(&updates[i])
		}
	}
	return nil
}

// concurrentReads reads entries of growing groups. The index determines the
// data of each entry.
func (s *subject) concurrentReads(stop <-chan struct{}, groups node.GroupID) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		id := 1 + node.GroupID(n)%groups
		state, err := s.Load(id)
		if err != nil {
			return err
		}
		lo := state.CompactedIndex + 1 + uint64(n)%(state.LastIndex-state.CompactedIndex)
		got, err := s.Entries(id, lo, state.LastIndex, 4000)
		if errors.Is(err, node.ErrCompacted) {
			continue
		}
		if err != nil {
			return err
		}
		for i, e := range got {
			if want := entries(lo+uint64(i), 1, 1)[0]; !sameEntry(e, want) {
				return fmt.Errorf("group %d: entry %d is %+v; want %+v", id, lo+uint64(i), e, want)
			}
		}
		time.Sleep(100 * time.Microsecond) // the writers wait for the disk
	}
}

// concurrentSnapshots writes snapshots of group 1 and reads the newest one.
func (s *subject) concurrentSnapshots(stop <-chan struct{}, ready chan<- named) error {
	for index := uint64(3); ; index += 2 {
		body := fmt.Appendf(nil, "everything up to %d", index)
		header, err := writeSnapshot(s.Storage, 1, node.SnapshotHeader{Index: index, Term: 1}, body, 7)
		if err != nil {
			return err
		}
		select {
		case ready <- named{header, body}:
		case <-stop:
			return nil
		}
		r, err := s.OpenSnapshot(1)
		if errors.Is(err, node.ErrNoSnapshot) {
			continue
		}
		if err != nil {
			return err
		}
		h := r.Header()
		err = readAll(r, fmt.Appendf(nil, "everything up to %d", h.Index))
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		if h.Size != uint64(len(fmt.Sprintf("everything up to %d", h.Index))) || h.Checksum != crc64.Checksum(fmt.Appendf(nil, "everything up to %d", h.Index), ecma) {
			return fmt.Errorf("the snapshot at %d has the header %+v", h.Index, h)
		}
	}
}

func (s *subject) concurrentSmallCalls(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := s.Groups(); err != nil {
			return err
		}
		if err := s.Remove(77); err != nil {
			return err
		}
		if u := s.Usage(); u.Log < 0 || u.Snapshots < 0 {
			return fmt.Errorf("the usage is %+v", u)
		}
	}
}
