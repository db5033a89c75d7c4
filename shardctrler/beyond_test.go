package shardctrler_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// What follows is beyond the lab.

// A change that is not valid changes nothing and says why; a part that is valid
// does not help it.
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
			"join of no groups":              join(nil),
			"group 0: a gid is positive":     join(groups(0)),
			"group -3: a gid is positive":    join(groups(-3)),
			"group 2: it is a member":        join(groups(2, 3)),
			"group 4: it has no servers":     join(map[int][]string{4: nil}),
			"leave of no groups":             leave(),
			"group 3: it is not a member":    leave(1, 3),
			"group 1: it is not a member":    leave(1, 1),
			"shard 10: shards are 0 to 9":    move(10, 1),
			"shard -1: shards are 0 to 9":    move(-1, 1),
			"to group 3: it is not a member": move(0, 3),
			"to group 0: it is not a member": move(0, 0),
		} {
			num, err := change()
			if !errors.Is(err, shardctrler.ErrInvalid) || !strings.Contains(err.Error(), what) {
				t.Errorf("the error is %v; it should say %q", err, what)
			}
			if num != before.Num {
				t.Errorf("%s: configuration %d, after %d", what, num, before.Num)
			}
		}
		s.ck.Join(groups(2))
		s.ck.Leave([]int{3})
		s.ck.Move(99, 1)
		if num, err := s.ck.MoveShard(ctx, 0, before.Shards[0]); num != before.Num || err != nil {
			t.Errorf("a move to the owner made configuration %d, %v", num, err)
		}
		if after := s.ck.Query(-1); !same(before, after) {
			t.Fatalf("%+v has become %+v", before, after)
		}
	})
}

// A group that waits is told of the next configuration at once, whichever
// server it asks first, and gets every one in its order.
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
			if err != nil || len(configs) != 1 || configs[0].Num != num+1 {
				t.Fatalf("after configuration %d: %+v, %v", num, configs, err)
			}
			if took := time.Since(start); num > 0 && took > 3200*time.Millisecond {
				t.Errorf("configuration %d was told of %v after it was made", num+1, took-3*time.Second)
			}
		}
		before := s.net.GetTotalCount()
		for range 10 {
			if configs, err := waiter.Await(ctx, 0, 5); len(configs) > 0 || err != nil {
				t.Fatalf("after the newest come %v, %v", configs, err)
			}
		}
		// Raft's heartbeats count too, at most 20 a second and server.
		if n := s.net.GetTotalCount() - before; n > 5*3*20+20 {
			t.Errorf("%d calls in 5 s of waiting", n)
		}
		if configs, err := waiter.Await(ctx, 0, 2); err != nil || len(configs) != 3 || configs[0].Num != 3 {
			t.Fatalf("after configuration 2 come %v, %v", configs, err)
		}
		if c, found, err := waiter.Newer(ctx, 2); err != nil || !found || c.Num != 5 {
			t.Fatalf("newer than 2 is %+v, %v", c, err)
		}
		if c, found, err := waiter.Newer(ctx, 5); err != nil || found {
			t.Fatalf("newer than 5 is %+v, %v", c, err)
		}
		ended, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s.CrashAll()
		if _, err := waiter.Await(ended, 0, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("without servers: %v", err)
		}
	})
}

// Every server tells of a configuration that it has, so that an answer of the
// leader's that is lost can be had from another; which is the newest, and that
// there is none, only the leader says.
func TestAwaitAnyServer4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		s.ck.Join(groups(1))
		time.Sleep(time.Second) // all have it
		for i, end := range s.Ends() {
			var reply clerk.Reply[[]shardctrler.Config]
			if !end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{}, &reply) || reply.Code != clerk.Done || len(reply.Result) != 1 {
				t.Errorf("server %d says %+v of configuration 1", i, reply)
			}
			want := clerk.NotLeader
			if i == s.Leader() {
				want = clerk.Done
			}
			reply = clerk.Reply[[]shardctrler.Config]{}
			if !end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{Newest: true}, &reply) || reply.Code != want {
				t.Errorf("server %d, where %d leads, says %+v of the newest", i, s.Leader(), reply)
			}
			reply = clerk.Reply[[]shardctrler.Config]{}
			if !end.Call("ShardCtrler.Await", &shardctrler.AwaitArgs{Num: 1}, &reply) || reply.Code != want || len(reply.Result) > 0 {
				t.Errorf("server %d, where %d leads, says %+v of configuration 2", i, s.Leader(), reply)
			}
		}
	})
}
