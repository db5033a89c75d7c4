package trace_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/trace"
)

// asks adds a client's request to a server. The lane of the client is the last one.
func (s *script) asks(server int, text string) (call uint64) {
	s.last += 2
	client := len(s.run.Lanes) - 1
	for _, e := range []trace.Event{{Kind: trace.Sent, Lane: client, Peer: server}, {Kind: trace.Delivered, Lane: server, Peer: client}} {
		e.Call, e.Message, e.Name, e.Text = s.last, s.last, "KV.Do", text
		s.add(e)
	}
	return s.last
}

// answers adds the answer to a request.
func (s *script) answers(server int, call uint64, text string) {
	client := len(s.run.Lanes) - 1
	for _, e := range []trace.Event{{Kind: trace.Sent, Lane: server, Peer: client}, {Kind: trace.Delivered, Lane: client, Peer: server}} {
		e.Call, e.Message, e.Name, e.Reply, e.Text = call, call+1, "KV.Do", true, text
		s.add(e)
	}
}

// story returns the words of a life's steps.
func story(run *trace.Recording, l trace.Life) (words []string) {
	for _, s := range l.Steps {
		text := s.Text
		if text == "" {
			text = run.Words(s.Event) + "."
		}
		words = append(words, text)
	}
	return words
}

// clientScript is a script with three servers and a client.
func clientScript() *script {
	s := newScript(3)
	s.run.Lanes = append(s.run.Lanes, trace.Lane{Name: "client 3", Kind: trace.Client})
	return s
}

// An operation is told from the call to the answer, with the attempts that led to nothing.
func TestLifeOfAnOperation(t *testing.T) {
	s := clientScript()
	s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: `put("k", "v")`})
	s.answers(2, s.asks(2, "put"), "not the leader")
	call := s.asks(0, "put")
	entry := trace.Entry{Term: 1, Command: "put", Call: call}
	s.append(0, 1, 1, 0, 0, 0, 1, entry)
	s.answers(0, call, "done")
	s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `put("k", "v")`})
	s.append(0, 2, 1, 0, 0, 1, 1, entry)

	lives := trace.Lives(s.run)
	require.Len(t, lives, 1)
	require.Equal(t, "client 3", lives[0].Client)
	require.Equal(t, `put("k", "v")`, lives[0].Command)
	require.Equal(t, []trace.Place{{Index: 1, Term: 1, Committed: true, First: 7}}, lives[0].Entries)
	require.Equal(t, []string{
		`client 3 calls put("k", "v").`,
		"client 3 sends KV.Do to S2: put.",
		"An attempt leads to no entry. S2 answers: not the leader.",
		"S0 has the entry in its log.",
		"S1 receives the entry from S0.",
		"S0 learns that S1 stores the entry: 2 of 3 servers. That is a majority, and the entry is committed.",
		"S0 sends KV.Do reply to client 3: done.",
		"client 3 receives KV.Do reply of S0: done.",
		`client 3 gets the result of put("k", "v").`,
		"S0 tells S2 that the entry is committed.",
		"S2 receives the entry from S0.",
		"S0 learns that S2 stores the entry: 3 of 3 servers.",
	}, story(s.run, lives[0]))
}

// The life of a lost operation shows the answer before a commit, and each log that loses the entry.
func TestLifeOfALostOperation(t *testing.T) {
	s := clientScript()
	call := s.asks(0, "put")
	lost := trace.Event{Kind: trace.Sent, Lane: 0, Peer: 1, Message: 800, Call: 800, Name: "Raft.AppendEntries",
		Fields:  fields{trace.FieldTerm: 1, trace.FieldPrevLogIndex: 0, trace.FieldEntries: 1},
		Entries: []trace.Entry{{Term: 1, Command: "put", Call: call}}}
	s.add(lost)
	lost.Kind, lost.Lane, lost.Peer, lost.Text = trace.Lost, 1, 0, "a partition; Term 1"
	s.add(lost)
	s.answers(0, call, "done")
	s.append(1, 0, 2, 0, 0, 0, 1, trace.Entry{Term: 2, Command: "other"})

	lives := trace.Lives(s.run)
	require.Len(t, lives, 2)
	require.False(t, lives[0].Entries[0].Committed)
	require.Equal(t, []string{
		"client 3 sends KV.Do to S0: put.",
		"S0 has the entry in its log.",
		"The entry does not arrive at S1: a partition.",
		"S0 answers client 3: done. No message has shown a commit of the entry yet.",
		"client 3 receives KV.Do reply of S0: done.",
		"S0 no longer has the entry.",
	}, story(s.run, lives[0]))
	require.Equal(t, "other", lives[1].Command)
	require.Empty(t, lives[1].Client)
	require.True(t, lives[1].Entries[0].Committed)
}

// An entry of an older term is committed with a later one alone (section 5.4.2), and the
// steps of an operation with two entries name the entry.
func TestLifeAcrossTerms(t *testing.T) {
	s := clientScript()
	s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: "put"})
	call := s.asks(0, "put")
	entry := trace.Entry{Term: 1, Command: "put", Call: call}
	s.append(0, 1, 1, 0, 0, 0, 0, entry)
	s.append(1, 2, 2, 0, 0, 0, 1, entry)
	call = s.asks(1, "put")
	s.append(1, 2, 2, 1, 1, 0, 1, trace.Entry{Term: 2, Command: "put", Call: call})
	lives := trace.Lives(s.run)
	require.Len(t, lives, 1)
	require.Equal(t, []trace.Place{{Index: 1, Term: 1, Committed: true, First: 3}, {Index: 2, Term: 2, Committed: true, First: 13}}, lives[0].Entries)
	require.Equal(t, []string{
		"client 3 calls put.",
		"client 3 sends KV.Do to S0: put.",
		"S0 has the entry at index 1 of term 1 in its log.",
		"S1 receives the entry at index 1 of term 1 from S0.",
		"S2 receives the entry at index 1 of term 1 from S1.",
		"S1 learns that S2 stores the entry at index 1 of term 1: 3 of 3 servers. The entry is of an older term, and waits for one of term 2 (section 5.4.2).",
		"S1 has the entry at index 2 of term 2 in its log.",
		"S2 receives the entry at index 2 of term 2 from S1.",
		"S1 learns that S2 stores the entry at index 2 of term 2: 2 of 3 servers. That is a majority, and the entry is committed.",
		"The commit at index 2 commits the entry at index 1 of term 1, too.",
	}, story(s.run, lives[0]))
}

// Without calls in the recording, equal requests are one operation until an answer to a
// request with an entry. Commands given to Start have lives, too, with what servers apply.
func TestLivesWithoutCalls(t *testing.T) {
	s := clientScript()
	for range 2 {
		s.answers(1, s.asks(1, "get"), "not the leader")
		call := s.asks(0, "get")
		s.append(0, 1, 1, len(s.run.Events), 1, 0, 1, trace.Entry{Term: 1, Command: "get", Call: call})
		s.answers(0, call, "done")
	}
	s.add(trace.Event{Kind: trace.Proposed, Lane: 0, Index: 90, Term: 1, Text: "7"})
	s.append(0, 2, 1, 89, 1, 0, 1, trace.Entry{Term: 1, Command: "7"})
	s.add(trace.Event{Kind: trace.Applied, Lane: 0, Index: 90, Text: "7"})
	s.asks(0, "nothing comes of this")
	lives := trace.Lives(s.run)
	require.Len(t, lives, 3)
	for _, l := range lives[:2] {
		require.Len(t, l.Entries, 1)
		require.Equal(t, "client 3 receives KV.Do reply of S0: done.", story(s.run, l)[6])
	}
	require.Equal(t, []string{
		"S0 has the entry in its log.", "S2 receives the entry from S0.",
		"S0 learns that S2 stores the entry: 2 of 3 servers. That is a majority, and the entry is committed.",
		"S0 applies the command.",
	}, story(s.run, lives[2]))
}

// The story of an impossible answer shows an operation that is in a log twice, and an
// operation that is in none.
func TestStoryOfEntries(t *testing.T) {
	s := clientScript()
	operation := func(text string, logged int) trace.Operation {
		o := trace.Operation{Client: "client 3", Text: text}
		o.Call = time.Duration(s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: text})) * time.Millisecond
		call := s.asks(0, text)
		for range logged {
			index := len(s.run.Events)
			s.append(0, 1, 1, index, 1, 0, 1, trace.Entry{Term: 1, Command: text, Call: call})
		}
		s.answers(0, call, "done")
		o.Return = time.Duration(s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: text})) * time.Millisecond
		return o
	}
	twice, once, never := operation("append", 2), operation("put", 1), operation("get", 0)
	words := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.Linearizable, Text: "impossible", Operations: []trace.Operation{never}, Earlier: []trace.Operation{twice, once}}))[0])
	require.Contains(t, words, "S0 has append in its log again, at index 8 of term 1. S0 had the same operation at index 4 of term 1, and it may take effect once. The entry is {append}. A server must recognize the repetition from that.")
	require.NotContains(t, words, "has put in its log again")
	require.Contains(t, words, "S0 answers client 3 (KV.Do {get}) with {done}. S0 heard of no other server between the request and this answer. No log has an entry for this request.")

	s.append(0, 1, 1, 90, 1, 0, 1, trace.Entry{Term: 1, Command: "bytes"}) // perhaps the entry of the request
	require.NotContains(t, texts(trace.Explain(s.run)[0]), "No log has an entry")
}

// The entries of an operation stand side by side if they differ, as with a clerk that numbers each try.
func TestNumberOfEachTry(t *testing.T) {
	s := clientScript()
	o := trace.Operation{Client: "client 3", Text: "append"}
	o.Call = time.Duration(s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: "append"})) * time.Millisecond
	for i, number := range []string{"append 4", "append 5", "append 6"} {
		call := s.asks(0, number)
		s.append(0, 1, 1, i, 1, 0, 1, trace.Entry{Term: 1, Command: number, Call: call})
		s.answers(0, call, "done")
	}
	o.Return = time.Duration(s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: "append"})) * time.Millisecond
	words := texts(trace.Explain(s.breaks(trace.Breach{Rule: trace.Linearizable, Text: "impossible", Operations: []trace.Operation{o}}))[0])
	require.Contains(t, words, "Its entries were put at the indexes 1, 2, 3. The entries differ: {append 4} and {append 6}. If each try has another number, no server can recognize the repetition: a clerk numbers an operation once.")
}

// A test may speak as a server from the lane of a client.
func TestClientSpeaksAsAServer(t *testing.T) {
	s := clientScript()
	s.append(3, 0, 1, 0, 0, 1, 1, trace.Entry{Term: 1, Command: "x"})
	s.vote(3, 1, 2, 1, 1, 1)
	require.Len(t, trace.Lives(s.run), 1)
	require.NotPanics(t, func() { trace.Explain(s.breaks(trace.Breach{Rule: trace.LeaderInTime})) })
}
