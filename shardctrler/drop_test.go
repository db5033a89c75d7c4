package shardctrler_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/rsm/labraft"
	"raftlab/shardctrler"
)

// newDropping starts a service that keeps at least keep configurations and takes a
// snapshot after every change.
func newDropping(t *testing.T, lab *shardlab.Lab, keep int) *service {
	g := lab.Group("ctrl", 3, func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, p *raft.Persister) shardlab.Instance {
		snapshot := p.ReadSnapshot()
		rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
			return raft.Make(peers, i, p, applyCh)
		})
		sc, err := shardctrler.Open(log, shardctrler.Options{Snapshot: snapshot, MaxRaftState: 1, KeepConfigs: keep})
		require.NoError(t, err)
		return shardlab.Instance{Services: []any{sc, rf}, Kill: sc.Kill}
	})
	s := &service{Group: g, t: t, lab: lab}
	s.ck = s.clerk()
	return s
}

// oldest returns the number of the oldest kept configuration.
func (s *service) oldest() int { return s.ck.Query(0).Num }

// reach reports to all servers that group gid has reached configuration num.
func (s *service) reach(gid, num int) {
	var reporting sync.WaitGroup
	for _, end := range s.Ends() {
		reporting.Go(func() {
			end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{GID: gid, Num: num}, &clerk.Reply[[]shardctrler.Config]{})
		})
	}
	reporting.Wait()
}

// Old configurations are dropped after every group has reached a later one, and not
// before. The oldest kept one has groups.
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
		s.expectOldest(0) // group 6 has reported nothing
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
		s.expectOldest(6) // the other groups do not know the new owners of their shards yet
		for gid := 1; gid <= 6; gid++ {
			s.reach(gid, 8)
		}
		s.expectOldest(8)
		s.CrashAll()
		s.StartAll()
		s.expectOldest(8)
		s.expect(s.ck.Query(-1), 7, 8)
		configs, err := s.clerk().Await(context.Background(), 0, 0)
		require.NoError(t, err)
		require.Len(t, configs, 2)
		require.Equal(t, 8, configs[0].Num, "where a new group begins")
	})
}

// expectOldest checks the oldest configuration, now and a while later.
func (s *service) expectOldest(num int) {
	s.t.Helper()
	testkit.WaitFor(s.t, 3*time.Second, "old configurations to go", func() bool { return s.oldest() >= num })
	time.Sleep(time.Second)
	require.Equal(s.t, num, s.oldest(), "oldest configuration")
}

// Reports of groups that no configuration has take no memory.
func TestReportsOfStrangers4A(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		lab := shardlab.New(t)
		defer lab.Close()
		s := newDropping(t, lab, 2)
		s.ck.Join(groups(1, 2))
		var image []byte
		testkit.WaitFor(t, 5*time.Second, "a snapshot with the groups", func() bool {
			image = s.Disk(0).ReadSnapshot()
			return bytes.Contains(image, []byte(groups(2)[2][0]))
		})
		_, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
			return raft.Make(make([]*labrpc.ClientEnd, 1), 0, raft.MakePersister(), applyCh)
		})
		sc, err := shardctrler.Open(log, shardctrler.Options{Snapshot: image, KeepConfigs: 1})
		require.NoError(t, err)
		defer sc.Kill()
		for gid := range 1000 {
			sc.Await(&shardctrler.AwaitArgs{GID: gid, Num: -1, Newest: true}, &clerk.Reply[[]shardctrler.Config]{})
		}
		require.Equal(t, 2, shardctrler.Reports(sc))
	})
}

// stoppedLog is a log that counts Stop.
type stoppedLog struct {
	rsm.Log
	stops int
}

func (l *stoppedLog) Stop() { l.stops++ }

// Open reports a bad snapshot or option, and stops the log.
func TestOpenErrors4A(t *testing.T) {
	for what, opts := range map[string]shardctrler.Options{
		"garbage for a snapshot": {Snapshot: []byte("not a snapshot")},
		"negative KeepConfigs":   {KeepConfigs: -1},
	} {
		var log stoppedLog
		_, err := shardctrler.Open(&log, opts)
		require.Error(t, err, what)
		require.Equal(t, 1, log.stops, what)
	}
}
