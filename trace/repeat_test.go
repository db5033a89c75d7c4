package trace_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// A test may go on for ever though no server is blocked. The story is then the request that is
// refused again and again.
func TestRefusedWithoutEnd(t *testing.T) {
	refuse := func() *script {
		s := clientScript()
		for range 100 {
			s.answers(0, s.asks(0, `get("k")`), "wrong group")
			s.append(1, 2, 1, 0, 0, 0, 1)
		}
		return s
	}
	tell := func(s *script, text string) trace.Finding {
		return trace.Explain(s.breaks(trace.Breach{Rule: trace.Deadlock, Text: text, Waits: []string{"A goroutine waits"}}))[0]
	}
	const late = "the test did not end within 1h0m0s of virtual time"
	f := tell(refuse(), late)
	require.Contains(t, texts(f), "A request is refused without end\n"+late)
	require.Contains(t, texts(f), `client 3 has asked this`)
	require.Contains(t, texts(f), `KV.Do {get("k")}. The answer is always: wrong group. Here S0 answers.`)
	require.Empty(t, f.Waits, "goroutines that wait for messages are no cause")

	slow := refuse()
	for i := range slow.run.Events {
		slow.run.Events[i].Time *= 100
	}
	require.Equal(t, trace.Deadlock.Title(), tell(slow, late).Title, "a request that waits for news is not refused")
	require.Equal(t, trace.Deadlock.Title(), tell(refuse(), "all goroutines of the test are blocked").Title)
	s := refuse()
	s.asks(1, `get("k")`)
	require.Equal(t, "A request is refused without end", tell(s, late).Title, "S1 has sent messages")
	for _, down := range []bool{false, true} {
		s = clientScript()
		for range 100 {
			s.answers(0, s.asks(0, `get("k")`), "wrong group")
			s.asks(1, `get("k")`)
		}
		if down {
			s.add(trace.Event{Kind: trace.Crashed, Lane: 1})
		}
		require.Equal(t, down, tell(s, late).Title == "A request is refused without end", "S1 hears requests and says nothing")
	}
}

// A check about a dead group leads to the servers that are down, to the configuration of each
// group, and to the requests that are refused.
func TestGroupsBehind(t *testing.T) {
	s := &script{run: &trace.Recording{Test: "TestScript"}}
	for _, name := range []string{"g0-0", "g0-1", "g1-0", "g1-1"} {
		s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: name, Kind: trace.Server})
	}
	s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: "client 3", Kind: trace.Client})
	for k, command := range []string{"configuration 2 with the shards [1]", "configuration 3 with the shards [2]"} {
		s.append(0, 1, 1, k, min(k, 1), k, 1, trace.Entry{Term: 1, Command: command})
	}
	s.append(2, 3, 1, 0, 0, 0, 1, trace.Entry{Term: 1, Command: "configuration 2 with the shards [1]"})
	for _, lane := range []int{0, 1} {
		s.add(trace.Event{Kind: trace.Crashed, Lane: lane})
	}
	s.add(trace.Event{Kind: trace.Restarted, Lane: 1})
	for range 3 {
		s.answers(2, s.asks(2, `get("k")`), "shard is arriving")
	}
	said := s.said("suite_test.go:7: a dead group holds up later configurations of the other groups")
	for _, want := range []string{
		"A dead group holds up later configurations of the other groups\n",
		"g0-0 crashes, and is down from here on.",
		"The newest in the log of the group of g0-0 is configuration 3 with the shards [2].",
		"The newest in the log of the group of g1-0 is configuration 2 with the shards [1].",
		`client 3 has asked this 3 times in the last 8ms: KV.Do {get("k")}. The answer is always: shard is arriving. Here g1-0 answers.`,
	} {
		require.Contains(t, said, want)
	}
	require.NotContains(t, said, "g0-1 crashes, and is down")
}

// The heading of a failed check is the message, if the message is made of words.
func TestHeadings(t *testing.T) {
	for message, want := range map[string]string{
		"suite_3a_test.go:235: a deposed leader answered a get": "A deposed leader answered a get",
		"no file at all": "No file at all",
		`suite_test.go:210: get("k") of client 2: not done within 1s`: `get("k") of client 2: not done within 1s`,
		`txn_bytes_test.go:361: "1691316" is not less than "230400"`:  trace.Other.Title(),
		"txn_test.go:57: Not equal: expected: 1 actual : 2":           trace.Other.Title(),
		"x_test.go:1: Error: expected nil":                            trace.Other.Title(),
	} {
		s := newScript(1)
		s.add(trace.Event{Kind: trace.Noted, Lane: trace.NoLane, Text: message})
		f := trace.Explain(s.run)[0]
		require.Equal(t, want, f.Title)
		require.Equal(t, message, f.Text)
		require.Equal(t, want == "A deposed leader answered a get", f.Place != "", "the rule about reads")
	}
}

// An answer after questions to other servers shows these questions, such as the votes in a
// transaction.
func TestConsulted(t *testing.T) {
	s := clientScript()
	s.answers(1, s.asks(1, "transaction"), "before")
	call := s.asks(0, "transaction")
	vote := s.call(0, 1, "KV.Prepare", nil, nil)
	for i := vote - 3; i <= vote; i++ {
		s.run.Events[i].Text = map[bool]string{false: "prepare", true: "a comparison fails"}[s.run.Events[i].Reply]
	}
	s.append(0, 2, 1, 0, 0, 0, 1)
	s.answers(0, call, "committed")
	s.call(0, 1, "KV.Prepare", nil, nil)
	said := s.said("x_test.go:1: Not equal")
	require.Contains(t, said, "Before its answer, S0 asks S1: KV.Prepare {prepare}, and gets: a comparison fails.")
	require.NotContains(t, said, "gets: .")
}

// A server that answers a command alone, and a read of one that asks nobody, are the cause of an
// impossible history, and so the heading.
func TestAnsweredAlone(t *testing.T) {
	type parts struct{ carried, retried, hears bool }
	tell := func(text string, p parts) string {
		s := clientScript()
		s.append(0, 1, 1, 0, 0, 0, 1) // S0 is a server of Raft
		o := trace.Operation{Client: "client 3", Text: text}
		o.Call = time.Duration(s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: text})) * time.Millisecond
		call := s.asks(0, text)
		if p.carried {
			s.call(0, 1, "Raft.AppendEntries", nil, nil, trace.Entry{Term: 1, Command: text, Call: call})
		}
		if p.retried {
			call = s.asks(0, text)
		}
		if p.hears {
			s.append(0, 1, 1, 0, 0, 0, 1)
		}
		s.answers(0, call, "done")
		o.Return = time.Duration(s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: text})) * time.Millisecond
		other := trace.Operation{Client: "client 3", Text: "other", Call: o.Return + 1, Return: -1}
		return trace.Explain(s.breaks(trace.Breach{Rule: trace.Linearizable, Text: "get() -> 1 cannot be placed", Operations: []trace.Operation{o, other}}))[0].Title
	}
	require.Equal(t, "A server answered before a majority had stored the command", tell("put(1)", parts{}))
	require.Equal(t, "A server answered a read without a majority", tell("get() -> 1", parts{}))
	for _, text := range []string{"put(1)", "get() -> 1"} {
		require.Equal(t, trace.Linearizable.Title(), tell(text, parts{hears: true}), text)
	}
	require.Equal(t, trace.Linearizable.Title(), tell("put(1)", parts{carried: true, retried: true}), "the answer of the first request was lost")
	require.Equal(t, trace.Linearizable.Title(), tell("get() -> 2", parts{}), "another read, perhaps from a lease")
}

// A server that applies a wrong index goes on, and virtual time stands still meanwhile. The story
// has the events around the wrong index.
func TestWrongIndex(t *testing.T) {
	s := newScript(1)
	for _, index := range []int{1, 2, 4, 5, 6, 7, 8, 9, 10} {
		s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: index, Text: "x"})
	}
	for i := range s.run.Events {
		s.run.Events[i].Time = time.Second
	}
	said := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.ApplyInOrder, Lanes: []int{0}, Index: 4}))[0])
	for index, told := range map[string]bool{"2": true, "4": true, "6": true, "7": false, "10": false} {
		require.Equal(t, told, strings.Contains(said, "S0 applies index "+index+":"), "%s in %s", index, said)
	}
}

// An operation that is refused again and again is no question of speed.
func TestRefusedOperation(t *testing.T) {
	s := clientScript()
	for range 5 {
		s.answers(0, s.asks(0, `get("k")`), "shard is arriving")
	}
	said := s.said(`suite_test.go:210: get("k") of client 3: not done within 30s`)
	require.Contains(t, said, "The answer is always: shard is arriving.")
	require.NotContains(t, said, "pieces of work")
}

// The story of a missing agreement has the last crash of a server without the entry.
func TestNoAgreementAfterACrash(t *testing.T) {
	s := newScript(3)
	s.add(trace.Event{Kind: trace.Snapshot, Lane: 2, Index: 4, Text: "takes a snapshot"})
	s.add(trace.Event{Kind: trace.Crashed, Lane: 2})
	s.add(trace.Event{Kind: trace.Restarted, Lane: 2})
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 5, Term: 1, Text: "x"})
	s.append(0, 1, 1, 4, 1, 0, 1, trace.Entry{Term: 1, Command: "x"})
	said := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.AgreementInTime, After: "x"}))[0])
	require.Contains(t, said, "S2 crashes. What it has not saved")
	require.Contains(t, said, "S2 starts again")
	require.Contains(t, said, "takes a snapshot")
	require.NotContains(t, said, "S1 crashes")
}
