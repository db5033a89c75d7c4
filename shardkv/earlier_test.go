package shardkv_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/msgpack"
	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// The types below have the fields of format 1, in which votes, outcomes and
// sessions held the values that transactions had read, without a bound. Only the
// order and the types of fields matter for the encoding.

type earlierCommand struct {
	Kind   uint8
	Shard  int
	Op     kv.Op
	Num    int
	Piece  *shardkv.Piece
	Config *shardctrler.Config
	Txn    *shardkv.Txn
	Step   *earlierStep
}

type earlierStep struct {
	ID      shardkv.TxnID
	Oldest  uint64
	Part    *shardkv.Txn
	Outcome earlierOutcome
}

type earlierOutcome struct {
	Succeeded bool
	Results   []kv.Result
	Problem   uint8
	Detail    string
}

type earlierBallot struct {
	Holds bool
	Then  []kv.Result
	Else  []kv.Result
}

type earlierVote struct {
	ID   shardkv.TxnID
	Part shardkv.Txn
	earlierVoteBallot
}

type earlierVoteBallot = earlierBallot

type earlierRecord struct {
	Number      uint64
	Txn         shardkv.Txn
	Client, Seq uint64
	Decided     bool
	Outcome     earlierOutcome
}

type earlierLedger struct {
	Next     uint64
	Records  []earlierRecord
	Prepared []*earlierVote
	Finished []shardkv.TxnID
	Oldest   [shardctrler.NShards]uint64
}

type earlierResult struct {
	Status uint8
	KV     kv.Result
	Txn    *earlierOutcome
	Vote   *earlierBallot
}

type earlierData struct {
	Format   uint8
	Store    [][]byte
	Sessions []rsm.Session[earlierResult]
	Txns     earlierLedger
}

// current returns a command of an earlier version as this version reads it.
func current(t *testing.T, c earlierCommand) shardkv.Command {
	t.Helper()
	encoded, err := msgpack.Encode(&c)
	require.NoError(t, err)
	var now shardkv.Command
	require.NoError(t, msgpack.Decode(encoded, &now))
	require.False(t, now.Limited)
	return now
}

// A log of an earlier version may hold transactions beyond the limits. Those that
// took effect take the same effect again, so that no acknowledged write is lost,
// and no record or session keeps what they read.
func TestEarlierLog4B(t *testing.T) {
	m := machine(t)
	large := strings.Repeat("v", 1<<20)
	for _, key := range []string{"0", "1"} {
		apply(t, m, 0, 0, put(key, large))
	}
	size := len(snapshot(t, m))

	one := shardkv.Txn{Then: append(repeated(100, kv.Get("0")), kv.Put("0new", "1"))}
	r := apply(t, m, 4, 1, current(t, earlierCommand{Kind: 1, Shard: 8, Txn: &one}))
	require.Zero(t, r.Txn.Problem)
	require.Equal(t, "1", apply(t, m, 0, 0, get("0new")).KV.Value)

	two := shardkv.Txn{Then: append(repeated(100, kv.Get("0"), kv.Get("1")), kv.Put("1new", "1"))}
	id := shardkv.TxnID{Shard: 8, Number: 1} // the transaction within a shard took no number then
	apply(t, m, 5, 1, current(t, earlierCommand{Kind: 1, Shard: 8, Txn: &two}))
	for shard, part := range map[int]shardkv.Txn{
		8: {Then: repeated(50, kv.Get("0"))},
		9: {Then: append(repeated(50, kv.Get("1")), kv.Put("1new", "1"))},
	} {
		r := apply(t, m, 0, 0, current(t, earlierCommand{Kind: 2, Shard: shard, Step: &earlierStep{ID: id, Oldest: 1, Part: &part}}))
		require.Equal(t, 50<<20, r.Vote.ThenBytes)
	}
	require.Less(t, len(snapshot(t, m))-size, 20<<10, "growth of the snapshot by an undecided transaction")

	read := make([]kv.Result, 101)
	for i := range 100 {
		read[i] = kv.Result{Value: large, Version: 1}
	}
	outcome := earlierOutcome{Succeeded: true, Results: read}
	apply(t, m, 0, 0, current(t, earlierCommand{Kind: 7, Shard: 8, Step: &earlierStep{ID: id, Outcome: outcome}}))
	outcome.Results = nil
	for _, shard := range []int{8, 9} {
		apply(t, m, 0, 0, current(t, earlierCommand{Kind: 3, Shard: shard, Step: &earlierStep{ID: id, Oldest: 1, Outcome: outcome}}))
	}
	require.Equal(t, "1", apply(t, m, 0, 0, get("1new")).KV.Value)
	require.Less(t, len(snapshot(t, m))-size, 20<<10, "growth of the snapshot by a decided transaction")
	r = apply(t, m, 5, 1, current(t, earlierCommand{Kind: 1, Shard: 8, Txn: &two}))
	require.Equal(t, 100<<20, r.Txn.Bytes)
	r = apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindFetch, Shard: 8, Phase: &shardkv.Phase{ID: id}})
	require.Equal(t, shardkv.Gone, r.Code)
}

// A shard in format 1 is read without the values that it holds of transactions.
func TestEarlierShard4B(t *testing.T) {
	value := strings.Repeat("v", 100<<10)
	read := []kv.Result{{Value: value, Version: 1}}
	outcome := earlierOutcome{Succeeded: true, Results: read}
	part := shardkv.Txn{Then: []kv.Op{kv.Get("0")}}
	ballot := earlierBallot{Holds: true, Then: read}
	done := shardkv.TxnID{Shard: 8, Number: 7}
	old := earlierData{
		Format: 1,
		Sessions: []rsm.Session[earlierResult]{
			{Client: 5, Seq: 1, Result: earlierResult{Txn: &outcome}},
			{Client: 6, Seq: 3, Result: earlierResult{KV: kv.Result{Version: 3}}},
		},
		Txns: earlierLedger{
			Next: 9,
			Records: []earlierRecord{
				{Number: 7, Txn: part, Client: 5, Seq: 1, Decided: true, Outcome: outcome},
				{Number: 8, Txn: part, Client: 7, Seq: 1},
			},
			Prepared: []*earlierVote{{ID: shardkv.TxnID{Shard: 8, Number: 8}, Part: part, earlierVoteBallot: ballot}},
			Finished: []shardkv.TxnID{done},
		},
	}
	encoded, err := msgpack.Encode(&old)
	require.NoError(t, err)
	require.Greater(t, len(encoded), 3*len(value))

	m := shardkv.NewMachine(1)
	advance(m, 0, 2) // the shard begins elsewhere
	advance(m, 1, 1)
	for offset := 0; offset < len(encoded); offset += len(shardkv.PieceAt(encoded, offset).Data) {
		install := shardkv.Command{Kind: shardkv.KindInstall, Shard: 8, Num: 2, Piece: shardkv.PieceAt(encoded, offset)}
		require.Contains(t, []shardkv.Code{shardkv.Partial, shardkv.Served}, apply(t, m, 0, 0, install).Code)
	}
	m = reload(t, m)
	require.Less(t, len(snapshot(t, m)), 4<<10, "size of the snapshot")
	require.Equal(t, shardkv.Locked, apply(t, m, 0, 0, put("0", "x")).Code)
	require.Equal(t, uint64(3), apply(t, m, 6, 3, put("0", "x")).KV.Version)
	r := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	require.Equal(t, len(value), r.Txn.Bytes)
}

// A snapshot of an unknown version is refused by its number.
func TestUnknownVersion4B(t *testing.T) {
	m := machine(t)
	image := snapshot(t, m)
	image[1] = 9
	require.ErrorContains(t, shardkv.NewMachine(1).Restore(image), "format 9; this program reads 1")
}
