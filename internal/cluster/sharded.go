//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Sharded is a running sharded store: groups of replicas, each of which serves
// some of the shards, and a controller that says which. Its methods may be called
// from any goroutine.
type Sharded struct {
	*servers
	groups   int
	sessions [shardctrler.NShards]sessions
	ctrlers  []*labrpc.ClientEnd
	store    *shardkv.Clerk
	layout   *shardctrler.Clerk
	// A clerk makes one transaction at a time, so each has one for itself.
	transactors idle[*shardkv.Clerk]

	stop    context.CancelFunc
	joining sync.WaitGroup // of the first groups
}

// ErrNoGroup: there is no group of that number.
var ErrNoGroup = errors.New("no such group")

// OpenSharded starts a sharded store on a data directory, which is made if it is
// not there; opts.Groups is at least 1 then. In a new directory all groups are
// members from the beginning. Its errors are those of [Open].
func OpenSharded(dir string, opts Options) (*Sharded, error) {
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return nil, err
	}
	if m.Groups == 0 {
		return nil, errors.Join(fmt.Errorf("%w: the data directory %s was made for %s", ErrGroups, dir, groupsInWords(0)), s.Close())
	}
	if err := s.start(m, dir, s.shardLauncher(m)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Sharded{servers: s, groups: m.Groups, ctrlers: s.ends(0, m.controllerNumbers()), stop: cancel}
	c.store, c.layout = shardkv.MakeClerk(c.ctrlers, s.endByName(0)), shardctrler.MakeClerk(c.ctrlers)
	c.joining.Go(func() { c.joinFirst(ctx) })
	return c, nil
}

// OpenAny opens what a data directory holds, or is to hold: a [Sharded] store if
// it has groups, else a [Cluster].
func OpenAny(dir string, opts Options) (Store, error) {
	groups := opts.Groups
	if m, err := readManifest(dir); err == nil && groups == 0 {
		groups = m.Groups
	}
	if groups != 0 {
		return OpenSharded(dir, opts)
	}
	return Open(dir, opts)
}

// Store is a store that runs, with groups or without.
type Store interface {
	Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error)
	Status() []Status
	Start(replica int) error
	Stop(replica int) error
	Repair(replica int) error
	Compact(replica int) error
	Close() error
}

// shardLauncher says what the replicas of a sharded store run.
func (s *servers) shardLauncher(m manifest) func(group string, peer int) launcher {
	return func(group string, peer int) launcher {
		if group == controllers {
			return startController
		}
		gid, err := strconv.Atoi(group)
		if err != nil {
			panic(fmt.Sprintf("cluster: group %q of a manifest that was read", group))
		}
		me := (gid-1)*m.Replicas + peer + 1
		return func(open func(chan raft.ApplyMsg) (rsm.Raft, error), snapshot []byte, opts Options) (service, error) {
			server, err := shardkv.Open(open, shardkv.Options{
				GID:            gid,
				Controllers:    s.ends(me, m.controllerNumbers()),
				MakeEnd:        s.endByName(me),
				Snapshot:       snapshot,
				MaxRaftState:   opts.SnapshotBytes,
				SnapshotGrowth: snapshotGrowth,
				Limits:         Limits,
				Logger:         opts.Logger,
			})
			return shardService{server}, err
		}
	}
}

func startController(open func(chan raft.ApplyMsg) (rsm.Raft, error), snapshot []byte, opts Options) (service, error) {
	server, err := shardctrler.Open(open, shardctrler.Options{
		Snapshot:     snapshot,
		MaxRaftState: opts.SnapshotBytes,
		KeepConfigs:  keepConfigs,
		Logger:       opts.Logger,
	})
	return controllerService{server}, err
}

// keepConfigs is how many configurations are kept at least.
const keepConfigs = 1000

// controllerNumbers are the controllers' among all replicas.
func (m manifest) controllerNumbers() []int {
	numbers := make([]int, m.Replicas)
	for i := range numbers {
		numbers[i] = m.Groups*m.Replicas + i + 1
	}
	return numbers
}

func (s *servers) ends(from int, to []int) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, len(to))
	for i, number := range to {
		ends[i] = s.end(from, number)
	}
	return ends
}

// endByName makes ends to replicas that a configuration names, by their numbers.
func (s *servers) endByName(from int) func(string) *labrpc.ClientEnd {
	return func(name string) *labrpc.ClientEnd {
		number, err := strconv.Atoi(name)
		if err != nil {
			s.log.Error("a configuration names a replica by what is not a number", "name", name)
		}
		return s.end(from, number)
	}
}

// names are a group's replicas as a configuration has them.
func (c *Sharded) names(gid int) []string {
	perGroup := len(c.replicas) / (c.groups + 1)
	names := make([]string, perGroup)
	for i := range names {
		names[i] = strconv.Itoa((gid-1)*perGroup + i + 1)
	}
	return names
}

type shardService struct{ *shardkv.ShardKV }

func (s shardService) rpc() any { return s.ShardKV }

func (s shardService) health() health {
	st := s.Status()
	h := health{applied: st.Applied, err: st.Err}
	for _, shard := range st.Shards {
		h.keys += shard.Keys
		h.sessions += shard.Sessions
	}
	return h
}

type controllerService struct{ *shardctrler.ShardCtrler }

func (s controllerService) rpc() any { return s.ShardCtrler }

func (s controllerService) health() health {
	st := s.Status()
	return health{applied: st.Applied, sessions: st.Sessions, err: st.Err}
}

// joinFirst has all groups join, if no configuration was ever made.
func (c *Sharded) joinFirst(ctx context.Context) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil || config.Num > 0 {
		return
	}
	all := make([]int, c.groups)
	for i := range all {
		all[i] = i + 1
	}
	if _, err := c.Join(ctx, all); err != nil {
		c.log.Error("the groups cannot join", "error", err)
	}
}

// Groups returns the number of groups.
func (c *Sharded) Groups() int { return c.groups }

// Close stops the replicas that run, and gives the directory free.
func (c *Sharded) Close() error {
	c.stop()
	c.joining.Wait()
	return c.servers.Close()
}

// Do executes an operation on whichever replica leads the group that owns the
// key's shard, and waits for one until ctx ends; a scan reads each shard at a
// moment of its own. Once, and by an idempotency key, are as with [Cluster].
func (c *Sharded) Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error) {
	return do(ctx, idempotencyKey, op, &c.sessions[shardkv.ShardOf(op.Key)], c.execute)
}

func (c *Sharded) execute(ctx context.Context, s session, op kv.Op) (kv.Result, error) {
	var result kv.Result
	var unsure bool
	var err error
	if op.Kind == kv.KindScan {
		result, err = c.store.Scan(ctx, op.Key, op.End, op.Limit)
	} else {
		result, unsure, err = c.store.DoAs(ctx, s.client, s.seq, op)
	}
	switch {
	case err == nil:
		return result, nil
	case errors.Is(err, rsm.ErrBusy) && !unsure:
		return kv.Result{}, fmt.Errorf("%w: %w", ErrBusy, err)
	case ctx.Err() != nil:
		return kv.Result{}, gaveUp(op)
	case unsure:
		return kv.Result{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return kv.Result{}, err
}

// gaveUp says that there was no answer in time, which need not mean that what
// writes was not done.
func gaveUp(ops ...kv.Op) error {
	if slices.ContainsFunc(ops, func(op kv.Op) bool { return !op.ReadOnly() }) {
		return ErrUnknown
	}
	return ErrNoLeader
}

// Txn carries out a transaction, once, and waits for its groups until ctx ends.
func (c *Sharded) Txn(ctx context.Context, t shardkv.Txn) (shardkv.TxnResult, error) {
	ck := c.transactors.take(c.store.Fork)
	result, err := ck.Txn(ctx, t)
	c.transactors.giveBack(ck)
	if errors.Is(err, shardkv.ErrTxnResultsLost) {
		return shardkv.TxnResult{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if errors.Is(err, rsm.ErrBusy) {
		return shardkv.TxnResult{}, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if ctx.Err() != nil && err != nil {
		return shardkv.TxnResult{}, gaveUp(slices.Concat(t.Then, t.Else)...)
	}
	return result, err
}

// Layout is a picture of which group has what.
type Layout struct {
	Config int           `json:"config"` // number of the newest configuration
	Shards []ShardPlace  `json:"shards"`
	Groups []GroupStatus `json:"groups"`
}

// ShardPlace says where a shard is.
type ShardPlace struct {
	Shard int    `json:"shard"`
	Group int    `json:"group"` // that owns it; 0: none
	State string `json:"state"` // "served", "arriving", or "unknown" if nobody can tell now
	Keys  int    `json:"keys"`
}

// GroupStatus says what a group has.
type GroupStatus struct {
	Group    int   `json:"group"`
	Member   bool  `json:"member"`
	Replicas []int `json:"replicas"`
	Leader   int   `json:"leader"` // of those; 0: none
	Config   int   `json:"config"` // the newest that it has taken
	Shards   int   `json:"shards"` // that it owns
	Keys     int   `json:"keys"`
}

// Layout returns which group owns which shard, and how far that has come.
func (c *Sharded) Layout(ctx context.Context) (Layout, error) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil {
		return Layout{}, ErrNoLeader
	}
	l := Layout{Config: config.Num}
	for shard, gid := range config.Shards {
		l.Shards = append(l.Shards, ShardPlace{Shard: shard, Group: gid, State: "unknown"})
	}
	for gid := 1; gid <= c.groups; gid++ {
		_, member := config.Groups[gid]
		g := GroupStatus{Group: gid, Member: member}
		for _, name := range c.names(gid) {
			number, _ := strconv.Atoi(name) // names made it
			g.Replicas = append(g.Replicas, number)
		}
		c.describe(&g, &l)
		l.Groups = append(l.Groups, g)
	}
	return l, nil
}

// describe fills in what a group's leader, or whichever replica runs, says.
func (c *Sharded) describe(g *GroupStatus, l *Layout) {
	var best shardkv.Status
	running := false
	for _, number := range g.Replicas {
		run := c.replicas[number-1].current()
		if run == nil {
			continue
		}
		running = true
		st := run.server.(shardService).ShardKV.Status()
		if st.IsLeader {
			g.Leader = number
		}
		if st.IsLeader || !best.IsLeader && st.Applied >= best.Applied {
			best = st
		}
	}
	g.Config = best.Config
	for i := range l.Shards {
		if place := &l.Shards[i]; place.Group == g.Group {
			g.Shards++
			if running {
				place.State = string(shardkv.StateArriving) // unless it says more
			}
		}
	}
	for _, s := range best.Shards {
		g.Keys += s.Keys
		if place := &l.Shards[s.Shard]; place.Group == g.Group {
			place.Keys = s.Keys
			if s.State == shardkv.StateServed {
				place.State = string(s.State)
			}
		}
	}
}

// Join makes groups members; those that are already stay so. It returns the
// number of the configuration.
func (c *Sharded) Join(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, false, func(gids []int) (int, error) {
		groups := make(map[int][]string)
		for _, gid := range gids {
			groups[gid] = c.names(gid)
		}
		return c.layout.JoinGroups(ctx, groups)
	})
}

// Leave has groups give their shards to the others; those that are no members
// stay so. If none is left, the store serves nothing until one joins, and loses
// nothing.
func (c *Sharded) Leave(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, true, func(gids []int) (int, error) { return c.layout.LeaveGroups(ctx, gids) })
}

// rearrange makes a change with those groups that are members, or are not. A
// request that is tried again, as HTTP clients do, so has nothing to do.
func (c *Sharded) rearrange(ctx context.Context, gids []int, members bool, change func([]int) (int, error)) (int, error) {
	config, err := c.layout.Config(ctx, -1)
	if err != nil {
		return 0, ErrNoLeader
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
func (c *Sharded) Move(ctx context.Context, shard, gid int) (int, error) {
	if err := c.known(gid); err != nil {
		return 0, err
	}
	num, err := c.layout.MoveShard(ctx, shard, gid)
	return num, c.changed(ctx, num, err)
}

func (c *Sharded) known(gid int) error {
	if gid < 1 || gid > c.groups {
		return fmt.Errorf("%w: %d; there are 1 to %d", ErrNoGroup, gid, c.groups)
	}
	return nil
}

// changed logs a change, or says what its error is to a client.
func (c *Sharded) changed(ctx context.Context, num int, err error) error {
	switch {
	case err == nil:
		c.log.Info("configuration", "num", num)
		return nil
	case ctx.Err() != nil:
		return ErrUnknown
	}
	return err
}

// Settled waits until groups have joined, every group has taken the newest
// configuration and serves its shards, or ctx ends.
func (c *Sharded) Settled(ctx context.Context) error {
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

// settledPoll is how often Settled looks.
const settledPoll = 20 * time.Millisecond

func (l *Layout) settled() bool {
	waiting := func(p ShardPlace) bool { return p.Group != 0 && p.State != string(shardkv.StateServed) }
	behind := func(g GroupStatus) bool { return g.Config < l.Config }
	return l.Config > 0 && !slices.ContainsFunc(l.Shards, waiting) && !slices.ContainsFunc(l.Groups, behind)
}
