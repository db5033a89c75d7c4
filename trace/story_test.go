package trace_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// lose sends a message that does not arrive, because of a cause.
func (s *script) lose(from, to int, name, cause string, request fields) int {
	s.last += 2
	e := trace.Event{Kind: trace.Sent, Lane: from, Peer: to, Message: s.last, Call: s.last, Name: name, Fields: request}
	at := s.add(e)
	e.Kind, e.Lane, e.Peer, e.Text = trace.Lost, to, from, cause+"; the content"
	s.add(e)
	return at
}

// said adds the message of a failed test, and returns the story.
func (s *script) said(message string) string {
	s.add(trace.Event{Kind: trace.Noted, Lane: trace.NoLane, Text: message})
	return texts(trace.Explain(s.run)[0])
}

func (s *script) role(lane, term int, leads bool) {
	s.add(trace.Event{Kind: trace.Role, Lane: lane, Term: term, Leads: leads})
}

// A refused vote has its reason, as far as messages show.
func TestRefusals(t *testing.T) {
	entry := trace.Entry{Term: 1, Command: "x"}
	cases := map[string]struct {
		play func(s *script)
		want string
	}{
		"newer term": {func(s *script) {
			s.vote(2, 0, 7, 0, 0, 0)
			s.call(1, 2, "Raft.RequestVote", fields{trace.FieldTerm: 5, trace.FieldLastLogIndex: 0}, fields{trace.FieldTerm: 7, trace.FieldVoteGranted: 0})
		}, "S2 refuses (S2 is in term 7 already)"},
		"own vote": {func(s *script) {
			s.vote(2, 0, 5, 0, 0, 0)
			s.vote(1, 2, 5, 0, 0, 0)
		}, "S2 refuses (S2 has voted for itself)"},
		"other vote": {func(s *script) {
			s.vote(0, 2, 5, 0, 0, 1)
			s.vote(1, 2, 5, 0, 0, 0)
		}, "S2 refuses (S2 has voted for S0)"},
		"older log": {func(s *script) {
			s.append(0, 2, 1, 0, 0, 0, 1, entry)
			s.vote(1, 2, 5, 0, 0, 0)
		}, "S2 refuses (the log of S2 ends at index 1 of term 1, and the candidate's at index 0 of term 0)"},
		"none": {func(s *script) {
			s.vote(0, 2, 4, 0, 0, 1)
			s.vote(1, 2, 5, 0, 0, 0)
		}, "S2 refuses (no reason shows: neither a newer term, nor a newer log, nor a vote in term 5; the last vote of S2 was for S0 in term 4)"},
	}
	for name, c := range cases {
		s := newScript(3)
		c.play(s)
		s.lose(1, 0, "Raft.RequestVote", "end disabled", fields{trace.FieldTerm: 5, trace.FieldLastLogIndex: 0})
		story := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.LeaderInTime, Text: "no leader"}))[0])
		require.Contains(t, story, "S1 asks for votes in term 5 and gets 1 of the 2 needed, with its own. S0: the request does not arrive: end disabled. "+c.want, name)
		require.Equal(t, name == "none", strings.Contains(story, "Refusals of S2 have no reason in the messages"), name)
	}
}

// The story of a missing leader names votes that count for nothing, pre-votes, leaders of
// older terms, and a long time without a candidate.
func TestNoLeader(t *testing.T) {
	missing := trace.Breach{Rule: trace.LeaderInTime, Text: "no leader"}
	story := func(s *script) string { return texts(trace.Explain(s.breaks(missing))[0]) }

	s := newScript(3)
	s.add(trace.Event{Kind: trace.Network, Lane: trace.NoLane, Text: "partition: S0 S1 | S2"})
	require.Contains(t, story(s), "no leader. No server asked for votes\nThe network from here on: partition: S0 S1 | S2.")

	s = newScript(3)
	s.vote(0, 1, 3, 0, 0, 1)
	require.Contains(t, story(s), "S0 had enough votes in term 3 and did not lead")

	s = newScript(3)
	s.call(0, 1, "Raft.RequestVote", fields{trace.FieldTerm: 2, trace.FieldLastLogIndex: 0, trace.FieldPreVote: 1}, fields{trace.FieldTerm: 1, trace.FieldVoteGranted: 0})
	require.Contains(t, story(s), "no candidate got a majority of pre-votes")
	require.Contains(t, story(s), "S0 asks for pre-votes in term 2 and gets 1 of the 2 needed, with its own. S1 refuses (S1 may still hear from a leader). S2 is not asked")

	s = newScript(3)
	for _, term := range []int{1, 2, 3} {
		s.vote(0, 1, term, 0, 0, 0)
		s.vote(1, 0, term, 0, 0, 0)
	}
	require.Contains(t, story(s), "Votes were split in 2 of the last terms", "5 elections are shown")

	s = newScript(3)
	s.role(0, 1, true)
	s.role(2, 9, false)
	require.Contains(t, story(s), "S0 leads term 1, and S2 is in term 9")

	s = newScript(3)
	s.vote(0, 1, 3, 0, 0, 0)
	s.run.Events = append(s.run.Events, trace.Event{Time: time.Minute, Kind: trace.Role, Lane: 1, Term: 3})
	require.Contains(t, story(s), "Nobody has asked for votes in the last 1m0s")
	s.run.Breaches[0].Time = time.Second
	require.NotContains(t, texts(trace.Explain(s.run)[0]), "Nobody", "what comes after the check is no reason")
}

// The story of a missing agreement tells where the entry is, and what became of the
// messages to the other servers.
func TestNoAgreement(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	begin := func() *script {
		s := newScript(3)
		s.vote(0, 1, 1, 0, 0, 1)
		s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"})
		return s
	}
	missing := trace.Breach{Rule: trace.AgreementInTime, After: "x", Text: "no agreement on x"}
	story := func(s *script) string { return texts(trace.Explain(s.breaks(missing))[0]) }
	append1 := fields{trace.FieldTerm: 1, trace.FieldPrevLogIndex: 0, trace.FieldEntries: 1}

	s := begin()
	s.append(0, 1, 1, 0, 0, 0, 0, x)
	s.append(0, 1, 1, 0, 0, 0, 0, x)
	s.lose(0, 2, "Raft.AppendEntries", "lost", append1)
	said := story(s)
	for _, want := range []string{"index 1 of term 1 is in the logs of S0, and not of S1, S2", "S0 sends 2 messages to S1: 2 arrive, 0 are accepted, 2 are refused",
		"The last refusal: S0 receives Raft.AppendEntries reply of S1", "S0 sends 1 messages to S2: 0 arrive, 0 are accepted, 0 are refused (the last loss: lost)", "Applied by nobody, and not by S0, S1, S2"} {
		require.Contains(t, said, want)
	}

	s = begin()
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	said = story(s)
	require.Contains(t, said, "in the logs of S0, S1, and not of S2; S0 has told a commitIndex of 0, though a majority stores index 1")
	require.Contains(t, said, "After this, S0 sends no AppendEntries to S2.")

	s = begin()
	s.vote(2, 1, 2, 0, 0, 1)
	require.Contains(t, story(s), "S2 is in term 2: S2 sends Raft.RequestVote to S1")

	s = newScript(3)
	s.vote(0, 1, 1, 0, 0, 0)
	said = story(s)
	require.Contains(t, said, "No server accepted the command as leader")
	require.Contains(t, said, "S0 asks for votes in term 1")
}

// A check without a rule has the last events of the things that the message names.
func TestPlainChecks(t *testing.T) {
	x := trace.Entry{Term: 2, Command: "x"}
	client := func() *script {
		s := newScript(3)
		s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: "client 7", Kind: trace.Client})
		return s
	}
	cases := map[string]struct {
		play func(s *script)
		want []string
	}{
		"suite_test.go:1: index 1 held x and holds y": {func(s *script) {
			s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 2, Text: "x"})
			s.append(0, 1, 2, 0, 0, 0, 1, x)
			s.append(2, 1, 3, 0, 0, 0, 1, trace.Entry{Term: 3, Command: "y"})
			s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "y"})
		}, []string{"S0 accepts the command x at index 1 in term 2.", "S0 sends x (term 2) for index 1 to S1.", "S1 removes x (of term 2) from index 1 of its log.", "S1 applies index 1: y."}},
		"suite_test.go:1: server 2 has applied 0 commands": {func(s *script) {
			s.add(trace.Event{Kind: trace.Crashed, Lane: 2})
			s.add(trace.Event{Kind: trace.Restarted, Lane: 2})
			s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "y"})
		}, []string{"S2 crashes.\nS2 starts."}},
		"suite_test.go:1: the term 3 has no leader": {func(s *script) { s.vote(0, 1, 3, 0, 0, 0) }, []string{"S0 asks for votes in term 3"}},
		"suite_test.go:1: a server of term 3 is silent": {func(s *script) {
			s.vote(0, 1, 3, 0, 0, 0)
			s.vote(0, 1, 4, 0, 0, 0)
		}, []string{"S0 asks for votes in term 3"}},
		`suite_test.go:1: key "k" is "a"; want "b"`: {func(s *script) {
			s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `get("other") -> "z"`})
			s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `get("k") -> "a"`})
		}, []string{`client 7 gets the result of get("k") -> "a".`}},
		"suite_test.go:1: configuration 4 is wrong": {func(s *script) {
			s.add(trace.Event{Kind: trace.Delivered, Lane: 3, Peer: 0, Message: 90, Name: "Ctrler.Query", Reply: true, Text: "Config {Num:14}"})
			s.add(trace.Event{Kind: trace.Delivered, Lane: 3, Peer: 0, Message: 91, Name: "Ctrler.Query", Reply: true, Text: "Config {Num:4}"})
		}, []string{"client 7 receives Ctrler.Query reply of S0: Config {Num:4}."}},
		"suite_test.go:1: a deposed server answered": {func(s *script) {
			s.role(0, 1, true)
			s.role(1, 2, true)
			s.add(trace.Event{Kind: trace.Network, Lane: trace.NoLane, Text: "partition: S1 S2 | S0"})
			s.call(3, 0, "KV.Get", nil, nil)
		}, []string{"S0 answers client 7", "It is in term 1, and S1 leads term 2 already", "The network from here on: partition: S1 S2 | S0."}},
		"suite_test.go:1: 2 commands took 400ms": {func(s *script) {
			for index := range 3 {
				s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: index + 1, Term: 2, Text: "x"})
				for range 50 {
					s.add(trace.Event{Kind: trace.Applied, Lane: 2, Index: 0, Text: "z"})
				}
				s.append(0, 1, 2, index, 2, 0, 1, x)
				s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: index + 1, Text: "x"})
			}
		}, []string{"3 pieces of work took 55ms in the median and 55ms at most", "In the typical one, S0 waits 51ms before this: S0 sends Raft.AppendEntries to S1"}},
		"suite_test.go:1: something odd": {func(s *script) {
			s.add(trace.Event{Kind: trace.Restarted, Lane: 2})
			s.add(trace.Event{Kind: trace.Crashed, Lane: 2})
			s.role(1, 2, true)
			s.role(1, 3, false)
			s.role(0, 3, false)
		}, []string{"S2 crashes.\nS1 says that it leads, in term 2.\nS1 says that it does not lead, in term 3.\nThe test says"}},
	}
	for message, c := range cases {
		s := client()
		c.play(s)
		story := s.said(message)
		for _, want := range c.want {
			require.Contains(t, story, want, message)
		}
		require.NotContains(t, story, "other", message)
		require.NotContains(t, story, "term 4", message)
		require.NotContains(t, story, "Num:14", message)
	}
}

// The story of an impossible history names the servers that answered, and the operations
// before if the answer is impossible alone.
func TestImpossible(t *testing.T) {
	s := newScript(3)
	s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: "client 7", Kind: trace.Client})
	operation := func(server int, text string) trace.Operation {
		o := trace.Operation{Client: "client 7", Text: text}
		o.Call = s.run.Events[s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: text})].Time
		s.call(3, server, "KV.Do", nil, nil)
		o.Return = s.run.Events[s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: text})].Time
		return o
	}
	first := operation(1, `append("k", "x")`)
	last := operation(2, `get("k") -> "xx"`)
	story := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.Linearizable, Text: "impossible", Operations: []trace.Operation{last}, Earlier: []trace.Operation{first}}))[0])
	require.Contains(t, story, `client 7 gets the result of append("k", "x") from S1.`)
	require.Contains(t, story, "S2 answers client 7.")
	require.Contains(t, story, `client 7 gets the result of get("k") -> "xx" from S2.`)
}

// A deadlock stands before its consequences.
func TestDeadlockFirst(t *testing.T) {
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	s.breaks(trace.Breach{Rule: trace.AgreementInTime, After: "x", Text: "no agreement"})
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.Deadlock, Text: "is it deadlocked?", Waits: []string{"A goroutine waits"}}))
	require.Equal(t, trace.Deadlock, found[0].Rule)
	require.Contains(t, found[0].Text, "is it deadlocked? The holder")
	require.Equal(t, trace.AgreementInTime, found[1].Rule)
}

// In a recording of several groups, each group has a majority of its own.
func TestGroups(t *testing.T) {
	s := newScript(6)
	for i := range s.run.Lanes {
		s.run.Lanes[i].Name = []string{"g0-", "g1-"}[i/3] + s.run.Lanes[i].Name[1:]
	}
	x := trace.Entry{Term: 1, Command: "x"}
	s.add(trace.Event{Kind: trace.Proposed, Lane: 3, Index: 1, Term: 1, Text: "x"})
	s.append(3, 4, 1, 0, 0, 0, 1, x)
	s.append(3, 4, 1, 1, 1, 1, 1)
	require.Empty(t, trace.Explain(s.run), "two of three servers are a majority")
	s.vote(0, 1, 2, 0, 0, 0)
	require.Contains(t, texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.LeaderInTime, Text: "no leader"}))[0]), "gets 1 of the 2 needed, with its own. g0-1 refuses")
}

// An entry that a server loses in a crash has the crash in its story.
func TestEntryLostInACrash(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"})
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: "x"})
	s.add(trace.Event{Kind: trace.Crashed, Lane: 0})
	s.add(trace.Event{Kind: trace.Restarted, Lane: 0})
	s.vote(2, 0, 2, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Applied, Lane: 2, Index: 1, Text: "y"})
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{2}, Index: 1, Before: "x", After: "y"}))
	const crash = "S0 crashes. What it has not saved is lost here"
	require.Len(t, found, 2)
	require.Contains(t, texts(found[1]), crash)
	require.Equal(t, "A vote against the log that the voter had before a crash", found[0].Title)
	require.Contains(t, texts(found[0]), "S0 applies index 1: x.\n"+crash, "the leader holds what it has applied")
}

// After a crash the messages of a server show which entries are left. A vote is judged by
// these, and the leader that never saved its command is named.
func TestCommandNotSaved(t *testing.T) {
	x, y := trace.Entry{Term: 1, Command: "x"}, trace.Entry{Term: 1, Command: "y"}
	const took = "S0, as leader of term 1, takes x at index 1"
	cases := map[string]struct {
		saved bool
		after func(s *script)
		title string
		want  []string
	}{
		"refusal": {false, func(s *script) {
			s.vote(1, 0, 2, 1, 1, 1)
			s.append(1, 0, 2, 1, 1, 0, 0)
		}, "A server lost an entry in a crash", []string{took + ", and never saves it before the crash: its saved state has the same size until then.",
			"S0 votes for S1. The vote fits the log that S0 has left.", "S0 refuses, so it has no entry at prevLogIndex. A crash has cost it x (of term 1) at index 1."}},
		"saved":     {true, func(s *script) { s.append(1, 0, 2, 1, 1, 0, 0) }, "A server lost an entry in a crash", []string{took + ".", "A crash has cost it x"}},
		"own words": {false, func(s *script) { s.vote(0, 1, 2, 0, 0, 0) }, "A server lost an entry in a crash", []string{"S0 says that its log ends at index 0. A crash has cost it x"}},
		"kept": {false, func(s *script) {
			s.append(1, 0, 2, 2, 1, 0, 1)
			s.vote(2, 0, 3, 0, 0, 1)
		}, "A vote for a candidate with an older log", []string{"S0 grants the vote, though it holds index 2 of term 1."}},
	}
	for name, c := range cases {
		s := newScript(3)
		s.vote(0, 1, 1, 0, 0, 1)
		s.add(trace.Event{Kind: trace.Saved, Lane: 0, Text: "has saved a state of 9 bytes"})
		s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"})
		s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 2, Term: 1, Text: "y"})
		s.append(0, 1, 1, 0, 0, 0, 1, x, y)
		s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: "x"})
		s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 2, Text: "y"})
		if c.saved {
			s.add(trace.Event{Kind: trace.Saved, Lane: 0, Text: "has saved a state of 10 bytes"})
		}
		s.add(trace.Event{Kind: trace.Crashed, Lane: 0})
		s.add(trace.Event{Kind: trace.Restarted, Lane: 0})
		c.after(s)
		found := trace.Explain(s.run)
		require.Len(t, found, 1, name)
		require.Equal(t, c.title, found[0].Title, name)
		for _, want := range c.want {
			require.Contains(t, texts(found[0]), want, name)
		}
	}
}

// A proven broken rule comes before the damage that a check found later, with the steps of
// the rule first. What is not proven, or younger than the damage, comes after.
func TestCauseFirst(t *testing.T) {
	x, y := trace.Entry{Term: 1, Command: "x"}, trace.Entry{Term: 2, Command: "y"}
	damage := trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{1}, Index: 2, Before: "y", After: "x", Text: "x at index 2"}
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1, x, x)
	beat := s.append(2, 1, 2, 2, 2, 0, 1) - 3
	applied := s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 2, Text: "x"})
	found := trace.Explain(s.breaks(damage))
	require.Len(t, found, 2)
	require.Equal(t, "A follower accepted a heartbeat that does not fit its log", found[0].Title)
	require.True(t, found[0].Proven)
	require.Contains(t, found[0].Text, ". Later a check found the damage: x at index 2")
	require.Equal(t, []int{beat, beat + 2, applied}, []int{found[0].Steps[0].Event, found[0].Steps[1].Event, found[0].Steps[2].Event})
	require.Equal(t, trace.StateMachineSafety, found[1].Rule)

	s = newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1, x, x)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 2, Text: "x"})
	s.append(2, 1, 2, 2, 2, 0, 1)
	require.Equal(t, trace.StateMachineSafety, trace.Explain(s.breaks(damage))[0].Rule, "the rule is broken after the damage")

	s = newScript(3)
	s.append(2, 1, 2, 3, 2, 0, 1, y)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 2, Text: "x"})
	found = trace.Explain(s.breaks(damage))
	require.Equal(t, trace.StateMachineSafety, found[0].Rule, "a gap may be an answer on its way")
	require.False(t, found[1].Proven)
}

// A vote against a snapshot names the snapshot and the start with nothing after it.
func TestVoteAgainstSnapshot(t *testing.T) {
	x := trace.Entry{Term: 3, Command: "x"}
	s := newScript(3)
	s.append(0, 1, 3, 0, 0, 0, 1, x)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "x"})
	s.add(trace.Event{Kind: trace.Snapshot, Lane: 1, Index: 1, Text: "takes a snapshot"})
	s.add(trace.Event{Kind: trace.Crashed, Lane: 1})
	s.add(trace.Event{Kind: trace.Restarted, Lane: 1, Index: 1})
	s.vote(2, 1, 4, 1, 1, 1)
	story := texts(trace.Explain(s.run)[0])
	require.Contains(t, story, "S1 takes a snapshot up to index 1.")
	require.Contains(t, story, "S1 has a snapshot up to index 1, and as far as messages show no entries after it. The term of the last entry, 3, must be saved with the snapshot.")
	require.Contains(t, story, "S1 grants the vote, though it holds index 1 of term 3.")
}

// The first refusal without a reason is a step, however many elections follow.
func TestFirstUnexplainedRefusal(t *testing.T) {
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	first := s.vote(2, 1, 2, 0, 0, 0) - 3
	for term := 3; term < 12; term++ {
		s.vote(2, 1, term, 0, 0, 0)
	}
	f := trace.Explain(s.breaks(trace.Breach{Rule: trace.LeaderInTime, Text: "no leader"}))[0]
	require.Equal(t, first, f.Steps[0].Event)
	require.Len(t, f.Steps, 3)
	require.Contains(t, f.Text, "S1 voted last for S0 in term 1, and has refused all 10 requests since")
}

// An applied entry is called committed only if a majority is known to store it.
func TestNotCommitted(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "x"})
	s.add(trace.Event{Kind: trace.Proposed, Lane: 2, Index: 1, Term: 2, Text: "y"})
	s.add(trace.Event{Kind: trace.Applied, Lane: 2, Index: 1, Text: "y"})
	story := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{2}, Index: 1, Before: "x", After: "y"}))[0])
	require.Contains(t, story, "S1 applies x at index 1: the entry is committed. As far as messages show, it is in the logs of S0, S1.")
	require.Contains(t, story, "S2 applies y at index 1: the server takes the entry as committed, and no majority is known to store it. As far as messages show, it is in the logs of S2.")
}

// A pre-vote asks for a term that nobody has, so the story of a missing agreement knows no
// newer term from it.
func TestPreVoteDeposesNobody(t *testing.T) {
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"})
	s.call(1, 2, "Raft.RequestVote", fields{trace.FieldTerm: 3, trace.FieldLastLogIndex: 0, trace.FieldPreVote: 1}, fields{trace.FieldTerm: 2, trace.FieldVoteGranted: 0})
	story := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.AgreementInTime, After: "x"}))[0])
	require.NotContains(t, story, "S1 is in term")
	require.Contains(t, story, "S2 is in term 2: S2 sends Raft.RequestVote reply to S1")
}

// A server that goes on in its term after a newer one has reached it breaks a rule. What was
// on its way, a refused request for a vote, and a pre-vote prove nothing.
func TestOlderTerm(t *testing.T) {
	const leads, asks, asksFirst, asked, later, crash = "leads", "asks", "asks first", "asked", "later", "crash"
	cases := map[string]struct {
		play  []string
		wrong bool
	}{
		"leads on":            {[]string{leads, later, leads}, true},
		"was on its way":      {[]string{leads, leads}, false},
		"adopts the term":     {[]string{leads, later, asks}, false},
		"asks as before":      {[]string{asksFirst, leads, later, asksFirst}, true},
		"pre-vote is granted": {[]string{asksFirst, later, leads}, false},
		"asked for a vote":    {[]string{asked, later, asksFirst}, false},
		"forgets in a crash":  {[]string{leads, crash, later, asksFirst}, false},
	}
	for name, c := range cases {
		s := newScript(3)
		for _, what := range c.play {
			switch what {
			case leads: // and learns of term 3
				s.call(0, 1, "Raft.AppendEntries", fields{trace.FieldTerm: 1, trace.FieldPrevLogIndex: 0}, fields{trace.FieldTerm: 3, trace.FieldSuccess: 0})
			case asks:
				s.vote(0, 1, 4, 0, 0, 0)
			case asksFirst:
				s.call(0, 1, "Raft.RequestVote", fields{trace.FieldTerm: 2, trace.FieldLastLogIndex: 0, trace.FieldPreVote: 1}, fields{trace.FieldTerm: 2, trace.FieldVoteGranted: 1})
			case asked:
				s.vote(2, 0, 5, 0, 0, 0)
			case crash:
				s.add(trace.Event{Kind: trace.Crashed, Lane: 0})
			case later:
				for range 20 {
					s.add(trace.Event{Kind: trace.Saved, Lane: 2})
				}
			}
		}
		found := trace.Explain(s.run)
		require.Equal(t, c.wrong, len(found) > 0 && found[0].Title == "A server went on in an older term", name)
		if c.wrong {
			require.Contains(t, texts(found[0]), "S0 has got a message with term 3, and still acts in term 1", name)
		}
	}
}

// A voter for an older log may have removed its entries before, on a message that removes
// nothing. The story names this message.
func TestVoteAfterACut(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	for _, cut := range []bool{true, false} {
		s := newScript(3)
		s.append(0, 1, 1, 0, 0, 0, 1, x, x)
		if cut {
			s.append(0, 1, 1, 0, 0, 0, 1)
		}
		s.vote(2, 1, 2, 0, 0, 1)
		story := texts(trace.Explain(s.run)[0])
		require.Equal(t, cut, strings.Contains(story, "Or S1 has removed index 2, which it held"), story)
		require.Equal(t, cut, strings.Contains(story, "S1 accepts an empty AppendEntries, a heartbeat, of S0 that ends at index 0, sent 2ms before."), story)
	}
}

// A leader that counts answers of an older term commits too early. The answers are steps.
func TestOldAnswers(t *testing.T) {
	old, x := trace.Entry{Term: 1, Command: "old"}, trace.Entry{Term: 3, Command: "x"}
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	late := s.append(0, 1, 1, 0, 0, 0, 1, old)
	answer := s.run.Events[late]
	s.run.Events = s.run.Events[:late]
	s.append(2, 1, 2, 0, 0, 0, 1, trace.Entry{Term: 2, Command: "y"})
	s.vote(0, 1, 3, 1, 1, 1)
	s.append(0, 1, 3, 0, 0, 0, 0, x)
	late = s.add(answer)
	s.append(0, 1, 3, 0, 0, 1, 0, x)
	found := trace.Explain(s.run)
	require.Equal(t, "A leader committed an entry that a majority does not store", found[len(found)-1].Title)
	require.Equal(t, trace.Step{Event: late, Text: "S0 gets an answer of S1 to its request of term 1, up to index 1. In term 3 this answer says nothing."}, found[len(found)-1].Steps[0])
}

// The story of a check about a restart has the crash, the start, and the term after it.
func TestCheckOfARestart(t *testing.T) {
	s := newScript(3)
	s.vote(1, 0, 3, 0, 0, 0)
	s.add(trace.Event{Kind: trace.Crashed, Lane: 0})
	s.add(trace.Event{Kind: trace.Restarted, Lane: 0})
	s.role(0, 1, false)
	story := s.said("suite_test.go:7: a server answered in term 3, and is in term 1 after its restart")
	for _, want := range []string{"S1 asks for votes in term 3", "S0 crashes. What it has not saved is lost here", "S0 starts again", "S0 says that it does not lead, in term 1."} {
		require.Contains(t, story, want)
	}
}

// An operation that returns without an answer of any server says so. The requests of a client
// that the test plays itself are steps.
func TestUnansweredOperation(t *testing.T) {
	s := clientScript()
	s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: "client 4", Kind: trace.Client})
	s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: `get("k")`})
	s.lose(3, 0, "KV.Get", "lost", nil)
	s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `get("k") -> ""`})
	s.call(4, 0, "KV.Install", nil, nil)
	story := s.said(`suite_test.go:7: key "k" is ""; want "a"`)
	require.Contains(t, story, `client 3 gets the result of get("k") -> "", though no server has answered since the call (requests: 1).`)
	require.Contains(t, story, "S0 receives KV.Install of client 4")

	s = clientScript()
	s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: `get("k")`})
	s.answers(0, s.asks(0, "get"), "done")
	s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `get("k") -> ""`})
	require.NotContains(t, s.said(`suite_test.go:7: key "k" is ""; want "a"`), "no server has answered")
}

// An answer before a majority stores the entry is a step of a history without a legal order.
func TestEarlyAnswer(t *testing.T) {
	for _, early := range []bool{true, false} {
		s := clientScript()
		called := s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: `put("k", "v")`})
		call := s.asks(0, "put")
		send := func() { s.append(0, 1, 1, 0, 0, 0, 1, trace.Entry{Term: 1, Command: "put", Call: call}) }
		if !early {
			send()
		}
		s.answers(0, call, "done")
		returned := s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `put("k", "v")`})
		if early {
			send()
		}
		s.add(trace.Event{Kind: trace.Crashed, Lane: 1})
		at := func(i int) time.Duration { return s.run.Events[i].Time }
		f := trace.Explain(s.breaks(trace.Breach{Rule: trace.Linearizable, Text: "impossible",
			Operations: []trace.Operation{{Client: "client 3", Text: `put("k", "v")`, Call: at(called), Return: at(returned)}}}))[0]
		require.Equal(t, early, strings.Contains(texts(f), `S0 answers put("k", "v"), whose entry is at index 1 of term 1. As far as messages show, this entry is in the logs of S0, and a majority is 2 servers.`), texts(f))
		require.Equal(t, early, strings.Contains(texts(f), `from S0, which heard of no other server between the request and this answer.`), texts(f))
	}
}

// A server that asks for votes with a shorter log than before has removed entries earlier. The
// message that ended before them is a step.
func TestCutBeforeACampaign(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	s := newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	s.append(0, 1, 1, 0, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: "x"})
	s.vote(1, 2, 2, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 1, Index: 1, Term: 2, Text: "y"})
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "y"})
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{1}, Index: 1, Before: "x", After: "y"}))
	require.Contains(t, fmt.Sprint(found), "S1 accepts an empty AppendEntries, a heartbeat, of S0 that ends at index 0, sent 2ms before.")
}

// The story of an operation without an answer has what concerns its key.
func TestNoAnswerInTime(t *testing.T) {
	s := newScript(1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: `put "k"`})
	f := trace.Explain(s.breaks(trace.Breach{Rule: trace.AnswerInTime, Text: `an operation on key "k": not done within 30s`}))[0]
	require.Equal(t, "No answer in time", f.Title)
	require.Contains(t, texts(f), `put "k"`)
}
