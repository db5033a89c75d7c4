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
	"raftlab/internal/datadir"
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
	members  []shardstore.Member
	calls    *calls
	registry *registry

	answered chan struct{}
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// openGroups starts the store of a member with groups.
func (m *Member) openGroups(e *engine, dir *directory, streams net.Listener) (_ store, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &groupStore{member: m, engine: e, answered: make(chan struct{}), stop: cancel}
	ids := make(map[string]core.NodeID)
	for _, name := range dir.Members {
		one := shardstore.Member{Name: name, ID: datadir.FirstID(dir.Identity().Cluster, name), Address: withoutScheme(m.opts.Cluster[name])}
		s.members, ids[name] = append(s.members, one), one.ID
		if name != m.opts.Name && one.Address != "" {
			e.link.SetPeer(one.ID, one.Address) // before the groups, for the registry
		}
	}
	s.calls = newCalls(m.opts.Name, ids, e.link.Transport, streams, m.log)
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
		if err := s.checkFirstStart(); err != nil {
			return nil, err
		}
		if err := s.registry.run(); err != nil {
			return nil, err
		}
	}
	s.Part, err = shardstore.Start(shardstore.Config{
		Host: e.host, Name: m.opts.Name, Members: s.members, Groups: dir.Groups, Network: s.calls,
		HeartbeatInterval: m.opts.HeartbeatInterval, ElectionTimeout: m.opts.ElectionTimeout,
		SnapshotBytes: m.opts.SnapshotBytes, Logger: m.log,
	})
	if err != nil {
		return nil, err
	}
	s.running.Go(func() { s.announce(ctx) })
	s.running.Go(func() { s.awaitAnswer(ctx) })
	return s, nil
}

// registry is a service that remembers which of the other processes have run. A process
// without data that has run before has forgotten its votes and acknowledged entries.
type registry struct {
	path string

	mu  sync.Mutex
	dir *directory
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
	Err     string   // why the process is not remembered
}

// Announce is the RPC handler. A process that is not fresh is remembered on disk.
func (r *registry) Announce(args Announcement, reply *Welcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply.Known, reply.Members = slices.Contains(r.dir.Known, args.Name), r.dir.Members
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
	for _, m := range s.members {
		if m.Name != s.member.opts.Name {
			names = append(names, m.Name)
		}
	}
	return names
}

// introduce announces this process to another one. A process that does not answer knows
// nothing.
func (s *groupStore) introduce(other string, fresh bool) (w Welcome, ok bool) {
	own := Announcement{Name: s.member.opts.Name, Fresh: fresh}
	for _, m := range s.members {
		own.Members = append(own.Members, m.Name)
	}
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
	case !slices.Equal(w.Members, own):
		return wrong("--cluster names %s, and %s has the members %s; they are the same in all processes", strings.Join(own, ", "), other, strings.Join(w.Members, ", "))
	case w.Known:
		return fmt.Errorf("%w: %s remembers that the member %s has run before, and its data is not in %s; put the data back in place", ErrNoData, other, s.member.opts.Name, s.member.opts.Data)
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
			if ok && !slices.Equal(w.Members, s.registry.dir.Members) {
				s.member.log.Error("another process has other members", "process", other, "its members", w.Members, "members", s.registry.dir.Members)
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

func (s *groupStore) ended() <-chan struct{} { return s.Failed() }

func (s *groupStore) failure() error { return s.engine.host.Err() }

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
	members := v.store.members
	pictures := v.Survey(context.Background())
	groups := v.GroupFigures()
	var all []cluster.Status
	for g, group := range groups {
		for i, m := range members {
			s := cluster.Status{Number: len(all) + 1, Name: m.Name, Group: group.Group, State: "unreachable"}
			if p := pictures[i]; p != nil {
				describe(&s, &p.States[g])
				s.LogBytes = int(p.LogBytes)
				if j := slices.IndexFunc(members, func(m shardstore.Member) bool { return m.ID == p.States[g].Leader }); j >= 0 {
					s.Leader = g*len(members) + j + 1
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
