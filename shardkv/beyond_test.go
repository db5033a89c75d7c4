package shardkv_test

import (
	"errors"
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
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
			Snapshot: disk.ReadSnapshot(), MaxRaftState: 1, KeepConfigs: 1,
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

// A clerk that is closed has its sessions ended at every shard that it wrote to,
// and writes no more.
func TestClose4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		c.fill(10, 5)
		if err := c.Close(s.Open); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Delete(s.Open, "0k0"); !errors.Is(err, clerk.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
		if r, err := c.Clerk.Do(s.Open, kv.Get("0k0")); err != nil || r.Status != kv.OK {
			t.Errorf("a read after Close: %+v, %v", r, err)
		}
	})
}

// The operations beyond the lab's do on any shard what they do in package kv.
func TestOperations4B(t *testing.T) {
	run(t, 2, 100, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.clerk(s.ctrl)
		for shard := range shardctrler.NShards {
			key := keyIn(shard)
			first, err := c.PutIf(s.Open, key, "1", 0)
			if err != nil || first.Status != kv.OK {
				t.Fatalf("first PutIf of %q: %+v, %v", key, first, err)
			}
			if r, err := c.PutIf(s.Open, key, "2", first.Version+1); err != nil || r.Status != kv.VersionMismatch || r.Version != first.Version {
				t.Errorf("PutIf with another version: %+v, %v", r, err)
			}
			if r, err := c.Delete(s.Open, key); err != nil || r.Status != kv.OK {
				t.Errorf("Delete: %+v, %v", r, err)
			}
			if r, err := c.Delete(s.Open, key); err != nil || r.Status != kv.NotFound {
				t.Errorf("Delete again: %+v, %v", r, err)
			}
		}
	})
}
