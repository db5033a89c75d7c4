package core_test

import (
	"errors"
	"slices"
	"testing"

	"raftlab/raft/core"
)

// library sets what a library's servers need beyond a lab's.
func library(cfg *core.Config) { cfg.LeaderNoOp = true }

func ids(numbers ...core.NodeID) []core.NodeID { return numbers }

// lead makes the server the leader of a cluster of voters, with its no-op
// committed.
func lead(t *testing.T, voters int, options ...func(*core.Config)) *server {
	t.Helper()
	s := start(t, voters, core.Persistent{}, append(options, library)...)
	s.elect()
	for id := core.NodeID(2); int(id) <= voters; id++ {
		s.accept(id, 1)
	}
	s.work()
	s.wantCommit(1)
	return s
}

// reconfigure proposes a configuration that must be accepted, and returns its index.
func (s *server) reconfigure(next core.Configuration) uint64 {
	s.t.Helper()
	index, _, err := s.ProposeConfiguration(next)
	if err != nil {
		s.t.Fatalf("ProposeConfiguration(%v): %v", next, err)
	}
	return index
}

func (s *server) refuses(next core.Configuration, want error) {
	s.t.Helper()
	before := s.Status()
	if _, _, err := s.ProposeConfiguration(next); !errors.Is(err, want) {
		s.t.Errorf("ProposeConfiguration(%v): %v; want %v", next, err, want)
	}
	if s.Status() != before {
		s.t.Errorf("a refused configuration changed %+v to %+v", before, s.Status())
	}
}

func (s *server) wantConfiguration(want core.Configuration) {
	s.t.Helper()
	if got, index := s.Configuration(); !got.Equal(want) {
		s.t.Fatalf("in configuration %v of index %d; want %v", got, index, want)
	}
}

// commitNext lets the followers acknowledge the whole log.
func (s *server) commitNext(followers ...core.NodeID) {
	s.t.Helper()
	s.work()
	for _, id := range followers {
		s.accept(id, s.Status().LastIndex)
	}
	s.work()
}

// withLearner is a leader of voters 1 to 3 with server 4 as a learner that has
// the whole log.
func withLearner(t *testing.T) *server {
	t.Helper()
	s := lead(t, 3)
	s.reconfigure(core.Configuration{Voters: ids(1, 2, 3), Learners: ids(4)})
	s.commitNext(2, 3)
	s.commitNext(4)
	return s
}

// §6: a change of voters goes through a joint configuration, which the leader
// leaves by itself once it is committed. Thesis 4.1: each is in force from the
// moment it is appended.
func Test6_JointConsensus(t *testing.T) {
	s := withLearner(t)
	s.reconfigure(core.Configuration{Voters: ids(1, 2, 4)})
	s.wantConfiguration(core.Configuration{Voters: ids(1, 2, 4), Outgoing: ids(1, 2, 3)})
	s.refuses(core.Configuration{Voters: ids(1)}, core.ErrChangePending)
	s.commitNext(2)
	s.wantConfiguration(core.Configuration{Voters: ids(1, 2, 4)})
	if _, index := s.CommittedConfiguration(); index != s.Status().CommitIndex || index != 3 {
		t.Errorf("configuration %d is committed, commitIndex is %d; want the joint one at 3", index, s.Status().CommitIndex)
	}
	s.refuses(core.Configuration{Voters: ids(1)}, core.ErrChangePending)
	s.commitNext(2)
	s.wantCommit(4)
	s.reconfigure(core.Configuration{Voters: ids(1)})
}

// §6: agreement, for elections and entry commitment, requires separate majorities
// from both the old and new configurations.
func Test6_JointConfigurationNeedsBothMajorities(t *testing.T) {
	for name, tt := range map[string]struct {
		acks []core.NodeID
		want bool
	}{
		"old majority alone":  {ids(2), false},
		"new majority alone":  {ids(4, 5), false},
		"a majority of each":  {ids(2, 4), true},
		"old and one of five": {ids(3), false},
	} {
		joint := core.Configuration{Voters: ids(1, 4, 5), Outgoing: ids(1, 2, 3)}
		d := disk(1, 1)
		d.Entries = append(d.Entries, core.Entry{Index: 2, Term: 1, Type: core.ConfigurationEntry, Data: joint.Encode()})
		s := start(t, 3, d, library)
		s.timeout()
		for _, id := range tt.acks {
			s.step(id, &core.RequestVoteReply{Term: 1, RequestTerm: 2, VoteGranted: true, PreVote: true})
		}
		if won := s.Status().State == core.Candidate; won != tt.want {
			t.Errorf("%s: pre-vote won %t; want %t", name, won, tt.want)
		}
		s = start(t, 3, d, library)
		s.timeout()
		for id := core.NodeID(2); id <= 5; id++ {
			s.step(id, &core.RequestVoteReply{Term: 1, RequestTerm: 2, VoteGranted: true, PreVote: true})
		}
		s.work()
		for id := core.NodeID(2); id <= 5 && s.Status().State == core.Candidate; id++ {
			s.step(id, &core.RequestVoteReply{Term: 2, RequestTerm: 2, VoteGranted: true})
		}
		s.work()
		for _, id := range tt.acks {
			s.accept(id, 3)
		}
		if committed := s.Status().CommitIndex >= 3; committed != tt.want {
			t.Errorf("%s: committed %t; want %t", name, committed, tt.want)
		}
	}
}

// Thesis 4.1, and the correction to it (2015): a leader changes nothing before it
// has committed an entry of its term, or it may not know the newest committed
// configuration, and two disjoint majorities could decide.
func TestThesis4_1_NoChangeBeforeTheTermIsCommitted(t *testing.T) {
	s := start(t, 3, core.Persistent{}, library)
	s.refuses(core.Configuration{Voters: ids(1, 2)}, core.ErrNotLeader)
	s.elect()
	s.refuses(core.Configuration{Voters: ids(1, 2)}, core.ErrTermNotCommitted)
	s.accept(2, 1)
	s.reconfigure(core.Configuration{Voters: ids(1, 2)})
}

func TestThesis4_1_BadConfigurationsAreRefused(t *testing.T) {
	s := lead(t, 3)
	for _, next := range []core.Configuration{
		{},
		{Learners: ids(1, 2)},
		{Voters: ids(1, 0)},
		{Voters: ids(1, 2, 1)},
		{Voters: ids(1, 2), Learners: ids(2)},
		{Voters: ids(1, 2), Learners: ids(3, 3)},
		{Voters: ids(1, 2), Members: []core.Member{{ID: 3}}},
		{Voters: ids(1, 2), Members: []core.Member{{ID: 2}, {ID: 2}}},
		{Voters: ids(1, 2), Members: []core.Member{{ID: 2, Address: string(make([]byte, core.MaxAddressBytes+1))}}},
		{Voters: ids(1, 2), Outgoing: ids(1, 2, 3)},
		{Voters: make([]core.NodeID, core.MaxMembers+1)},
	} {
		s.refuses(next, core.ErrBadConfiguration)
	}
	s.refuses(core.Configuration{Voters: ids(3, 2, 1)}, core.ErrUnchanged)
}

// Thesis 4.2.1: a new server catches up as a learner, which has no say, and is
// made a voter only when a round of replication takes less than an election
// timeout.
func TestThesis4_2_1_LearnersCatchUpFirst(t *testing.T) {
	s := lead(t, 3)
	s.refuses(core.Configuration{Voters: ids(1, 2, 3, 4)}, core.ErrNotCaughtUp)
	s.reconfigure(core.Configuration{Voters: ids(1, 2, 3), Learners: ids(4)})
	s.wantConfiguration(core.Configuration{Voters: ids(1, 2, 3), Learners: ids(4)}) // one entry is enough
	s.work()
	s.accept(4, 2)
	if s.Status().CommitIndex == 2 {
		t.Fatal("a learner's answer commits an entry")
	}
	s.commitNext(2)
	s.propose("a", "b", "c")
	s.work()
	s.tick(electionTicks)
	s.accept(2, 3)
	s.accept(4, 3) // a slow round
	s.refuses(core.Configuration{Voters: ids(1, 2, 3, 4)}, core.ErrNotCaughtUp)
	s.accept(4, 5) // a fast one
	s.reconfigure(core.Configuration{Voters: ids(1, 2, 3, 4)})
}

// Members shows the progress of each server, so that an operator sees a learner
// catch up.
func TestThesis4_2_1_ProgressIsVisible(t *testing.T) {
	s := withLearner(t)
	s.propose("a")
	s.work()
	s.accept(2, 3)
	m := s.Members()
	if len(m) != 4 || m[0].ID != 1 || !m[0].Voter || m[0].MatchIndex != 3 {
		t.Fatalf("members: %+v", m)
	}
	if m := m[1]; m.MatchIndex != 3 || m.Lag != 0 || !m.Active || m.State != core.Replicate {
		t.Errorf("voter 2: %+v", m)
	}
	if m := m[3]; m.Voter || !m.Learner || m.MatchIndex != 2 || m.Lag != 1 || !m.CaughtUp || m.InflightBytes == 0 {
		t.Errorf("learner 4: %+v", m)
	}
}

// A learner calls no elections. It answers candidates all the same: it may be a
// voter of a configuration that it does not know yet.
func TestThesis4_2_1_LearnersCallNoElections(t *testing.T) {
	s := start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.Voters, cfg.Learners = ids(2, 3), ids(1) })
	s.tick(5 * electionTicks)
	s.wantState(core.Follower, 0)
	if rep := s.vote(2, core.RequestVote{Term: 1}); !rep.VoteGranted {
		t.Errorf("the learner refuses its vote: %+v", rep)
	}
	s = start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.Voters = nil })
	s.tick(5 * electionTicks)
	s.wantState(core.Follower, 0)
}

// A candidate counts the votes of voters alone.
func TestThesis4_2_1_LearnersVotesDoNotCount(t *testing.T) {
	s := start(t, 3, core.Persistent{}, func(cfg *core.Config) { cfg.Learners = ids(4, 5) })
	s.campaign()
	for _, id := range ids(4, 5, 9) {
		s.step(id, &core.RequestVoteReply{Term: 1, RequestTerm: 1, VoteGranted: true})
	}
	s.wantState(core.Candidate, 1)
	if ms := sent[*core.RequestVote](s.work(), 4); len(ms) > 0 {
		t.Errorf("a learner is asked for its vote: %v", ms)
	}
}

// Thesis 4.2.2: a leader that is not in the new configuration replicates it
// without counting itself, and steps down when it is committed.
func TestThesis4_2_2_RemovedLeaderStepsDown(t *testing.T) {
	s := lead(t, 3)
	s.reconfigure(core.Configuration{Voters: ids(2, 3)})
	s.commitNext(2, 3) // the joint configuration
	s.work()
	s.wantConfiguration(core.Configuration{Voters: ids(2, 3)})
	s.accept(2, 3)
	s.wantState(core.Leader, 1)
	s.wantCommit(2) // server 2 alone is no majority of 2 and 3
	s.accept(3, 3)
	s.wantCommit(3)
	s.wantState(core.Follower, 1)
	ms := s.work()
	if len(sent[*core.TimeoutNow](ms, core.None)) != 1 {
		t.Errorf("nobody is asked to take over: %v", ms)
	}
	for _, m := range sent[*core.AppendEntries](ms, core.None) {
		if m.LeaderCommit != 3 {
			t.Errorf("a follower does not hear of the commit: %v", m)
		}
	}
	if !s.Status().Removed {
		t.Error("the server does not know that it is removed")
	}
	s.tick(5 * electionTicks)
	s.wantState(core.Follower, 1)
}

// Thesis 4.2.2: a server that is not in its own newest configuration still calls
// elections until that is committed. The others may need its log.
func TestThesis4_2_2_ServerOutsideItsConfigurationCampaigns(t *testing.T) {
	joint := core.Configuration{Voters: ids(2), Outgoing: ids(1, 2)}
	next := core.Configuration{Voters: ids(2)}
	d := disk(1, 1)
	d.Entries = append(d.Entries,
		core.Entry{Index: 2, Term: 1, Type: core.ConfigurationEntry, Data: joint.Encode()},
		core.Entry{Index: 3, Term: 1, Type: core.ConfigurationEntry, Data: next.Encode()})
	s := start(t, 2, d, library)
	s.timeout()
	if ms := sent[*core.RequestVote](s.work(), 2); len(ms) == 0 {
		t.Fatal("no pre-vote")
	}
	s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 2, VoteGranted: true, PreVote: true})
	s.work()
	s.step(2, &core.RequestVoteReply{Term: 2, RequestTerm: 2, VoteGranted: true})
	s.wantState(core.Leader, 2)
	s.work()
	s.accept(2, 4)
	s.wantCommit(4)
	s.wantState(core.Follower, 2)
}

// Thesis 4.2.3: a removed server disturbs nobody. It learns of its removal from
// the first answer to its pre-vote, and stops asking.
func TestThesis4_2_3_RemovedServerLearnsFromAnswers(t *testing.T) {
	member := withLearner(t)
	member.reconfigure(core.Configuration{Voters: ids(1, 2)})
	member.commitNext(2, 3)
	member.commitNext(2)
	rep := member.vote(3, core.RequestVote{Term: 2, LastLogIndex: 2, LastLogTerm: 1, PreVote: true})
	if rep.VoteGranted || rep.RemovedAt != 4 {
		t.Fatalf("the answer to a removed server: %+v; want RemovedAt 4", rep)
	}

	removed := start(t, 3, disk(1, 1, 1))
	removed.timeout()
	removed.step(2, rep)
	removed.wantState(core.Follower, 1)
	if !removed.Status().Removed {
		t.Error("the server does not know that it is removed")
	}
	removed.tick(5 * electionTicks)
	removed.wantState(core.Follower, 1)
	if ms := sent[*core.RequestVote](removed.work(), core.None); len(ms) > 2 { // those from before the answer
		t.Errorf("the removed server goes on asking: %v", ms)
	}
	// Added again, it is a member as before.
	again := core.Configuration{Voters: ids(1, 2, 3)}
	removed.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 2, PrevLogTerm: 1, Entries: append(entries(3, 1, 1),
		core.Entry{Index: 5, Term: 1, Type: core.ConfigurationEntry, Data: again.Encode()})})
	if removed.Status().Removed {
		t.Error("the server that was added again believes that it is removed")
	}
	removed.timeout()
}

// An answer from a server that does not know the newest configuration does not
// remove anybody.
func TestThesis4_2_3_OlderConfigurationsRemoveNobody(t *testing.T) {
	d := disk(1, 1)
	d.Entries = append(d.Entries, core.Entry{Index: 2, Term: 1, Type: core.ConfigurationEntry,
		Data: core.Configuration{Voters: ids(1, 2, 3)}.Encode()})
	s := start(t, 3, d)
	s.timeout()
	s.step(2, &core.RequestVoteReply{Term: 1, RequestTerm: 2, PreVote: true, RemovedAt: 1})
	s.wantState(core.PreCandidate, 1)
}

// A removed server goes on receiving the log until it has the configuration
// without it and knows that it is committed.
func TestThesis4_2_3_LeaderTellsRemovedServers(t *testing.T) {
	s := lead(t, 3)
	s.reconfigure(core.Configuration{Voters: ids(1, 2)})
	s.commitNext(2, 3)
	s.commitNext(2)
	s.wantCommit(3)
	s.accept(3, 2)
	s.tick(heartbeatTicks)
	ms := sent[*core.AppendEntries](s.work(), 3)
	if len(ms) == 0 {
		t.Fatal("nothing is sent to the removed server")
	}
	for range 3 {
		s.accept(3, 3)
		s.tick(heartbeatTicks)
		ms = sent[*core.AppendEntries](s.work(), 3)
	}
	s.tick(heartbeatTicks)
	if last := sent[*core.AppendEntries](s.work(), 3); len(last) > 0 {
		t.Errorf("the server knows, and is still sent %v", last)
	}
	if len(ms) > 0 && ms[0].LeaderCommit != 3 {
		t.Errorf("the removed server hears of commit %d; want 3", ms[0].LeaderCommit)
	}
}

// Thesis 4.1: an uncommitted configuration that another leader overwrites is in
// force no longer.
func TestThesis4_1_TruncatedConfigurationIsRolledBack(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	next := core.Configuration{Voters: ids(1, 2, 3), Learners: ids(4)}
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1, Entries: []core.Entry{
		{Index: 2, Term: 1, Type: core.ConfigurationEntry, Data: next.Encode()}}})
	s.wantConfiguration(next)
	s.append(3, core.AppendEntries{Term: 2, PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 2)})
	s.wantConfiguration(core.Configuration{Voters: ids(1, 2, 3)})
}

// §7: a snapshot includes the latest configuration as of its last index.
func Test7_SnapshotCarriesItsConfiguration(t *testing.T) {
	s := withLearner(t)
	s.reconfigure(core.Configuration{Voters: ids(1, 2, 3)}) // index 3, without the learner
	s.commitNext(2)
	s.apply()
	want := core.Configuration{Voters: ids(1, 2, 3), Learners: ids(4)}
	header, err := s.SnapshotHeader(2)
	if err != nil || !header.Configuration.Equal(want) || header.LastIncludedTerm != 1 {
		t.Fatalf("header at 2: %+v, %v; want %v", header, err, want)
	}
	if err := s.Compact(2); err != nil {
		t.Fatal(err)
	}
	s.wantConfiguration(core.Configuration{Voters: ids(1, 2, 3)})

	// A server that receives the snapshot, and one that starts from it.
	f := start(t, 3, core.Persistent{})
	f.install(2, core.InstallSnapshot{Term: 1, LastIncludedIndex: 2, LastIncludedTerm: 1, Configuration: want})
	f.wantConfiguration(want)
	f.restart()
	f.wantConfiguration(want)
}

// The encoding of a configuration is read back, and nothing else is accepted.
func TestConfigurationEncoding(t *testing.T) {
	cfg := core.Configuration{
		Voters: ids(1, 1<<40), Outgoing: ids(1, 2), Learners: ids(3),
		Members: []core.Member{{ID: 1, Address: "a:1", Priority: 9}, {ID: 3, Address: ""}},
	}
	data := cfg.Encode()
	got, err := core.DecodeConfiguration(data)
	if err != nil || !got.Equal(cfg) {
		t.Fatalf("decoded %v, %v; want %v", got, err, cfg)
	}
	for n := range data {
		if _, err := core.DecodeConfiguration(data[:n]); !errors.Is(err, core.ErrBadConfiguration) {
			t.Errorf("the first %d bytes of %d: %v", n, len(data), err)
		}
	}
	if _, err := core.DecodeConfiguration(append(slices.Clone(data), 0)); !errors.Is(err, core.ErrBadConfiguration) {
		t.Errorf("one byte too many: %v", err)
	}
}
