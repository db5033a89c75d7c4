package labtrace_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtrace"
	"raftlab/kv"
	"raftlab/labgob"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
	"raftlab/shardkv"
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
		require.Equal(t, want+", seq 2 of session 7", say("KVServer.Execute", clerk.Args[kv.Op]{Client: 7, Seq: 2, Command: op}))
	}
	for code, want := range map[clerk.Code]string{clerk.Done: "done", clerk.NotLeader: "not the leader", clerk.Lost: "lost", clerk.Stale: "stale", clerk.Expired: "session expired", clerk.Refused: "refused", clerk.Busy: "busy"} {
		if code == clerk.Done {
			want += `, version mismatch "v" (version 2)`
		}
		require.Equal(t, want, say("KVServer.Execute", clerk.Reply[kv.Result]{Code: code, Result: kv.Result{Code: kv.VersionMismatch, Value: "v", Version: 2}}))
	}
	for _, kind := range []kv.Kind{kv.KindGet, kv.KindPut, kv.KindAppend, kv.KindDelete, kv.KindScan} {
		require.Contains(t, say("X", kv.Op{Kind: kind, Key: "k"}), kind.String())
	}
	for code := kv.OK; code <= kv.Invalid; code++ {
		require.Contains(t, say("X", clerk.Reply[kv.Result]{Code: clerk.Done, Result: kv.Result{Code: code}}), "done, "+code.String()+" (")
	}
	for code := shardkv.WrongGroup; code <= shardkv.Gone; code++ {
		require.Equal(t, "done, "+code.String(), say("X", clerk.Reply[shardkv.Result]{Code: clerk.Done, Result: shardkv.Result{Code: code}}))
	}
	for want, result := range map[string]shardkv.Result{
		`ok "v" (version 2)`:                                  {KV: kv.Result{Value: "v", Version: 2}},
		"a comparison fails":                                  {Vote: &shardkv.Vote{Then: []kv.Result{{}}}},
		"committed, all comparisons hold":                     {Txn: &shardkv.Outcome{Succeeded: true}},
		"aborted, because the locks were not granted in time": {Txn: &shardkv.Outcome{Problem: shardkv.Delayed}},
	} {
		require.Equal(t, "done, "+want, say("X", clerk.Reply[shardkv.Result]{Code: clerk.Done, Result: result}))
	}
	part := &shardkv.Txn{If: []shardkv.Compare{shardkv.CompareVersion("k", shardkv.Less, 4)}, Else: []kv.Op{kv.Get("k")}}
	for want, command := range map[string]shardkv.Command{
		`transaction(if [version of "k" < 4] else [get("k")]) in shard 1`:                        {Kind: shardkv.KindTxn, Shard: 1, Txn: part},
		`prepare(transaction 3 of shard 1, in shard 2: if [version of "k" < 4] else [get("k")])`: {Kind: shardkv.KindPrepare, Shard: 2, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 1, Number: 3}, Part: part}},
		`outcome(transaction 3 of shard 1, in shard 2: committed, a comparison fails)`:           {Kind: shardkv.KindOutcome, Shard: 2, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 1, Number: 3}}},
	} {
		require.Equal(t, want, say("X", command))
	}
	require.Equal(t, `Kind 0, Key "k"`, say("X", struct {
		Kind int
		Key  string
	}{0, "k"}), "a message of another service stays as it is")
	type vote struct{ Term, CandidateID int }
	require.Equal(t, "fields not recognized, Term 1, CandidateID 2 (sent by S1)", say("Raft.RequestVote", vote{1, 2}))
	require.Equal(t, "fields not recognized, Term 1, CandidateID 1", say("Raft.RequestVote", vote{1, 1}))
}

// Entries of the services' logs have the words of their commands, and so do entries of
// programs that encode their commands themselves.
func TestLogsInWords(t *testing.T) {
	for want, entry := range map[string][]byte{
		`append("k", "v"), seq 2`:                                 logged(t, kv.Append("k", "v")),
		`move(shard 3 to group 9), seq 2`:                         logged(t, shardctrler.Command{Kind: shardctrler.KindMove, Shard: 3, GID: 9}),
		`join({9:["a" "b"]}), seq 2`:                              logged(t, shardctrler.Command{Kind: shardctrler.KindJoin, Groups: map[int][]string{9: {"a", "b"}}}),
		`leave([9]), seq 2`:                                       logged(t, shardctrler.Command{Kind: shardctrler.KindLeave, GIDs: []int{9}}),
		`query(4), seq 2`:                                         logged(t, shardctrler.Command{Kind: shardctrler.KindQuery, Num: 4}),
		`get("k") in shard 7, seq 2`:                              logged(t, shardkv.Command{Kind: shardkv.KindOp, Shard: 7, Op: kv.Get("k")}),
		`install(shard 1, Num 2, Piece of 50 bytes at 10), seq 2`: logged(t, shardkv.Command{Kind: shardkv.KindInstall, Shard: 1, Num: 2, Piece: &shardkv.Piece{Offset: 10, Size: 50, Data: []byte("x")}}),
		`transaction(if ["k" = "v"] then [put("k…`: logged(t, shardkv.Command{Kind: shardkv.KindTxn, Shard: 1,
			Txn: &shardkv.Txn{If: []shardkv.Compare{shardkv.CompareValue("k", shardkv.Equal, "v")}, Then: []kv.Op{kv.Put("k", "w")}}}),
		`prepare(transaction 3 of shard 1, in sh…`: logged(t, shardkv.Command{Kind: shardkv.KindPrepare, Shard: 2, Phase: &shardkv.Phase{
			ID: shardkv.TxnID{Shard: 1, Number: 3}, Part: &shardkv.Txn{If: []shardkv.Compare{shardkv.CompareVersion("k", shardkv.Less, 4)}}}}),
		`outcome(transaction 3 of shard 1, in sh…`: logged(t, shardkv.Command{Kind: shardkv.KindOutcome, Shard: 2, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 1, Number: 3}}}),
		`configuration 6 with the shards [0 0 0…`:  logged(t, shardkv.Command{Kind: 5, Config: &shardctrler.Config{Num: 6, Groups: map[int][]string{9: {"a"}}}}),
	} {
		start, cut := strings.CutSuffix(want, "…")
		require.True(t, labtrace.Command(entry) == want || cut && strings.HasPrefix(labtrace.Command(entry), start), "%s, want %s", labtrace.Command(entry), want)
		inner, err := labgob.Marshal(entry)
		require.NoError(t, err)
		require.Equal(t, labtrace.Command(entry), labtrace.Command(inner), "raft keeps commands as labgob's messages")
		require.Equal(t, labtrace.Command(entry), labtrace.CommandOf(entry))
	}
	for _, other := range [][]byte{nil, {0x95}, {0x95, 1, 2, 3, 4}, {0x95, 1, 2, 3, 4, 5, 6}, []byte("some text that is no command of ours")} {
		require.Equal(t, fmt.Sprintf("%d bytes", len(other)), labtrace.Command(other))
	}
}

// logged returns the entry that a replica proposes for a command of client 7 with number 2.
func logged[C any](t *testing.T, command C) []byte {
	log := &proposals{}
	replica, err := rsm.New(machine[C]{}, nil, rsm.Options{})
	require.NoError(t, err)
	replica.Run(log)
	defer replica.Wait()
	defer replica.Kill()
	_, err = replica.Submit(t.Context(), 7, 2, command)
	require.ErrorIs(t, err, rsm.ErrNotLeader)
	return log.last
}

// proposals is a log that remembers a proposal and refuses it.
type proposals struct {
	rsm.Log
	last []byte
}

func (p *proposals) Propose(command []byte) (rsm.Place, error) {
	p.last = command
	return rsm.Place{}, rsm.ErrNotLeader
}

func (p *proposals) Leadership() rsm.Leadership { return rsm.Leadership{Term: 1, Leads: true} }

func (p *proposals) Changed() <-chan struct{} { return make(chan struct{}) }

func (p *proposals) Deliver(_ rsm.Receiver, stop <-chan struct{}) error {
	<-stop
	return nil
}

func (p *proposals) Stop() {}

// machine is a state machine without a state.
type machine[C any] struct{}

func (machine[C]) Apply(C) int { return 0 }

func (machine[C]) Snapshot() func(io.Writer) error { return func(io.Writer) error { return nil } }

func (machine[C]) Restore([]byte) error { return nil }
