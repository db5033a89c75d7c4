package shardkv_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm/clerk"
	"raftlab/rsm/labraft"
	"raftlab/shardctrler"
)

// dropping starts servers of a configuration service that keeps as few configurations
// as possible.
func dropping(t *testing.T) shardlab.Starter {
	return func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, disk *raft.Persister) shardlab.Instance {
		snapshot := disk.ReadSnapshot()
		rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
			return raft.Make(peers, i, disk, applyCh)
		})
		sc, err := shardctrler.Open(log, shardctrler.Options{Snapshot: snapshot, MaxRaftState: 1, KeepConfigs: 1})
		require.NoError(t, err)
		return shardlab.Instance{Services: []any{sc, rf}, Kill: sc.Kill}
	}
}

// No group needs a dropped configuration. That holds for groups that were down, for new
// groups, and for groups that have left while they had data.
func TestOldConfigurationsAreDropped4B(t *testing.T) {
	runUnder(t, dropping(t), 4, 100, func(t *testing.T, s *store) {
		s.crash(3) // before the first configuration
		s.join(0, 1)
		c := s.client()
		d := c.fill(10, 10)
		settle := func() {
			t.Helper()
			testkit.WaitFor(t, 5*time.Second, "old configurations to go", func() bool {
				return s.ctl.Query(0).Num == s.ctl.Query(-1).Num
			})
		}
		for i := range 20 {
			s.ctl.Move(i%shardctrler.NShards, gid(i%2))
		}
		settle()
		s.leave(1)
		s.crash(1) // with shards that it may not have handed over
		for i := range 5 {
			s.join(2)
			s.ctl.Move(i, gid(2))
			s.leave(2)
		}
		require.LessOrEqual(t, s.ctl.Query(0).Num, 21, "oldest configuration, before group 1 has reached configuration 22")
		s.restart(1)
		c.grow(t, d)
		settle()
		s.restart(3)
		s.join(3)
		s.leave(0)
		c.grow(t, d)
		settle()
		s.leave(3) // no group is left
		s.join(1)
		c.grow(t, d)
		settle()
	})
}

// Close ends the sessions of a clerk at every shard. The clerk can still read.
func TestClose4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		c.fill(10, 5)
		require.NoError(t, c.Close(s.Open))
		_, err := c.Delete(s.Open, "0k0")
		require.ErrorIs(t, err, clerk.ErrClosed)
		r, err := c.Clerk.Do(s.Open, kv.Get("0k0"))
		require.NoError(t, err)
		require.Equal(t, kv.OK, r.Code)
	})
}

// The operations beyond the lab work on every shard as in package kv.
func TestOperations4B(t *testing.T) {
	run(t, 2, 100, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.clerk(s.ctrl)
		for shard := range shardctrler.NShards {
			key := keyIn(shard)
			first, err := c.PutIf(s.Open, key, "1", 0)
			require.NoError(t, err)
			require.Equal(t, kv.OK, first.Code)
			r, err := c.PutIf(s.Open, key, "2", first.Version+1)
			require.NoError(t, err)
			require.Equal(t, kv.VersionMismatch, r.Code)
			require.Equal(t, first.Version, r.Version)
			for _, want := range []kv.Code{kv.OK, kv.NotFound} {
				r, err := c.Delete(s.Open, key)
				require.NoError(t, err)
				require.Equal(t, want, r.Code)
			}
		}
	})
}
