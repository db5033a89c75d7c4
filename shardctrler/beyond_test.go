package shardctrler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// The tests of this file go beyond the lab.

// An invalid change does nothing and names its fault, even if a part of the change
// is valid.
func TestInvalid4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		ctx := context.Background()
		s.ck.Join(groups(1, 2))
		before := s.ck.Query(-1)
		join := func(g map[int][]string) func() (int, error) {
			return func() (int, error) { return s.ck.JoinGroups(ctx, g) }
		}
		leave := func(gids ...int) func() (int, error) {
			return func() (int, error) { return s.ck.LeaveGroups(ctx, gids) }
		}
		move := func(shard, gid int) func() (int, error) {
			return func() (int, error) { return s.ck.MoveShard(ctx, shard, gid) }
		}
		for what, change := range map[string]func() (int, error){
			"join of no groups":                      join(nil),
			"group 0: a gid is positive":             join(groups(0)),
			"group -3: a gid is positive":            join(groups(-3)),
			"group 2: the group is already a member": join(groups(2, 3)),
			"group 4: the group has no servers":      join(map[int][]string{4: nil}),
			"leave of no groups":                     leave(),
			"group 3: the group is not a member":     leave(1, 3),
			"group 1: the group is not a member":     leave(1, 1),
			"shard 10: shards are 0 to 9":            move(10, 1),
			"shard -1: shards are 0 to 9":            move(-1, 1),
			"to group 3: the group is not a member":  move(0, 3),
			"to group 0: the group is not a member":  move(0, 0),
		} {
			num, err := change()
			require.ErrorIs(t, err, shardctrler.ErrInvalid)
			require.ErrorContains(t, err, what)
			require.Equal(t, before.Num, num, what)
		}
		s.ck.Join(groups(2))
		s.ck.Leave([]int{3})
		s.ck.Move(99, 1)
		num, err := s.ck.MoveShard(ctx, 0, before.Shards[0])
		require.NoError(t, err)
		require.Equal(t, before.Num, num, "after a move to the owner")
		require.True(t, same(before, s.ck.Query(-1)), "%+v has changed", before)
	})
}

// The size of a configuration is bounded, whether one change adds all servers or
// many changes do. A server logs no change beyond the bound.
func TestConfigBytes4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		ctx := context.Background()
		wide := func(gid, bytes int) map[int][]string { return map[int][]string{gid: {strings.Repeat("s", bytes)}} }
		s.ck.Join(groups(1))
		before := s.StateBytes()
		_, err := s.ck.JoinGroups(ctx, wide(2, shardctrler.MaxConfigBytes))
		require.ErrorIs(t, err, shardctrler.ErrInvalid)
		require.ErrorContains(t, err, "the groups and servers take 1048640 bytes; the limit is 1048576")
		s.ck.Join(wide(2, shardctrler.MaxConfigBytes))
		for _, end := range s.Ends() {
			var reply clerk.Reply[shardctrler.Result]
			args := &clerk.Args[shardctrler.Command]{Command: shardctrler.Command{Kind: shardctrler.KindLeave, GIDs: make([]int, 100_000)}}
			require.True(t, end.Call("ShardCtrler.Execute", args, &reply))
			require.Equal(t, clerk.Refused, reply.Code)
		}
		require.Less(t, s.StateBytes()-before, 10<<10, "growth of the logs by refused changes")

		_, err = s.ck.JoinGroups(ctx, wide(2, shardctrler.MaxConfigBytes/2))
		require.NoError(t, err)
		num, err := s.ck.JoinGroups(ctx, wide(3, shardctrler.MaxConfigBytes/2))
		require.ErrorContains(t, err, "the limit is 1048576")
		require.Equal(t, 2, num)

		for gid := 4; gid < 10; gid++ {
			s.ck.Join(groups(gid))
		}
		total := s.lab.Net.GetTotalBytes()
		configs, err := s.clerk().Await(ctx, 0, 1)
		require.NoError(t, err)
		require.Equal(t, 1, len(configs), "as two are larger than an answer")
		require.Less(t, s.lab.Net.GetTotalBytes()-total, int64(2*shardctrler.MaxConfigBytes), "bytes of the calls")
	})
}

// A group that waits gets each configuration at once and in order, whichever server
// the group asks first.
func TestAwait4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		ctx := context.Background()
		s.ck.Join(groups(1))
		waiter := s.clerk()
		for num := range 5 {
			if num > 0 {
				time.AfterFunc(3*time.Second, func() { s.ck.Join(groups(num + 1)) })
			}
			start := time.Now()
			configs, err := waiter.Await(ctx, 0, num)
			for err == nil && len(configs) == 0 {
				configs, err = waiter.Await(ctx, 0, num)
			}
			require.NoError(t, err)
			require.Len(t, configs, 1)
			require.Equal(t, num+1, configs[0].Num)
			if num > 0 {
				require.LessOrEqual(t, time.Since(start), 3200*time.Millisecond, "configuration %d is made after 3 s", num+1)
			}
		}
		before := s.lab.Net.GetTotalCount()
		for range 10 {
			configs, err := waiter.Await(ctx, 0, 5)
			require.NoError(t, err)
			require.Empty(t, configs)
		}
		// Raft's heartbeats count too, at most 20 a second and server.
		require.LessOrEqual(t, s.lab.Net.GetTotalCount()-before, 5*3*20+20, "calls in 5 s of waiting")
		configs, err := waiter.Await(ctx, 0, 2)
		require.NoError(t, err)
		require.Len(t, configs, 3)
		require.Equal(t, 3, configs[0].Num)
		c, found, err := waiter.Newer(ctx, 2)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 5, c.Num)
		_, found, err = waiter.Newer(ctx, 5)
		require.NoError(t, err)
		require.False(t, found)
		ended, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s.CrashAll()
		_, err = waiter.Await(ended, 0, 5)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Every server returns the configurations that it has, so a lost answer of the
// leader delays nobody. Only the leader says which configuration is the newest, and
// that there is no newer one.
func TestAwaitAnyServer4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		s.ck.Join(groups(1))
		time.Sleep(time.Second) // all servers have configuration 1 then
		for i, end := range s.Ends() {
			var reply clerk.Reply[[]shardctrler.Config]
			require.True(t, end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{}, &reply))
			require.Equal(t, clerk.Done, reply.Code, "the answer of server %d, which has the configuration", i)
			require.Len(t, reply.Result, 1)
			want := clerk.NotLeader
			if i == s.Leader() {
				want = clerk.Done
			}
			reply = clerk.Reply[[]shardctrler.Config]{}
			require.True(t, end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{Newest: true}, &reply))
			require.Equal(t, want, reply.Code, "server %d on the newest configuration, while %d leads", i, s.Leader())
			reply = clerk.Reply[[]shardctrler.Config]{}
			require.True(t, end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{Num: 1}, &reply))
			require.Equal(t, want, reply.Code, "server %d on configuration 2, while %d leads", i, s.Leader())
			require.Empty(t, reply.Result)
		}
	})
}
