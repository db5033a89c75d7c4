package shardkv_test

import (
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/shardctrler"
)

// forgetful starts servers of a configuration service that keeps as few
// configurations as it may.
func forgetful(t *testing.T) shardlab.Starter {
	return func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, disk *raft.Persister) shardlab.Instance {
		var rf *raft.Raft
		start := func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
			rf = raft.Make(peers, i, disk, applyCh)
			return rf, nil
		}
		sc, err := shardctrler.Open(start, shardctrler.Options{
			Snapshot: disk.ReadSnapshot(), MaxRaftState: 1, StateSize: disk.RaftStateSize, KeepConfigs: 1,
		})
		if err != nil {
			t.Error(err)
		}
		return shardlab.Instance{Services: []any{sc, rf}, Kill: sc.Kill}
	}
}

// Groups need no configuration that the service has dropped: not those that were
// away, nor those that are new, nor those that had left with data.
func TestOldConfigurationsAreDropped4B(t *testing.T) {
	runUnder(t, forgetful(t), 4, 100, func(t *testing.T, s *store) {
		s.crash(3) // it has never heard of anything
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
		if oldest := s.ctl.Query(0).Num; oldest > 21 {
			t.Errorf("group 1 has not seen configuration 22, and %d is the oldest", oldest)
		}
		s.restart(1)
		c.grow(t, d)
		settle()
		s.restart(3)
		s.join(3)
		s.leave(0)
		c.grow(t, d)
		settle()
		s.leave(3) // nobody is left
		s.join(1)
		c.grow(t, d)
		settle()
	})
}
