package core_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// read begins a read that must be accepted.
func (s *server) read(id uint64) {
	s.t.Helper()
	if err := s.ReadIndex(id); err != nil {
		s.t.Fatalf("ReadIndex: %v", err)
	}
}

func (s *server) wantReads(want ...core.ReadState) {
	s.t.Helper()
	got := s.Reads()
	if len(got) != len(want) {
		s.t.Fatalf("reads %+v; want %+v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			s.t.Fatalf("reads %+v; want %+v", got, want)
		}
	}
}

// confirm answers the heartbeat round number, as a follower.
func (s *server) confirm(from core.NodeID, round uint64) {
	s.t.Helper()
	st := s.Status()
	s.step(from, &core.AppendEntriesReply{Term: st.CurrentTerm, RequestTerm: st.CurrentTerm, Success: true, MatchIndex: st.CommitIndex, Round: round})
}

// Thesis 6.4: a leader answers a read with its commitIndex when a round of
// heartbeats that began after the read has been answered by a majority. All
// waiting reads share a round.
func TestThesis6_4_ReadsShareARound(t *testing.T) {
	s := lead(t, 3)
	for id := range uint64(100) {
		s.read(id)
	}
	ms := sent[*core.AppendEntries](s.work(), core.None)
	if len(ms) != 2 || ms[0].Round != 1 {
		t.Fatalf("100 reads send %v; want one heartbeat of round 1 to each follower", ms)
	}
	s.wantReads()
	s.confirm(2, 1)
	got := s.Reads()
	if len(got) != 100 || got[7] != (core.ReadState{ID: 7, Index: 1}) {
		t.Fatalf("%d reads: %+v", len(got), got)
	}
}

// An answer to a heartbeat from before the read confirms nothing.
func TestThesis6_4_OlderAnswersDoNotConfirm(t *testing.T) {
	s := lead(t, 3)
	s.read(1)
	s.work()
	s.read(2)
	s.work()
	s.confirm(2, 0)
	s.wantReads()
	s.confirm(2, 1)
	s.wantReads(core.ReadState{ID: 1, Index: 1})
	s.confirm(3, 2) // a later answer confirms the earlier rounds, too
	s.wantReads(core.ReadState{ID: 2, Index: 1})
}

// The round's number goes with the entries when there are any.
func TestThesis6_4_EntriesCarryTheRound(t *testing.T) {
	s := lead(t, 3)
	s.propose("a")
	s.read(1)
	for _, m := range sent[*core.AppendEntries](s.work(), core.None) {
		if len(m.Entries) != 1 || m.Round != 1 {
			t.Fatalf("sent %v; want the entry and the round in one request", m)
		}
	}
}

// Thesis 6.4, step 1: a leader that has committed nothing in its term does not
// know the newest committed entry. The read waits for the no-op.
func TestThesis6_4_NoReadBeforeTheTermIsCommitted(t *testing.T) {
	s := start(t, 3, disk(1, 1, 1), library)
	s.elect()
	s.read(1)
	s.work()
	s.confirm(2, 1)
	s.wantReads()
	s.accept(2, 3)
	s.work()
	s.confirm(2, 1)
	s.wantReads(core.ReadState{ID: 1, Index: 3})
}

// A learner's answers confirm nothing, and in a joint configuration both
// majorities have to answer.
func TestThesis6_4_ReadsNeedTheQuorumOfTheConfiguration(t *testing.T) {
	s := withLearner(t)
	s.read(1)
	s.work()
	s.confirm(4, 1)
	s.wantReads()
	s.confirm(3, 1)
	s.wantReads(core.ReadState{ID: 1, Index: 2})
	s.reconfigure(core.Configuration{Voters: ids(1, 4)})
	s.read(2)
	s.work()
	s.confirm(2, 2)
	s.wantReads()
	s.confirm(4, 2)
	s.wantReads(core.ReadState{ID: 2, Index: 2})
}

// A leader alone needs no answers.
func TestThesis6_4_ReadAlone(t *testing.T) {
	s := start(t, 1, core.Persistent{}, library)
	s.tick(2 * electionTicks)
	s.work()
	s.work()
	s.read(1)
	s.work()
	s.wantReads(core.ReadState{ID: 1, Index: 1})
}

// Reads fail when the leader steps down: another may have committed more.
func TestThesis6_4_ReadsFailWithTheLeadership(t *testing.T) {
	s := lead(t, 3)
	s.read(1)
	s.work()
	s.step(3, &core.ReadIndex{Term: 1, ID: 9})
	s.read(2)
	s.step(2, &core.AppendEntries{Term: 2, LeaderID: 2, PrevLogIndex: 1, PrevLogTerm: 1})
	s.wantReads(core.ReadState{ID: 2, Failed: true}, core.ReadState{ID: 1, Failed: true})
	if rep := sent[*core.ReadIndexReply](s.work(), 3); len(rep) != 1 || !rep[0].Failed || rep[0].ID != 9 {
		t.Errorf("the forwarded read is answered by %v", rep)
	}
	s.confirm(2, 2)
	s.wantReads()
}

// A follower forwards its reads to the leader, those that wait with one message.
func TestThesis6_4_FollowersForward(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	if err := s.ReadIndex(1); !errors.Is(err, core.ErrNoLeader) {
		t.Fatalf("ReadIndex without a leader: %v", err)
	}
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	s.read(1)
	s.read(2)
	reqs := sent[*core.ReadIndex](s.work(), 2)
	if len(reqs) != 1 {
		t.Fatalf("two reads are forwarded by %v", reqs)
	}
	s.step(3, &core.ReadIndexReply{Term: 1, ID: reqs[0].ID, Index: 1}) // not the one that was asked
	s.wantReads()
	s.step(2, &core.ReadIndexReply{Term: 1, ID: reqs[0].ID, Index: 7})
	s.wantReads(core.ReadState{ID: 1, Index: 7}, core.ReadState{ID: 2, Index: 7})
	s.step(2, &core.ReadIndexReply{Term: 1, ID: reqs[0].ID, Index: 7})
	s.wantReads()

	s.read(3)
	s.work()
	s.tick(electionTicks - 1)
	s.wantReads()
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	s.tick(1) // no answer for an election timeout
	s.wantReads(core.ReadState{ID: 3, Failed: true})
}

// A delayed reply to a read from before a restart must not answer a read from
// after it: no message has an id that an earlier one had.
func TestThesis6_4_ReadIdsAreNotReused(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	forward := func() uint64 {
		s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
		s.read(1)
		return sent[*core.ReadIndex](s.work(), 2)[0].ID
	}
	seen := map[uint64]bool{}
	for range 5 {
		id := forward()
		if seen[id] {
			t.Fatalf("id %d stands for two reads", id)
		}
		seen[id] = true
		s.restart() // the random source goes on, as in a new process
	}
}

// A server that does not lead says so at once, and a bound keeps reads from
// piling up.
func TestThesis6_4_ReadsAreBounded(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.step(3, &core.ReadIndex{Term: 1, ID: 5})
	if rep := sent[*core.ReadIndexReply](s.work(), 3); len(rep) != 1 || !rep[0].Failed {
		t.Errorf("a follower answers a forwarded read by %v", rep)
	}
	s = lead(t, 3, func(cfg *core.Config) { cfg.MaxPendingReads = 2 })
	s.read(1)
	s.work()
	s.step(3, &core.ReadIndex{Term: 1, ID: 5})
	if err := s.ReadIndex(2); !errors.Is(err, core.ErrTooManyReads) {
		t.Fatalf("the third read: %v", err)
	}
	s.step(3, &core.ReadIndex{Term: 1, ID: 6})
	if rep := sent[*core.ReadIndexReply](s.work(), 3); len(rep) != 1 || !rep[0].Failed || rep[0].ID != 6 {
		t.Errorf("a read beyond the bound is answered by %v", rep)
	}
	s.confirm(2, 2)
	s.Reads()
	s.read(3)
}

// leased is a leader with leases, whose lease begins now.
func leased(t *testing.T) *server {
	t.Helper()
	s := lead(t, 3, func(cfg *core.Config) { cfg.LeaseTicks = electionTicks - 1 })
	s.tick(heartbeatTicks)
	ms := sent[*core.AppendEntries](s.work(), 2)
	s.confirm(2, ms[len(ms)-1].Round)
	if !s.Status().Lease {
		t.Fatal("no lease after a round of heartbeats")
	}
	return s
}

// Thesis 6.4.1: within the lease a read needs no messages. The lease ends with the
// clock.
func TestThesis6_4_1_Lease(t *testing.T) {
	s := leased(t)
	s.read(1)
	if ms := s.work(); len(ms) > 0 {
		t.Errorf("a read under the lease sends %v", ms)
	}
	s.wantReads(core.ReadState{ID: 1, Index: 1})
	s.tick(electionTicks - 2)
	s.work()
	if !s.Status().Lease {
		t.Errorf("the lease ended a tick early: %+v", s.Status())
	}
	s.tick(1)
	s.work()
	if s.Status().Lease {
		t.Error("the lease has not ended")
	}
	s.read(2)
	s.work()
	s.wantReads()
}

// The host could not give ticks for a while: the lease runs out all the same, and no
// election begins.
func TestLeaseRunsOutByElapsedTicks(t *testing.T) {
	s := leased(t)
	s.Elapse(electionTicks - 2)
	if !s.Status().Lease {
		t.Error("the lease ended a tick early")
	}
	s.Elapse(1)
	if s.Status().Lease {
		t.Error("the lease has not ended")
	}
	s.Elapse(100 * electionTicks)
	if ms := s.work(); len(ms) > 0 || s.Status().State != core.Leader {
		t.Errorf("state %v, messages %v", s.Status().State, ms)
	}
}

// The lease begins with the heartbeat, not with the answer to it.
func TestThesis6_4_1_LeaseBeginsWithTheHeartbeat(t *testing.T) {
	s := lead(t, 3, func(cfg *core.Config) { cfg.LeaseTicks = electionTicks - 1 })
	s.tick(heartbeatTicks)
	ms := sent[*core.AppendEntries](s.work(), 2)
	s.tick(electionTicks - 2 - heartbeatTicks)
	s.confirm(2, ms[len(ms)-1].Round)
	if !s.Status().Lease {
		t.Error("no lease before the clock has reached its end")
	}
	s.tick(heartbeatTicks + 1)
	if s.Status().Lease {
		t.Error("the lease is counted from the answer")
	}
}

// Thesis 6.4.1: the successor is elected while followers still hear the old
// leader. Once it may have been told to campaign, there is no lease in the term.
func TestThesis6_4_1_TransferEndsTheLease(t *testing.T) {
	s := leased(t)
	if err := s.TransferLeadership(2); err != nil {
		t.Fatal(err)
	}
	s.read(1)
	s.work()
	s.wantReads()
	for range electionTicks { // the transfer is given up, the heartbeats are answered
		s.tick(1)
		for _, m := range sent[*core.AppendEntries](s.work(), 2) {
			s.confirm(2, m.Round)
		}
	}
	if st := s.Status(); st.Transferee != core.None || st.State != core.Leader || st.Lease {
		t.Errorf("after the transfer was given up: %+v", st)
	}
}

// A server that restarts has forgotten the leader that may count on it. It gives
// no vote before an election timeout has passed.
func TestThesis6_4_1_RestartedServerKeepsTheLease(t *testing.T) {
	leases := func(cfg *core.Config) { cfg.LeaseTicks = 5 }
	s := start(t, 3, disk(1, 1), leases)
	s.tick(electionTicks - 1)
	if rep := s.vote(2, core.RequestVote{Term: 2, LastLogIndex: 9, LastLogTerm: 1}); rep.VoteGranted {
		t.Error("a vote within the lease")
	}
	s.tick(1)
	if rep := s.vote(2, core.RequestVote{Term: 2, LastLogIndex: 9, LastLogTerm: 1}); !rep.VoteGranted {
		t.Error("no vote after the lease")
	}
}

// A follower that hears of a newer term gives no vote within the lease either.
func TestThesis6_4_1_NewerTermDoesNotEndTheLease(t *testing.T) {
	s := start(t, 3, disk(1, 1), func(cfg *core.Config) { cfg.LeaseTicks = 5 })
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	s.step(3, &core.AppendEntriesReply{Term: 4, RequestTerm: 1}) // to a request of its own, long ago
	s.wantState(core.Follower, 4)
	if rep := s.vote(3, core.RequestVote{Term: 4, LastLogIndex: 9, LastLogTerm: 1}); rep.VoteGranted {
		t.Error("a vote within the lease")
	}
}

// drift searches schedules in which a leader with a lease and a slow clock is cut
// off while the others elect another and commit, for one with a stale read. The
// clocks drift apart by times the bound of Config.LeaseTicks.
func drift(times int, seeds uint64) error {
	for seed := range seeds {
		choices := coretest.Seeded(seed, 10_000)
		next := func(n int) int { i, _ := choices.Next(n); return i }
		const fastest, election, lease = 8, 10, 8
		c := coretest.New(coretest.Options{Seed: seed, Servers: 3,
			Clocks: []int{times * fastest * (election - 1) / lease, fastest, fastest},
			Config: core.Config{ElectionTicks: election, HeartbeatTicks: 1, LeaderNoOp: true, LeaseTicks: lease}})
		for c.Leader() != 1 {
			c.Tick(1)
			c.Settle()
		}
		pass := func(units int) {
			c.Pass(units)
			c.FinishAll()
			c.DeliverAll()
			c.FinishAll()
		}
		for range 50 + next(50) {
			pass(1 + next(4))
		}
		c.Partition([]core.NodeID{2, 3})
		for range 20 * fastest {
			pass(1)
			if leader := c.Leader(); leader > 1 {
				_ = c.Propose(leader, "x")
			}
			_ = c.Read(1)
			pass(0)
		}
		if c.Err() != nil {
			return c.Err()
		}
	}
	return nil
}

// Config.LeaseTicks states how far clocks may drift apart. Beyond that, the
// simulator finds a stale read, and so is seen to look for one.
func TestThesis6_4_1_DriftBeyondTheBoundIsFound(t *testing.T) {
	seeds := uint64(50)
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		seeds = 2000
	}
	if err := drift(1, seeds); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	if err := drift(2, 50); err == nil || !strings.Contains(err.Error(), "stale read") {
		t.Errorf("beyond the bound the simulator finds %v; want a stale read", err)
	}
}
