package core_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"raftlab/raft/core"
)

const (
	electionTicks  = 10
	heartbeatTicks = 2
)

// server is one server under test. The test plays its host and all its peers.
type server struct {
	*core.Core
	t    *testing.T
	cfg  core.Config
	disk core.Persistent
}

// start starts server 1 of 1..voters from a disk.
func start(t *testing.T, voters int, disk core.Persistent, options ...func(*core.Config)) *server {
	t.Helper()
	cfg := core.Config{
		ID:             1,
		ElectionTicks:  electionTicks,
		HeartbeatTicks: heartbeatTicks,
		Rand:           rand.New(rand.NewPCG(1, 2)),
	}
	for i := range voters {
		cfg.Voters = append(cfg.Voters, core.NodeID(i+1))
	}
	for _, set := range options {
		set(&cfg)
	}
	s := &server{t: t, cfg: cfg, disk: disk}
	s.restart()
	return s
}

// restart is a crash and a start from what was saved.
func (s *server) restart() {
	s.t.Helper()
	saved := s.disk
	saved.Entries = slices.Clone(saved.Entries)
	c, err := core.New(s.cfg, saved)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Core = c
}

// disk makes a saved state with a log of these terms.
func disk(currentTerm uint64, terms ...uint64) core.Persistent {
	return core.Persistent{HardState: core.HardState{CurrentTerm: currentTerm}, Entries: entries(1, terms...)}
}

// entries makes entries of these terms, the first at index.
func entries(index uint64, terms ...uint64) []core.Entry {
	var es []core.Entry
	for i, term := range terms {
		es = append(es, core.Entry{Index: index + uint64(i), Term: term, Data: []byte{byte(index) + byte(i), byte(term)}})
	}
	return es
}

// step hands in a message that must be taken.
func (s *server) step(from core.NodeID, b core.Body) {
	s.t.Helper()
	if err := s.Step(core.Message{From: from, To: 1, Call: 77, Body: b}); err != nil {
		s.t.Fatalf("Step: %v", err)
	}
}

// save does the saving that a Ready asks for.
func (s *server) save(rd core.Ready) {
	if rd.HardState != nil {
		s.disk.HardState = *rd.HardState
	}
	if rd.Snapshot != nil {
		s.disk.Snapshot, s.disk.Entries = *rd.Snapshot, nil
	}
	if len(rd.Entries) > 0 && s.disk.Stored == nil {
		keep := rd.Entries[0].Index - s.disk.Snapshot.LastIncludedIndex - 1
		s.disk.Entries = append(slices.Clip(s.disk.Entries[:keep]), rd.Entries...)
	}
}

// work does all of a host's duties once and returns what was sent.
func (s *server) work() []core.Message {
	rd := s.Ready()
	s.save(rd)
	s.Saved(rd)
	return slices.Concat(rd.Messages, rd.AfterSave)
}

// apply returns the entries that are ready to be applied.
func (s *server) apply() []core.Entry {
	_, es := s.NextToApply(1 << 30)
	return es
}

// ask steps a request and returns its reply.
func ask[Reply core.Body](s *server, from core.NodeID, b core.Body) Reply {
	s.t.Helper()
	s.work()
	s.step(from, b)
	for _, m := range s.work() {
		if rep, ok := m.Body.(Reply); ok && m.To == from {
			if m.Call != 77 || m.From != 1 {
				s.t.Fatalf("reply %v has call %d; want the request's, 77", m, m.Call)
			}
			return rep
		}
	}
	s.t.Fatalf("no reply to %v", b)
	panic("unreachable")
}

func (s *server) append(from core.NodeID, req core.AppendEntries) *core.AppendEntriesReply {
	s.t.Helper()
	req.LeaderID = from
	return ask[*core.AppendEntriesReply](s, from, &req)
}

func (s *server) vote(from core.NodeID, req core.RequestVote) *core.RequestVoteReply {
	s.t.Helper()
	req.CandidateID = from
	return ask[*core.RequestVoteReply](s, from, &req)
}

func (s *server) install(from core.NodeID, req core.InstallSnapshot) *core.InstallSnapshotReply {
	s.t.Helper()
	req.LeaderID = from
	return ask[*core.InstallSnapshotReply](s, from, &req)
}

// sent picks the messages of one kind to one server, or to all for None.
func sent[B core.Body](messages []core.Message, to core.NodeID) []B {
	var found []B
	for _, m := range messages {
		if b, ok := m.Body.(B); ok && (to == core.None || m.To == to) {
			found = append(found, b)
		}
	}
	return found
}

func (s *server) tick(n int) {
	for range n {
		s.Tick()
	}
}

// timeout ticks until the server calls for an election.
func (s *server) timeout() {
	s.t.Helper()
	for range 2 * electionTicks {
		if s.Tick(); s.Status().State == core.PreCandidate {
			return
		}
	}
	s.t.Fatalf("no election after %d ticks", 2*electionTicks)
}

// campaign makes the server a candidate whose requests have gone out.
func (s *server) campaign() {
	s.t.Helper()
	s.timeout()
	for id := core.NodeID(2); s.Status().State == core.PreCandidate; id++ {
		s.step(id, &core.RequestVoteReply{Term: s.Status().CurrentTerm, RequestTerm: s.Status().CurrentTerm + 1, VoteGranted: true, PreVote: true})
	}
	s.work()
}

// elect makes the server the leader, and returns what it sends first.
func (s *server) elect() []core.Message {
	s.t.Helper()
	s.campaign()
	for id := core.NodeID(2); s.Status().State == core.Candidate; id++ {
		s.step(id, &core.RequestVoteReply{Term: s.Status().CurrentTerm, RequestTerm: s.Status().CurrentTerm, VoteGranted: true})
	}
	return s.work()
}

// accept answers, as a follower, that the logs agree up to match.
func (s *server) accept(from core.NodeID, match uint64) {
	s.t.Helper()
	term := s.Status().CurrentTerm
	s.step(from, &core.AppendEntriesReply{Term: term, RequestTerm: term, Success: true, MatchIndex: match})
}

func (s *server) propose(commands ...string) {
	s.t.Helper()
	for _, data := range commands {
		if _, _, err := s.Propose([]byte(data)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// terms shows the log as the paper's figures do.
func (s *server) terms() []uint64 {
	var ts []uint64
	for _, e := range s.Entries() {
		ts = append(ts, e.Term)
	}
	return ts
}

func (s *server) wantState(state core.State, term uint64) {
	s.t.Helper()
	if st := s.Status(); st.State != state || st.CurrentTerm != term {
		s.t.Fatalf("server is %v in term %d; want %v in term %d", st.State, st.CurrentTerm, state, term)
	}
}

func (s *server) wantCommit(index uint64) {
	s.t.Helper()
	if got := s.Status().CommitIndex; got != index {
		s.t.Fatalf("commitIndex is %d; want %d", got, index)
	}
}

func (s *server) wantTerms(terms ...uint64) {
	s.t.Helper()
	if got := s.terms(); !slices.Equal(got, terms) {
		s.t.Fatalf("log has terms %v; want %v", got, terms)
	}
}
