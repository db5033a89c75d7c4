package shardkv_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// machine returns the state machine of a group that owns every shard.
func machine(t *testing.T) *shardkv.Machine {
	t.Helper()
	m := shardkv.NewMachine(1)
	advance(m, 0, 1)
	return m
}

// advance moves a machine to the next configuration, in which group gid owns every shard.
func advance(m *shardkv.Machine, after, gid int) {
	c := shardctrler.Config{Num: after + 1, Groups: map[int][]string{gid: {"a"}}}
	for i := range c.Shards {
		c.Shards[i] = gid
	}
	m.Apply(shardkv.Command{Kind: shardkv.KindConfig, Num: after, Config: &c})
}

func apply(t *testing.T, m *shardkv.Machine, client, seq uint64, c shardkv.Command) shardkv.Result {
	t.Helper()
	r, err := m.ApplyFor(client, seq, c)
	require.NoError(t, err, "command of kind %d", c.Kind)
	return r
}

func put(key, value string) shardkv.Command {
	return shardkv.Command{Kind: shardkv.KindOp, Shard: shardkv.ShardOf(key), Op: kv.Put(key, value)}
}

func get(key string) shardkv.Command {
	return shardkv.Command{Kind: shardkv.KindOp, Shard: shardkv.ShardOf(key), Op: kv.Get(key)}
}

// both is a transaction that writes two keys, in shards 8 and 9.
var both = shardkv.Txn{Then: []kv.Op{kv.Append("0", "x"), kv.Append("1", "x")}}

func phase(kind shardkv.Kind, shard int, p shardkv.Phase) shardkv.Command {
	p.ID = shardkv.TxnID{Shard: 8, Number: 1}
	return shardkv.Command{Kind: kind, Shard: shard, Phase: &p}
}

// prepareBoth prepares the transaction in both shards.
func prepareBoth(t *testing.T, m *shardkv.Machine) {
	t.Helper()
	r := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	require.Equal(t, shardkv.Pending, r.Code)
	for i, shard := range []int{8, 9} {
		part := shardkv.Txn{Then: both.Then[i : i+1]}
		for range 2 { // a coordinator may repeat the command
			r := apply(t, m, 0, 0, phase(shardkv.KindPrepare, shard, shardkv.Phase{Oldest: 1, Part: &part}))
			require.NotNil(t, r.Vote, "vote of shard %d, whose answer is %v", shard, r.Code)
		}
	}
}

// The first outcome counts. A deposed leader may record another outcome later.
func TestDecideTwice4B(t *testing.T) {
	m := machine(t)
	prepareBoth(t, m)
	commit := shardkv.Outcome{Succeeded: true, Results: []kv.Result{{}, {}}}
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: commit}))
	first := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: shardkv.Outcome{Problem: shardkv.Delayed}}))
	again := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	require.NotNil(t, first.Txn)
	require.True(t, first.Txn.Succeeded)
	require.Equal(t, first.Txn, again.Txn)
	outcomes := m.Outcomes()
	require.Len(t, outcomes, 1)
	require.True(t, outcomes[0].Succeeded, "outcome for the participants")
}

// A prepare that comes after the end of the transaction locks nothing, and a repeated
// outcome does nothing. The same holds after the coordinator has forgotten the
// transaction, and after a snapshot.
func TestLatePrepare4B(t *testing.T) {
	m := machine(t)
	prepareBoth(t, m)
	commit := shardkv.Outcome{Succeeded: true}
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: commit}))
	finish := func(oldest uint64) {
		for _, shard := range []int{8, 9} {
			apply(t, m, 0, 0, phase(shardkv.KindOutcome, shard, shardkv.Phase{Oldest: oldest, Outcome: commit}))
		}
	}
	late := func(when string) {
		t.Helper()
		part := shardkv.Txn{Then: both.Then[1:]}
		r := apply(t, m, 0, 0, phase(shardkv.KindPrepare, 9, shardkv.Phase{Oldest: 1, Part: &part}))
		require.Equal(t, shardkv.Over, r.Code, when)
		finish(1)
		r = apply(t, m, 0, 0, get("1"))
		require.Equal(t, shardkv.Served, r.Code, when)
		require.Equal(t, "x", r.KV.Value, when)
	}
	finish(1)
	late("after finish")
	m = reload(t, m)
	late("after a snapshot")
	apply(t, m, 0, 0, phase(shardkv.KindForget, 8, shardkv.Phase{}))
	finish(2) // a later command, by which the participants learn that the first is over
	late("after forget")
}

// reload returns a machine that is restored from a snapshot of m, and checks that both
// write equal snapshots.
func reload(t *testing.T, m *shardkv.Machine) *shardkv.Machine {
	t.Helper()
	image := snapshot(t, m)
	again := shardkv.NewMachine(1)
	require.NoError(t, again.Restore(image))
	require.True(t, bytes.Equal(image, snapshot(t, again)), "the snapshot of the restored state differs")
	return again
}

func snapshot(t *testing.T, m *shardkv.Machine) []byte {
	t.Helper()
	var image bytes.Buffer
	require.NoError(t, m.Snapshot()(&image))
	return image.Bytes()
}

// Restore refuses a damaged snapshot, which then changes nothing.
func TestRestoreRefusesDamage4B(t *testing.T) {
	m := machine(t)
	prepareBoth(t, m)
	apply(t, m, 3, 1, put("a", "1"))
	image := snapshot(t, m)
	for cut := 1; cut < len(image); cut++ {
		require.Error(t, shardkv.NewMachine(1).Restore(image[:cut]), "the first %d bytes of %d", cut, len(image))
	}
	require.ErrorContains(t, m.Restore(slices.Concat(image, []byte{0})), "1 bytes follow the state")
	require.True(t, bytes.Equal(image, snapshot(t, m)), "a refused snapshot has changed the state")
}

// Malformed commands, and commands from another state of the group, do nothing.
func TestMalformedCommands4B(t *testing.T) {
	m := machine(t)
	before := snapshot(t, m)
	for what, c := range map[string]shardkv.Command{
		"negative shard":         {Shard: -1},
		"shard 10":               {Shard: shardctrler.NShards},
		"another shard's key":    {Shard: 3, Op: kv.Put("0", "x")},
		"no transaction":         {Kind: shardkv.KindTxn},
		"not the coordinator":    {Kind: shardkv.KindTxn, Shard: 9, Txn: &both},
		"an empty transaction":   {Kind: shardkv.KindTxn, Txn: &shardkv.Txn{}},
		"no step":                {Kind: shardkv.KindPrepare},
		"a part elsewhere":       {Kind: shardkv.KindPrepare, Shard: 1, Phase: &shardkv.Phase{Part: &both}},
		"a coordinator nowhere":  {Kind: shardkv.KindOutcome, Shard: 1, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 99}}},
		"another coordinator's":  {Kind: shardkv.KindDecide, Shard: 1, Phase: &shardkv.Phase{}},
		"data that is no shard":  {Kind: shardkv.KindInstall, Shard: 1, Num: 1, Piece: shardkv.PieceAt([]byte("x"), 0)},
		"no piece of a shard":    {Kind: shardkv.KindInstall, Shard: 1, Num: 1},
		"a piece beyond the end": {Kind: shardkv.KindInstall, Shard: 1, Num: 1, Piece: &shardkv.Piece{Offset: 2, Size: 2, Data: []byte("x")}},
		"a shard that is no one": {Kind: shardkv.KindInstall, Shard: -1, Num: 1},
		"a config from nowhere":  {Kind: shardkv.KindConfig, Num: 7, Config: &shardctrler.Config{Num: 8}},
		"no config":              {Kind: shardkv.KindConfig, Num: 1},
		"a move that is over":    {Kind: shardkv.KindRemove, Shard: 1, Num: 1},
	} {
		_, err := m.ApplyFor(0, 0, c)
		require.NoError(t, err, what)
		require.True(t, bytes.Equal(before, snapshot(t, m)), "%s has changed the state", what)
	}
}

// A group that is handed a shard again acknowledges, even if the group has passed the
// shard on. Otherwise the sender would never delete its copy. Writes since the first
// hand-over stay.
func TestPassedOn4B(t *testing.T) {
	m := shardkv.NewMachine(1)
	advance(m, 0, 2) // the shards begin elsewhere
	advance(m, 1, 1)
	other := machine(t)
	apply(t, other, 0, 0, put("0", "old"))
	install := func(num int) shardkv.Result {
		advance(other, 1, 2)
		return apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindInstall, Shard: 8, Num: num, Piece: shardkv.PieceAt(other.Outgoing(8), 0)})
	}
	require.Equal(t, shardkv.Arriving, install(3).Code, "a shard from a later configuration")
	for _, when := range []string{"first", "again"} {
		require.Equal(t, shardkv.Served, install(2).Code, when)
		apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindOp, Shard: 8, Op: kv.Append("0", "+")})
	}
	require.Equal(t, "old++", apply(t, m, 0, 0, get("0")).KV.Value)
	advance(m, 2, 3)
	apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindRemove, Shard: 8, Num: 3})
	before := snapshot(t, m)
	require.Equal(t, shardkv.Served, install(2).Code, "after the shard was passed on")
	require.True(t, bytes.Equal(before, snapshot(t, m)), "a repeated hand-over has changed the state")
}

// A new leader that has not applied a client's first command yet does not know the
// session. The leader must not report the session as expired without the log.
func TestNewLeaderDoesNotKnowSessions4B(t *testing.T) {
	m := machine(t)
	second := put("0", "2")
	_, fresh := m.Precheck(7, 2, second)
	require.True(t, fresh, "the second command of an unknown client is answered without the log")
	_, err := m.ApplyFor(7, 2, second)
	require.ErrorIs(t, err, rsm.ErrSessionExpired)
	apply(t, m, 7, 1, put("0", "1"))
	r, fresh := m.Precheck(7, 1, put("0", "1"))
	require.False(t, fresh)
	require.Equal(t, uint64(1), r.KV.Version)
	apply(t, m, 7, 2, second)
}

// A shard is complete after the last piece, even if pieces come twice, too early or
// from another encoding, and even if a snapshot comes in between.
func TestPieces4B(t *testing.T) {
	m := shardkv.NewMachine(1)
	advance(m, 0, 2)
	advance(m, 1, 1)
	other := machine(t)
	value := strings.Repeat("x", 300<<10)
	for _, key := range []string{"0", "0b"} {
		apply(t, other, 0, 0, put(key, value))
	}
	encoded := other.Outgoing(8)
	install := func(p *shardkv.Piece, want shardkv.Code) *shardkv.Piece {
		t.Helper()
		c := shardkv.Command{Kind: shardkv.KindInstall, Shard: 8, Num: 2, Piece: p}
		if early, fresh := m.Precheck(0, 0, c); !fresh {
			require.Equal(t, want, early.Code, "the piece at %d, without the log", p.Offset)
		}
		require.Equal(t, want, apply(t, m, 0, 0, c).Code, "the piece at %d", p.Offset)
		return p
	}
	first := shardkv.PieceAt(encoded, 0)
	n := len(first.Data)
	install(shardkv.PieceAt(encoded, n), shardkv.Malformed) // the first piece is missing
	wrong := *first
	wrong.Sum++
	install(&wrong, shardkv.Partial)
	install(first, shardkv.Partial) // another encoding replaces the first one
	install(first, shardkv.Partial)
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Arriving)
	m = reload(t, m)
	install(shardkv.PieceAt(encoded, n), shardkv.Partial)
	install(shardkv.PieceAt(encoded, n), shardkv.Partial)
	require.Equal(t, shardkv.Arriving, apply(t, m, 0, 0, get("0")).Code, "a key of an incomplete shard")
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Served)
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Served)
	require.True(t, apply(t, m, 0, 0, get("0")).KV.Value == value, "the value differs")
}

// A group refuses a shard that was damaged on the way. The shard can be sent again.
func TestDamagedPieces4B(t *testing.T) {
	m := shardkv.NewMachine(1)
	advance(m, 0, 2)
	advance(m, 1, 1)
	other := machine(t)
	apply(t, other, 0, 0, put("0", "value"))
	good := shardkv.PieceAt(other.Outgoing(8), 0)
	bad := *good
	bad.Data = slices.Clone(good.Data)
	bad.Data[bytes.Index(bad.Data, []byte("value"))]++
	install := func(p *shardkv.Piece) shardkv.Code {
		return apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindInstall, Shard: 8, Num: 2, Piece: p}).Code
	}
	require.Equal(t, shardkv.Malformed, install(&bad))
	require.Equal(t, shardkv.Served, install(good))
}
