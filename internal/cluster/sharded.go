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
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Sharded is a running sharded store. Each group of replicas serves some of the
// shards, and the controller assigns the shards to groups. Any goroutine may call
// the methods.
type Sharded struct {
	*servers
	groups   int
	sessions [shardctrler.NShards]sessions
	ctrlers  []*labrpc.ClientEnd
	store    *shardkv.Clerk
	layout   *shardctrler.Clerk
	// A clerk makes one transaction at a time.
	transactors freeList[*shardkv.Clerk]

	stop    context.CancelFunc
	joining sync.WaitGroup // of the first groups
}

// ErrNoGroup reports a number without a group.
var ErrNoGroup = errors.New("no such group")

// OpenSharded starts a sharded store on a data directory. If the directory is
// missing, OpenSharded makes one with opts.Groups groups, all of them members. The
// errors are those of [Open].
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

// OpenAny opens a [Sharded] store if the data directory or opts has groups, and
// otherwise a [Cluster].
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

// Store is a running store, with groups or without.
type Store interface {
	Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error)
	Status() []Status
	Start(replica int) error
	Stop(replica int) error
	Repair(replica int) error
	Compact(replica int) error
	Close() error
}

// shardLauncher returns the launcher of each replica of a sharded store.
func (s *servers) shardLauncher(m manifest) func(group string, peer int) launcher {
	return func(group string, peer int) launcher {
		if group == controllers {
			return onLog(startController)
		}
		gid, err := strconv.Atoi(group)
		if err != nil {
			panic(fmt.Sprintf("cluster: group %q of a manifest that was read", group))
		}
		me := (gid-1)*m.Replicas + peer + 1
		return onLog(func(log rsm.Log, snapshot []byte, opts Options) (rsmService, error) {
			server, err := shardkv.Open(log, shardkv.Options{
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
		})
	}
}

func startController(log rsm.Log, snapshot []byte, opts Options) (rsmService, error) {
	server, err := shardctrler.Open(log, shardctrler.Options{
		Snapshot:     snapshot,
		MaxRaftState: opts.SnapshotBytes,
		KeepConfigs:  keepConfigs,
		Logger:       opts.Logger,
	})
	return controllerService{server}, err
}

// keepConfigs is the least number of kept configurations.
const keepConfigs = 1000

// controllerNumbers returns the controllers' numbers among all replicas.
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

// endByName returns ends by the names of replicas in a configuration, which are
// their numbers.
func (s *servers) endByName(from int) func(string) *labrpc.ClientEnd {
	return func(name string) *labrpc.ClientEnd {
		number, err := strconv.Atoi(name)
		if err != nil {
			s.log.Error("a configuration names a replica by what is not a number", "name", name)
		}
		return s.end(from, number)
	}
}

// names returns the names of a group's replicas in a configuration.
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
	h := health{err: st.Err}
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
	return health{sessions: st.Sessions, err: st.Err}
}

// joinFirst makes all groups members of the first configuration, if there is none.
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

// Close is [Cluster.Close].
func (c *Sharded) Close() error {
	c.stop()
	c.joining.Wait()
	return c.servers.Close()
}

// Do executes an operation on the leader of the group of the key's shard, and waits
// for a leader until ctx ends. A scan reads the shards one after the other. Writes
// take effect once, and idempotency keys work, as with [Cluster.Do].
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

// gaveUp returns the error of operations without an answer in time. A write may
// still take effect.
func gaveUp(ops ...kv.Op) error {
	if slices.ContainsFunc(ops, func(op kv.Op) bool { return !op.ReadOnly() }) {
		return ErrUnknown
	}
	return ErrNoLeader
}

// Txn executes a transaction once, and waits for its groups until ctx ends.
func (c *Sharded) Txn(ctx context.Context, t shardkv.Txn) (shardkv.TxnResult, error) {
	ck := c.transactors.get(c.store.Fork)
	result, err := ck.Txn(ctx, t)
	c.transactors.put(ck)
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

// describe fills in the state of a group's leader, or of any running replica.
func (c *Sharded) describe(g *GroupStatus, l *Layout) {
	var best shardkv.Status
	running := false
	for _, number := range g.Replicas {
		run := c.replicas[number-1].current()
		if run == nil {
			continue
		}
		running = true
		st := run.server.(logService).rsmService.(shardService).ShardKV.Status()
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

// Join makes groups members. Members stay members. Join returns the number of the
// configuration.
func (c *Sharded) Join(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, false, func(gids []int) (int, error) {
		groups := make(map[int][]string)
		for _, gid := range gids {
			groups[gid] = c.names(gid)
		}
		return c.layout.JoinGroups(ctx, groups)
	})
}

// Leave ends the membership of groups, and their shards go to the others. Without any
// member the store keeps its state, and serves nothing until a group joins.
func (c *Sharded) Leave(ctx context.Context, gids []int) (int, error) {
	return c.rearrange(ctx, gids, true, func(gids []int) (int, error) { return c.layout.LeaveGroups(ctx, gids) })
}

// rearrange makes a change with those of gids whose membership is members. So a
// retried request changes nothing.
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

// changed logs a change, or translates the error for clients.
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

// Settled waits until groups have joined, and every group has the newest
// configuration and serves its shards, or until ctx ends.
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

// settledPoll is the interval of Settled's looks.
const settledPoll = 20 * time.Millisecond

func (l *Layout) settled() bool {
	waiting := func(p ShardPlace) bool { return p.Group != 0 && p.State != string(shardkv.StateServed) }
	behind := func(g GroupStatus) bool { return g.Config < l.Config }
	return l.Config > 0 && !slices.ContainsFunc(l.Shards, waiting) && !slices.ContainsFunc(l.Groups, behind)
}
