package shardctrler_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// newDropping starts a service that keeps at least keep configurations, and
// snapshots at every chance.
func newDropping(t *testing.T, lab *shardlab.Lab, keep int) *service {
	g := lab.Group("ctrl", 3, func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, p *raft.Persister) shardlab.Instance {
		var rf *raft.Raft
		sc, err := shardctrler.Open(func(applyCh chan raft.ApplyMsg) (rsm.Raft, error) {
			rf = raft.Make(peers, i, p, applyCh)
			return rf, nil
		}, shardctrler.Options{
			Snapshot: p.ReadSnapshot(), MaxRaftState: 1, KeepConfigs: keep,
		})
		if err != nil {
			t.Fatal(err)
		}
		return shardlab.Instance{Services: []any{sc, rf}, Kill: sc.Kill}
	})
	s := &service{Group: g, t: t, net: lab.Net}
	s.ck = s.clerk()
	return s
}

// oldest is the oldest configuration that is kept.
func (s *service) oldest() int { return s.ck.Query(0).Num }

// reach has group gid tell the leader, and everybody, that it has configuration
// num.
func (s *service) reach(gid, num int) {
	var told sync.WaitGroup
	for _, end := range s.Ends() {
		told.Go(func() {
			end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{GID: gid, Num: num}, &clerk.Reply[[]shardctrler.Config]{})
		})
	}
	told.Wait()
}

// Old configurations go when every group has a later one, never before, and the
// oldest that stays has groups.
func TestDropOldConfigurations4A(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		lab := shardlab.New(t)
		defer lab.Close()
		s := newDropping(t, lab, 2)
		for gid := 1; gid <= 6; gid++ {
			s.ck.Join(groups(gid))
		}
		for gid := 1; gid <= 5; gid++ {
			s.reach(gid, 6)
		}
		s.expectOldest(0) // group 6 has told nothing
		s.reach(6, 3)
		s.expectOldest(3)
		s.reach(6, 6)
		s.expectOldest(5) // two are kept
		s.ck.Leave([]int{1, 2, 3, 4, 5, 6})
		for gid := 1; gid <= 6; gid++ {
			s.reach(gid, 7)
		}
		s.expectOldest(6) // 7 has no groups
		s.ck.Join(groups(7))
		s.ck.Join(groups(8))
		s.reach(7, 9)
		s.reach(8, 9)
		s.expectOldest(6) // the others have not seen who got their shards
		for gid := 1; gid <= 6; gid++ {
			s.reach(gid, 8)
		}
		s.expectOldest(8)
		s.CrashAll()
		s.StartAll()
		s.expectOldest(8)
		s.expect(s.ck.Query(-1), 7, 8)
		if configs, err := s.clerk().Await(context.Background(), 0, 0); err != nil || len(configs) != 2 || configs[0].Num != 8 {
			t.Fatalf("a new group is told to begin with %v, %v", configs, err)
		}
	})
}

// expectOldest checks the oldest configuration, now and a while later.
func (s *service) expectOldest(num int) {
	s.t.Helper()
	testkit.WaitFor(s.t, 3*time.Second, "old configurations to go", func() bool { return s.oldest() >= num })
	time.Sleep(time.Second)
	if got := s.oldest(); got != num {
		s.t.Fatalf("configuration %d is the oldest; want %d", got, num)
	}
}

// What is wrong with a snapshot or an option is told before anything starts.
func TestOpenErrors4A(t *testing.T) {
	start := func(chan raft.ApplyMsg) (rsm.Raft, error) {
		t.Error("Raft was started")
		return nil, nil
	}
	for what, opts := range map[string]shardctrler.Options{
		"garbage for a snapshot": {Snapshot: []byte("not a snapshot")},
		"negative KeepConfigs":   {KeepConfigs: -1},
	} {
		if sc, err := shardctrler.Open(start, opts); err == nil {
			t.Errorf("%s: no error, %v", what, sc)
		}
	}
}
