package shardstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"raftlab/internal/kvstore"
	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm/onnode"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// MaxGroups is the largest number of groups of a store.
const MaxGroups = shardctrler.NShards

// Controllers is the name of the group of controllers.
const Controllers = "controller"

// controllersID is the id of the controllers in the log of a host. The ids of the groups
// are their numbers.
const controllersID node.GroupID = 100

const (
	// MaxCommandBytes bounds a command in the log. Every operation within the limits of
	// the services is smaller, a transaction of shardkv.MaxTxnBytes too.
	MaxCommandBytes = 8 << 20
	// DefaultSnapshotBytes is the default of Config.SnapshotBytes.
	DefaultSnapshotBytes = 16 << 20
	// snapshotGrowth is the growth of the log between two snapshots, in multiples of
	// the last snapshot.
	snapshotGrowth = 1
	// keepConfigs is the least number of kept configurations.
	keepConfigs = 1000
)

// Network carries calls between the servers of a store.
type Network interface {
	// MakeEnd makes an end to a server by its name.
	MakeEnd(server string) *labrpc.ClientEnd
	// Serve has others reach a server of this process by its name.
	Serve(server string, rs *labrpc.Server)
}

// Member is a process of a store.
type Member struct {
	Name string
	// ID is the process's host, and Address where the transport of the host is reached.
	ID      core.NodeID
	Address string
}

// Config has the settings of a process's part. Members and Groups are the same in all
// processes and at each start. The zero value of other fields means their default.
type Config struct {
	// Host runs the groups. Required.
	Host *node.Host
	// Name is the name of the process among Members. Required.
	Name    string
	Members []Member
	// Groups is the number of groups, 1 to [MaxGroups].
	Groups int
	// Network reaches the servers. Required.
	Network Network
	// HeartbeatInterval and ElectionTimeout are Raft's, see node.Config.
	HeartbeatInterval, ElectionTimeout time.Duration
	// SnapshotBytes is the size of a replica's log before a snapshot replaces the log.
	// Default [DefaultSnapshotBytes].
	SnapshotBytes int
	// Logger receives changes of leadership and of the layout, and failures. Default:
	// silent.
	Logger *slog.Logger
}

func (c *Config) check() error {
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, DefaultSnapshotBytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	own := false
	for _, m := range c.Members {
		own = own || m.Name == c.Name && m.ID == c.Host.Identity().Host
	}
	switch {
	case c.Groups < 1 || c.Groups > MaxGroups:
		return fmt.Errorf("%d groups; want 1 to %d", c.Groups, MaxGroups)
	case !own:
		return fmt.Errorf("host %d is not member %q of %v", c.Host.Identity().Host, c.Name, c.Members)
	}
	return nil
}

// Part is a process's part of a store, and a client of the whole store. Any goroutine
// may call the methods.
type Part struct {
	*Client
	cfg      Config
	replicas []*replica // of group 1, group 2 and so on, and of the controllers
	surveys  []*labrpc.ClientEnd

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by Kill
	running sync.WaitGroup
	failed  chan struct{} // closed when the host has failed
	failing sync.Once
}

// replica is this process's server of a group.
type replica struct {
	gid    int // 0 for the controllers
	log    *onnode.Log
	server interface {
		Kill()
		Wait()
	}
	shards *shardkv.ShardKV         // nil for the controllers
	ctrl   *shardctrler.ShardCtrler // nil for others
}

// group returns the name of a replica's group.
func (r *replica) group() string { return GroupName(r.gid) }

// GroupName returns the name of a group, and of the controllers for 0.
func GroupName(gid int) string {
	if gid == 0 {
		return Controllers
	}
	return strconv.Itoa(gid)
}

// GroupID returns the id of a group in the log of a host, and of the controllers for 0.
func GroupID(gid int) node.GroupID {
	if gid == 0 {
		return controllersID
	}
	return node.GroupID(gid)
}

func serverName(member, group string) string { return member + "/" + group }

// servers returns the names of a group's servers.
func (c *Config) servers(group string) []string {
	names := make([]string, len(c.Members))
	for i, m := range c.Members {
		names[i] = serverName(m.Name, group)
	}
	return names
}

// Start starts the replicas of all groups, on what the host's storage holds. The first
// processes make all groups members.
func Start(cfg Config) (*Part, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("shardstore: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Part{cfg: cfg, stop: cancel, stopped: ctx.Done(), failed: make(chan struct{})}
	groups := make([][]string, cfg.Groups)
	for i := range groups {
		groups[i] = cfg.servers(GroupName(i + 1))
	}
	p.Client = NewClient(ClientConfig{
		Controllers: p.ends(cfg.servers(Controllers)), MakeEnd: cfg.Network.MakeEnd,
		Groups: groups, Survey: p.statuses, Logger: cfg.Logger,
	})
	for _, m := range cfg.Members {
		p.surveys = append(p.surveys, cfg.Network.MakeEnd(m.Name))
	}
	for gid := 1; gid <= cfg.Groups; gid++ {
		if err := p.start(gid); err != nil {
			return nil, errors.Join(err, p.abort())
		}
	}
	if err := p.start(0); err != nil {
		return nil, errors.Join(err, p.abort())
	}
	p.serve(cfg.Name, process{p})
	p.running.Go(func() { p.JoinFirst(ctx) })
	for _, r := range p.replicas {
		p.running.Go(func() { p.watch(r) })
	}
	return p, nil
}

func (p *Part) ends(names []string) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, len(names))
	for i, name := range names {
		ends[i] = p.cfg.Network.MakeEnd(name)
	}
	return ends
}

func (p *Part) serve(name string, service any) {
	server := labrpc.MakeServer()
	server.AddService(labrpc.MakeService(service))
	p.cfg.Network.Serve(name, server)
}

// start starts the replica of a group, or of the controllers for 0.
func (p *Part) start(gid int) error {
	r, err := p.open(gid)
	if err != nil {
		return fmt.Errorf("shardstore: starting group %s: %w", GroupName(gid), err)
	}
	p.replicas = append(p.replicas, r)
	p.serve(serverName(p.cfg.Name, r.group()), r.server)
	return nil
}

func (p *Part) open(gid int) (*replica, error) {
	members := make([]node.Member, len(p.cfg.Members))
	for i, m := range p.cfg.Members {
		members[i] = node.Member{ID: m.ID, Address: m.Address}
	}
	log, err := onnode.Start(p.cfg.Host, node.Config{
		Group: GroupID(gid), Members: members,
		HeartbeatInterval: p.cfg.HeartbeatInterval, ElectionTimeout: p.cfg.ElectionTimeout,
		MaxCommandBytes: MaxCommandBytes, MaxPendingBytes: 2 * MaxCommandBytes,
		TrailingEntries: -1, // rsm counts the bytes of a log, and entries that stay are not counted
	})
	if err != nil {
		return nil, err
	}
	r := &replica{gid: gid, log: log}
	logger := p.cfg.Logger.With("member", p.cfg.Name)
	if gid == 0 {
		r.ctrl, err = shardctrler.Open(log, shardctrler.Options{
			Snapshot: log.Snapshot(), MaxRaftState: p.cfg.SnapshotBytes, KeepConfigs: keepConfigs, Logger: logger,
		})
		r.server = r.ctrl
	} else {
		r.shards, err = shardkv.Open(log, shardkv.Options{
			GID: gid, Controllers: p.ends(p.cfg.servers(Controllers)), MakeEnd: p.cfg.Network.MakeEnd,
			Snapshot: log.Snapshot(), MaxRaftState: p.cfg.SnapshotBytes, SnapshotGrowth: snapshotGrowth,
			Limits: kvstore.Limits, Logger: logger,
		})
		r.server = r.shards
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return r, nil
}

// abort ends what has started.
func (p *Part) abort() error {
	p.Kill()
	var errs []error
	for _, r := range p.replicas {
		errs = append(errs, r.log.Close())
	}
	p.Wait()
	return errors.Join(errs...)
}

// watch logs the leadership of a replica, and its failure.
func (p *Part) watch(r *replica) {
	led := uint64(0)
	member := r.log.Node()
	for {
		changed := member.Changed()
		if term, leads := member.Leadership(); leads && term != led {
			led = term
			p.cfg.Logger.Info("replica leads", "group", r.group(), "term", led)
		}
		if err := r.failure(); err != nil {
			p.cfg.Logger.Error("replica has stopped by itself", "group", r.group(), "error", err)
			if p.cfg.Host.Err() != nil {
				p.failing.Do(func() { close(p.failed) })
			}
			return
		}
		select {
		case <-changed:
		case <-p.stopped:
			return
		}
	}
}

// failure returns why a replica has stopped by itself, nil while the replica runs.
func (r *replica) failure() error {
	var err error
	if r.ctrl != nil {
		err = r.ctrl.Status().Err
	} else {
		err = r.shards.Status().Err
	}
	return errors.Join(r.log.Node().Err(), err)
}

// Failed is closed when the host of the process has stopped by itself.
func (p *Part) Failed() <-chan struct{} { return p.failed }

// Live returns why a replica of the process has stopped by itself, nil if all run.
func (p *Part) Live() error {
	var errs []error
	for _, r := range p.replicas {
		if err := r.failure(); err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", r.group(), err))
		}
	}
	return errors.Join(errs...)
}

// Health returns why the process should get no requests: a replica that has stopped, a
// group without a leader or, with linearizable, a group without linearizable reads.
func (p *Part) Health(ctx context.Context, linearizable bool) error {
	errs := make([]error, len(p.replicas))
	var asking sync.WaitGroup
	for i, r := range p.replicas {
		asking.Go(func() {
			if err := r.health(ctx, linearizable); err != nil {
				errs[i] = fmt.Errorf("group %s: %w", r.group(), err)
			}
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}

func (r *replica) health(ctx context.Context, linearizable bool) error {
	if err := r.failure(); err != nil {
		return err
	}
	if leader, _ := r.log.Node().Leader(); leader == core.None {
		return kvstore.ErrNoLeader
	}
	if !linearizable {
		return nil
	}
	return r.log.ReadIndex(ctx)
}

// HandOver gives the leadership of all groups to other processes, within ctx.
func (p *Part) HandOver(ctx context.Context) {
	var handing sync.WaitGroup
	for _, r := range p.replicas {
		if !r.log.Node().IsLeader() {
			continue
		}
		handing.Go(func() {
			if err := r.log.Node().TransferLeadership(ctx, core.None); err != nil {
				p.cfg.Logger.Info("the leadership was not handed over", "group", r.group(), "error", err)
			}
		})
	}
	handing.Wait()
}

// Kill stops the replicas, and returns without waiting. The caller then closes the host.
func (p *Part) Kill() {
	p.stop()
	for _, r := range p.replicas {
		r.server.Kill()
	}
}

// Wait waits for the goroutines of a killed part whose host is closed.
func (p *Part) Wait() {
	p.running.Wait()
	for _, r := range p.replicas {
		r.server.Wait()
		_ = r.log.Close() // the host has closed the member
	}
}
