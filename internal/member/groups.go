//go:build !wasip1

package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/shardstore"
	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// groupStore is a member's part of a store with groups.
type groupStore struct {
	*shardstore.Part
	member   *Member
	engine   *engine
	roster   *shardstore.Roster
	calls    *calls
	registry *registry

	answered chan struct{}
	stop     context.CancelFunc
	running  sync.WaitGroup
	stopped  chan struct{} // closed when the store has stopped by itself
	stopping sync.Once
	why      error // set before stopped is closed
}

// openGroups starts the store of a member with groups.
func (m *Member) openGroups(e *engine, dir *directory, streams net.Listener) (_ store, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &groupStore{member: m, engine: e, answered: make(chan struct{}), stop: cancel, stopped: make(chan struct{})}
	first := dir.Roster(m.addresses())
	for _, one := range first {
		if one.Name != m.opts.Name && one.Address != "" {
			e.link.SetPeer(one.ID, one.Address) // before the groups, for the registry
		}
	}
	s.roster = shardstore.NewRoster(first)
	s.calls = newCalls(m.opts.Name, s.roster, e.link.Transport, streams, m.log)
	s.registry = &registry{dir: dir, path: m.opts.Data}
	server := labrpc.MakeServer()
	server.AddService(labrpc.MakeService(s.registry))
	s.calls.Serve(registryName(m.opts.Name), server)
	defer func() {
		if err != nil {
			cancel()
			s.calls.close()
		}
	}()
	if dir.fresh {
		if !dir.Joined {
			if err := s.checkFirstStart(); err != nil {
				return nil, err
			}
		}
		if err := s.registry.run(); err != nil {
			return nil, err
		}
	}
	s.Part, err = shardstore.Start(shardstore.Config{
		Host: e.host, Name: m.opts.Name, Roster: s.roster, Join: dir.Joined, Groups: dir.Groups, Network: s.calls,
		HeartbeatInterval: m.opts.HeartbeatInterval, ElectionTimeout: m.opts.ElectionTimeout,
		SnapshotBytes: m.opts.SnapshotBytes, Changed: s.noteMembers, Logger: m.log,
	})
	if err != nil {
		return nil, err
	}
	s.running.Go(func() { s.announce(ctx) })
	s.running.Go(func() { s.awaitAnswer(ctx) })
	s.running.Go(func() {
		select {
		case <-s.Failed():
			s.fail(s.Err())
		case <-ctx.Done():
		}
	})
	if dir.Joins {
		s.running.Go(func() { s.join(ctx) })
	}
	return s, nil
}

// addresses returns the addresses in --cluster, by name.
func (m *Member) addresses() map[string]string {
	all := make(map[string]string)
	for name, address := range m.opts.Cluster {
		all[name] = withoutScheme(address)
	}
	return all
}

// fail ends the store.
func (s *groupStore) fail(err error) {
	s.stopping.Do(func() {
		s.why = err
		close(s.stopped)
	})
}

// noteMembers writes changed processes into the directory's manifest. The processes of a
// store without changes have the ids of the first start, and the manifest keeps its format.
func (s *groupStore) noteMembers() {
	if err := s.registry.note(s.roster.Members()); err != nil {
		s.member.log.Error("the data directory does not have the changed processes", "error", err)
	}
}

// registry is a service that remembers which of the other processes have run. A process
// without data that has run before has forgotten its votes and acknowledged entries.
type registry struct {
	path string

	mu  sync.Mutex
	dir *directory
}

// note notes the processes of the store.
func (r *registry) note(members []shardstore.Member) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dir.Processes) == 0 {
		first := r.dir.Roster(nil)
		if slices.EqualFunc(first, members, func(a, b shardstore.Member) bool { return a.Name == b.Name && a.ID == b.ID }) {
			return nil
		}
	}
	if !r.dir.SetRoster(members) {
		return nil
	}
	return r.dir.Write(r.path)
}

// joined notes that the store has this process.
func (r *registry) joined() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dir.Joins, r.dir.Replaces, r.dir.ReplacesID = false, "", 0
	return r.dir.Write(r.path)
}

// run notes that this process runs from now on.
func (r *registry) run() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dir.run(r.path)
}

func registryName(member string) string { return member + "/registry" }

// Announcement is a process that introduces itself.
type Announcement struct {
	Name    string
	Members []string // of the store, as the process knows them
	Fresh   bool     // the process has no data, and has not run yet
}

// Welcome is the answer to an announcement.
type Welcome struct {
	Known   bool     // the process has run before
	Members []string // as the other process knows them
	Changed bool     // the processes have changed since the first start
	Err     string   // why the process is not remembered
}

// Announce is the RPC handler. A process that is not fresh is remembered on disk.
func (r *registry) Announce(args Announcement, reply *Welcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply.Known, reply.Members = slices.Contains(r.dir.Known, args.Name), r.dir.Members
	reply.Changed = len(r.dir.Processes) > 0
	if args.Fresh || reply.Known || !slices.Contains(r.dir.Members, args.Name) {
		return
	}
	r.dir.Known = append(r.dir.Known, args.Name)
	if err := r.dir.Write(r.path); err != nil {
		r.dir.Known = r.dir.Known[:len(r.dir.Known)-1]
		reply.Err = err.Error()
	}
}

// others returns the other processes.
func (s *groupStore) others() []string {
	var names []string
	for _, m := range s.roster.Members() {
		if m.Name != s.member.opts.Name {
			names = append(names, m.Name)
		}
	}
	return names
}

// introduce announces this process to another one. A process that does not answer knows
// nothing.
func (s *groupStore) introduce(other string, fresh bool) (w Welcome, ok bool) {
	own := Announcement{Name: s.member.opts.Name, Members: s.processes(), Fresh: fresh}
	ok = s.calls.MakeEnd(registryName(other)).Call("registry.Announce", own, &w)
	return w, ok
}

// firstStartTimeout bounds the questions of a process without data.
const firstStartTimeout = 2 * time.Second

// checkFirstStart refuses a process without data that has run before, or whose members
// are not those of the others. Processes that do not answer in time know nothing.
func (s *groupStore) checkFirstStart() error {
	others := s.others()
	answers := make(chan error, len(others)) // has room for late answers
	for _, other := range others {
		s.running.Go(func() { answers <- s.askOnce(other) })
	}
	timer := time.NewTimer(firstStartTimeout)
	defer timer.Stop()
	for range others {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-timer.C:
			return nil
		}
	}
	return nil
}

// askOnce returns why this process without data must not run, as another process knows.
func (s *groupStore) askOnce(other string) error {
	ctx, cancel := context.WithTimeout(context.Background(), firstStartTimeout)
	defer cancel()
	conn, err := s.calls.dial(ctx, registryName(other))
	if errors.Is(err, tcp.ErrCluster) {
		return fmt.Errorf("%w: %s is of another cluster, or has another number of groups: %w", ErrNoData, other, err)
	}
	if err != nil {
		return nil
	}
	conn.Close()
	w, ok := s.introduce(other, true)
	switch own := s.registry.dir.Members; {
	case !ok:
		return nil
	case w.Changed:
		return fmt.Errorf("%w: the processes of the store have changed since its first start, and are %s, as %s says; a process without data joins with --join, and takes the place of another one with --replace", ErrNoData, strings.Join(w.Members, ", "), other)
	case !slices.Equal(w.Members, own):
		return wrong("--cluster names %s, and %s has the members %s; they are the same in all processes", strings.Join(own, ", "), other, strings.Join(w.Members, ", "))
	case w.Known:
		return fmt.Errorf("%w: %s remembers that the member %s has run before, and its data is not in %s; put the data back in place, or have an empty process take the place with --join and --replace", ErrNoData, other, s.member.opts.Name, s.member.opts.Data)
	}
	return nil
}

// announcePause is the pause between two announcements to a process that does not answer.
const announcePause = time.Second

// announce has the other processes remember this one.
func (s *groupStore) announce(ctx context.Context) {
	for waiting := s.others(); len(waiting) > 0; {
		waiting = slices.DeleteFunc(waiting, func(other string) bool {
			w, ok := s.introduce(other, false)
			if own := s.processes(); ok && !w.Changed && !slices.Equal(w.Members, own) {
				s.member.log.Error("another process has other members", "process", other, "its members", w.Members, "members", own)
			}
			return ok && w.Err == ""
		})
		select {
		case <-time.After(announcePause):
		case <-ctx.Done():
			return
		}
	}
}

// processes returns the names of the processes.
func (s *groupStore) processes() []string {
	var names []string
	for _, m := range s.roster.Members() {
		names = append(names, m.Name)
	}
	return names
}

// awaitAnswer waits until all groups have linearizable reads.
func (s *groupStore) awaitAnswer(ctx context.Context) {
	for {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		err := s.Part.Health(limited, true)
		cancel()
		if err == nil {
			close(s.answered)
			return
		}
		select {
		case <-time.After(s.member.opts.HeartbeatInterval):
		case <-ctx.Done():
			return
		}
	}
}

func (s *groupStore) services(grpc.ServerOption) *grpc.Server { return nil }

func (s *groupStore) pages() clientport.Pages {
	v1 := s.member.opts.V1
	v1.Hosts, v1.Logger = s.member.opts.Hosts, s.member.log
	store := groupV1{fixed{}, s.Part, s}
	return clientport.Pages{
		Health: func(ctx context.Context, linearizable bool, _ map[string]bool) error {
			return s.Health(ctx, linearizable)
		},
		Live: s.Live, Checks: []string{etcdapi.CheckSerializableRead, etcdapi.CheckLinearizableRead}, Check: s.check,
		Metrics: clientport.NewGroupMetrics(s), Hosts: s.member.opts.Hosts,
		Others: console.NewGroups(console.GroupsOptions{
			Title:  fmt.Sprintf("store %s, as process %s sees it", s.member.opts.ClusterName, s.member.opts.Name),
			Layout: s.Layout, Status: store.Status, Hosts: v1.Hosts, Logger: v1.Logger,
			Next: handler.New(store, v1),
		}),
	}
}

// check reports why the member fails one of the checks of its page.
func (s *groupStore) check(ctx context.Context, name string) error {
	if name == etcdapi.CheckLinearizableRead {
		return s.Health(ctx, true)
	}
	return s.Live()
}

// ID implements clientport.GroupSource.
func (s *groupStore) ID() core.NodeID { return s.engine.host.Identity().Host }

// HostFigures implements clientport.GroupSource.
func (s *groupStore) HostFigures() (node.HostStats, tcp.Stats) {
	return s.engine.host.Stats(), s.engine.link.Stats()
}

func (s *groupStore) ready() <-chan struct{} { return s.answered }

func (s *groupStore) ended() <-chan struct{} { return s.stopped }

func (s *groupStore) failure() error { return s.why }

func (s *groupStore) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.member.opts.ElectionTimeout)
	defer cancel()
	s.HandOver(ctx)
}

func (s *groupStore) drain() {}

func (s *groupStore) close() error {
	s.stop()
	s.Kill()
	s.calls.close()
	return nil
}

func (s *groupStore) wait() {
	s.Wait()
	s.calls.wait()
	s.running.Wait()
}

// groupV1 is a member's part of a store with groups for the interface /v1. The replicas of
// group 1 come first, in the order of the members' names, and the controllers last.
type groupV1 struct {
	fixed
	*shardstore.Part
	store *groupStore
}

// Status implements handler.Cluster.
func (v groupV1) Status() []cluster.Status {
	pictures := v.Survey(context.Background())
	groups := v.GroupFigures()
	var all []cluster.Status
	for g, group := range groups {
		for _, p := range pictures {
			s := cluster.Status{Number: len(all) + 1, Name: p.Name, Group: group.Group, State: "unreachable"}
			if p.Picture != nil {
				describe(&s, &p.States[g])
				s.LogBytes = int(p.LogBytes)
				leader := v.store.roster.NameOf(p.States[g].Leader)
				if j := slices.IndexFunc(pictures, func(p shardstore.Surveyed) bool { return p.Name == leader }); j >= 0 {
					s.Leader = g*len(pictures) + j + 1
				}
			}
			all = append(all, s)
		}
	}
	return all
}

// describe fills in the state of a replica.
func describe(s *cluster.Status, from *shardstore.State) {
	switch {
	case from.Err != "":
		s.State, s.Error = "failed", from.Err
		return
	case from.Stalled:
		s.State, s.Error = "stalled", node.ErrStalled.Error()
	case from.NoRoom:
		s.State, s.Error = "running", node.ErrNoRoom.Error()
	default:
		s.State = "running"
	}
	s.Role, s.Term, s.Keys, s.Sessions = from.Role, from.Term, from.Keys, from.Sessions
	s.CommitIndex, s.AppliedIndex, s.LastIndex, s.SnapshotIndex = from.CommitIndex, from.AppliedIndex, from.LastIndex, from.SnapshotIndex
}
