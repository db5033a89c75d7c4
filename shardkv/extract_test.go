package shardkv_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/msgpack"
	"raftlab/kv"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Stages of the transaction both.
const (
	unknown = iota
	begun
	locked
	decided
	finished // at the participant
	over
)

// stages returns copies of the coordinator and of the participant at each stage.
func stages(t *testing.T) (coordinator, participant [over + 1]*shardkv.Extract) {
	m := machine(t)
	note := func(stage int) { coordinator[stage], participant[stage] = m.Extract(8), m.Extract(9) }
	note(unknown)
	apply(t, m, 5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &both})
	note(begun)
	for i, shard := range []int{8, 9} {
		apply(t, m, 0, 0, phase(shardkv.KindPrepare, shard, shardkv.Phase{Oldest: 1, Part: &shardkv.Txn{Then: both.Then[i : i+1]}}))
	}
	note(locked)
	commit := shardkv.Outcome{Succeeded: true, Results: []kv.Result{{}, {}}}
	apply(t, m, 0, 0, phase(shardkv.KindDecide, 8, shardkv.Phase{Outcome: commit}))
	note(decided)
	apply(t, m, 0, 0, phase(shardkv.KindOutcome, 9, shardkv.Phase{Outcome: shardkv.Outcome{Succeeded: true}}))
	note(finished)
	apply(t, m, 0, 0, phase(shardkv.KindOutcome, 8, shardkv.Phase{Outcome: shardkv.Outcome{Succeeded: true}}))
	apply(t, m, 0, 0, phase(shardkv.KindForget, 8, shardkv.Phase{}))
	note(over)
	return coordinator, participant
}

func valuesOf(all ...*shardkv.Extract) (values []string) {
	for _, e := range all {
		e.Pairs(func(p kv.Pair) { values = append(values, p.Key+"="+p.Value) })
	}
	return values
}

// Shards of different moments come to an end with each transaction. A transaction that can
// be whole is whole. No number of a transaction is given again.
func TestReconcile(t *testing.T) {
	for _, c := range []struct {
		coordinator, participant int
		torn                     int
		values                   []string
	}{
		{unknown, unknown, 0, nil},
		{begun, unknown, 0, nil},
		{locked, begun, 0, nil},
		{locked, locked, 0, nil},
		{unknown, locked, 1, nil},
		{locked, finished, 1, []string{"1=x"}},
		{decided, begun, 1, []string{"0=x"}},
		{decided, locked, 0, []string{"0=x", "1=x"}},
		{finished, over, 0, []string{"0=x", "1=x"}},
		{over, locked, 1, []string{"0=x"}},
		{over, finished, 0, []string{"0=x", "1=x"}},
		{unknown, over, 0, []string{"1=x"}}, // no trace is left that could be counted
	} {
		t.Run(fmt.Sprint(c.coordinator, c.participant), func(t *testing.T) {
			coordinators, participants := stages(t)
			var all [shardctrler.NShards]*shardkv.Extract
			for shard := range all {
				all[shard] = shardkv.EmptyExtract(shard, kv.Limits{})
			}
			all[8], all[9] = coordinators[c.coordinator], participants[c.participant]
			require.Equal(t, c.torn, shardkv.Reconcile(all))
			require.Equal(t, c.values, valuesOf(all[:]...))
			for _, e := range all {
				require.Zero(t, e.LockedTxns(), "shard %d", e.Shard)
			}
			if c.coordinator != unknown || c.participant >= locked {
				require.EqualValues(t, 2, all[8].NextTxn())
			}
		})
	}
}

// The data of a shard that has left stays in the image of the former owner.
func TestImageKeepsDepartedShards(t *testing.T) {
	m, err := shardkv.NewImage(1, nil, kv.Limits{})
	require.NoError(t, err)
	index := uint64(0)
	log := func(c shardkv.Command) {
		index++
		entry, err := msgpack.Encode(&struct {
			Kind            uint8
			ID, Client, Seq uint64
			Command         shardkv.Command
		}{Command: c})
		require.NoError(t, err)
		require.NoError(t, m.Apply(index, entry))
	}
	owned := func(num, gid int) *shardctrler.Config {
		c := &shardctrler.Config{Num: num, Groups: map[int][]string{gid: {"a"}}}
		for i := range c.Shards {
			c.Shards[i] = gid
		}
		return c
	}
	log(shardkv.Command{Kind: shardkv.KindConfig, Num: 0, Config: owned(1, 1)})
	log(put("0", "v"))
	log(shardkv.Command{Kind: shardkv.KindConfig, Num: 1, Config: owned(2, 2)})
	log(shardkv.Command{Kind: shardkv.KindRemove, Shard: 8, Num: 2})
	require.Len(t, m.Status().Shards, 9, "shard 8 has left")
	all := m.Extracts()
	require.Len(t, all, 10)
	require.Equal(t, 1, all[8].From)
	require.Equal(t, []string{"0=v"}, valuesOf(all...))
	require.True(t, m.Assigned(8))
}
