package core_test

import (
	"errors"
	"testing"

	"raftlab/raft/core"
)

func chunked(cfg *core.Config) { cfg.SnapshotChunkBytes, cfg.LeaderNoOp = 10, true }

// chunk is a piece of a snapshot of 25 bytes that ends at 9/1.
func chunk(offset uint64, n int) core.InstallSnapshot {
	return core.InstallSnapshot{Term: 1, LastIncludedIndex: 9, LastIncludedTerm: 1, Chunked: true, Configuration: core.Configuration{Voters: ids(1, 2, 3)},
		Data: make([]byte, n), Offset: offset, Size: 25, Checksum: 77, Done: offset+uint64(n) == 25}
}

// offer steps a chunk and returns the Ready that it causes.
func (s *server) offer(from core.NodeID, req core.InstallSnapshot) core.Ready {
	s.t.Helper()
	req.LeaderID = from
	s.step(from, &req)
	return s.Ready()
}

// wantOffset looks for a reply that asks for the snapshot's bytes from offset on.
func wantOffset(t *testing.T, rd core.Ready, offset uint64) {
	t.Helper()
	reps := sent[*core.InstallSnapshotReply](rd.AfterSave, core.None)
	if len(reps) != 1 || reps[0].MatchIndex != 0 || reps[0].LastIncludedIndex != 9 || reps[0].Offset != offset {
		t.Fatalf("replies %v; want one with offset %d", reps, offset)
	}
}

// Figure 13: chunks are written at their offset, in order. When the last one is
// saved, the snapshot replaces the log, and only then the leader hears of it.
func TestFigure13_Chunks(t *testing.T) {
	s := start(t, 3, disk(1, 1), chunked)
	rd := s.offer(2, chunk(0, 10))
	if len(rd.Chunks) != 1 || rd.Chunks[0].Offset != 0 || len(rd.Chunks[0].Data) != 10 || !rd.NeedsSave() {
		t.Fatalf("chunks %+v", rd.Chunks)
	}
	wantOffset(t, rd, 10)
	s.Saved(rd)
	for _, c := range []core.InstallSnapshot{chunk(0, 10), chunk(20, 5)} { // repeated, and out of order
		rd = s.offer(2, c)
		if len(rd.Chunks) != 0 {
			t.Fatalf("chunk at %d is written as %+v", c.Offset, rd.Chunks)
		}
		wantOffset(t, rd, 10)
		s.Saved(rd)
	}
	s.Saved(s.offer(2, chunk(10, 10)))
	rd = s.offer(2, chunk(20, 5))
	if len(rd.AfterSave) != 0 || rd.Snapshot != nil || !rd.Chunks[0].Done {
		t.Fatalf("before the last chunk is saved: %+v", rd)
	}
	s.wantTerms(1)
	s.step(2, &core.InstallSnapshot{Term: 1, LeaderID: 2, LastIncludedIndex: 9, LastIncludedTerm: 1, Chunked: true,
		Data: make([]byte, 5), Offset: 20, Size: 25, Checksum: 77, Done: true}) // again
	s.Saved(rd)
	rd = s.Ready()
	if rd.Snapshot == nil || rd.Snapshot.LastIncludedIndex != 9 || rd.Snapshot.Data != nil || len(rd.Chunks) != 0 {
		t.Fatalf("after the last chunk: %+v", rd)
	}
	reps := sent[*core.InstallSnapshotReply](rd.AfterSave, 2)
	if len(reps) != 2 || reps[0].MatchIndex != 9 || reps[1].MatchIndex != 9 {
		t.Fatalf("replies %v; want one to each request with the last chunk", reps)
	}
	s.Saved(rd)
	if snap, _ := s.NextToApply(1); snap == nil || snap.LastIncludedIndex != 9 {
		t.Fatalf("to apply is %+v", snap)
	}
	s.wantCommit(9)
}

// A snapshot that the host finds damaged is sent again from its beginning.
func TestFigure13_DamagedSnapshot(t *testing.T) {
	s := start(t, 3, disk(1, 1), chunked)
	s.Saved(s.offer(2, chunk(0, 20)))
	rd := s.offer(2, chunk(20, 5))
	s.RejectSnapshot()
	s.Saved(rd)
	rd = s.Ready()
	wantOffset(t, rd, 0)
	s.wantTerms(1)
	s.wantCommit(0)
}

// Chunks of another leader, of another snapshot or with another checksum do not
// continue a snapshot. A newer snapshot replaces an unfinished one.
func TestFigure13_ChunksOfOneSnapshot(t *testing.T) {
	for name, change := range map[string]func(*core.InstallSnapshot){
		"other leader":   func(r *core.InstallSnapshot) { r.Term = 2 },
		"other size":     func(r *core.InstallSnapshot) { r.Size, r.Done = 26, false },
		"other checksum": func(r *core.InstallSnapshot) { r.Checksum++ },
		"newer snapshot": func(r *core.InstallSnapshot) { r.LastIncludedIndex = 10 },
	} {
		s := start(t, 3, disk(1, 1), chunked)
		s.Saved(s.offer(2, chunk(0, 20)))
		next, from := chunk(20, 5), core.NodeID(2)
		if change(&next); next.Term == 2 {
			from = 3
		}
		rd := s.offer(from, next)
		if reps := sent[*core.InstallSnapshotReply](rd.AfterSave, from); len(rd.Chunks) > 0 || len(reps) != 1 || reps[0].Offset != 0 {
			t.Errorf("%s: chunks %+v, replies %v", name, rd.Chunks, reps)
		}
		s.Saved(rd)
		next.Offset, next.Done = 0, false
		if rd = s.offer(from, next); len(rd.Chunks) != 1 {
			t.Errorf("%s: its beginning is not written", name)
		}
	}
	// A delayed chunk of an older snapshot does not set back a newer one.
	s := start(t, 3, disk(1, 1), chunked)
	s.Saved(s.offer(2, chunk(0, 20)))
	older := chunk(0, 10)
	older.LastIncludedIndex = 8
	rd := s.offer(2, older)
	wantOffset(t, rd, 20)
}

// Chunks that no correct leader sends are refused.
func TestFigure13_MalformedChunks(t *testing.T) {
	for name, change := range map[string]func(*core.InstallSnapshot){
		"beyond the end":      func(r *core.InstallSnapshot) { r.Offset = 20 },
		"offset runs over":    func(r *core.InstallSnapshot) { r.Offset = ^uint64(0) - 5 },
		"done too early":      func(r *core.InstallSnapshot) { r.Done = true },
		"end without done":    func(r *core.InstallSnapshot) { r.Size = 10 },
		"nothing":             func(r *core.InstallSnapshot) { r.Data = nil },
		"bad configuration":   func(r *core.InstallSnapshot) { r.Configuration.Voters = ids(2, 1) },
		"no voters":           func(r *core.InstallSnapshot) { r.Configuration = core.Configuration{Learners: ids(1)} },
		"members of nothing":  func(r *core.InstallSnapshot) { r.Configuration = core.Configuration{Members: []core.Member{{ID: 1}}} },
		"leader that is none": func(r *core.InstallSnapshot) { r.LeaderID = 3 },
	} {
		s := start(t, 3, disk(1, 1), chunked)
		req := chunk(0, 10)
		req.LeaderID = 2
		change(&req)
		if err := s.Step(core.Message{From: 2, To: 1, Body: &req}); !errors.Is(err, core.ErrMalformed) {
			t.Errorf("%s: %v; want ErrMalformed", name, err)
		}
		if rd := s.Ready(); !rd.Empty() {
			t.Errorf("%s: answered by %+v", name, rd)
		}
	}
}

// The leader sends chunk after chunk, each when the one before is acknowledged,
// and after a loss goes on where the follower is.
func TestFigure13_LeaderResumes(t *testing.T) {
	d := core.Persistent{HardState: core.HardState{CurrentTerm: 1}, Snapshot: core.Snapshot{LastIncludedIndex: 9, LastIncludedTerm: 1}}
	s := start(t, 2, d, chunked)
	s.elect()
	s.step(2, &core.AppendEntriesReply{Term: 2, RequestTerm: 2, PrevLogIndex: 9})
	request := func() *core.InstallSnapshot {
		t.Helper()
		ms := sent[*core.InstallSnapshot](s.work(), 2)
		if len(ms) != 1 || !ms[0].Chunked || ms[0].LastIncludedIndex != 9 {
			t.Fatalf("sent %v; want one chunk", ms)
		}
		return ms[0]
	}
	more := func(offset uint64) {
		s.step(2, &core.InstallSnapshotReply{Term: 2, RequestTerm: 2, LastIncludedIndex: 9, Offset: offset})
	}
	if r := request(); r.Offset != 0 {
		t.Fatalf("the first chunk is at %d", r.Offset)
	}
	more(10)
	if r := request(); r.Offset != 10 {
		t.Fatalf("the second chunk is at %d", r.Offset)
	}
	more(10) // repeated: one stream must not become two
	if ms := sent[*core.InstallSnapshot](s.work(), 2); len(ms) > 0 {
		t.Fatalf("a repeated reply causes %v", ms)
	}
	s.Unreachable(2)
	if r := request(); r.Offset != 10 {
		t.Fatalf("after a loss the chunk is at %d", r.Offset)
	}
	if m := s.Members()[1]; m.State != core.SendSnapshot || m.SnapshotIndex != 9 || m.SnapshotOffset != 10 {
		t.Errorf("progress of the snapshot: %+v", m)
	}
	more(0) // the follower has restarted
	if r := request(); r.Offset != 0 {
		t.Fatalf("after a restart the chunk is at %d", r.Offset)
	}
	s.step(2, &core.InstallSnapshotReply{Term: 2, RequestTerm: 2, MatchIndex: 9})
	if ms := sent[*core.AppendEntries](s.work(), 2); len(ms) != 1 || ms[0].PrevLogIndex != 9 {
		t.Fatalf("after the snapshot %v is sent; want the entries behind it", ms)
	}
}
