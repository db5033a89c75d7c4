package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// §5.3: the leader appends the command to its log and issues AppendEntries in
// parallel to the others; once a majority has it, the leader applies it.
func Test5_3_Replication(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.elect()
	s.accept(2, 1)
	s.accept(3, 1)
	index, term, err := s.Propose([]byte("x"))
	if index != 2 || term != 2 || err != nil {
		t.Fatalf("Propose: %d, %d, %v; want 2, 2", index, term, err)
	}
	ms := s.work()
	for id := core.NodeID(2); id <= 3; id++ {
		reqs := sent[*core.AppendEntries](ms, id)
		if len(reqs) != 1 || reqs[0].PrevLogIndex != 1 || reqs[0].PrevLogTerm != 1 || len(reqs[0].Entries) != 1 || string(reqs[0].Entries[0].Data) != "x" {
			t.Fatalf("to %d: %v", id, reqs)
		}
	}
	s.wantCommit(0)
	s.accept(3, 2)
	s.wantCommit(2)
	if es := s.apply(); len(es) != 2 || string(es[1].Data) != "x" || es[1].Term != 2 {
		t.Fatalf("to apply: %v", es)
	}
}

// §5.3: only the leader takes commands.
func Test5_3_OnlyLeaderTakesCommands(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	for _, prepare := range []func(){func() {}, s.timeout, s.campaign} {
		prepare()
		if index, term, err := s.Propose([]byte("x")); !errors.Is(err, core.ErrNotLeader) || index != 0 || term != 0 {
			t.Fatalf("%v: Propose: %d, %d, %v", s.Status().State, index, term, err)
		}
	}
	s.wantTerms()
}

// §5.3, AppendEntries 2: if the follower does not find an entry with the same
// index and term before the new ones, it refuses them, whatever it has.
func Test5_3_ConsistencyCheck(t *testing.T) {
	for _, tt := range []struct {
		log                 []uint64
		prevIndex, prevTerm uint64
		ok                  bool
	}{
		{nil, 0, 0, true}, {nil, 1, 1, false},
		{[]uint64{1, 2}, 0, 0, true}, {[]uint64{1, 2}, 1, 1, true}, {[]uint64{1, 2}, 2, 2, true},
		{[]uint64{1, 2}, 1, 2, false}, {[]uint64{1, 2}, 2, 1, false}, {[]uint64{1, 2}, 2, 3, false}, {[]uint64{1, 2}, 3, 2, false},
	} {
		t.Run(fmt.Sprintf("%v after %d,%d", tt.log, tt.prevIndex, tt.prevTerm), func(t *testing.T) {
			s := start(t, 3, disk(3, tt.log...))
			rep := s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: tt.prevIndex, PrevLogTerm: tt.prevTerm,
				Entries: entries(tt.prevIndex+1, 3), LeaderCommit: 9})
			if rep.Success != tt.ok {
				t.Fatalf("reply %v; want success %t", rep, tt.ok)
			}
			if tt.ok {
				s.wantTerms(append(slices.Clone(tt.log[:tt.prevIndex]), 3)...)
			} else {
				s.wantTerms(tt.log...)
				s.wantCommit(0)
			}
		})
	}
}

// §5.3, AppendEntries 3 and 4: an existing entry that conflicts with a new one is
// deleted with all that follow it; new entries are appended.
func Test5_3_ConflictsAreOverwritten(t *testing.T) {
	for _, tt := range []struct {
		log, sent []uint64 // sent from index 2 on
		want      []uint64
	}{
		{[]uint64{1}, []uint64{3, 3}, []uint64{1, 3, 3}},
		{[]uint64{1, 1}, []uint64{3, 3}, []uint64{1, 3, 3}},
		{[]uint64{1, 2, 2, 2}, []uint64{3}, []uint64{1, 3}},
		{[]uint64{1, 1, 2, 2}, []uint64{1, 3}, []uint64{1, 1, 3}},
		{[]uint64{1, 1, 1}, []uint64{1}, []uint64{1, 1, 1}},
		{[]uint64{1, 1, 1}, nil, []uint64{1, 1, 1}},
	} {
		t.Run(fmt.Sprint(tt.log, tt.sent), func(t *testing.T) {
			s := start(t, 3, disk(2, tt.log...))
			rep := s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, tt.sent...)})
			if !rep.Success || rep.MatchIndex != uint64(1+len(tt.sent)) {
				t.Errorf("reply %+v; want a match up to %d", rep, 1+len(tt.sent))
			}
			s.wantTerms(tt.want...)
			if got := s.disk.Entries; len(got) != len(tt.want) {
				t.Errorf("saved %v; want terms %v", got, tt.want)
			}
		})
	}
}

// §5.3: a request that was delayed or repeated takes nothing away that a later
// one brought: entries that agree stay, and all behind them.
func Test5_3_DelayedAppendEntriesNeverTruncates(t *testing.T) {
	s := start(t, 3, disk(2, 1))
	req := core.AppendEntries{Term: 2, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 2)}
	s.append(2, req)
	s.append(2, core.AppendEntries{Term: 2, PrevLogIndex: 2, PrevLogTerm: 2, Entries: entries(3, 2, 2)})
	for range 2 {
		if rep := s.append(2, req); !rep.Success || rep.MatchIndex != 2 {
			t.Fatalf("reply %+v; want a match up to 2", rep)
		}
		s.append(2, core.AppendEntries{Term: 2, PrevLogIndex: 1, PrevLogTerm: 1}) // an old heartbeat
		s.append(2, core.AppendEntries{Term: 2})
		s.wantTerms(1, 2, 2, 2)
		if len(s.disk.Entries) != 4 {
			t.Fatalf("saved %v; want all four", s.disk.Entries)
		}
	}
}

// Figure 2, AppendEntries 5: commitIndex becomes min(leaderCommit, index of last
// new entry), where "new" is what this request has shown to agree; and it never falls.
func Test5_3_FollowerCommit(t *testing.T) {
	for _, tt := range []struct {
		prev         uint64
		sent         []uint64
		leaderCommit uint64
		want         uint64
	}{
		{1, []uint64{1}, 0, 0}, {1, []uint64{1}, 1, 1}, {1, []uint64{1}, 2, 2}, {1, []uint64{1}, 9, 2},
		{1, nil, 9, 1}, // entries 2 and 3 are here, but this request says nothing of them
		{3, nil, 9, 3}, {3, []uint64{2}, 9, 4}, {0, nil, 9, 0},
	} {
		t.Run(fmt.Sprintf("prev %d, sent %v, leaderCommit %d", tt.prev, tt.sent, tt.leaderCommit), func(t *testing.T) {
			s := start(t, 3, disk(2, 1, 1, 1))
			prevTerm := min(tt.prev, 1)
			s.append(2, core.AppendEntries{Term: 2, PrevLogIndex: tt.prev, PrevLogTerm: prevTerm, Entries: entries(tt.prev+1, tt.sent...), LeaderCommit: tt.leaderCommit})
			s.wantCommit(tt.want)
			s.append(2, core.AppendEntries{Term: 2, LeaderCommit: 0})
			s.append(2, core.AppendEntries{Term: 2, PrevLogIndex: 1, PrevLogTerm: 1, LeaderCommit: 1})
			s.wantCommit(max(tt.want, 1))
		})
	}
}

// Figure 2 ("before responding to RPCs"): an acknowledgement leaves when the
// entries are saved, and they are applied no sooner. A leader's requests need not
// wait for its own disk (thesis 10.2.1), but its own copy counts only then.
func TestFigure2_AcknowledgementsLeaveAfterSave(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.step(2, &core.AppendEntries{Term: 1, LeaderID: 2, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 1), LeaderCommit: 2})
	s.apply()
	rd := s.Ready()
	if len(rd.Messages) != 0 || len(rd.AfterSave) != 1 || len(rd.Entries) != 1 || rd.Entries[0].Index != 2 {
		t.Fatalf("Ready of a follower: %+v", rd)
	}
	if es := s.apply(); len(es) != 0 {
		t.Fatalf("applied before they were saved: %v", es)
	}
	s.Saved(rd)
	if es := s.apply(); len(es) != 1 || es[0].Index != 2 {
		t.Fatalf("to apply: %v", es)
	}

	s = start(t, 3, disk(1, 1))
	s.elect()
	s.accept(2, 1)
	s.propose("x")
	rd = s.Ready()
	if reqs := sent[*core.AppendEntries](rd.Messages, 2); len(reqs) != 1 || len(reqs[0].Entries) != 1 {
		t.Fatalf("the leader waits for its own disk: %+v", rd)
	}
	s.accept(2, 2)
	s.wantCommit(0) // one of three disks
	s.Saved(rd)
	s.wantCommit(2)
}

// Thesis 10.2.1: while its disk is busy, a leader goes on to replicate and to
// send heartbeats; what depends on the disk waits for it.
func TestThesis10_2_1_OutgoingWhileSaving(t *testing.T) {
	s := start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.HeartbeatTicks = 1 })
	s.elect()
	s.accept(2, 0)
	s.propose("a")
	rd := s.Ready()
	s.propose("b")
	if reqs := sent[*core.AppendEntries](s.Outgoing(), 2); len(reqs) != 1 || reqs[0].Entries[0].Index != 2 {
		t.Fatalf("entries while the disk is busy: %v", reqs)
	}
	s.Tick()
	if beats := sent[*core.AppendEntries](s.Outgoing(), 3); len(beats) != 1 {
		t.Fatalf("heartbeats while the disk is busy: %v", beats)
	}
	if again := s.Outgoing(); len(again) != 0 {
		t.Fatalf("sent twice: %v", again)
	}
	s.step(2, &core.RequestVote{Term: 2, CandidateID: 2, LastLogIndex: 9, LastLogTerm: 1})
	if early := s.Outgoing(); len(early) != 0 {
		t.Fatalf("a vote left before it was saved: %v", early)
	}
	s.save(rd)
	s.Saved(rd)
	if votes := sent[*core.RequestVoteReply](s.work(), 2); len(votes) != 1 || !votes[0].VoteGranted {
		t.Fatalf("after the disk was free: %v", votes)
	}
	if s.disk.HardState != (core.HardState{CurrentTerm: 2, VotedFor: 2}) || len(s.disk.Entries) != 2 {
		t.Fatalf("saved: %+v", s.disk)
	}
}

// HasToApply says of NextToApply what it would do.
func TestHasToApply(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1))
	want := func(want bool) {
		t.Helper()
		if got := s.HasToApply(); got != want {
			t.Fatalf("HasToApply is %t; want %t", got, want)
		}
		if snap, es := s.NextToApply(1); want != (snap != nil || len(es) > 0) {
			t.Fatalf("NextToApply: %v, %v; want something: %t", snap, es, want)
		}
	}
	want(false)
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 2, PrevLogTerm: 1, LeaderCommit: 2})
	want(true)
	want(true)
	want(false)
	s.step(2, &core.InstallSnapshot{Term: 1, LeaderID: 2, LastIncludedIndex: 5, LastIncludedTerm: 1})
	want(false)
	s.work()
	want(true)
	want(false)
}

// §5.3: with a leader's disk out of service, the others' majority is enough.
func Test5_3_OthersCommitWithoutLeadersDisk(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.elect()
	s.propose("x")
	rd := s.Ready()
	s.accept(2, 1)
	s.accept(3, 1)
	s.wantCommit(1)
	if es := s.apply(); len(es) != 0 {
		t.Fatalf("the leader applies what its own disk does not have: %v", es)
	}
	s.Saved(rd)
	if es := s.apply(); len(es) != 1 {
		t.Fatalf("to apply: %v", es)
	}
}

// What was being saved when it was cut off does not count as saved, nor does
// what took its place.
func Test5_3_EntriesCutOffWhileBeingSaved(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.step(2, &core.AppendEntries{Term: 1, LeaderID: 2, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 1, 1)})
	rd := s.Ready()
	s.step(3, &core.AppendEntries{Term: 2, LeaderID: 3, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 2, 2), LeaderCommit: 3})
	if got := rd.Entries; len(got) != 2 || got[0].Term != 1 || got[1].Term != 1 {
		t.Fatalf("entries changed while they were being saved: %v", got)
	}
	s.save(rd)
	s.Saved(rd)
	if es := s.apply(); len(es) > 1 {
		t.Fatalf("to apply before it is saved: %v", es)
	}
	s.work()
	if got := s.disk.Entries; len(got) != 3 || got[1].Term != 2 || got[2].Term != 2 {
		t.Fatalf("saved %v; want terms 1, 2, 2", got)
	}
}

// §5.3: the leader retries AppendEntries until all followers store all entries;
// losses are found by the next heartbeat, or at once if the transport tells.
func Test5_3_LeaderRetries(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint("told=", told), func(t *testing.T) {
			s := start(t, 3, core.Persistent{})
			s.elect()
			s.accept(2, 0)
			s.propose("x")
			s.work() // lost
			if told {
				s.Unreachable(2)
			} else {
				s.tick(heartbeatTicks)
				beats := sent[*core.AppendEntries](s.work(), 2)
				if len(beats) != 1 || beats[0].PrevLogIndex != 1 {
					t.Fatalf("heartbeat: %v", beats)
				}
				s.step(2, &core.AppendEntriesReply{Term: 1, RequestTerm: 1, PrevLogIndex: 1})
			}
			reqs := sent[*core.AppendEntries](s.work(), 2)
			if len(reqs) != 1 || len(reqs[0].Entries) != 1 || reqs[0].Entries[0].Index != 1 {
				t.Fatalf("after the loss: %v", reqs)
			}
		})
	}
}

// A follower that stays away gets heartbeats, not the entries again and again,
// and gets them when it answers.
func Test5_3_AbsentFollowerGetsHeartbeatsOnly(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint("told=", told), func(t *testing.T) {
			s := start(t, 3, core.Persistent{})
			s.elect()
			s.accept(3, 0)
			s.propose("x", "y")
			copies := 0
			for range 40 * heartbeatTicks {
				for _, req := range sent[*core.AppendEntries](s.work(), 2) {
					copies += len(req.Entries)
					if told {
						s.Unreachable(2)
					}
				}
				s.accept(3, 2)
				s.Tick()
			}
			if copies > 4 {
				t.Errorf("the absent follower got %d entries, of 2", copies)
			}
			s.work()
			s.step(2, &core.AppendEntriesReply{Term: 1, RequestTerm: 1, Success: true})
			if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 1 || len(reqs[0].Entries) != 2 {
				t.Errorf("after it came back: %v", reqs)
			}
		})
	}
}

// Unreachable means nothing to a server that does not lead, or of a stranger.
func Test5_3_UnreachableIsAHint(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.Unreachable(2)
	s.elect()
	s.Unreachable(1)
	s.Unreachable(9)
	s.wantState(core.Leader, 1)
}

// §5.3, end: the leader finds where the logs part in a few round trips.
func Test5_3_RefusalMovesNextIndex(t *testing.T) {
	s := start(t, 3, disk(9, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6)) // the leader of Figure 7
	s.elect()
	// Follower (f): 1 1 1 2 2 2 3 3 3 3 3.
	s.step(2, &core.AppendEntriesReply{Term: 10, RequestTerm: 10, PrevLogIndex: 10, HintIndex: 10, HintTerm: 3})
	reqs := sent[*core.AppendEntries](s.work(), 2)
	if len(reqs) != 1 || reqs[0].PrevLogIndex != 3 || len(reqs[0].Entries) != 7 {
		t.Fatalf("after the refusal: %v; want everything after 3", reqs)
	}
}

// §5.3, end: the follower's hint is the last place that could agree.
func Test5_3_RefusalHint(t *testing.T) {
	for _, tt := range []struct {
		log                 []uint64
		prevIndex, prevTerm uint64
		hintIndex, hintTerm uint64
	}{
		{nil, 5, 3, 0, 0},
		{[]uint64{1, 1}, 5, 3, 2, 1},
		{[]uint64{1, 1, 2, 2, 2}, 4, 1, 2, 1},
		{[]uint64{2, 2, 2}, 3, 1, 0, 0},
		{[]uint64{1, 3, 3, 3}, 3, 2, 1, 1},
	} {
		s := start(t, 3, disk(4, tt.log...))
		rep := s.append(2, core.AppendEntries{Term: 4, PrevLogIndex: tt.prevIndex, PrevLogTerm: tt.prevTerm})
		if rep.Success || rep.HintIndex != tt.hintIndex || rep.HintTerm != tt.hintTerm || rep.PrevLogIndex != tt.prevIndex {
			t.Errorf("log %v, prev %d/%d: %+v; want hint %d/%d", tt.log, tt.prevIndex, tt.prevTerm, rep, tt.hintIndex, tt.hintTerm)
		}
	}
}

// §5.4.2, Figure 8: an entry of an older term is never committed by counting
// replicas; an entry of the leader's own term commits it along.
func Test5_4_2_OnlyOwnTermIsCommittedByCounting(t *testing.T) {
	s := start(t, 5, disk(3, 1, 2))
	s.elect() // term 4, as in Figure 8 (c)
	for id := core.NodeID(2); id <= 5; id++ {
		s.accept(id, 2)
	}
	s.wantCommit(0)
	s.propose("x")
	s.work()
	s.accept(2, 3)
	s.wantCommit(0)
	s.accept(3, 3)
	s.wantCommit(3)
}

// §5.3: commitIndex is the highest index on a majority, the leader's own among them.
func Test5_3_CommitNeedsMajority(t *testing.T) {
	for _, tt := range []struct {
		servers int
		match   []uint64 // of servers 2, 3, ...
		want    uint64
	}{
		{1, nil, 4}, {2, []uint64{0}, 0}, {2, []uint64{3}, 3},
		{3, []uint64{2, 0}, 2}, {3, []uint64{1, 4}, 4},
		{4, []uint64{4, 0, 0}, 0}, {4, []uint64{4, 2, 0}, 2},
		{5, []uint64{4, 0, 0, 0}, 0}, {5, []uint64{4, 3, 0, 0}, 3}, {5, []uint64{1, 2, 3, 4}, 3},
	} {
		s := start(t, tt.servers, core.Persistent{})
		if tt.servers > 1 {
			s.elect()
		} else {
			s.tick(2 * electionTicks)
			s.work()
		}
		s.propose("a", "b", "c", "d")
		s.work()
		for i, match := range tt.match {
			s.accept(core.NodeID(i+2), match)
		}
		if got := s.Status().CommitIndex; got != tt.want {
			t.Errorf("%d servers at %v: commitIndex %d; want %d", tt.servers, tt.match, got, tt.want)
		}
	}
}

// A reply to an earlier leadership says nothing of this one: between the two,
// another leader may have taken away what was acknowledged.
func Test5_3_RepliesOfOldTermsAreIgnored(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.elect()
	s.propose("a", "b", "c")
	s.work()
	s.append(2, core.AppendEntries{Term: 2}) // another leader
	s.elect()
	s.wantState(core.Leader, 3)
	s.propose("d")
	s.work()
	for _, old := range []core.Body{
		&core.AppendEntriesReply{Term: 1, RequestTerm: 1, Success: true, MatchIndex: 4},
		&core.AppendEntriesReply{Term: 3, RequestTerm: 1, Success: true, MatchIndex: 4},
		&core.InstallSnapshotReply{Term: 1, RequestTerm: 1, MatchIndex: 4},
		&core.InstallSnapshotReply{Term: 3, RequestTerm: 1, MatchIndex: 4},
	} {
		s.step(2, old)
		s.wantCommit(0)
	}
	s.accept(2, 4)
	s.wantCommit(4)
	s.step(2, &core.AppendEntriesReply{Term: 1, RequestTerm: 1, PrevLogIndex: 3})
	s.propose("e")
	if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 1 || reqs[0].PrevLogIndex != 4 {
		t.Fatalf("an old refusal set the leader back: %v", reqs)
	}
}

// Within a term, replies may overtake each other: matchIndex never falls, and a
// refusal that a later success has answered is ignored.
func Test5_3_ReplyOrderDoesNotMatter(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.elect()
	s.propose("a", "b", "c")
	s.work()
	s.accept(2, 0)
	s.accept(2, 3)
	s.accept(2, 1)
	s.wantCommit(3)
	s.step(2, &core.AppendEntriesReply{Term: 1, RequestTerm: 1, PrevLogIndex: 2, HintIndex: 0})
	s.propose("d")
	reqs := sent[*core.AppendEntries](s.work(), 2)
	if len(reqs) != 1 || reqs[0].PrevLogIndex != 3 || len(reqs[0].Entries) != 1 {
		t.Fatalf("after an overtaken refusal: %v", reqs)
	}
	s.accept(3, 2)
	s.propose("e")
	s.work()
	s.accept(2, 4)
	s.wantCommit(4)
}

// Pipelining: requests follow each other without waiting for answers, up to
// MaxInflight of them and about MaxInflightBytes.
func TestPipeliningIsBounded(t *testing.T) {
	const overhead = 16 // what an entry counts beyond its data
	for _, tt := range []struct {
		name         string
		count, bytes int
		want         int
	}{
		{"count", 3, 1 << 20, 3},
		{"bytes", 100, 2*(10+overhead) + 1, 3}, // the third one reaches the limit
		{"bytes exactly", 100, 2 * (10 + overhead), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, 3, core.Persistent{}, func(cfg *core.Config) {
				cfg.MaxRequestBytes, cfg.MaxInflight, cfg.MaxInflightBytes = 1, tt.count, tt.bytes // an entry a request
			})
			s.elect()
			s.accept(2, 0)
			s.propose(slices.Repeat([]string{"0123456789"}, 20)...)
			ms := s.work()
			reqs := sent[*core.AppendEntries](ms, 2)
			if len(reqs) != tt.want {
				t.Fatalf("%d requests; want %d", len(reqs), tt.want)
			}
			for i, req := range reqs {
				if req.PrevLogIndex != uint64(i) || len(req.Entries) != 1 {
					t.Fatalf("request %d: %v", i, req)
				}
			}
			if probes := sent[*core.AppendEntries](ms, 3); len(probes) != 0 {
				t.Fatalf("to one that has not answered yet: %v", probes)
			}
			for i := range uint64(17) { // each answer makes room for one more
				s.accept(2, i+1)
				reqs := sent[*core.AppendEntries](s.work(), 2)
				if room := int(i) + tt.want; room < 20 && (len(reqs) != 1 || reqs[0].PrevLogIndex != uint64(room)) {
					t.Fatalf("after answer %d: %v", i+1, reqs)
				}
			}
		})
	}
}

// Batching: what has come up by the time of a Ready shares one request, up to
// MaxRequestBytes; a larger entry goes alone.
func TestBatchingIsBounded(t *testing.T) {
	s := start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.MaxRequestBytes = 100 })
	s.elect()
	s.accept(2, 0)
	big := string(make([]byte, 500))
	s.propose("a", "b", "c", "d", "e", "f", big, "g")
	var sizes []int
	for _, req := range sent[*core.AppendEntries](s.work(), 2) {
		sizes = append(sizes, len(req.Entries))
	}
	if want := []int{5, 1, 1, 1}; !slices.Equal(sizes, want) {
		t.Fatalf("entries per request %v; want %v", sizes, want)
	}
}

// While it is probing, the leader has one request at a time on its way.
func TestProbingSendsOneAtATime(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1))
	s.elect()
	for i := range 5 {
		s.propose("x")
		if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 0 {
			t.Fatalf("proposal %d: %v while the first probe is out", i, reqs)
		}
	}
	s.step(2, &core.AppendEntriesReply{Term: 2, RequestTerm: 2, PrevLogIndex: 2, HintIndex: 1, HintTerm: 1})
	if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 1 || reqs[0].PrevLogIndex != 1 || len(reqs[0].Entries) != 6 {
		t.Fatalf("second probe: %v", reqs)
	}
	s.step(2, &core.AppendEntriesReply{Term: 2, RequestTerm: 2, PrevLogIndex: 2, HintIndex: 1, HintTerm: 1}) // repeated
	if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 0 {
		t.Fatalf("after a repeated refusal: %v", reqs)
	}
}

// Followers learn within a tick what is committed, each once for a burst.
func TestCommitIsToldWithinATick(t *testing.T) {
	s := start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.HeartbeatTicks = 9 })
	s.elect()
	s.accept(2, 0)
	s.accept(3, 0)
	s.propose("a", "b")
	s.work()
	s.accept(2, 1)
	s.accept(2, 2)
	s.accept(3, 2)
	if quiet := s.work(); len(quiet) != 0 {
		t.Fatalf("before the tick: %v", quiet)
	}
	s.Tick()
	ms := s.work()
	for id := core.NodeID(2); id <= 3; id++ {
		if reqs := sent[*core.AppendEntries](ms, id); len(reqs) != 1 || reqs[0].LeaderCommit != 2 || len(reqs[0].Entries) != 0 {
			t.Fatalf("to %d: %v", id, reqs)
		}
	}
	s.Tick()
	if quiet := s.work(); len(quiet) != 0 {
		t.Fatalf("told twice: %v", quiet)
	}
	s.propose("c")
	s.work()
	s.accept(2, 3)
	s.SendCommits() // the host need not wait for the tick
	if reqs := sent[*core.AppendEntries](s.work(), 2); len(reqs) != 1 || reqs[0].LeaderCommit != 3 {
		t.Fatalf("told at once: %v", reqs)
	}
}

// §8: with LeaderNoOp a leader's term begins with an empty entry, which commits
// what its predecessors left. Without, no entry is made that nobody proposed.
func Test8_LeaderNoOp(t *testing.T) {
	s := start(t, 3, disk(1, 1), func(cfg *core.Config) { cfg.LeaderNoOp = true })
	first := sent[*core.AppendEntries](s.elect(), 2)
	if len(first) != 1 || len(first[0].Entries) != 1 || first[0].Entries[0].Type != core.NoOp || first[0].Entries[0].Term != 2 {
		t.Fatalf("first request: %v", first)
	}
	s.accept(2, 2)
	s.wantCommit(2)

	s = start(t, 3, disk(1, 1))
	s.elect()
	s.wantTerms(1)
	if index, _, _ := s.Propose(nil); index != 2 {
		t.Fatalf("first command at %d; want 2", index)
	}
}

// §5.3, end, Figure 7: followers that lack entries, have extra ones or both all
// come to the leader's log; one refusal each tells enough.
func Test5_3_Figure7LogsConverge(t *testing.T) {
	leader := disk(7, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
	for name, follower := range map[string]core.Persistent{
		"a": disk(6, 1, 1, 1, 4, 4, 5, 5, 6, 6),
		"b": disk(4, 1, 1, 1, 4),
		"c": disk(6, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
		"d": disk(7, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
		"e": disk(4, 1, 1, 1, 4, 4, 4, 4),
		"f": disk(3, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
	} {
		if refusals := converge(t, leader, follower); refusals > 1 {
			t.Errorf("(%s): %d refusals; want at most 1", name, refusals)
		}
	}
}

// Over long divergent logs the round trips count the terms in which they differ,
// not the entries: each refusal skips a term on either side.
func Test5_3_LongDivergentLogs(t *testing.T) {
	const runs, length = 10, 100
	leader, follower := []uint64{1}, []uint64{1}
	for term := uint64(2); term < 2+2*runs; term += 2 { // deposed leaders in turn, on two sides of a partition
		leader = append(leader, slices.Repeat([]uint64{term + 1}, length)...)
		follower = append(follower, slices.Repeat([]uint64{term}, length)...)
	}
	if refusals := converge(t, disk(50, leader...), disk(50, follower...)); refusals > runs+1 {
		t.Errorf("%d refusals over %d entries of %d terms", refusals, runs*length, runs)
	}
	one := slices.Repeat([]uint64{2}, runs*length)
	if refusals := converge(t, disk(50, append([]uint64{1}, slices.Repeat([]uint64{3}, runs*length)...)...), disk(50, append([]uint64{1}, one...)...)); refusals > 2 {
		t.Errorf("%d refusals over one divergent term", refusals)
	}
}

// converge elects server 1 of three, lets it bring server 2 up to date, and
// counts the refusals that this took.
func converge(t *testing.T, leader, follower core.Persistent) (refusals int) {
	t.Helper()
	c := coretest.New(coretest.Options{
		Disks: map[core.NodeID]core.Persistent{1: leader, 2: follower},
		Trace: func(line string) {
			if strings.HasPrefix(line, "2->1 AppendEntriesReply") && strings.Contains(line, "refused prev") {
				refusals++
			}
		},
	})
	for range 3 { // the first time it may learn of a newer term; (c) and (d) refuse, server 3 does not
		for c.Leader() != 1 && c.Core(1).Status().State != core.PreCandidate {
			c.Tick(1)
		}
		c.Settle()
	}
	if err := c.Propose(1, "x"); err != nil {
		t.Fatal(err)
	}
	c.Settle()
	c.Tick(1)
	c.Settle()
	if err := errors.Join(c.Err(), c.Converged()); err != nil {
		t.Fatal(err)
	}
	return refusals
}
