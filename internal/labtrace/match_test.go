package labtrace_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtrace"
	"raftlab/labgob"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/trace"
)

// The messages of a program that this project does not know.
type (
	putArgs struct {
		Key, Value   string
		ClerkID, Num int64
		Server       int
	}
	moveArgs struct{ Shard, GID int }
	op       struct {
		Kind, Key, Value string
		Shard, GID       int
		Clerk, Num       int64
		Unique           int64
	}
	logEntry struct {
		Term    int
		Command any
	}
	appendArgs struct {
		Term, PrevLogIndex int
		Entries            []logEntry
	}
)

// An entry belongs to the open request at its sender whose values it has.
func TestMatch(t *testing.T) {
	labgob.Register(op{})
	run := &trace.Recording{Lanes: []trace.Lane{{Name: "S0", Kind: trace.Server}, {Name: "S1", Kind: trace.Server}, {Name: "client 2", Kind: trace.Client}}}
	message := uint64(0)
	add := func(kind trace.Kind, from, to int, call uint64, name string, reply bool, body any) {
		message++
		data, err := labgob.Encode(body)
		require.NoError(t, err)
		e := trace.Event{Kind: kind, Lane: from, Peer: to, Call: call, Message: message, Name: name, Reply: reply, Data: data}
		run.Events = append(run.Events, e)
	}
	arrives := func(call uint64, server int, body any) { add(trace.Delivered, server, 2, call, "KV.Do", false, body) }
	calls := func() (all []uint64) {
		labtrace.Describe(run)
		for _, e := range run.Events {
			for _, entry := range e.Entries {
				all = append(all, entry.Call)
			}
		}
		return all
	}
	entries := func(prev int, ops ...any) {
		args := appendArgs{Term: 1, PrevLogIndex: prev}
		for _, o := range ops {
			args.Entries = append(args.Entries, logEntry{1, o})
		}
		add(trace.Sent, 0, 1, 900+uint64(prev), "Raft.AppendEntries", false, args)
	}
	put := func(num int64) putArgs { return putArgs{Key: "k", Value: "v", ClerkID: 77, Num: num, Server: 5} }
	logs := func(num int64) op { return op{Kind: "Put", Key: "k", Value: "v", Clerk: 77, Num: num, Unique: 4 + num} }

	arrives(1, 0, put(1))
	arrives(2, 0, put(2))
	arrives(3, 1, put(3))
	arrives(4, 0, moveArgs{Shard: 3, GID: 8})
	arrives(5, 0, put(5))
	add(trace.Sent, 0, 2, 5, "KV.Do", true, putArgs{})
	entries(0, logs(2), logs(1), op{}, logs(3), op{Kind: "Move", Shard: 3, GID: 8}, op{Kind: "Put", Key: "k", Value: "w", Clerk: 77, Num: 9})
	entries(0, logs(2))
	entries(6, logs(5))
	require.Equal(t, []uint64{
		2, 1, // by number, not by order
		0, // an entry of the server's own
		0, // its request is at another server
		4, 0,
		2, // the same entry again
		0, // its request is answered, and all others have their entries
	}, calls())
	for _, e := range run.Events {
		require.Empty(t, e.Data)
	}
}

// A crash closes the requests of a server.
func TestMatchAfterCrash(t *testing.T) {
	labgob.Register(op{})
	encode := func(v any) []byte {
		data, err := labgob.Encode(v)
		require.NoError(t, err)
		return data
	}
	for want, crash := range map[uint64]trace.Kind{1: trace.Noted, 0: trace.Crashed} {
		run := &trace.Recording{Lanes: []trace.Lane{{Name: "S0", Kind: trace.Server}, {Name: "client 1", Kind: trace.Client}}, Events: []trace.Event{
			{Kind: trace.Delivered, Lane: 0, Peer: 1, Call: 1, Message: 1, Name: "KV.Do", Data: encode(putArgs{Key: "k"})},
			{Kind: crash, Lane: 0},
			{Kind: trace.Sent, Lane: 0, Call: 2, Message: 2, Name: "Raft.AppendEntries", Data: encode(appendArgs{Entries: []logEntry{{1, op{Key: "k"}}}})},
		}}
		labtrace.Describe(run)
		require.Equal(t, want, run.Events[2].Entries[0].Call)
	}
}

// The beginning and the end of an operation have their places between messages of the same
// moment: a return behind the answer, and a call before the request.
func TestHistoryInPlace(t *testing.T) {
	at := time.Second
	run := &trace.Recording{
		Lanes: []trace.Lane{{Name: "S0", Kind: trace.Server}, {Name: "client 1", Kind: trace.Client}},
		Events: []trace.Event{
			{Time: 0, Kind: trace.Sent, Lane: 1, Message: 1, Call: 1},
			{Time: at, Kind: trace.Delivered, Lane: 0, Message: 9, Call: 9},
			{Time: at, Kind: trace.Delivered, Lane: 1, Message: 2, Call: 1, Reply: true},
			{Time: at, Kind: trace.Sent, Lane: 1, Message: 3, Call: 3},
			{Time: 2 * at, Kind: trace.Delivered, Lane: 1, Message: 4, Call: 3, Reply: true},
		},
	}
	get := models.KVInput{Op: models.KVGet, Key: "k"}
	labtrace.AddHistory(run, models.KV, []porcupine.Operation{
		{ClientId: 1, Input: get, Output: models.KVOutput{}, Call: 0, Return: int64(at)},
		{ClientId: 1, Input: get, Output: models.KVOutput{}, Call: int64(at), Return: int64(2 * at)},
	}, 0, func(int) string { return "client 1" })
	var kinds []trace.Kind
	for _, e := range run.Events {
		if e.Lane == 1 {
			kinds = append(kinds, e.Kind)
		}
	}
	require.Equal(t, []trace.Kind{trace.Called, trace.Sent, trace.Delivered, trace.Returned, trace.Called, trace.Sent, trace.Delivered, trace.Returned}, kinds)
	require.Len(t, run.Events, 9)
}
