package shardctrler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// ErrInvalid is the error of an invalid change. The text names the rule that the
// change breaks. The package documentation lists the rules.
var ErrInvalid = errors.New("shardctrler: invalid change")

// Clerk is a client of the service. Any goroutine may call the methods. A clerk makes
// one change at a time.
type Clerk struct {
	servers *clerk.Servers
	waits   *clerk.Servers // the same servers, with the patience for Await
	session *clerk.Session
}

// MakeClerk returns a clerk of the service at servers, in any order. A clerk sends
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

// Query returns configuration num. If num is -1 or above the newest number, Query
// returns the newest configuration. If configuration num was dropped, Query returns
// the oldest kept one. Query retries for ever.
func (ck *Clerk) Query(num int) Config {
	c, err := ck.Config(context.Background(), num)
	if err != nil {
		panic(fmt.Sprintf("shardctrler: query of configuration %d: %v", num, err))
	}
	return c
}

// Join adds groups with the names of their servers. Join retries for ever. An
// invalid change does nothing.
func (ck *Clerk) Join(servers map[int][]string) {
	ck.must(Command{Kind: KindJoin, Groups: servers})
}

// Leave removes groups. Leave retries for ever. An invalid change does nothing.
func (ck *Clerk) Leave(gids []int) { ck.must(Command{Kind: KindLeave, GIDs: gids}) }

// Move assigns a shard to a group. Move retries for ever. An invalid change does
// nothing.
func (ck *Clerk) Move(shard int, gid int) {
	ck.must(Command{Kind: KindMove, Shard: shard, GID: gid})
}

// must makes a change of the lab's API, which has no errors.
func (ck *Clerk) must(c Command) {
	if _, err := ck.change(context.Background(), c); err != nil && !errors.Is(err, ErrInvalid) {
		panic(fmt.Sprintf("shardctrler: change of kind %d: %v", c.Kind, err))
	}
}

// Config is Query with a context. The error is that of ctx, or of a clerk without
// servers.
func (ck *Clerk) Config(ctx context.Context, num int) (Config, error) {
	args := &clerk.Args[Command]{Command: Command{Kind: KindQuery, Num: num}}
	result, _, err := clerk.Ask[clerk.Args[Command], Result](ctx, ck.servers, "ShardCtrler.Execute", args)
	return result.Config, err
}

// JoinGroups adds groups with the names of their servers, and returns the number of
// the first configuration with these groups. The errors are ErrInvalid, the error
// of ctx, and rsm.ErrSessionExpired (see clerk.Session). After the latter two the
// change may or may not take effect.
func (ck *Clerk) JoinGroups(ctx context.Context, servers map[int][]string) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindJoin, Groups: servers})
}

// LeaveGroups removes groups and returns the number of the first configuration
// without these groups. The errors are those of JoinGroups.
func (ck *Clerk) LeaveGroups(ctx context.Context, gids []int) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindLeave, GIDs: gids})
}

// MoveShard assigns a shard to a group and returns the number of the configuration
// with this assignment. The errors are those of JoinGroups.
func (ck *Clerk) MoveShard(ctx context.Context, shard, gid int) (num int, err error) {
	return ck.change(ctx, Command{Kind: KindMove, Shard: shard, GID: gid})
}

func (ck *Clerk) change(ctx context.Context, c Command) (int, error) {
	if err := c.checkSize(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
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

// Await waits for configurations after num and returns them in order, up to 64
// and up to about 1 MiB. The first is num+1 or, if that was dropped, the oldest kept
// one. If there is none within half a second, Await returns none. gid is the group
// that asks and has configuration num, or 0 for any other client. The error is that of
// ctx, or of a clerk without servers.
func (ck *Clerk) Await(ctx context.Context, gid, num int) ([]Config, error) {
	args := &AwaitArgs{GID: gid, Num: num}
	configs, _, err := clerk.Ask[AwaitArgs, []Config](ctx, ck.waits, "ShardCtrler.Await", args)
	return configs, err
}

// Newer returns the leader's newest configuration if its number is above num. Newer
// is cheaper than Config. The configuration may be stale if the leader was deposed
// and does not know. The errors are those of Await.
func (ck *Clerk) Newer(ctx context.Context, num int) (c Config, found bool, err error) {
	args := &AwaitArgs{Num: num, Newest: true}
	configs, _, err := clerk.Ask[AwaitArgs, []Config](ctx, ck.servers, "ShardCtrler.Await", args)
	if err != nil || len(configs) == 0 {
		return Config{}, false, err
	}
	return configs[0], true, nil
}
