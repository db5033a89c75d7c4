package shardkv_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardlab"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm/labraft"
	"raftlab/shardkv"
)

// limited starts servers of a group with limits on keys and values.
func limited(t *testing.T, ctrl *shardlab.Group, gid int, limits kv.Limits) shardlab.Starter {
	return func(i int, peers []*labrpc.ClientEnd, end func(string) *labrpc.ClientEnd, disk *raft.Persister) shardlab.Instance {
		var ctrlers []*labrpc.ClientEnd
		for _, name := range ctrl.Names() {
			ctrlers = append(ctrlers, end(name))
		}
		snapshot := disk.ReadSnapshot()
		rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
			return raft.Make(peers, i, disk, applyCh)
		})
		kv, err := shardkv.Open(log, shardkv.Options{
			GID: gid, Controllers: ctrlers, MakeEnd: end, Snapshot: snapshot, Limits: limits,
		})
		require.NoError(t, err)
		return shardlab.Instance{Services: []any{kv, rf}, Kill: kv.Kill}
	}
}

// A transaction with too large a key or value changes nothing in any shard, and the
// error names the value and the limit.
func TestTransactionTooLarge4B(t *testing.T) {
	run(t, 0, -1, func(t *testing.T, s *store) {
		for g := range 2 {
			s.groups = append(s.groups, s.Group(fmt.Sprintf("g%d", g), groupSize, limited(t, s.ctrl, gid(g), kv.Limits{Key: 10, Value: 20})))
		}
		s.join(0, 1)
		c := s.client()
		c.Put("0a", "0123456789")
		for what, op := range map[string]kv.Op{
			`the key "0aaaaaaaaaa" has 11 bytes; the limit is 10`:           kv.Put("0aaaaaaaaaa", "x"),
			`the value of "0a" has 21 bytes; the limit is 20`:               kv.Put("0a", strings.Repeat("x", 21)),
			`with 11 bytes more, the value of "0a" is over the limit of 20`: kv.Append("0a", strings.Repeat("x", 11)),
			`the value of "0b" has 1024 bytes; the limit is 20`:             kv.Put("0b", strings.Repeat("x", 1024)),
		} {
			for _, other := range []string{"0c", "5c"} { // in the same shard, and in another
				_, err := c.Txn(context.Background(), shardkv.Txn{Then: []kv.Op{kv.Put(other, "x"), op}})
				require.ErrorIs(t, err, shardkv.ErrTxnTooLarge)
				require.ErrorContains(t, err, what)
				found, err := c.Read(context.Background(), "0a", other)
				require.NoError(t, err)
				require.Equal(t, `then ok "0123456789", not found ""`, results(shardkv.TxnResult{Succeeded: true, Results: found}))
			}
		}
	})
}

// Operations on the same key are executed in order, and each sees the effects of
// those before.
func TestTransactionSameKeyTwice4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		for _, other := range []string{"0b", "5b"} {
			r := c.txn(t, shardkv.Txn{
				If:   []shardkv.Compare{shardkv.CompareValue("0a", shardkv.Less, "9"), shardkv.CompareValue("0a", shardkv.NotEqual, "8")},
				Then: []kv.Op{kv.Put("0a", "1"), kv.Append("0a", "2"), kv.Get("0a"), kv.Delete("0a"), kv.Put(other, "x"), kv.Get("0a"), kv.Put("0a", "3")},
			})
			require.Equal(t, `then ok "", ok "", ok "12", ok "", ok "", not found "", ok ""`, results(r))
			require.Equal(t, "3", c.do(kv.Get("0a")))
		}
	})
}

// While the whole group of a coordinator is down, the locks of its transaction in
// other groups stay, and other keys are served. When the group is back, the
// transaction is finished without its client.
func TestCoordinatorGroupAway4B(t *testing.T) {
	run(t, 2, 100, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		owners := s.ctl.Query(-1).Shards
		coordinator := owners[0] // of the lowest shard
		far := -1
		for shard, owner := range owners {
			if owner != coordinator {
				far = shard
			}
		}
		near, locked, free := keyIn(0), keyIn(far), keyIn(far)+"-free"
		c.do(kv.Put(locked, "old"))
		c.do(kv.Put(free, "old"))
		hold := labrpc.NewHold()
		s.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			if !m.Reply && m.Method == "ShardKV.Execute" && isOutcome(m) {
				return labrpc.HeldBy(hold)
			}
			return labrpc.Usual()
		})
		c.txn(t, shardkv.Txn{Then: []kv.Op{kv.Put(near, "new"), kv.Put(locked, "new")}})
		s.crash(coordinator - 100)
		s.Net.SetScheduler(nil)
		hold.Drop()
		s.within(time.Second, "a key beside the locked one is served", func() {
			c.do(kv.Append(free, "+"))
			require.Equal(t, "old+", c.do(kv.Get(free)))
		})
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err := c.Do(ctx, kv.Get(locked))
		require.Error(t, err, "read of a locked key")
		s.restart(coordinator - 100)
		for _, key := range []string{near, locked} {
			require.Equal(t, "new", c.do(kv.Get(key)), key)
		}
	})
}
