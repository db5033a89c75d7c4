package trace_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// unread is the content of a message that is not understood.
func unread(term int) fields { return fields{trace.FieldTerm: term, trace.FieldUnknown: 1} }

// A claim that something did not happen is left out if a message that is not understood could
// refute the claim.
func TestClaimsNeedMessages(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	proposed := trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"}
	cases := map[string]struct {
		play    func(s *script)
		breach  trace.Breach
		claim   string
		refuted func(s *script)
	}{
		"no election": {
			func(s *script) { s.role(2, 0, false) }, trace.Breach{Rule: trace.LeaderInTime, Text: "no leader"}, "No server asked for votes",
			func(s *script) { s.call(0, 1, "Raft.RequestVote", unread(1), unread(1)) },
		},
		"no holder": {
			func(s *script) { s.add(proposed) }, trace.Breach{Rule: trace.AgreementInTime, Text: "no agreement", After: "x"}, "and not of S1",
			func(s *script) { s.call(0, 1, "Raft.AppendEntries", unread(1), unread(1)) },
		},
		"no majority stores it": {
			func(s *script) {
				s.add(trace.Event{Kind: trace.Applied, Lane: 2, Index: 1, Text: "y"})
			}, trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{2}, Index: 1, Before: "x", After: "y"}, "no majority is known to store it",
			func(s *script) { s.call(0, 1, "Raft.AppendEntries", unread(1), unread(1)) },
		},
		"nobody has asked": {
			func(s *script) { s.role(0, 2, true); s.append(0, 1, 2, 0, 0, 0, 1) },
			trace.Breach{Rule: trace.AskFirst, Text: "a leader", Lanes: []int{0}, Term: 2}, "has not asked for votes",
			func(s *script) { s.call(0, 1, "Raft.RequestVote", unread(2), unread(2)) },
		},
		"a vote for an older log": {
			func(s *script) { s.append(0, 1, 1, 0, 0, 0, 1, x, x); s.vote(2, 1, 2, 0, 0, 1) },
			trace.Breach{Rule: trace.Other, Text: "damage"}, "grants the vote, though it holds",
			func(s *script) { s.call(0, 1, "Raft.AppendEntries", unread(1), unread(1)) },
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, refuted := range []bool{false, true} {
				s := newScript(3)
				if refuted {
					c.refuted(s)
				}
				c.play(s)
				var story strings.Builder
				for _, f := range trace.Explain(s.breaks(c.breach)) {
					story.WriteString(texts(f))
				}
				require.Equal(t, !refuted, strings.Contains(story.String(), c.claim), story.String())
			}
		})
	}
}

// A message that is not understood says so on its arrow.
func TestUnreadLabel(t *testing.T) {
	s := newScript(2)
	s.call(0, 1, "Raft.RequestVote", unread(3), unread(3))
	s.call(0, 1, "Raft.AppendEntries", unread(3), unread(3))
	var page bytes.Buffer
	require.NoError(t, trace.WritePage(&page, s.run))
	for _, label := range []string{"RequestVote T3, fields not recognized", "RequestVote reply T3, fields not recognized", "AppendEntries T3, fields not recognized"} {
		require.Contains(t, page.String(), label)
	}
}

// A server that applied or sent an entry has removed nothing on an AppendEntries from before.
func TestCutBeforeTheEntry(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 1, Index: 1, Term: 2, Text: "x"})
	s.append(1, 0, 2, 0, 0, 0, 1, trace.Entry{Term: 2, Command: x.Command})
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "x"})
	s.vote(2, 1, 3, 0, 0, 1)
	for _, f := range trace.Explain(s.run) {
		require.NotContains(t, texts(f), "has removed index")
	}
}

// A refused vote is no vote. A leader with its own vote alone is the cause of later damage.
func TestLeadsWithItsOwnVote(t *testing.T) {
	for _, granted := range []int{0, 1} {
		s := newScript(3)
		s.vote(0, 1, 3, 0, 0, granted)
		s.append(0, 2, 3, 0, 0, 0, 1)
		var titles []string
		for _, f := range trace.Explain(s.run) {
			titles = append(titles, f.Title)
		}
		require.Equal(t, granted == 0, len(titles) > 0 && titles[0] == "A leader without a majority", titles)
	}
}

// A server that accepts an entry and applies another one at the index has kept its own entry.
func TestConflictKept(t *testing.T) {
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1, trace.Entry{Term: 1, Command: "x"})
	s.append(2, 1, 2, 0, 0, 0, 1, trace.Entry{Term: 2, Command: "y"})
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "x"})
	story := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{1}, Index: 1, Before: "y", After: "x"}))[0])
	require.Contains(t, story, "S1 accepts y (of term 2) for index 1 from S2.")
	require.Contains(t, story, "It has accepted y of term 2 for this index before, so its own entry there had to go")
}

// The story of a configuration has all shards and the moved ones.
func TestConfigurationsDiffer(t *testing.T) {
	s := clientScript()
	for _, config := range []string{"{Num:1 Shards:[1 1 1 1 1 1 1 1 1 1]}", "{Num:2 Shards:[1 1 1 1 1 1 1 1 1 2]}"} {
		s.answers(0, s.asks(0, "query"), "Config "+config)
	}
	s.answers(0, s.asks(0, "query -1"), "Config {Num:7 Shards:[1 1 1 1 1 1 1 1 1 2]}")
	require.Contains(t, s.said("configuration 2 is wrong"), "From configuration 1 to 2 moves: shard 9 from group 1 to 2. All shards before: [1 1 1 1 1 1 1 1 1 1]. All shards after: [1 1 1 1 1 1 1 1 1 2].")

	s = clientScript()
	for _, config := range []string{"{Num:1 Shards:[1 1]}", "{Num:2 Shards:[1 2]}"} {
		s.answers(0, s.asks(0, "query"), "Config "+config)
	}
	s.answers(0, s.asks(0, "query 9"), "Config {Num:0 Shards:[0 0]}")
	require.Contains(t, s.said("Query(9) is {Num:0 Shards:[0 0] Groups:map[]}"), "(KV.Do {query 9}) with {Config {Num:0 Shards:[0 0]}}", "the answer stays")
}
