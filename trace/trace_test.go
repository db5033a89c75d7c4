package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// A script makes recordings by hand.
type script struct {
	run  *trace.Recording
	last uint64
}

func newScript(servers int) *script {
	s := &script{run: &trace.Recording{Test: "TestScript"}}
	for i := range servers {
		s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: fmt.Sprint("S", i), Kind: trace.Server})
	}
	return s
}

// add adds an event a millisecond after the one before, and returns the event's index.
func (s *script) add(e trace.Event) int {
	e.Time = time.Duration(len(s.run.Events)) * time.Millisecond
	s.run.Events = append(s.run.Events, e)
	return len(s.run.Events) - 1
}

type fields = map[trace.Field]int

// call sends a request and delivers the request and its reply. It returns the event of the
// delivered reply.
func (s *script) call(from, to int, name string, request, reply fields, entries ...trace.Entry) int {
	s.last += 2
	m := s.last
	ask := trace.Event{Kind: trace.Sent, Lane: from, Peer: to, Message: m, Call: m, Name: name, Fields: request, Entries: entries}
	s.add(ask)
	ask.Kind, ask.Lane, ask.Peer = trace.Delivered, to, from
	s.add(ask)
	answer := trace.Event{Kind: trace.Sent, Lane: to, Peer: from, Message: m + 1, Call: m, Name: name, Reply: true, Fields: reply}
	s.add(answer)
	answer.Kind, answer.Lane, answer.Peer = trace.Delivered, from, to
	return s.add(answer)
}

func (s *script) vote(from, to, term, last, lastTerm, granted int) int {
	return s.call(from, to, "Raft.RequestVote", fields{trace.FieldTerm: term, trace.FieldLastLogIndex: last, trace.FieldLastLogTerm: lastTerm},
		fields{trace.FieldTerm: term, trace.FieldVoteGranted: granted})
}

func (s *script) append(from, to, term, prev, prevTerm, commit, success int, entries ...trace.Entry) int {
	return s.call(from, to, "Raft.AppendEntries", fields{trace.FieldTerm: term, trace.FieldPrevLogIndex: prev, trace.FieldPrevLogTerm: prevTerm,
		trace.FieldLeaderCommit: commit, trace.FieldEntries: len(entries)}, fields{trace.FieldTerm: term, trace.FieldSuccess: success}, entries...)
}

func (s *script) breaks(b trace.Breach) *trace.Recording {
	b.Time = s.run.Events[len(s.run.Events)-1].Time
	s.run.Breaches = append(s.run.Breaches, b)
	return s.run
}

// texts joins what a finding says.
func texts(f trace.Finding) string {
	all := []string{f.Title, f.Text}
	for _, s := range f.Steps {
		all = append(all, s.Text)
	}
	return strings.Join(all, "\n")
}

// doubleVote is a run in which S2 votes for S0 and for S1, with a crash in between.
func doubleVote() *trace.Recording {
	s := newScript(3)
	s.vote(0, 2, 1, 0, 0, 1)
	s.append(0, 2, 1, 0, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Crashed, Lane: 2})
	s.add(trace.Event{Kind: trace.Restarted, Lane: 2})
	s.vote(1, 2, 1, 0, 0, 1)
	s.append(1, 2, 1, 0, 0, 0, 1)
	return s.breaks(trace.Breach{Rule: trace.ElectionSafety, Lanes: []int{0, 1}, Term: 1, Text: "two leaders"})
}

func TestTwoLeaders(t *testing.T) {
	found := trace.Explain(doubleVote())
	said := texts(found[0])
	for _, want := range []string{"Two leaders in one term", "S2 voted for both", "The vote of S2 reaches S0: 2 of the 2 votes needed",
		"The vote of S2 reaches S1: 2 of the 2 votes needed", "S2 crashes", "S0 acts as leader of term 1", "S1 acts as leader of term 1"} {
		require.Contains(t, said, want)
	}
	require.Equal(t, trace.OneVote.Title(), found[1].Title, "the cause, seen in the messages")
	require.True(t, found[1].Seen)
}

// A vote of an older term that arrives during an election is a step of the story.
func TestVoteOfAnOldTerm(t *testing.T) {
	s := newScript(3)
	late := s.vote(1, 2, 1, 0, 0, 1)
	reply := s.run.Events[late]
	s.run.Events = s.run.Events[:late]
	s.vote(0, 2, 2, 0, 0, 1)
	s.append(0, 2, 2, 0, 0, 0, 1)
	s.vote(1, 0, 2, 0, 0, 0)
	late = s.add(reply)
	s.append(1, 2, 2, 0, 0, 0, 1)
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.ElectionSafety, Lanes: []int{0, 1}, Term: 2, Text: "two leaders"}))
	require.Contains(t, found[0].Steps, trace.Step{Event: late, Text: "A vote of S2 for term 1 reaches S1 in term 2. Votes of an older term do not count."})
	require.Equal(t, 1, strings.Count(texts(found[0]), "older term"), "an early vote for S0 is none")
}

// A leader without an election has its last election as a step, and the newer term's arrival.
func TestLeaderAfterALostElection(t *testing.T) {
	s := newScript(3)
	asked := s.vote(0, 1, 1, 0, 0, 1) - 3
	learned := s.vote(2, 0, 3, 0, 0, 1) - 2
	s.append(0, 1, 3, 0, 0, 0, 1)
	b := trace.Breach{Rule: trace.AskFirst, Lanes: []int{0}, Term: 3, Text: "not asked"}
	steps := trace.Explain(s.breaks(b))[0].Steps
	require.Len(t, steps, 3)
	require.Equal(t, trace.Step{Event: asked, Text: "S0 asks for votes in term 1, gets 2 of the 2 needed, with its own."}, steps[0])
	require.Equal(t, trace.Step{Event: learned, Text: "S0 learns of term 3 from S2. It is a follower from here on, and its election in term 1 is over."}, steps[1])

	s = newScript(3)
	s.vote(0, 1, 1, 0, 0, 1)
	s.append(0, 1, 1, 0, 0, 0, 1)
	s.vote(2, 0, 3, 0, 0, 1)
	s.append(0, 1, 3, 0, 0, 0, 1)
	require.Contains(t, texts(trace.Explain(s.breaks(b))[0]), "with its own, and leads that term.")
}

func TestLostEntry(t *testing.T) {
	s := newScript(3)
	x, y := trace.Entry{Term: 1, Command: "x"}, trace.Entry{Term: 2, Command: "y"}
	s.vote(0, 1, 1, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "x"})
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	applied := s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: "x"})
	s.vote(2, 1, 2, 0, 0, 1) // S1 holds x and must not vote
	s.add(trace.Event{Kind: trace.Proposed, Lane: 2, Index: 1, Term: 2, Text: "y"})
	s.append(2, 1, 2, 0, 0, 0, 1, y)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1, Text: "y"})
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.StateMachineSafety, Lanes: []int{1}, Index: 1, Before: "x", After: "y"}))
	require.Len(t, found, 2)
	said := texts(found[1])
	for _, want := range []string{"S0 applies x at index 1", "S1 removes x (of term 1) from index 1 of its log, on the AppendEntries of S2", "S2, as leader of term 2, puts y at index 1", "S1 applies y at index 1"} {
		require.Contains(t, said, want)
	}
	require.Contains(t, found[1].Steps, trace.Step{Event: applied, Text: "S0 applies x at index 1: the entry is committed. As far as messages show, it is in the logs of S0, S1."})
	require.Contains(t, texts(found[0]), "S1 grants the vote, though it holds index 1 of term 1")
}

// The story of a deadlock shows who fell silent first, and keeps the blocked goroutines.
func TestDeadlock(t *testing.T) {
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1)
	ask := s.run.Events[0]
	ask.Lane, ask.Peer, ask.Message, ask.Call = 0, 2, 90, 90
	s.add(ask)
	s.add(trace.Event{Kind: trace.Crashed, Lane: 2})
	found := trace.Explain(s.breaks(trace.Breach{Rule: trace.Deadlock, Text: "all goroutines are blocked", Waits: []string{"A goroutine waits"}}))
	require.Equal(t, []string{"A goroutine waits"}, found[0].Waits)
	require.Len(t, found[0].Steps, 2, "a crashed server is silent for another reason")
	require.Equal(t, 2, found[0].Steps[0].Event, "the reply of S1")
	require.Contains(t, found[0].Steps[0].Text, "The last sign of S1, at 2ms")
	require.Contains(t, found[0].Steps[0].Text, "first to fall silent")
	require.Contains(t, found[0].Steps[1].Text, "The last sign of S0, at 4ms")
}

// The story of a blocked server begins with the first request without an answer, and leaves
// out the last signs of the other servers.
func TestFirstUnanswered(t *testing.T) {
	s := newScript(3)
	s.append(2, 0, 1, 0, 0, 0, 1)
	own := s.lose(2, 0, "Raft.AppendEntries", "lost", fields{trace.FieldTerm: 1})
	waiting := s.run.Events[own]
	waiting.Message, waiting.Call = 80, 80
	own = s.add(waiting)
	ask := trace.Event{Kind: trace.Delivered, Lane: 2, Peer: 1, Message: 90, Call: 90, Name: "Raft.RequestVote"}
	first := s.add(ask)
	ask.Message, ask.Call = 92, 92
	s.add(ask)
	s.append(1, 0, 1, 0, 0, 0, 1)
	s.lose(2, 0, "Raft.AppendEntries", "lost", fields{trace.FieldTerm: 1})
	f := trace.Explain(s.breaks(trace.Breach{Rule: trace.Deadlock, Text: "server 2 has not answered GetState for 10s"}))[0]
	require.Len(t, f.Steps, 2)
	require.Equal(t, own, f.Steps[0].Event)
	require.Contains(t, f.Steps[0].Text, "S2 sends this request before, and never gets an answer: ")
	require.Equal(t, first, f.Steps[1].Event)
	require.Contains(t, f.Steps[1].Text, "The first request that S2 never answers, at 7ms: S2 receives Raft.RequestVote of S1")
}

// Messages alone show these broken rules.
func TestSeenInMessages(t *testing.T) {
	e := func(term int) trace.Entry { return trace.Entry{Term: term, Command: fmt.Sprint("c", term)} }
	cases := map[string]struct {
		title string
		play  func(s *script)
	}{
		"gap": {"A follower accepted entries behind a gap", func(s *script) { s.append(0, 1, 1, 3, 1, 0, 1, e(1)) }},
		"mismatch": {"A follower accepted entries that do not fit its log", func(s *script) {
			s.append(0, 1, 1, 0, 0, 0, 1, e(1))
			s.append(2, 1, 2, 1, 2, 0, 1, e(2))
		}},
		"beat that does not fit": {"A follower accepted a heartbeat that does not fit its log", func(s *script) {
			s.append(0, 1, 1, 0, 0, 0, 1, e(1))
			s.append(2, 1, 2, 1, 2, 0, 1)
		}},
		"beat behind a gap": {"A follower accepted a heartbeat behind a gap", func(s *script) { s.append(0, 1, 1, 3, 1, 0, 1) }},
		"Figure 8": {"A leader committed an entry of an older term by counting", func(s *script) {
			s.append(0, 1, 2, 0, 0, 0, 1, e(1))
			s.append(0, 2, 2, 0, 0, 0, 1, e(1))
			s.append(0, 1, 2, 1, 1, 1, 1)
		}},
		"minority": {"A leader committed an entry that a majority does not store", func(s *script) {
			s.append(0, 1, 1, 0, 0, 0, 1)
			s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "c1"})
			s.append(0, 1, 1, 0, 0, 1, 1, e(1))
		}},
	}
	for name, c := range cases {
		s := newScript(3)
		c.play(s)
		found := trace.Explain(s.run)
		require.Len(t, found, 1, name)
		require.Equal(t, c.title, found[0].Title, name)
	}
}

// A leader may tell an index that it has committed in an earlier term, and a run without
// the content of a message accuses nobody.
func TestNoSuspicion(t *testing.T) {
	x := trace.Entry{Term: 1, Command: "x"}
	s := newScript(3)
	s.append(0, 1, 1, 0, 0, 0, 1, x)
	s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: "x"})
	s.vote(0, 1, 2, 1, 1, 1)
	s.append(0, 1, 2, 1, 1, 1, 1)
	require.Empty(t, trace.Explain(s.run))

	s = newScript(3)
	s.call(0, 1, "Raft.AppendEntries", nil, fields{trace.FieldTerm: 1, trace.FieldSuccess: 1})
	s.append(0, 1, 1, 3, 1, 0, 1, x)
	require.Empty(t, trace.Explain(s.run))
}

// A run of a correct cluster accuses nobody, also after crashes, truncated logs and
// snapshots.
func TestCorrectRun(t *testing.T) {
	s := newScript(3)
	a, b, c := trace.Entry{Term: 1, Command: "a"}, trace.Entry{Term: 1, Command: "b"}, trace.Entry{Term: 2, Command: "c"}
	s.vote(0, 1, 1, 0, 0, 1)
	s.vote(0, 2, 1, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 1, Term: 1, Text: "a"})
	s.append(0, 1, 1, 0, 0, 0, 1, a)
	s.append(0, 2, 1, 0, 0, 1, 1, a)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 2, Term: 1, Text: "b"})
	s.add(trace.Event{Kind: trace.Crashed, Lane: 0})
	s.vote(1, 2, 2, 1, 1, 1)
	s.add(trace.Event{Kind: trace.Proposed, Lane: 1, Index: 2, Term: 2, Text: "c"})
	s.append(1, 2, 2, 1, 1, 1, 1, c)
	s.add(trace.Event{Kind: trace.Restarted, Lane: 0})
	s.append(1, 0, 2, 2, 2, 2, 0)
	s.append(1, 0, 2, 1, 1, 2, 1, c)
	s.call(1, 0, "Raft.InstallSnapshot", fields{trace.FieldTerm: 2, trace.FieldLastIndex: 9, trace.FieldLastTerm: 2}, fields{trace.FieldTerm: 2})
	s.append(1, 0, 2, 9, 2, 2, 1)
	s.vote(0, 2, 3, 2, 2, 1)
	_ = b
	require.Empty(t, trace.Explain(s.run))
}

func TestFile(t *testing.T) {
	rec := trace.NewRecorder(trace.Options{})
	a, b := rec.Lane("S0", trace.Server), rec.Lane("client \"1\"", trace.Client)
	require.Equal(t, a, rec.Lane("S0", trace.Server))
	all := []trace.Event{
		{Time: 5, Kind: trace.Sent, Lane: b, Peer: a, Message: 1 << 63, Call: 3, Name: "KV.Get", Copy: true, Data: []byte{0, 255}},
		{Time: 6, Kind: trace.Delivered, Lane: a, Peer: b, Message: 7, Reply: true, Term: 2, Fields: fields{trace.FieldTerm: 2, trace.FieldSuccess: 0}, Entries: []trace.Entry{{Term: 1, Command: "a\"\\\n\x01\xffé"}, {Term: 2}}},
		{Time: 7, Kind: trace.Role, Lane: a, Term: 4, Leads: true, Index: 3, Output: 10},
		{Time: 8, Kind: trace.Network, Lane: trace.NoLane, Text: "partition"},
	}
	for _, e := range all {
		rec.Add(e)
	}
	rec.Break(trace.Breach{Rule: trace.OneVote, Lanes: []int{a}, Text: "x"})
	run := rec.Recording()
	rec.Add(all[0])
	require.Len(t, run.Events, 4)
	path := filepath.Join(t.TempDir(), "run")
	require.NoError(t, trace.WriteFile(path, run))
	again, err := trace.ReadFile(path)
	require.NoError(t, err)
	run.Events[1].Entries[0].Command = "a\"\\\n\x01\uFFFDé" // no JSON holds other bytes
	require.Equal(t, run, again)
}

func TestRefusedFiles(t *testing.T) {
	header := `{"format":"raftlab trace","version":1,"lanes":[{"name":"S0","kind":"server"}]}` + "\n"
	for text, want := range map[string]string{
		"":     "the file is empty",
		"{}\n": "does not name the format",
		`{"format":"raftlab trace","version":2}` + "\n{}":   "line 1",
		`{"format":"raftlab trace","version":2,"lanes":[]}`: "version 2",
		header + `{"ev":{"k":"sent","l":1}}`:                "lane 1",
		header + `{"ev":{"k":"flown"}}` + "\n{}\n":          `"flown" is unknown`,
		header + "{\n{}\n":                                  "line 2",
	} {
		_, err := trace.Read(strings.NewReader(text))
		require.ErrorIs(t, err, trace.ErrFormat, text)
		require.ErrorContains(t, err, want)
	}
	run, err := trace.Read(strings.NewReader(header + `{"ev":{"k":"crashed","l":0}}` + "\n" + `{"ev":{"k":"resta`))
	require.NoError(t, err, "a stream may end at any byte")
	require.Len(t, run.Events, 1)
}

// A stream holds what a recording holds.
func TestStream(t *testing.T) {
	var stream bytes.Buffer
	stream.Write(trace.Header("TestX", ""))
	rec := trace.NewRecorder(trace.Options{Stream: func(line []byte) { stream.Write(line) }})
	rec.Lane("S0", trace.Server)
	rec.Add(trace.Event{Time: 1, Kind: trace.Crashed})
	rec.Break(trace.Breach{Rule: trace.Other, Text: "x"})
	want := rec.Recording()
	want.Test = "TestX"
	got, err := trace.Read(&stream)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestMemoryIsBounded(t *testing.T) {
	rec := trace.NewRecorder(trace.Options{})
	lane := rec.Lane("S0", trace.Server)
	for i := range trace.MaxEvents + 50_000 {
		rec.Add(trace.Event{Kind: trace.Applied, Lane: lane, Index: i})
	}
	run := rec.Recording()
	require.LessOrEqual(t, len(run.Events), trace.MaxEvents+1)
	require.Greater(t, len(run.Events), trace.MaxEvents*9/10)
	require.Equal(t, trace.MaxEvents+50_000, len(run.Events)+run.Omitted)
	require.Equal(t, trace.MaxEvents+50_000-1, run.Events[len(run.Events)-1].Index, "the newest stay")

	rec = trace.NewRecorder(trace.Options{})
	body := make([]byte, 200<<10)
	for range 400 {
		rec.Add(trace.Event{Kind: trace.Sent, Data: body})
	}
	rec.Add(trace.Event{Kind: trace.Sent, Data: make([]byte, 1<<20)})
	kept, events := 0, rec.Recording().Events
	for _, e := range events {
		kept += len(e.Data)
	}
	require.LessOrEqual(t, kept, trace.MaxBytes+len(body))
	require.Greater(t, kept, trace.MaxBytes/2)
	require.Empty(t, events[len(events)-1].Data, "a body of a megabyte is left out")
}

func TestClocksAndShiViz(t *testing.T) {
	s := newScript(3)
	s.add(trace.Event{Kind: trace.Applied, Lane: 1, Index: 1})
	s.vote(0, 1, 1, 0, 0, 1)
	s.add(trace.Event{Kind: trace.Network, Lane: trace.NoLane, Text: "x"})
	require.Equal(t, [][]uint32{{0, 1, 0}, {1, 0, 0}, {1, 2, 0}, {1, 3, 0}, {2, 3, 0}, nil}, s.run.Clocks())
	var out bytes.Buffer
	require.NoError(t, trace.WriteShiViz(&out, s.run))
	entry := regexp.MustCompile(strings.ReplaceAll(trace.ShiVizPattern, "?<", "?P<"))
	all := entry.FindAllStringSubmatch(out.String(), -1)
	require.Len(t, all, 5)
	var clock map[string]int
	require.NoError(t, json.Unmarshal([]byte(all[4][2]), &clock))
	require.Equal(t, map[string]int{"S0": 2, "S1": 3}, clock)
	require.Contains(t, all[4][3], "S0 receives Raft.RequestVote reply of S1")
}

// Lines of the output stand between the events that were recorded around them.
func TestOutput(t *testing.T) {
	s := newScript(2)
	output := "=== RUN   TestX\n[1] becomes candidate\nserver 0: votes\n    suite_test.go:7: no leader\nlost\n"
	s.add(trace.Event{Kind: trace.Crashed, Output: 15})
	s.add(trace.Event{Kind: trace.Restarted, Output: int64(strings.Index(output, "server"))})
	s.add(trace.Event{Kind: trace.Noted, Output: int64(strings.Index(output, "    suite")), Lane: trace.NoLane})
	s.run.AddOutput([]byte(output))
	var got []string
	for i, e := range s.run.Events {
		got = append(got, fmt.Sprint(e.Kind, " ", s.run.Words(i)))
	}
	require.Equal(t, []string{"crashed S0 crashes", "logged S1: [1] becomes candidate", "restarted S0 starts", "logged S0: server 0: votes",
		"noted suite_test.go:7: no leader", "logged lost"}, got)
	require.Equal(t, trace.Other, trace.Explain(s.run)[0].Rule)
}

// A message of testify is one message of the test, without the traces and the diff.
func TestOutputOfTestify(t *testing.T) {
	s := newScript(1)
	s.add(trace.Event{Kind: trace.Restarted})
	s.run.AddOutput([]byte("        txn_test.go:57: \n            \tError Trace:\t/src/txn_test.go:57\n            \t            \t\t\t\t/src/still.go:95\n" +
		"            \tError:      \tNot equal: \n            \t            \texpected: \"a  b\"\n            \t            \tactual  : \"c\"\n" +
		"            \t            \t\n            \t            \tDiff:\n            \t            \t--- Expected\n            \t            \t@@ -1 +1 @@\n" +
		"            \tTest:       \tTestX\n            \tMessages:   \tthe value\n        x_test.go:9: more\n"))
	var got []string
	for i := range s.run.Events {
		got = append(got, s.run.Words(i))
	}
	require.Equal(t, []string{"S0 starts", `txn_test.go:57: the value Not equal: expected: "a b" actual : "c"`, "x_test.go:9: more"}, got)
	require.Contains(t, trace.Explain(s.run)[0].Text, "txn_test.go:57: the value Not equal")
}

// A streamed run marks the place of each event in its output. A second recording of the
// stream takes the place of one without a breach.
func TestMarkedOutput(t *testing.T) {
	var stream bytes.Buffer
	for _, events := range []int{2, 1} {
		stream.Write(trace.Header("TestX", ""))
		rec := trace.NewRecorder(trace.Options{Stream: func(line []byte) { stream.Write(line) }})
		rec.Lane("S0", trace.Server)
		for range events {
			rec.Add(trace.Event{Kind: trace.Crashed})
		}
	}
	run, err := trace.Read(&stream)
	require.NoError(t, err)
	plain := run.AddMarkedOutput([]byte("first\n\x1e\x1esecond\n\x1ethird\n"), '\x1e')
	require.Equal(t, "first\nsecond\nthird\n", string(plain))
	var got []string
	for i := range run.Events {
		got = append(got, run.Words(i))
	}
	require.Equal(t, []string{"second", "S0 crashes", "third"}, got)
}

func TestPageNeedsADisk(t *testing.T) {
	require.Error(t, trace.WritePageFile(filepath.Join(t.TempDir(), "no", "page.html"), doubleVote()))
	full := errors.New("disk full")
	require.ErrorIs(t, trace.WritePage(failing{full}, doubleVote()), full)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A page with 10,000 messages stays below 2 MB.
func TestPageIsSmall(t *testing.T) {
	s := newScript(5)
	for i := range 5_000 { // a request and a reply each
		s.append(0, 1+i%4, 1, i, 1, i, 1, trace.Entry{Term: 1, Command: fmt.Sprintf("%q", strings.Repeat("x", 40)+fmt.Sprint(i))})
	}
	for i := range s.run.Events {
		if e := &s.run.Events[i]; e.Kind == trace.Sent {
			e.Text = fmt.Sprintf("Term 1, LeaderId 0, PrevLogIndex %d, PrevLogTerm 1, entries %s, LeaderCommit 1", i, strings.Repeat("y", 120))
		}
	}
	var page bytes.Buffer
	require.NoError(t, trace.WritePage(&page, s.run))
	require.Less(t, page.Len(), 2_000_000)
	require.NotContains(t, page.String(), "http://", "the page needs no network")
	require.NotContains(t, page.String(), "https://")
}

// A busy leader sends many entries in a message. The page then tells the lives of the proof and
// of the newest commands, and stays as small.
func TestPageOfBatchesIsSmall(t *testing.T) {
	const batch = 64
	s := newScript(3)
	for i := range 1_000 {
		entries := make([]trace.Entry, batch)
		for k := range entries {
			entries[k] = trace.Entry{Term: 1, Command: fmt.Sprintf("%q", "put key "+fmt.Sprint(i, k))}
		}
		s.append(0, 1+i%2, 1, batch*i, min(i, 1), batch*i, 1, entries...)
	}
	s.run.Breaches = []trace.Breach{{Rule: trace.StateMachineSafety, Index: 1, Before: `"put key 0 0"`, After: "another"}}
	s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 1, Text: `"put key 0 0"`})
	var page bytes.Buffer
	require.NoError(t, trace.WritePage(&page, s.run))
	require.Less(t, page.Len(), 2_000_000)
	require.Regexp(t, `"untold":[1-9]`, page.String())
	for command, told := range map[string]bool{`"\"put key 0 0\""`: true, `"\"put key 999 63\""`: true, `"\"put key 100 1\""`: false} {
		require.Equal(t, told, strings.Contains(page.String(), command), command)
	}
}
