package labtrace_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtrace"
	"raftlab/kv"
	"raftlab/labgob"
	"raftlab/rsm/clerk"
	"raftlab/trace"
)

// Messages of the services have words for kinds and codes, and the numbers of servers in the
// messages of Raft lead to their lanes.
func TestServicesInWords(t *testing.T) {
	say := func(name string, message any) string {
		data, err := labgob.Encode(message)
		require.NoError(t, err)
		run := &trace.Recording{Lanes: []trace.Lane{{Name: "S0"}, {Name: "S1"}}, Events: []trace.Event{{Kind: trace.Sent, Lane: 1, Message: 1, Name: name, Data: data}}}
		labtrace.Describe(run)
		return run.Events[0].Text
	}
	for op, want := range map[kv.Op]string{kv.Get("k"): `get("k")`, kv.Put("k", "v"): `put("k", "v")`, {Kind: kv.KindAppend, Key: "k", Value: "v", Conditional: true, Version: 3}: `append("k", "v", if version 3)`} {
		require.Equal(t, "Client 7, Seq 2, Command "+want+", End false", say("KVServer.Execute", clerk.Args[kv.Op]{Client: 7, Seq: 2, Command: op}))
	}
	for code, want := range map[clerk.Code]string{clerk.Done: "done", clerk.NotLeader: "not the leader", clerk.Lost: "lost", clerk.Stale: "stale", clerk.Expired: "session expired", clerk.Refused: "refused", clerk.Busy: "busy"} {
		require.Equal(t, "Code "+want+`, Result version mismatch "v" (version 2)`, say("KVServer.Execute", clerk.Reply[kv.Result]{Code: code, Result: kv.Result{Code: kv.VersionMismatch, Value: "v", Version: 2}}))
	}
	for _, kind := range []kv.Kind{kv.KindGet, kv.KindPut, kv.KindAppend, kv.KindDelete, kv.KindScan} {
		require.Contains(t, say("X", kv.Op{Kind: kind, Key: "k"}), kind.String())
	}
	for code := kv.OK; code <= kv.Invalid; code++ {
		require.Contains(t, say("X", clerk.Reply[kv.Result]{Result: kv.Result{Code: code}}), "Result "+code.String()+" (")
	}
	require.Equal(t, `Kind 0, Key "k"`, say("X", struct {
		Kind int
		Key  string
	}{0, "k"}), "a message of another service stays as it is")
	type vote struct{ Term, CandidateID int }
	require.Equal(t, "Term 1, CandidateID 2 (sent by S1)", say("Raft.RequestVote", vote{1, 2}))
	require.Equal(t, "Term 1, CandidateID 1", say("Raft.RequestVote", vote{1, 1}))
}
