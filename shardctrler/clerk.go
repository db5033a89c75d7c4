package shardctrler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// ErrInvalid is the error of a change that is not valid; its text says why. The
// package's documentation has the rules.
var ErrInvalid = errors.New("shardctrler: invalid change")

// Clerk is a client of the service. Its methods may be called from any
// goroutine; it makes one change at a time.
type Clerk struct {
	servers *clerk.Servers
	waits   *clerk.Servers // the same, asked with the patience that Await takes
	session *clerk.Session
}

// MakeClerk returns a clerk for the service at servers, in any order. It sends
// nothing before its first operation.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	ck := &Clerk{
		servers: clerk.NewServers(servers),
		waits:   clerk.NewServers(servers),
		session: clerk.NewSession(),
	}
	ck.waits.Patience = awaitHold + 100*time.Millisecond
	ck.waits.Pause, ck.waits.MaxPause = 100*time.Millisecond, 400*time.Millisecond
	return ck
}

// Query returns configuration num: the newest if num is -1 or above it, the
// oldest that is kept if num is older. It tries for ever.
func (ck *Clerk) Query(num int) Config {
	c, err := ck.Config(context.Background(), num)
	if err != nil {
		panic(fmt.Sprintf("shardctrler: query of configuration %d: %v", num, err))
	}
	return c
}

// Join adds groups, with the names of their servers. It tries for ever; groups
// that are not valid change nothing.
func (ck *Clerk) Join(servers map[int][]string) {
	ck.must(Command{Kind: KindJoin, Groups: servers})
}

// Leave removes groups. It tries for ever; gids that are not valid change
// nothing.
func (ck *Clerk) Leave(gids []int) { ck.must(Command{Kind: KindLeave, GIDs: gids}) }

// Move gives a shard to a group. It tries for ever; a shard or gid that is not
// valid changes nothing.
func (ck *Clerk) Move(shard int, gid int) {
	ck.must(Command{Kind: KindMove, Shard: shard, GID: gid})
}

// must makes a change of the lab's, which has no error but that it is invalid.
func (ck *Clerk) must(c Command) {
	if _, err := ck.change(context.Background(), c); err != nil && !errors.Is(err, ErrInvalid) {
		panic(fmt.Sprintf("shardctrler: change of kind %d: %v", c.Kind, err))
	}
}

// Config is Query with a context, whose end is the only error besides that of a
// clerk without servers.
func (ck *Clerk) Config(ctx context.Context, num int) (Config, error) {
	args := &clerk.Args[Command]{Command: Command{Kind: KindQuery, Num: num}}
	result, _, err := clerk.Ask[clerk.Args[Command], Result](ctx, ck.servers, "ShardCtrler.Execute", args)
	return result.Config, err
}

// JoinGroups adds groups, with the names of their servers, and returns the
// number of the configuration that has them. Its errors are ErrInvalid, ctx's
// (it may take effect or not), and rsm.ErrSessionExpired (see clerk.Session).
func (ck *Clerk) JoinGroups(ctx context.Context, servers map[int][]string) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindJoin, Groups: servers})
}

// LeaveGroups removes groups and returns the number of the configuration
// without them. Its errors are those of JoinGroups.
func (ck *Clerk) LeaveGroups(ctx context.Context, gids []int) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindLeave, GIDs: gids})
}

// MoveShard gives a shard to a group and returns the number of the
// configuration in which it is that group's. Its errors are those of JoinGroups.
func (ck *Clerk) MoveShard(ctx context.Context, shard, gid int) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindMove, Shard: shard, GID: gid})
}

func (ck *Clerk) change(ctx context.Context, c Command) (int, error) {
	var result Result
	err := ck.session.Do(ctx, func(client, seq uint64) (unsure bool, err error) {
		args := &clerk.Args[Command]{Client: client, Seq: seq, Command: c}
		result, unsure, err = clerk.Ask[clerk.Args[Command], Result](ctx, ck.servers, "ShardCtrler.Execute", args)
		return unsure, err
	})
	if err == nil && result.Problem != "" {
		err = fmt.Errorf("%w: %s", ErrInvalid, result.Problem)
	}
	return result.Num, err
}

// Await waits for a configuration that follows num, and returns those that do, up
// to 64, in order: num+1 first, or the oldest that is kept. It returns none after
// half a second in which there was none. gid is the group that has num and asks;
// 0: none. The error is ctx's, or that of a clerk without servers.
func (ck *Clerk) Await(ctx context.Context, gid, num int) ([]Config, error) {
	args := &AwaitArgs{GID: gid, Num: num}
	configs, _, err := clerk.Ask[AwaitArgs, []Config](ctx, ck.waits, "ShardCtrler.Await", args)
	return configs, err
}

// Newer returns the newest configuration that the leader has, if that is newer
// than num. It is cheaper than Config, and may be late if the leader has been
// deposed without knowing it. Its errors are those of Await.
func (ck *Clerk) Newer(ctx context.Context, num int) (c Config, found bool, err error) {
	args := &AwaitArgs{Num: num, Newest: true}
	configs, _, err := clerk.Ask[AwaitArgs, []Config](ctx, ck.servers, "ShardCtrler.Await", args)
	if err != nil || len(configs) == 0 {
		return Config{}, false, err
	}
	return configs[0], true, nil
}
