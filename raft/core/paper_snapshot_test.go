package core_test

import (
	"errors"
	"testing"

	"raftlab/raft/core"
)

// withSnapshot is a disk with a snapshot up to index 5 in term 2, and entries of
// these terms behind it.
func withSnapshot(terms ...uint64) core.Persistent {
	return core.Persistent{
		HardState: core.HardState{CurrentTerm: 3},
		Snapshot:  core.Snapshot{LastIncludedIndex: 5, LastIncludedTerm: 2, Data: []byte("state at 5")},
		Entries:   entries(6, terms...),
	}
}

// §7: a restarted server begins where its snapshot ends.
func Test7_RestartFromSnapshot(t *testing.T) {
	s := start(t, 3, withSnapshot(2, 3))
	st := s.Status()
	if st.SnapshotIndex != 5 || st.CommitIndex != 5 || st.LastApplied != 5 || st.LastIndex != 7 || st.LastTerm != 3 {
		t.Fatalf("status %+v", st)
	}
	s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: 7, PrevLogTerm: 3, LeaderCommit: 7})
	if es := s.apply(); len(es) != 2 || es[0].Index != 6 {
		t.Fatalf("to apply: %v; want 6 and 7", es)
	}
}

// §7: once a snapshot is written, the log up to it is dropped; what was applied
// can be, nothing else.
func Test7_Compact(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1, 1, 1))
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 4, PrevLogTerm: 1, LeaderCommit: 3})
	s.NextToApply(1) // one of three
	if err := s.Compact(2); !errors.Is(err, core.ErrNotApplied) {
		t.Fatalf("Compact of what is committed but not applied: %v", err)
	}
	s.apply()
	if err := s.Compact(4); !errors.Is(err, core.ErrNotApplied) {
		t.Fatalf("Compact of what is not committed: %v", err)
	}
	if term, err := s.SnapshotTerm(2); term != 1 || err != nil {
		t.Fatalf("SnapshotTerm: %d, %v", term, err)
	}
	if err := s.Compact(2); err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{0, 1, 2} {
		if err := s.Compact(index); !errors.Is(err, core.ErrCompacted) {
			t.Fatalf("Compact(%d) again: %v", index, err)
		}
	}
	if st := s.Status(); st.SnapshotIndex != 2 || st.LastIndex != 4 || len(s.Entries()) != 2 {
		t.Fatalf("status %+v, entries %v", st, s.Entries())
	}
	// The log goes on as before.
	if rep := s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 2, PrevLogTerm: 1, Entries: entries(3, 1, 1, 1)}); !rep.Success || rep.MatchIndex != 5 {
		t.Fatalf("append behind the snapshot: %+v", rep)
	}
}

// A request that begins before the snapshot agrees with it, since what a
// snapshot stands for is committed; its later entries are taken in.
func Test7_AppendAcrossSnapshot(t *testing.T) {
	for _, tt := range []struct {
		prev  uint64
		sent  []uint64
		match uint64
		want  []uint64
	}{
		{3, []uint64{2, 2, 2, 3, 3}, 8, []uint64{2, 3, 3}},
		{3, []uint64{2, 2}, 5, []uint64{2, 3}},
		{3, []uint64{2}, 5, []uint64{2, 3}},
		{0, nil, 5, []uint64{2, 3}},
		{5, []uint64{3}, 6, []uint64{3}},
	} {
		s := start(t, 3, withSnapshot(2, 3))
		prevTerm := uint64(0)
		if tt.prev > 0 {
			prevTerm = 2
		}
		rep := s.append(2, core.AppendEntries{Term: 4, PrevLogIndex: tt.prev, PrevLogTerm: prevTerm, Entries: entries(tt.prev+1, tt.sent...)})
		if !rep.Success || rep.MatchIndex != tt.match {
			t.Errorf("after %d, %v: %+v; want a match up to %d", tt.prev, tt.sent, rep, tt.match)
		}
		s.wantTerms(tt.want...)
	}
}

// §7: the leader sends its snapshot to a follower that needs what was dropped,
// heartbeats beside it and entries after it, beginning at its end.
func Test7_LeaderSendsSnapshot(t *testing.T) {
	s := start(t, 3, withSnapshot(3))
	s.elect()
	s.propose("x")
	s.work()
	s.step(2, &core.AppendEntriesReply{Term: 4, RequestTerm: 4, PrevLogIndex: 6, HintIndex: 2, HintTerm: 1})
	ms := s.work()
	snaps := sent[*core.InstallSnapshot](ms, 2)
	if len(snaps) != 1 || snaps[0].LastIncludedIndex != 5 || snaps[0].LastIncludedTerm != 2 || snaps[0].Term != 4 || snaps[0].LeaderID != 1 {
		t.Fatalf("to a follower far behind: %v", ms)
	}
	s.tick(heartbeatTicks)
	ms = s.work()
	if beats := sent[*core.AppendEntries](ms, 2); len(sent[*core.InstallSnapshot](ms, 2)) != 0 || len(beats) != 1 || len(beats[0].Entries) != 0 {
		t.Fatalf("while the snapshot is on its way: %v", ms)
	}
	s.step(2, &core.AppendEntriesReply{Term: 4, RequestTerm: 4, PrevLogIndex: 5, HintIndex: 2, HintTerm: 1}) // to that heartbeat
	if ms := s.work(); len(ms) != 0 {
		t.Fatalf("a heartbeat's refusal restarts the snapshot: %v", ms)
	}
	s.step(2, &core.InstallSnapshotReply{Term: 4, RequestTerm: 4, MatchIndex: 5})
	if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 1 || reqs[0].PrevLogIndex != 5 || reqs[0].PrevLogTerm != 2 || len(reqs[0].Entries) != 2 {
		t.Fatalf("behind the snapshot: %v", reqs)
	}
	s.accept(2, 7)
	s.wantCommit(7)
}

// A snapshot that gets no answer is sent again, though not with each heartbeat.
func Test7_SnapshotIsSentAgain(t *testing.T) {
	for _, told := range []bool{true, false} {
		s := start(t, 3, withSnapshot(3))
		s.elect()
		s.accept(3, 6)
		s.step(2, &core.AppendEntriesReply{Term: 4, RequestTerm: 4, PrevLogIndex: 6, HintIndex: 2, HintTerm: 1})
		if n := len(sent[*core.InstallSnapshot](s.work(), 2)); n != 1 {
			t.Fatalf("%d snapshots sent; want 1", n)
		}
		if told {
			s.Unreachable(2)
			if n := len(sent[*core.InstallSnapshot](s.work(), 2)); n != 1 {
				t.Fatalf("%d snapshots sent after the loss; want 1", n)
			}
			continue
		}
		snaps := 0
		for range 4 * electionTicks {
			s.Tick()
			s.accept(3, 6)
			snaps += len(sent[*core.InstallSnapshot](s.work(), 2))
		}
		if snaps < 1 || snaps > 2 {
			t.Fatalf("%d snapshots in %d ticks of silence; want 1 or 2", snaps, 4*electionTicks)
		}
	}
}

// The log may be compacted while a probe is out: its answer no longer fits, and
// the follower must get the snapshot nevertheless.
func Test7_CompactionOvertakesProbe(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1))
	s.elect() // a probe behind 2 goes to server 2 and is lost
	s.accept(3, 2)
	s.propose("x")
	s.step(2, &core.AppendEntriesReply{Term: 2, RequestTerm: 2, PrevLogIndex: 2}) // empty log
	s.work()                                                                      // the second probe, from the beginning, is lost
	s.accept(3, 3)
	s.apply()
	if err := s.Compact(3); err != nil {
		t.Fatal(err)
	}
	s.tick(heartbeatTicks)
	beats := sent[*core.AppendEntries](s.work(), 2)
	if len(beats) != 1 || beats[0].PrevLogIndex != 3 {
		t.Fatalf("heartbeat: %v", beats)
	}
	s.step(2, &core.AppendEntriesReply{Term: 2, RequestTerm: 2, PrevLogIndex: 3})
	if snaps := sent[*core.InstallSnapshot](s.work(), 2); len(snaps) != 1 {
		t.Fatalf("%d snapshots sent; want 1", len(snaps))
	}
}

// Figure 13: the follower replaces its log by the snapshot; it is saved before
// it is acknowledged or applied.
func TestFigure13_Install(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1))
	s.step(2, &core.InstallSnapshot{Term: 3, LeaderID: 2, LastIncludedIndex: 5, LastIncludedTerm: 2, Data: []byte("state at 5")})
	if snap, es := s.NextToApply(100); snap != nil || len(es) != 0 {
		t.Fatalf("applied before it is saved: %v %v", snap, es)
	}
	rd := s.Ready()
	if rd.Snapshot == nil || string(rd.Snapshot.Data) != "state at 5" || rd.Snapshot.LastIncludedIndex != 5 || rd.Snapshot.LastIncludedTerm != 2 ||
		len(rd.Messages) != 0 || len(rd.AfterSave) != 1 {
		t.Fatalf("Ready: %+v", rd)
	}
	s.save(rd)
	s.Saved(rd)
	if rep := sent[*core.InstallSnapshotReply](rd.AfterSave, 2); len(rep) != 1 || rep[0].MatchIndex != 5 || rep[0].RequestTerm != 3 {
		t.Fatalf("reply %+v", rep)
	}
	if rd := s.Ready(); rd.Snapshot != nil {
		t.Fatalf("the snapshot is to be saved twice: %+v", rd)
	}
	s.wantTerms()
	s.wantCommit(5)
	snap, _ := s.NextToApply(100)
	if snap == nil || string(snap.Data) != "state at 5" {
		t.Fatalf("to apply: %v", snap)
	}
	if snap, es := s.NextToApply(100); snap != nil || es != nil {
		t.Fatalf("applied twice: %v %v", snap, es)
	}
	s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: 5, PrevLogTerm: 2, Entries: entries(6, 3), LeaderCommit: 6})
	if es := s.apply(); len(es) != 1 || es[0].Index != 6 {
		t.Fatalf("behind the snapshot: %v", es)
	}
}

// Figure 13, step 6: if the log has the snapshot's last entry, what follows it is
// retained; the state machine gets there by the entries that it has.
func TestFigure13_RetainsFollowingEntries(t *testing.T) {
	s := start(t, 3, disk(2, 1, 1, 2, 2))
	rep := s.install(2, core.InstallSnapshot{Term: 2, LastIncludedIndex: 3, LastIncludedTerm: 2, Data: []byte("state at 3")})
	if rep.MatchIndex != 3 {
		t.Fatalf("reply %+v", rep)
	}
	s.wantTerms(1, 1, 2, 2)
	s.wantCommit(3)
	if snap, es := s.NextToApply(1000); snap != nil || len(es) != 3 {
		t.Fatalf("to apply: %v, %v; want three entries", snap, es)
	}
}

// Figure 13, step 7: if it has another entry there, the entire log is discarded.
func TestFigure13_DiscardsConflictingLog(t *testing.T) {
	s := start(t, 3, disk(2, 1, 1, 1, 1))
	s.install(2, core.InstallSnapshot{Term: 2, LastIncludedIndex: 3, LastIncludedTerm: 2, Data: []byte("state at 3")})
	s.wantTerms()
	if st := s.Status(); st.SnapshotIndex != 3 || st.LastIndex != 3 || st.LastTerm != 2 {
		t.Fatalf("status %+v", st)
	}
}

// §7: a snapshot that says nothing new never sets a server back.
func Test7_StaleSnapshotIsIgnored(t *testing.T) {
	s := start(t, 3, withSnapshot(3, 3))
	s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: 7, PrevLogTerm: 3, LeaderCommit: 6})
	s.apply()
	for _, req := range []core.InstallSnapshot{
		{Term: 3, LastIncludedIndex: 3, LastIncludedTerm: 1},
		{Term: 3, LastIncludedIndex: 5, LastIncludedTerm: 2},
		{Term: 3, LastIncludedIndex: 6, LastIncludedTerm: 3},
	} {
		s.step(2, &core.InstallSnapshot{Term: req.Term, LeaderID: 2, LastIncludedIndex: req.LastIncludedIndex, LastIncludedTerm: req.LastIncludedTerm})
		rd := s.Ready()
		if rd.NeedsSave() {
			t.Fatalf("snapshot at %d is to be saved: %+v", req.LastIncludedIndex, rd)
		}
		s.Saved(rd)
		if rep := sent[*core.InstallSnapshotReply](rd.AfterSave, 2); len(rep) != 1 || rep[0].MatchIndex != req.LastIncludedIndex {
			t.Fatalf("reply %+v", rep)
		}
		if snap, es := s.NextToApply(100); snap != nil || len(es) != 0 {
			t.Fatalf("snapshot at %d is to be applied: %v %v", req.LastIncludedIndex, snap, es)
		}
		s.wantTerms(3, 3)
		s.wantCommit(6)
	}
}

// A newer snapshot may come before the first one is saved or applied: the
// service gets the newer one only.
func Test7_SnapshotOvertakenBySnapshot(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	install := func(index uint64) {
		s.step(2, &core.InstallSnapshot{Term: 3, LeaderID: 2, LastIncludedIndex: index, LastIncludedTerm: 2})
	}
	install(5)
	rd := s.Ready()
	install(8)
	s.save(rd)
	s.Saved(rd)
	if snap, _ := s.NextToApply(100); snap != nil {
		t.Fatalf("to apply: snapshot at %d, while one at 8 is not saved", snap.LastIncludedIndex)
	}
	s.work()
	install(5)
	if snap, _ := s.NextToApply(100); snap == nil || snap.LastIncludedIndex != 8 {
		t.Fatalf("to apply: %v; want the snapshot at 8", snap)
	}
}
