package shardstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"raftlab/internal/kvstore"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// ErrNoGroup reports a number without a group.
var ErrNoGroup = errors.New("no such group")

// ClientConfig has the settings of a client. All fields are required.
type ClientConfig struct {
	// Controllers are ends to the servers of the controllers, and MakeEnd makes an end to
	// a server of a group by its name.
	Controllers []*labrpc.ClientEnd
	MakeEnd     func(server string) *labrpc.ClientEnd
	// Groups returns the names of the servers of group 1, group 2 and so on. All groups have
	// as many servers. The servers are numbered from 1, in this order.
	Groups func() [][]string
	// Survey returns pictures of the servers of groups that can be seen now, by number.
	Survey func(ctx context.Context) map[int]shardkv.Status
	// Logger receives changes of the layout.
	Logger *slog.Logger
}

// Client is a client of a store with groups. Any goroutine may call the methods.
type Client struct {
	cfg      ClientConfig
	sessions [shardctrler.NShards]kvstore.Sessions
	store    *shardkv.Clerk
	layout   *shardctrler.Clerk
	// A clerk makes one transaction at a time.
	transactors kvstore.FreeList[*shardkv.Clerk]
}

// NewClient returns a client. A client sends nothing before its first operation.
func NewClient(cfg ClientConfig) *Client {
	return &Client{
		cfg:    cfg,
		store:  shardkv.MakeClerk(cfg.Controllers, cfg.MakeEnd),
		layout: shardctrler.MakeClerk(cfg.Controllers),
	}
}

// JoinFirst makes all groups members of the first configuration, if there is none.
func (c *Client) JoinFirst(ctx context.Context) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil || config.Num > 0 {
		return
	}
	all := make([]int, len(c.cfg.Groups()))
	for i := range all {
		all[i] = i + 1
	}
	// Another process may be faster. The second join is invalid and changes nothing.
	if _, err := c.Join(ctx, all); err != nil && ctx.Err() == nil && !errors.Is(err, shardctrler.ErrInvalid) {
		c.cfg.Logger.Error("the groups cannot join", "error", err)
	}
}

// Do executes an operation on the leader of the group of the key's shard, and waits
// for a leader until ctx ends. A scan reads the shards one after the other. Writes
// take effect once, see [kvstore.Do].
func (c *Client) Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error) {
	return kvstore.Do(ctx, idempotencyKey, op, &c.sessions[shardkv.ShardOf(op.Key)], c.execute)
}

func (c *Client) execute(ctx context.Context, s kvstore.Session, op kv.Op) (kv.Result, error) {
	var result kv.Result
	var unsure bool
	var err error
	if op.Kind == kv.KindScan {
		result, err = c.store.Scan(ctx, op.Key, op.End, op.Limit)
	} else {
		result, unsure, err = c.store.DoAs(ctx, s.Client, s.Seq, op)
	}
	switch {
	case err == nil:
		return result, nil
	case errors.Is(err, rsm.ErrBusy) && !unsure:
		return kv.Result{}, fmt.Errorf("%w: %w", kvstore.ErrBusy, err)
	case ctx.Err() != nil:
		return kv.Result{}, gaveUp(op)
	case unsure:
		return kv.Result{}, fmt.Errorf("%w: %w", kvstore.ErrUnknown, err)
	}
	return kv.Result{}, err
}

// gaveUp returns the error of operations without an answer in time. A write may
// still take effect.
func gaveUp(ops ...kv.Op) error {
	if slices.ContainsFunc(ops, func(op kv.Op) bool { return !op.ReadOnly() }) {
		return kvstore.ErrUnknown
	}
	return kvstore.ErrNoLeader
}

// Txn executes a transaction once, and waits for its groups until ctx ends.
func (c *Client) Txn(ctx context.Context, t shardkv.Txn) (shardkv.TxnResult, error) {
	ck := c.transactors.Get(c.store.Fork)
	result, err := ck.Txn(ctx, t)
	c.transactors.Put(ck)
	if errors.Is(err, shardkv.ErrTxnResultsLost) {
		return shardkv.TxnResult{}, fmt.Errorf("%w: %w", kvstore.ErrUnknown, err)
	}
	if errors.Is(err, rsm.ErrBusy) {
		return shardkv.TxnResult{}, fmt.Errorf("%w: %w", kvstore.ErrBusy, err)
	}
	if ctx.Err() != nil && err != nil {
		return shardkv.TxnResult{}, gaveUp(slices.Concat(t.Then, t.Else)...)
	}
	return result, err
}

// Layout is a picture of the assignment of shards to groups.
type Layout struct {
	Config int           `json:"config"` // number of the newest configuration
	Shards []ShardPlace  `json:"shards"`
	Groups []GroupStatus `json:"groups"`
}

// ShardPlace is the place of a shard.
type ShardPlace struct {
	Shard int    `json:"shard"`
	Group int    `json:"group"` // that owns it; 0: none
	State string `json:"state"` // "served", "arriving", or "unknown" if nobody can tell now
	Keys  int    `json:"keys"`
	// From is a group that no longer owns the shard and has the data, or awaits the data.
	// 0: none, as far as can be seen.
	From int `json:"from,omitempty"`
}

// GroupStatus is a picture of a group.
type GroupStatus struct {
	Group    int   `json:"group"`
	Member   bool  `json:"member"`
	Replicas []int `json:"replicas"`
	Leader   int   `json:"leader"` // of those; 0: none
	Config   int   `json:"config"` // the newest that it has taken
	Shards   int   `json:"shards"` // that it owns
	Keys     int   `json:"keys"`
}

// Layout returns the newest assignment of shards to groups, and the progress of the
// groups towards the assignment.
func (c *Client) Layout(ctx context.Context) (Layout, error) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil {
		return Layout{}, kvstore.ErrNoLeader
	}
	l := Layout{Config: config.Num}
	for shard, gid := range config.Shards {
		l.Shards = append(l.Shards, ShardPlace{Shard: shard, Group: gid, State: "unknown"})
	}
	seen := c.cfg.Survey(ctx)
	number := 0
	for i, names := range c.cfg.Groups() {
		_, member := config.Groups[i+1]
		g := GroupStatus{Group: i + 1, Member: member}
		for range names {
			number++
			g.Replicas = append(g.Replicas, number)
		}
		l.describe(&g, seen)
		l.Groups = append(l.Groups, g)
	}
	return l, nil
}

// describe fills in the state of a group's leader, or of any server that was seen.
func (l *Layout) describe(g *GroupStatus, seen map[int]shardkv.Status) {
	var best shardkv.Status
	found := false
	for _, number := range g.Replicas {
		st, ok := seen[number]
		if !ok || found && !knowsMore(&st, &best) {
			continue
		}
		best, found, g.Leader = st, true, 0
		if st.IsLeader {
			g.Leader = number
		}
	}
	g.Config = best.Config
	for i := range l.Shards {
		if place := &l.Shards[i]; place.Group == g.Group {
			g.Shards++
			if found {
				place.State = string(shardkv.StateArriving) // unless it says more
			}
		}
	}
	for _, s := range best.Shards {
		g.Keys += s.Keys
		place := &l.Shards[s.Shard]
		if s.State == shardkv.StateLeaving {
			place.From = g.Group
		}
		if place.Group == g.Group {
			place.Keys = s.Keys
			if s.State == shardkv.StateServed {
				place.State = string(s.State)
			}
		}
	}
}

// knowsMore reports whether a server of a group knows more than another one.
func knowsMore(a, b *shardkv.Status) bool {
	switch {
	case a.IsLeader != b.IsLeader:
		return a.IsLeader
	case a.IsLeader: // a deposed leader without word of its successor has an older term
		return a.Term > b.Term
	}
	return a.Applied > b.Applied
}

// Join makes groups members. Members stay members. Join returns the number of the
// configuration.
func (c *Client) Join(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, false, func(gids []int) (int, error) {
		groups, all := make(map[int][]string), c.cfg.Groups()
		for _, gid := range gids {
			groups[gid] = all[gid-1]
		}
		return c.layout.JoinGroups(ctx, groups)
	})
}

// Leave ends the membership of groups, and their shards go to the others. Without any
// member the store keeps its state, and serves nothing until a group joins.
func (c *Client) Leave(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, true, func(gids []int) (int, error) { return c.layout.LeaveGroups(ctx, gids) })
}

// rearrange makes a change with those of gids whose membership is members. So a
// retried request changes nothing.
func (c *Client) rearrange(ctx context.Context, gids []int, members bool, change func([]int) (int, error)) (int, error) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil {
		return 0, kvstore.ErrNoLeader
	}
	var rest []int
	for _, gid := range slices.Compact(slices.Sorted(slices.Values(gids))) {
		if err := c.known(gid); err != nil {
			return config.Num, err
		}
		if _, member := config.Groups[gid]; member == members {
			rest = append(rest, gid)
		}
	}
	if len(rest) == 0 {
		return config.Num, nil
	}
	num, err := change(rest)
	return num, c.changed(ctx, num, err)
}

// Move gives a shard to a group, until groups join or leave.
func (c *Client) Move(ctx context.Context, shard, gid int) (int, error) {
	if err := c.known(gid); err != nil {
		return 0, err
	}
	num, err := c.layout.MoveShard(ctx, shard, gid)
	return num, c.changed(ctx, num, err)
}

func (c *Client) known(gid int) error {
	if n := len(c.cfg.Groups()); gid < 1 || gid > n {
		return fmt.Errorf("%w: %d; there are 1 to %d", ErrNoGroup, gid, n)
	}
	return nil
}

// changed logs a change, or translates the error for clients.
func (c *Client) changed(ctx context.Context, num int, err error) error {
	switch {
	case err == nil:
		c.cfg.Logger.Info("configuration", "num", num)
		return nil
	case ctx.Err() != nil:
		return kvstore.ErrUnknown
	}
	return err
}

// Settled waits until groups have joined, and every group has the newest
// configuration and serves its shards, or until ctx ends.
func (c *Client) Settled(ctx context.Context) error {
	for {
		l, err := c.Layout(ctx)
		if err != nil {
			return err
		}
		if l.settled() {
			return nil
		}
		select {
		case <-time.After(settledPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settledPoll is the interval of Settled's looks.
const settledPoll = 20 * time.Millisecond

func (l *Layout) settled() bool {
	waiting := func(p ShardPlace) bool { return p.Group != 0 && p.State != string(shardkv.StateServed) }
	behind := func(g GroupStatus) bool { return g.Config < l.Config }
	return l.Config > 0 && !slices.ContainsFunc(l.Shards, waiting) && !slices.ContainsFunc(l.Groups, behind)
}
