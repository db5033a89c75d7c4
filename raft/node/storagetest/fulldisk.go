package storagetest

import (
	"errors"
	"hash/crc64"
	"testing"

	"raftlab/raft/node"
)

// RunOnFullDisk checks that a full disk costs a storage its snapshots, and not the log.
// fresh makes an empty storage for each test, and returns limit too. limit leaves the disk
// of the storage some more bytes of room. A negative number ends the limit.
//
// A storage may write pages ahead of their use. So limit counts room that is not set aside
// for the storage yet.
func RunOnFullDisk(t *testing.T, seed uint64, fresh func(t *testing.T) (open Open, limit func(more int64))) {
	for _, tt := range []struct {
		name string
		size int
	}{{"Empty", 0}, {"Small", 1000}, {"Blocks", 300_000}, {"Large", 3_000_000}} {
		t.Run(tt.name, func(t *testing.T) {
			open, limit := fresh(t)
			s := &subject{T: t, open: open, rand: newRand(t, seed), want: make(map[node.GroupID]*model)}
			s.reopen()
			defer s.close()
			testFullDisk(s, limit, tt.size)
			s.reopen()
		})
	}
}

// log appends entries in saves of their own.
func (s *subject) log(n int) {
	s.Helper()
	for range n {
		s.save(node.Update{Group: 1, Entries: entries(s.group(1).last()+1, 1, 1)})
	}
}

// testFullDisk writes snapshots, the member's own and a leader's, with more room from one
// attempt to the next.
func testFullDisk(s *subject, limit func(more int64), size int) {
	const logged = 20 // saves that find room while a snapshot does not
	s.log(10)
	for _, leaders := range []bool{false, true} {
		refused := 0
		for more := int64(0); ; more = 2*more + 500 {
			if more > 1<<30 {
				s.Fatalf("no snapshot of %d bytes succeeds", size)
			}
			limit(more)
			header := s.attempt(size, leaders, func() { limit(0) })
			s.log(logged)
			if header != nil {
				s.save(node.Update{Group: 1, Snapshot: header, CompactTo: header.Index - 1})
				break
			}
			refused++
			s.check()
			if refused%4 == 0 {
				s.reopen()
			}
		}
		if size > 1<<20 && refused == 0 {
			s.Fatalf("a snapshot of %d bytes succeeded on a full disk", size)
		}
		s.reopen()
		limit(-1)
		body := s.body(size)
		header := s.write(1, s.group(1).last(), 1, body)
		s.save(node.Update{Group: 1, Snapshot: &header, CompactTo: header.Index})
		s.log(logged)
		s.check()
		s.reopen() // a file that is removed late is room for the next snapshot
	}
}

// attempt writes a snapshot, and returns nil if the disk has no room. Between Finish and
// Commit, attempt calls fill.
func (s *subject) attempt(size int, leaders bool, fill func()) *node.SnapshotHeader {
	s.Helper()
	g, body := s.group(1), s.body(size)
	header := node.SnapshotHeader{Index: g.last(), Term: 1}
	if leaders {
		header.Size, header.Checksum = uint64(size), crc64.Checksum(body, ecma)
	}
	w, err := s.CreateSnapshot(1, header)
	if err == nil {
		defer w.Abort()
		err = writeBody(w, body, 1+s.rand.IntN(100_000))
	}
	if err == nil {
		err = w.Finish()
	}
	if errors.Is(err, node.ErrNoRoom) {
		return nil
	}
	s.ok(err)
	if n, err := w.Write([]byte{1}); n != 0 || err == nil {
		s.Fatal("Write after Finish succeeded")
	}
	fill()
	header, err = w.Commit()
	if err != nil {
		s.Fatalf("Commit after Finish: %v", err)
	}
	g.bodies = append(g.bodies, written{header, body})
	return &header
}
