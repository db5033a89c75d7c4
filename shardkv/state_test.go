package shardkv_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// machine is a group's state machine that owns every shard.
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
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
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

// prepareBoth takes the transaction to where it can be decided.
func prepareBoth(t *testing.T, m *shardkv.Machine) {
	t.Helper()
	if r := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both}); r.Code != shardkv.Pending {
		t.Fatalf("the transaction is %v", r.Code)
	}
	for i, shard := range []int{8, 9} {
		part := shardkv.Txn{Then: both.Then[i : i+1]}
		for range 2 { // it may be asked twice
			if r := apply(t, m, 0, 0, phase(shardkv.KindPrepare, shard, shardkv.Phase{Oldest: 1, Part: &part})); r.Vote == nil {
				t.Fatalf("shard %d does not vote: %v", shard, r.Code)
			}
		}
	}
}

// The first decision counts. Another leader may have decided otherwise: one that
// did not know that this one had.
func TestDecideTwice4B(t *testing.T) {
	m := machine(t)
	prepareBoth(t, m)
	commit := shardkv.Outcome{Succeeded: true, Results: []kv.Result{{}, {}}}
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: commit}))
	first := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: shardkv.Outcome{Problem: shardkv.Delayed}}))
	again := apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	if first.Txn == nil || !first.Txn.Succeeded || again.Txn == nil || again.Txn.Problem != 0 {
		t.Fatalf("decided %+v, then %+v", first.Txn, again.Txn)
	}
	if outcomes := m.Outcomes(); len(outcomes) != 1 || !outcomes[0].Succeeded {
		t.Fatalf("what participants are to be told has become %+v", outcomes)
	}
}

// A message that asks to prepare and comes when the transaction is over locks
// nothing, and one that asks to finish again does nothing again; whether the
// coordinator has forgotten the transaction by then or not, and the shard moved.
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
		if r := apply(t, m, 0, 0, phase(shardkv.KindPrepare, 9, shardkv.Phase{Oldest: 1, Part: &part})); r.Code != shardkv.Over {
			t.Errorf("%s: prepare is answered with %v", when, r.Code)
		}
		finish(1)
		if r := apply(t, m, 0, 0, get("1")); r.Code != shardkv.Served || r.KV.Value != "x" {
			t.Errorf("%s: the key is %+v", when, r)
		}
	}
	finish(1)
	late("after finish")
	m = reload(t, m)
	late("after a snapshot")
	apply(t, m, 0, 0, phase(shardkv.KindForget, 8, shardkv.Phase{}))
	finish(2) // of another, by which it is known that the first is over
	late("after forget")
}

// reload returns a machine that is restored from another's snapshot, and checks
// that it writes the same.
func reload(t *testing.T, m *shardkv.Machine) *shardkv.Machine {
	t.Helper()
	image := snapshot(t, m)
	again := shardkv.NewMachine(1)
	if err := again.Restore(image); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image, snapshot(t, again)) {
		t.Fatal("a state that was restored is written differently")
	}
	return again
}

func snapshot(t *testing.T, m *shardkv.Machine) []byte {
	t.Helper()
	var image bytes.Buffer
	if err := m.Snapshot()(&image); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// A damaged snapshot, or one of another format, is refused and changes nothing.
func TestRestoreRefusesDamage4B(t *testing.T) {
	m := machine(t)
	prepareBoth(t, m)
	apply(t, m, 3, 1, put("a", "1"))
	image := snapshot(t, m)
	for cut := range image {
		if err := shardkv.NewMachine(1).Restore(image[:cut]); err == nil && cut > 0 {
			t.Fatalf("the first %d bytes of %d are taken for a snapshot", cut, len(image))
		}
	}
	if err := m.Restore(slices.Concat(image, []byte{0})); err == nil {
		t.Fatal("a snapshot with a byte too many is taken")
	}
	if !bytes.Equal(image, snapshot(t, m)) {
		t.Fatal("a snapshot that was refused has changed the state")
	}
}

// What a group answers follows from its log, and what nobody sends does nothing.
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
		if _, err := m.ApplyFor(0, 0, c); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(before, snapshot(t, m)) {
			t.Fatalf("%s has changed the state", what)
		}
	}
}

// Who is handed a shard again, after it has had it, or even passed it on, says
// that it had: only then the sender deletes its copy. What was written since
// stays.
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
	if r := install(3); r.Code != shardkv.Arriving {
		t.Errorf("a shard from a configuration to come: %v", r.Code)
	}
	for _, when := range []string{"first", "again"} {
		if r := install(2); r.Code != shardkv.Served {
			t.Fatalf("%s: %v", when, r.Code)
		}
		apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindOp, Shard: 8, Op: kv.Append("0", "+")})
	}
	if r := apply(t, m, 0, 0, get("0")); r.KV.Value != "old++" {
		t.Fatalf("the value is %q", r.KV.Value)
	}
	advance(m, 2, 3)
	apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindRemove, Shard: 8, Num: 3})
	before := snapshot(t, m)
	if r := install(2); r.Code != shardkv.Served || !bytes.Equal(before, snapshot(t, m)) {
		t.Fatalf("after it was passed on: %v", r.Code)
	}
}

// A leader that has not yet applied a client's first command does not know the
// session, and must not say that it has expired: the log knows.
func TestNewLeaderDoesNotKnowSessions4B(t *testing.T) {
	m := machine(t)
	second := put("0", "2")
	if r, fresh := m.Precheck(7, 2, second); !fresh {
		t.Fatalf("the second command of a client that is not known is answered with %+v, without the log", r)
	}
	if _, err := m.ApplyFor(7, 2, second); !errors.Is(err, rsm.ErrSessionExpired) {
		t.Fatalf("in the log it is %v", err)
	}
	apply(t, m, 7, 1, put("0", "1"))
	if r, fresh := m.Precheck(7, 1, put("0", "1")); fresh || r.KV.Version != 1 {
		t.Fatalf("a command that has taken effect is %+v, %v", r, fresh)
	}
	apply(t, m, 7, 2, second)
}

// A shard that comes in pieces is there when the last has come, whatever comes
// twice, too early, or from another whole; and over a snapshot.
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
		if told, fresh := m.Precheck(0, 0, c); !fresh && told.Code != want {
			t.Errorf("without the log the piece at %d is %v; want %v", p.Offset, told.Code, want)
		}
		if r := apply(t, m, 0, 0, c); r.Code != want {
			t.Fatalf("the piece at %d is %v; want %v", p.Offset, r.Code, want)
		}
		return p
	}
	first := shardkv.PieceAt(encoded, 0)
	n := len(first.Data)
	install(shardkv.PieceAt(encoded, n), shardkv.Malformed) // nothing of it is here
	wrong := *first
	wrong.Sum++
	install(&wrong, shardkv.Partial)
	install(first, shardkv.Partial) // another whole takes its place
	install(first, shardkv.Partial)
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Arriving)
	m = reload(t, m)
	install(shardkv.PieceAt(encoded, n), shardkv.Partial)
	install(shardkv.PieceAt(encoded, n), shardkv.Partial)
	if r := apply(t, m, 0, 0, get("0")); r.Code != shardkv.Arriving {
		t.Errorf("a key of a shard that is here in part is %v", r.Code)
	}
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Served)
	install(shardkv.PieceAt(encoded, 2*n), shardkv.Served)
	if r := apply(t, m, 0, 0, get("0")); r.KV.Value != value {
		t.Errorf("the value has %d bytes, %v", len(r.KV.Value), r.Code)
	}
}

// A shard that was damaged on its way is not taken, and can be sent again.
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
	for _, step := range []struct {
		p    *shardkv.Piece
		want shardkv.Code
	}{{&bad, shardkv.Malformed}, {good, shardkv.Served}} {
		if r := apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindInstall, Shard: 8, Num: 2, Piece: step.p}); r.Code != step.want {
			t.Fatalf("%v; want %v", r.Code, step.want)
		}
	}
}
