package core_test

import (
	"fmt"
	"slices"
	"testing"

	"raftlab/raft/core"
)

// The tests in paper_*_test.go hold one rule of the paper each, named by section.

// §5.1: if one server's current term is smaller than the other's, then it
// updates its current term to the larger value; if a candidate or leader
// discovers that its term is out of date, it immediately reverts to follower.
func Test5_1_HigherTermMakesFollower(t *testing.T) {
	states := map[string]func(*server){
		"follower":      func(s *server) {},
		"pre-candidate": func(s *server) { s.timeout() },
		"candidate":     func(s *server) { s.campaign() },
		"leader":        func(s *server) { s.elect() },
	}
	const newer = 7
	messages := map[string]core.Body{
		"RequestVote":          &core.RequestVote{Term: newer, CandidateID: 2},
		"RequestVoteReply":     &core.RequestVoteReply{Term: newer, RequestTerm: 1},
		"AppendEntries":        &core.AppendEntries{Term: newer, LeaderID: 2},
		"AppendEntriesReply":   &core.AppendEntriesReply{Term: newer, RequestTerm: 1},
		"InstallSnapshot":      &core.InstallSnapshot{Term: newer, LeaderID: 2, LastIncludedIndex: 3, LastIncludedTerm: 2},
		"InstallSnapshotReply": &core.InstallSnapshotReply{Term: newer, RequestTerm: 1},
	}
	for state, prepare := range states {
		for name, m := range messages {
			t.Run(state+"/"+name, func(t *testing.T) {
				s := start(t, 3, disk(1, 1))
				prepare(s)
				s.step(2, m)
				s.wantState(core.Follower, newer)
				s.work()
				if s.disk.HardState.CurrentTerm != newer {
					t.Fatalf("term %d is saved; want %d", s.disk.HardState.CurrentTerm, newer)
				}
			})
		}
	}
}

// §5.1: if a server receives a request with a stale term number, it rejects the request.
func Test5_1_RequestsOfOldTermsAreRefused(t *testing.T) {
	s := start(t, 3, disk(3, 1, 2))
	if rep := s.vote(2, core.RequestVote{Term: 2, LastLogIndex: 9, LastLogTerm: 2}); rep.VoteGranted || rep.Term != 3 {
		t.Errorf("RequestVote of term 2 in term 3: %+v", rep)
	}
	if rep := s.append(2, core.AppendEntries{Term: 2, PrevLogIndex: 2, PrevLogTerm: 2, Entries: entries(3, 2), LeaderCommit: 3}); rep.Success || rep.Term != 3 {
		t.Errorf("AppendEntries of term 2 in term 3: %+v", rep)
	}
	if rep := s.install(2, core.InstallSnapshot{Term: 2, LastIncludedIndex: 9, LastIncludedTerm: 2}); rep.MatchIndex != 0 || rep.Term != 3 {
		t.Errorf("InstallSnapshot of term 2 in term 3: %+v", rep)
	}
	s.wantState(core.Follower, 3)
	s.wantTerms(1, 2)
	s.wantCommit(0)
	if st := s.Status(); st.Leader != core.None {
		t.Errorf("a leader of an old term is followed: %+v", st)
	}
}

// §5.2: without pre-vote, a follower that hears no leader begins a term at once, and the
// next one if the election brings no leader.
func Test5_2_CampaignWithoutPreVote(t *testing.T) {
	s := start(t, 5, disk(3, 1, 3), func(cfg *core.Config) { cfg.NoPreVote = true })
	for term := uint64(4); term < 6; term++ {
		for range 2*electionTicks + 1 {
			if s.Tick(); s.Status().CurrentTerm == term {
				break
			}
		}
		s.wantState(core.Candidate, term)
		requests := sent[*core.RequestVote](s.work(), 5)
		if len(requests) == 0 || *requests[len(requests)-1] != (core.RequestVote{Term: term, CandidateID: 1, LastLogIndex: 2, LastLogTerm: 3}) {
			t.Fatalf("term %d: server 5 was asked %v", term, requests)
		}
		if s.disk.HardState != (core.HardState{CurrentTerm: term, VotedFor: 1}) {
			t.Fatalf("saved %+v; want its own vote in term %d", s.disk.HardState, term)
		}
	}
	for id := range core.NodeID(2) {
		s.step(2+id, &core.RequestVoteReply{Term: 5, RequestTerm: 5, VoteGranted: true})
	}
	s.wantState(core.Leader, 5)
}

// §5.2: a leader of an old term is not word from the leader.
func Test5_2_OldLeaderDoesNotResetTimer(t *testing.T) {
	s := start(t, 3, disk(3, 1, 2))
	for range 2 * electionTicks {
		s.Tick()
		s.step(2, &core.AppendEntries{Term: 2, LeaderID: 2})
		s.step(2, &core.InstallSnapshot{Term: 2, LeaderID: 2, LastIncludedIndex: 1, LastIncludedTerm: 1})
	}
	s.wantState(core.PreCandidate, 3)
}

// §5.2: servers start as followers, and stay so as long as they receive valid
// RPCs from a leader or candidate.
func Test5_2_FollowerStaysWhileItHearsFromLeader(t *testing.T) {
	s := start(t, 3, disk(1))
	for range 10 {
		s.tick(electionTicks - 1)
		s.append(2, core.AppendEntries{Term: 1})
		s.wantState(core.Follower, 1)
	}
	for i := range uint64(10) {
		s.tick(electionTicks - 1)
		s.install(2, core.InstallSnapshot{Term: 1, LastIncludedIndex: i + 1, LastIncludedTerm: 1})
		s.wantState(core.Follower, 1)
	}
}

// §5.2: to begin an election, a follower increments its current term, votes for
// itself and issues RequestVote RPCs in parallel. Here a poll comes before it.
func Test5_2_Campaign(t *testing.T) {
	s := start(t, 5, disk(3, 1, 3))
	s.campaign()
	s.wantState(core.Candidate, 4)
	if s.disk.HardState != (core.HardState{CurrentTerm: 4, VotedFor: 1}) {
		t.Fatalf("saved %+v; want its own vote in term 4", s.disk.HardState)
	}
	s = start(t, 5, disk(3, 1, 3))
	s.timeout()
	s.work()
	for id := range core.NodeID(2) {
		s.step(2+id, &core.RequestVoteReply{Term: 3, RequestTerm: 4, VoteGranted: true, PreVote: true})
	}
	ms := s.work()
	for id := core.NodeID(2); id <= 5; id++ {
		reqs := sent[*core.RequestVote](ms, id)
		if len(reqs) != 1 || *reqs[0] != (core.RequestVote{Term: 4, CandidateID: 1, LastLogIndex: 2, LastLogTerm: 3}) {
			t.Errorf("to %d: %v", id, reqs)
		}
	}
}

// §5.2: a candidate wins if it receives votes from a majority in the same term.
func Test5_2_MajorityWins(t *testing.T) {
	for _, tt := range []struct {
		servers, votes int // beside its own
		state          core.State
	}{
		{1, 0, core.Leader},
		{2, 0, core.Candidate}, {2, 1, core.Leader},
		{3, 0, core.Candidate}, {3, 1, core.Leader},
		{4, 1, core.Candidate}, {4, 2, core.Leader},
		{5, 1, core.Candidate}, {5, 2, core.Leader},
		{7, 2, core.Candidate}, {7, 3, core.Leader},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.votes+1, tt.servers), func(t *testing.T) {
			s := start(t, tt.servers, core.Persistent{})
			if tt.servers > 1 {
				s.campaign()
			} else {
				s.tick(2 * electionTicks)
				s.work()
			}
			for i := range tt.votes {
				s.step(core.NodeID(i+2), &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
			}
			s.wantState(tt.state, 1)
		})
	}
}

// §5.2: one server's vote counts once, and refusals do not count.
func Test5_2_VotesAreCountedPerServer(t *testing.T) {
	s := start(t, 5, core.Persistent{})
	s.campaign()
	for range 3 {
		s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
		s.step(3, &core.RequestVoteReply{Term: 1, RequestTerm: 1})
		s.step(4, &core.RequestVoteReply{Term: 1, RequestTerm: 1})
		s.step(5, &core.RequestVoteReply{Term: 1, RequestTerm: 1})
	}
	s.wantState(core.Candidate, 1)
}

// §5.2: a vote that was given stays given, though a refusal that is older, from
// when the voter still heard its last leader, comes in later. A candidate that
// was refused does not ask again in that term.
func Test5_2_LateRefusalTakesNoVoteAway(t *testing.T) {
	s := start(t, 5, core.Persistent{})
	s.campaign()
	s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
	s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 1})
	s.step(4, &core.RequestVoteReply{Term: 1, RequestTerm: 1})
	s.tick(heartbeatTicks)
	if again := sent[*core.RequestVote](s.work(), 4); len(again) != 0 {
		t.Errorf("asked again after a refusal: %v", again)
	}
	s.step(3, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
	s.wantState(core.Leader, 1)
}

// §5.2: votes count in their own term only; a vote of an older election, or a
// promise in a pre-vote, elects nobody.
func Test5_2_VotesOfOtherTermsAreIgnored(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.campaign()
	s.timeout() // the election of term 1 came to nothing
	s.step(3, &core.RequestVoteReply{Term: 1, RequestTerm: 2, VoteGranted: true, PreVote: true})
	s.wantState(core.Candidate, 2)
	s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
	s.step(3, &core.RequestVoteReply{Term: 1, RequestTerm: 2, VoteGranted: true, PreVote: true})
	s.wantState(core.Candidate, 2)
	s.step(2, &core.RequestVoteReply{Term: 2, RequestTerm: 2, VoteGranted: true})
	s.wantState(core.Leader, 2)
}

// §5.2: each server votes for at most one candidate in a given term,
// first-come-first-served; asked again by that candidate it says the same.
func Test5_2_OneVoteATerm(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	ask := core.RequestVote{Term: 2, LastLogIndex: 1, LastLogTerm: 1}
	for _, tt := range []struct {
		from    core.NodeID
		granted bool
	}{{2, true}, {3, false}, {2, true}} {
		if rep := s.vote(tt.from, ask); rep.VoteGranted != tt.granted || rep.Term != 2 {
			t.Fatalf("vote for %d: %+v; want %t", tt.from, rep, tt.granted)
		}
	}
	ask.Term = 3
	if rep := s.vote(3, ask); !rep.VoteGranted {
		t.Fatalf("in a new term: %+v; want a new vote", rep)
	}
}

// §5.2 with Figure 2's persistent state: a restart does not bring the vote back.
func Test5_2_VoteIsPersisted(t *testing.T) {
	s := start(t, 3, disk(2, 1)) // already in the term: only the vote is new
	ask := core.RequestVote{Term: 2, LastLogIndex: 1, LastLogTerm: 1}
	s.vote(2, ask)
	s.restart()
	if rep := s.vote(3, ask); rep.VoteGranted {
		t.Fatal("two candidates got the vote of term 2, one before and one after a restart")
	}
	if rep := s.vote(2, ask); !rep.VoteGranted {
		t.Fatal("the vote is not remembered after a restart")
	}
	s.campaign()
	s.restart()
	if rep := s.vote(2, core.RequestVote{Term: 3, LastLogIndex: 1, LastLogTerm: 1}); rep.VoteGranted {
		t.Fatal("a candidate voted for another in its own term after a restart")
	}
}

// §5.2: a candidate or leader has given its vote to itself.
func Test5_2_CandidateDoesNotVoteForAnother(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.campaign()
	if rep := s.vote(3, core.RequestVote{Term: 2, LastLogIndex: 5, LastLogTerm: 1}); rep.VoteGranted {
		t.Fatal("a candidate voted for another in its own term")
	}
	s.step(2, &core.RequestVoteReply{Term: 2, RequestTerm: 2, VoteGranted: true})
	s.wantState(core.Leader, 2)
	if rep := s.vote(3, core.RequestVote{Term: 2, LastLogIndex: 5, LastLogTerm: 1}); rep.VoteGranted {
		t.Fatal("a leader voted for another in its own term")
	}
}

// §5.2, Figure 2 (rules for followers): granting a vote restarts the election timer.
func Test5_2_GrantingResetsTimer(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	for term := uint64(2); term < 12; term++ {
		s.tick(electionTicks - 1)
		s.wantState(core.Follower, term-1)
		s.vote(2, core.RequestVote{Term: term, LastLogIndex: 1, LastLogTerm: 1})
	}
}

// §5.2: whoever steps down waits like any follower before it tries again.
func Test5_2_SteppingDownResetsTimer(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	for range 10 {
		s.elect()
		s.tick(electionTicks - 1)
		term := s.Status().CurrentTerm + 1
		s.step(2, &core.AppendEntriesReply{Term: term, RequestTerm: term - 1})
		s.tick(electionTicks - 1)
		s.wantState(core.Follower, term)
	}
}

// §5.2: refusing does not: a server that cannot win must not keep others from trying.
func Test5_2_RefusingDoesNotResetTimer(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	for term := uint64(2); s.Status().State == core.Follower; term++ {
		if s.Tick(); term > 2*electionTicks+2 {
			t.Fatal("requests that were refused kept a follower from calling an election")
		}
		if s.Status().State == core.Follower {
			s.step(2, &core.RequestVote{Term: term, CandidateID: 2})
			s.step(3, &core.RequestVote{Term: term + 1, CandidateID: 3, LastLogIndex: 9, LastLogTerm: 9, PreVote: true})
		}
	}
}

// §5.2: a candidate that hears from a leader whose term is at least as large as
// its own recognizes it and returns to follower; a smaller one is rejected.
func Test5_2_CandidateRecognizesLeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		term uint64
		want core.State
	}{{"older", 1, core.Candidate}, {"same", 2, core.Follower}, {"newer", 3, core.Follower}} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, 3, disk(1, 1))
			s.campaign()
			s.append(2, core.AppendEntries{Term: tt.term, PrevLogIndex: 1, PrevLogTerm: 1})
			s.wantState(tt.want, max(2, tt.term))
		})
	}
	s := start(t, 3, disk(1, 1))
	s.timeout()
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	s.wantState(core.Follower, 1)
}

// §5.2: a candidate that neither wins nor loses times out and tries anew.
func Test5_2_SplitVoteStartsNewElection(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	for term := uint64(1); term < 5; term++ {
		s.campaign()
		s.wantState(core.Candidate, term)
	}
}

// §5.2: election timeouts are chosen randomly from a fixed interval, here
// [ElectionTicks, 2*ElectionTicks), anew each time, all of it, by the given source.
func Test5_2_TimeoutsAreRandom(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	seen := map[int]int{}
	for range 50 * electionTicks {
		s.append(2, core.AppendEntries{Term: 1})
		n := 0
		for s.Status().State == core.Follower {
			s.Tick()
			n++
		}
		seen[n]++
	}
	for n := electionTicks; n < 2*electionTicks; n++ {
		if seen[n] == 0 {
			t.Errorf("no timeout of %d ticks among %v", n, seen)
		}
		delete(seen, n)
	}
	if len(seen) > 0 {
		t.Errorf("timeouts outside [%d, %d): %v", electionTicks, 2*electionTicks, seen)
	}
}

// §5.2: the winner sends heartbeats to all others at once, and then regularly.
func Test5_2_LeaderSendsHeartbeats(t *testing.T) {
	s := start(t, 5, disk(1, 1))
	first := s.elect()
	for round := range 3 {
		for id := core.NodeID(2); id <= 5; id++ {
			if reqs := sent[*core.AppendEntries](first, id); len(reqs) != 1 || len(reqs[0].Entries) != 0 ||
				reqs[0].Term != 2 || reqs[0].LeaderID != 1 || reqs[0].PrevLogIndex != 1 || reqs[0].PrevLogTerm != 1 {
				t.Fatalf("round %d, to %d: %v", round, id, reqs)
			}
		}
		s.tick(heartbeatTicks - 1)
		if quiet := s.work(); len(quiet) != 0 {
			t.Fatalf("between heartbeats: %v", quiet)
		}
		s.Tick()
		first = s.work()
	}
}

// §5.1: servers retry RPCs if they do not receive a response in a timely manner:
// a candidate asks those again who have not answered.
func Test5_1_CandidateRetries(t *testing.T) {
	s := start(t, 5, core.Persistent{})
	s.campaign()
	s.step(3, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
	s.tick(heartbeatTicks)
	ms := s.work()
	for id, want := range map[core.NodeID]int{2: 1, 3: 0, 4: 1, 5: 1} {
		if got := len(sent[*core.RequestVote](ms, id)); got != want {
			t.Errorf("%d requests to %d; want %d", got, id, want)
		}
	}
}

// §5.4.1: the voter denies its vote if its own log is more up-to-date: the later
// last term wins, and with equal last terms the longer log.
func Test5_4_1_UpToDate(t *testing.T) {
	logs := [][]uint64{{}, {1}, {1, 1}, {1, 2}, {1, 2, 2}, {2}, {1, 1, 1, 1}, {3}}
	for _, mine := range logs {
		for _, theirs := range logs {
			t.Run(fmt.Sprint(mine, " asked by ", theirs), func(t *testing.T) {
				lastTerm := func(log []uint64) uint64 {
					if len(log) == 0 {
						return 0
					}
					return log[len(log)-1]
				}
				want := lastTerm(theirs) > lastTerm(mine) || lastTerm(theirs) == lastTerm(mine) && len(theirs) >= len(mine)
				for _, pre := range []bool{true, false} {
					s := start(t, 3, disk(3, mine...))
					rep := s.vote(2, core.RequestVote{Term: 4, LastLogIndex: uint64(len(theirs)), LastLogTerm: lastTerm(theirs), PreVote: pre})
					if rep.VoteGranted != want {
						t.Errorf("granted %t (pre-vote %t); want %t", rep.VoteGranted, pre, want)
					}
				}
			})
		}
	}
}

// §5.4.1 after §7: a compacted log is as up-to-date as what its snapshot ends with.
func Test5_4_1_UpToDateWithSnapshot(t *testing.T) {
	s := start(t, 3, core.Persistent{
		HardState: core.HardState{CurrentTerm: 3},
		Snapshot:  core.Snapshot{LastIncludedIndex: 5, LastIncludedTerm: 2},
	})
	for _, tt := range []struct {
		index, term uint64
		want        bool
	}{{4, 2, false}, {5, 2, true}, {9, 1, false}, {1, 3, true}} {
		if rep := s.vote(2, core.RequestVote{Term: 4, LastLogIndex: tt.index, LastLogTerm: tt.term, PreVote: true}); rep.VoteGranted != tt.want {
			t.Errorf("candidate at %d/%d: granted %t; want %t", tt.index, tt.term, rep.VoteGranted, tt.want)
		}
	}
}

// Figure 2 ("before responding to RPCs"): neither a vote nor a candidate's
// request leaves before it is saved, and a candidate's own vote counts then.
func TestFigure2_VotesLeaveAfterSave(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.step(2, &core.RequestVote{Term: 2, CandidateID: 2, LastLogIndex: 1, LastLogTerm: 1})
	rd := s.Ready()
	if rd.HardState == nil || *rd.HardState != (core.HardState{CurrentTerm: 2, VotedFor: 2}) || len(rd.Messages) != 0 || len(rd.AfterSave) != 1 {
		t.Fatalf("Ready after a vote: %+v", rd)
	}
	s.Saved(rd)

	s.timeout()
	s.step(2, &core.RequestVoteReply{Term: 2, RequestTerm: 3, VoteGranted: true, PreVote: true})
	rd = s.Ready()
	if rd.HardState == nil || *rd.HardState != (core.HardState{CurrentTerm: 3, VotedFor: 1}) ||
		len(sent[*core.RequestVote](rd.Messages, core.None)) != 0 || len(sent[*core.RequestVote](rd.AfterSave, core.None)) == 0 {
		t.Fatalf("Ready of a candidate: %+v", rd)
	}

	s = start(t, 1, core.Persistent{})
	s.tick(2 * electionTicks)
	rd = s.Ready()
	s.wantState(core.Candidate, 1)
	s.Saved(rd)
	s.wantState(core.Leader, 1)
}

// Between Ready and Saved a server may move on: what was saved then is not the
// vote of the term that it is in now.
func TestFigure2_OwnVoteSavedInOlderTerm(t *testing.T) {
	s := start(t, 1, core.Persistent{})
	s.tick(2 * electionTicks)
	rd := s.Ready()
	s.tick(2 * electionTicks) // times out again, in term 2, before the vote of term 1 is saved
	s.wantState(core.Candidate, 2)
	s.Saved(rd)
	s.wantState(core.Candidate, 2)
	s.work()
	s.wantState(core.Leader, 2)
}

// Thesis 9.6: a server asks whether it would win before it begins a term.
func TestThesis9_6_PreVote(t *testing.T) {
	s := start(t, 3, disk(3, 1, 3))
	s.timeout()
	rd := s.Ready()
	if rd.HardState != nil {
		t.Fatalf("a pre-vote changed the saved state: %+v", rd.HardState)
	}
	for _, req := range sent[*core.RequestVote](slices.Concat(rd.Messages, rd.AfterSave), core.None) {
		if *req != (core.RequestVote{Term: 4, CandidateID: 1, LastLogIndex: 2, LastLogTerm: 3, PreVote: true}) {
			t.Fatalf("pre-vote request %+v", req)
		}
	}
	s.Saved(rd)
	s.step(2, &core.RequestVoteReply{Term: 3, RequestTerm: 4, PreVote: true})
	s.wantState(core.PreCandidate, 3)
	for range 5 {
		s.tick(2 * electionTicks) // alone, it never reaches a new term
	}
	s.wantState(core.PreCandidate, 3)
	s.step(2, &core.RequestVoteReply{Term: 3, RequestTerm: 4, PreVote: true, VoteGranted: true})
	s.wantState(core.Candidate, 4)
}

// Thesis 9.6: the promise binds nobody and changes nothing.
func TestThesis9_6_PreVotePromisesNothing(t *testing.T) {
	s := start(t, 3, disk(3, 1, 3))
	for _, from := range []core.NodeID{2, 3, 2} {
		if rep := s.vote(from, core.RequestVote{Term: 4, LastLogIndex: 2, LastLogTerm: 3, PreVote: true}); !rep.VoteGranted || rep.Term != 3 || !rep.PreVote || rep.RequestTerm != 4 {
			t.Fatalf("pre-vote for %d: %+v", from, rep)
		}
	}
	if s.disk.HardState != (core.HardState{CurrentTerm: 3}) {
		t.Fatalf("a pre-vote changed the saved state: %+v", s.disk.HardState)
	}
	if rep := s.vote(2, core.RequestVote{Term: 3, LastLogIndex: 2, LastLogTerm: 3, PreVote: true}); rep.VoteGranted {
		t.Fatal("pre-vote granted for a term that is not new")
	}
	s.elect()
	if rep := s.vote(2, core.RequestVote{Term: 9, LastLogIndex: 9, LastLogTerm: 9, PreVote: true}); rep.VoteGranted {
		t.Fatal("a leader granted a pre-vote")
	}
	s.wantState(core.Leader, 4)
}

// A server that asks for pre-votes and gives its vote to another stops asking:
// its poll would end the term that it has just voted in.
func TestThesis9_6_PreCandidateThatVotesFollows(t *testing.T) {
	s := start(t, 3, disk(3, 1, 3))
	s.timeout()
	if rep := s.vote(2, core.RequestVote{Term: 3, LastLogIndex: 2, LastLogTerm: 3}); !rep.VoteGranted {
		t.Fatalf("vote refused: %+v", rep)
	}
	s.wantState(core.Follower, 3)
}

// Thesis 4.2.3: a server that has heard from a leader within the minimum election
// timeout gives no vote and does not take up the term.
func TestThesis4_2_3_NoVoteWhileLeaderIsHeard(t *testing.T) {
	for _, pre := range []bool{true, false} {
		s := start(t, 3, disk(1, 1))
		s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
		ask := core.RequestVote{Term: 5, LastLogIndex: 7, LastLogTerm: 4, PreVote: pre}
		s.tick(electionTicks - 1)
		if rep := s.vote(3, ask); rep.VoteGranted || rep.Term != 1 {
			t.Fatalf("after %d ticks of silence: %+v", electionTicks-1, rep)
		}
		s.wantState(core.Follower, 1)
		s.Tick()
		if rep := s.vote(3, ask); !rep.VoteGranted {
			t.Fatalf("after %d ticks of silence: %+v", electionTicks, rep)
		}
	}
}

// Thesis 6.2: a leader that has not heard from a majority for an election
// timeout steps down; with a majority it stays, even without some.
func TestThesis6_2_CheckQuorum(t *testing.T) {
	s := start(t, 5, core.Persistent{})
	s.elect()
	for range 10 {
		s.tick(electionTicks - 1)
		s.accept(2, 0)
		s.step(4, &core.AppendEntriesReply{Term: 1, RequestTerm: 1, PrevLogIndex: 9}) // a refusal is a sign of life too
		s.Tick()
		s.wantState(core.Leader, 1)
	}
	s.tick(electionTicks - 1)
	s.accept(2, 0)
	s.accept(2, 0) // one server is one server
	s.Tick()
	s.wantState(core.Follower, 1)
	if _, _, err := s.Propose(nil); err != core.ErrNotLeader {
		t.Fatalf("Propose after stepping down: %v", err)
	}
}

// §5.2: a leader that steps down sends no heartbeats and takes no commands, so
// that the others time out and elect another. Its term and its vote stay.
func Test5_2_StepDown(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.StepDown()
	s.wantState(core.Follower, 0)
	s.elect()
	s.StepDown()
	s.wantState(core.Follower, 1)
	if st := s.Status(); st.Leader != core.None || st.VotedFor != 1 {
		t.Errorf("after StepDown: %+v; want no leader, and the vote for server 1", st)
	}
	if _, _, err := s.Propose(nil); err != core.ErrNotLeader {
		t.Errorf("Propose after StepDown: %v; want ErrNotLeader", err)
	}
	s.tick(heartbeatTicks)
	if ms := sent[*core.AppendEntries](s.work(), 2); len(ms) > 0 {
		t.Errorf("heartbeats after StepDown: %v", ms)
	}
	if rep := s.vote(2, core.RequestVote{Term: 1, LastLogIndex: 9, LastLogTerm: 1}); rep.VoteGranted {
		t.Errorf("a second vote in term 1: %+v", rep)
	}
	s.campaign()
	s.wantState(core.Candidate, 2)
}
