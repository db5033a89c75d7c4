package shardstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// Config has the settings of a process's part. Groups is the same in all processes and at
// each start. The zero value of other fields means their default.
type Config struct {
	// Host runs the groups. Required.
	Host *node.Host
	// Name is the name of the process. Required.
	Name string
	// Roster has the processes of the store. In a process whose host has no data they are
	// the first ones, the same in all first processes. Otherwise their addresses replace
	// the stored ones until the next change of processes. Required.
	Roster *Roster
	// Join has a process without data wait until the others have added the process with
	// [Part.ChangeProcesses].
	Join bool
	// Groups is the number of groups, 1 to [MaxGroups].
	Groups int
	// Network reaches the servers. Required.
	Network Network
	// HeartbeatInterval and ElectionTimeout are Raft's, see node.Config.
	HeartbeatInterval, ElectionTimeout time.Duration
	// SnapshotBytes is the size of a replica's log before a snapshot replaces the log.
	// Default [DefaultSnapshotBytes].
	SnapshotBytes int
	// Level is the level that this process tells the others (see [Level]). Default: Level.
	// Tests of upgrades set a lower one.
	Level int
	// Changed is called after each change of the Roster, with one call at a time. Default:
	// nothing is called.
	Changed func()
	// Logger receives changes of leadership and of the layout, and failures. Default:
	// silent.
	Logger *slog.Logger
}

func (c *Config) check() error {
	c.Level = cmp.Or(c.Level, Level)
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, DefaultSnapshotBytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	self := func(m Member) bool { return m.Name == c.Name && m.ID == c.Host.Identity().Host }
	switch {
	case c.Groups < 1 || c.Groups > MaxGroups:
		return fmt.Errorf("%d groups; want 1 to %d", c.Groups, MaxGroups)
	case !c.Join && !slices.ContainsFunc(c.Roster.first, self):
		return fmt.Errorf("host %d is not member %q of %v", c.Host.Identity().Host, c.Name, c.Roster.first)
	}
	return nil
}

// Part is a process's part of a store, and a client of the whole store. Any goroutine
// may call the methods.
type Part struct {
	*Client
	cfg      Config
	replicas []*replica // of group 1, group 2 and so on, and of the controllers
	changing sync.Mutex // held by a change of processes that this process coordinates
	learning sync.Mutex // held during Config.Changed

	mu   sync.Mutex
	ends map[string]*labrpc.ClientEnd // to servers
	logs map[string]*onnode.Log       // of the replicas, by group
	err  error                        // set before failed is closed

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by Kill
	running sync.WaitGroup
	failed  chan struct{} // closed when the host has failed, or the store has removed the process
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
func servers(processes []string, group string) []string {
	names := make([]string, len(processes))
	for i, name := range processes {
		names[i] = serverName(name, group)
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
	p := &Part{
		cfg: cfg, stop: cancel, stopped: ctx.Done(), failed: make(chan struct{}),
		ends: make(map[string]*labrpc.ClientEnd), logs: make(map[string]*onnode.Log),
	}
	p.Client = NewClient(ClientConfig{
		Controllers: p.controllers(), MakeEnd: p.makeEnd,
		Groups: p.servers, Survey: p.statuses, Logger: cfg.Logger,
	})
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

// processes returns the names of the processes.
func (p *Part) processes() []string {
	var names []string
	for _, m := range p.cfg.Roster.Members() {
		names = append(names, m.Name)
	}
	return names
}

// servers returns the names of the servers of group 1, group 2 and so on.
func (p *Part) servers() [][]string {
	groups := make([][]string, p.cfg.Groups)
	for i := range groups {
		groups[i] = servers(p.processes(), GroupName(i+1))
	}
	return groups
}

// controllers makes ends to the servers of the controllers.
func (p *Part) controllers() []*labrpc.ClientEnd {
	var ends []*labrpc.ClientEnd
	for _, name := range servers(p.processes(), Controllers) {
		ends = append(ends, p.makeEnd(name))
	}
	return ends
}

// makeEnd makes an end to a server of a group for a clerk, which has a fixed number of
// ends. The processes may change, and the configurations in the controllers' log name those
// of an earlier time. So every other call goes to the leader that the process's own replica
// knows. The other calls go to the named server, as long as its process is a member.
func (p *Part) makeEnd(server string) *labrpc.ClientEnd {
	var calls atomic.Uint64
	return labrpc.MakeRedirect(func() *labrpc.ClientEnd {
		return p.direct(p.choose(server, calls.Add(1)%2 == 0))
	})
}

// choose returns the server that takes a call in place of a server of its group.
func (p *Part) choose(server string, preferLeader bool) string {
	_, group, _ := strings.Cut(server, "/")
	_, member := p.cfg.Roster.Host(server)
	if preferLeader || !member {
		if leader := p.leader(group); leader != "" {
			return leader
		}
	}
	if member {
		return server
	}
	return serverName(p.cfg.Name, group) // soon knows the leader
}

// leader returns the server that leads a group, as far as this process knows, or "".
func (p *Part) leader(group string) string {
	p.mu.Lock()
	log := p.logs[group]
	p.mu.Unlock()
	if log == nil {
		return ""
	}
	id, _ := log.Node().Leader()
	for _, m := range p.cfg.Roster.of(group) {
		if m.ID == id {
			return serverName(m.Name, group)
		}
	}
	return ""
}

// direct returns the end to a server.
func (p *Part) direct(server string) *labrpc.ClientEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends[server] == nil {
		p.ends[server] = p.cfg.Network.MakeEnd(server)
	}
	return p.ends[server]
}

func (p *Part) serve(name string, services ...any) {
	server := labrpc.MakeServer()
	for _, s := range services {
		server.AddService(labrpc.MakeService(s))
	}
	p.cfg.Network.Serve(name, server)
}

// start starts the replica of a group, or of the controllers for 0.
func (p *Part) start(gid int) error {
	r, err := p.open(gid)
	if err != nil {
		return fmt.Errorf("shardstore: starting group %s: %w", GroupName(gid), err)
	}
	p.replicas = append(p.replicas, r)
	p.mu.Lock()
	p.logs[r.group()] = r.log
	p.mu.Unlock()
	p.serve(serverName(p.cfg.Name, r.group()), r.server, process{p})
	return nil
}

func (p *Part) open(gid int) (*replica, error) {
	var members []node.Member
	for _, m := range p.cfg.Roster.first {
		members = append(members, node.Member{ID: m.ID, Address: m.Address})
	}
	log, err := onnode.Start(p.cfg.Host, node.Config{
		Group: GroupID(gid), Members: members, Join: p.cfg.Join,
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
			GID: gid, Controllers: p.controllers(), MakeEnd: p.makeEnd,
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

// watch follows a replica. It logs changes of leadership and the replica's failure, and
// notes who the members are.
func (p *Part) watch(r *replica) {
	led := uint64(0)
	member := r.log.Node()
	for {
		changed := member.Changed()
		if term, leads := member.Leadership(); leads && term != led {
			led = term
			p.cfg.Logger.Info("replica leads", "group", r.group(), "term", led)
		}
		if members := member.Members(); len(members) > 0 {
			p.learn(r.group(), members)
		}
		if err := r.failure(); err != nil {
			p.stopBy(r, err)
			return
		}
		select {
		case <-changed:
		case <-p.stopped:
			return
		}
	}
}

// learn notes the members of a group.
func (p *Part) learn(group string, members []node.Member) {
	p.learning.Lock()
	defer p.learning.Unlock()
	if p.cfg.Roster.update(group, members) {
		p.cfg.Changed()
	}
}

// stopBy reports the end of a replica that has stopped by itself. A change of processes
// removes a process from the controllers last. The process needs the other replicas until
// then, because the change may need their votes.
func (p *Part) stopBy(r *replica, err error) {
	removed := errors.Is(err, node.ErrRemoved)
	if removed {
		p.cfg.Logger.Info("replica was removed", "group", r.group())
	} else {
		p.cfg.Logger.Error("replica has stopped by itself", "group", r.group(), "error", err)
	}
	cause := p.cfg.Host.Err()
	if removed && r.ctrl != nil {
		cause = fmt.Errorf("another process has taken the place of process %s, or the store was made smaller: %w", p.cfg.Name, node.ErrRemoved)
	}
	if cause != nil {
		p.failing.Do(func() {
			p.mu.Lock()
			p.err = cause
			p.mu.Unlock()
			close(p.failed)
		})
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

// Failed is closed when the host of the process has stopped by itself, and when the store
// has removed the process.
func (p *Part) Failed() <-chan struct{} { return p.failed }

// Err returns why Failed is closed. After a removal the error matches [node.ErrRemoved].
func (p *Part) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Live returns why a replica of the process has stopped by itself, nil if all run. A
// replica that was removed from its group counts as running.
func (p *Part) Live() error {
	var errs []error
	for _, r := range p.replicas {
		if err := r.failure(); err != nil && !errors.Is(err, node.ErrRemoved) {
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
