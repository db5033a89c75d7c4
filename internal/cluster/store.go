//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"

	"raftlab/internal/auth"
	"raftlab/internal/clientport"
	"raftlab/internal/etcdapi"
	"raftlab/internal/kvstore"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/node"
)

// Cluster is a running store without groups: members with etcd's API in one process. Any
// goroutine may call the methods.
type Cluster struct {
	*servers
	*Keys
	tokens *auth.Tokens

	linking sync.Mutex
	cut     map[core.NodeID]bool // disconnected replicas
	links   map[*link]bool       // connections for forwarded requests
}

// link is a connection of two replicas.
type link struct {
	net.Conn
	ends    [2]core.NodeID
	cluster *Cluster
}

// Errors of connecting.
var (
	// ErrConnected reports a Connect of a connected replica.
	ErrConnected = errors.New("the replica is connected")
	// ErrDisconnected reports a Disconnect of a disconnected replica.
	ErrDisconnected = errors.New("the replica is disconnected")
)

// Open starts a cluster on a data directory, and makes a missing directory. Open
// converts a directory of the former format, and keeps the former files. A
// replica with an unusable data file does not start, and its Status has the error.
// Repair rebuilds the file. If the usable files are no majority of their group, Open
// fails. The error then matches fs.ErrNotExist, node.ErrDamaged, node.ErrStranger or
// [ErrRolledBack].
func Open(dir string, opts Options) (*Cluster, error) {
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return nil, err
	}
	if m.Groups != 0 {
		return nil, errors.Join(fmt.Errorf("%w: the data directory %s was made for %s", ErrGroups, dir, groupsInWords(m.Groups)), s.Close())
	}
	if m.former() {
		if m, err = s.convert(m, dir); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	c := &Cluster{servers: s, cut: make(map[core.NodeID]bool), links: make(map[*link]bool)}
	c.Keys = &Keys{pick: c.awaitLeader, noLeader: c.noLeader}
	if c.tokens, err = auth.NewTokens("", 0, 0); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.start(m, dir, func(_ string, peer int) launcher {
		return func(host *node.Host, cfg node.Config, opts Options) (service, error) {
			return c.launch(hostID(peer), host, cfg, opts)
		}
	}); err != nil {
		return nil, err
	}
	return c, nil
}

// etcdService is the service of a replica without groups.
type etcdService struct {
	server *etcdapi.Server
	peers  *grpc.Server
	calls  *clientport.Handover // from the other replicas

	serving sync.WaitGroup
	killing sync.Once
	ended   chan struct{} // closed after kill
}

// launch starts the service of a replica.
func (c *Cluster) launch(id core.NodeID, host *node.Host, cfg node.Config, opts Options) (service, error) {
	cfg.SnapshotBytes, cfg.SnapshotEntries, cfg.MaxPendingBytes = int64(opts.SnapshotBytes), -1, maxPendingBytes
	s := &etcdService{ended: make(chan struct{}), calls: clientport.NewHandover(address(id))}
	var urls []string
	if opts.ClientURL != "" {
		urls = append(urls, opts.ClientURL)
	}
	var err error
	s.server, err = etcdapi.Start(etcdapi.Config{
		Host: host, Node: cfg, Name: fmt.Sprintf("replica-%d", id), ClientURLs: urls,
		DialMember:   func(ctx context.Context, to core.NodeID) (net.Conn, error) { return c.dial(ctx, id, to) },
		Quota:        opts.Quota,
		Tokens:       c.tokens,
		BoundHistory: true, FixedMembers: true,
		Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.peers = grpc.NewServer(s.server.PeerOptions()...)
	s.server.RegisterPeers(s.peers)
	s.serving.Go(func() { _ = s.peers.Serve(s.calls) })
	return s, nil
}

// maxPendingBytes bounds the commands of a replica that are not applied.
const maxPendingBytes = 16 << 20

// address is the address of a replica in the process.
type address core.NodeID

// Network implements net.Addr.
func (address) Network() string { return "process" }

// String implements net.Addr.
func (a address) String() string { return fmt.Sprintf("replica-%d", a) }

func (s *etcdService) member() *node.Node { return s.server.Node() }

func (s *etcdService) kill() {
	s.killing.Do(func() {
		s.calls.Close()
		go func() { // wait waits for the goroutine
			_ = s.server.Close() // reported by the host
			s.peers.Stop()
			s.serving.Wait()
			close(s.ended)
		}()
	})
}

func (s *etcdService) wait() { <-s.ended }

func (s *etcdService) health() health {
	st := s.server.Stats()
	return health{keys: st.Keys, sessions: st.Sessions}
}

// etcd returns the services of a running replica, or nil.
func (r *replica) etcd() *etcdService {
	if run := r.current(); run != nil {
		return run.server.(*etcdService)
	}
	return nil
}

// dial connects a replica to another one.
func (c *Cluster) dial(ctx context.Context, from, to core.NodeID) (net.Conn, error) {
	c.linking.Lock()
	defer c.linking.Unlock()
	if to < 1 || int(to) > len(c.replicas) {
		return nil, fmt.Errorf("%w: %d", ErrNoReplica, to)
	}
	peer := c.replicas[to-1].etcd()
	switch {
	case peer == nil:
		return nil, ErrStopped
	case c.cut[from] || c.cut[to]:
		return nil, ErrDisconnected
	}
	here, there := net.Pipe()
	go peer.calls.Give(there, ctx.Done()) // ends at the latest with the dial
	l := &link{here, [2]core.NodeID{from, to}, c}
	c.links[l] = true
	return l, nil
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.cluster.linking.Lock()
	delete(l.cluster.links, l)
	l.cluster.linking.Unlock()
	return l.Conn.Close()
}

// Disconnect cuts a replica off from the others. The replica runs on, and neither gets
// nor sends messages, until Connect. A restart of the replica changes nothing.
func (c *Cluster) Disconnect(number int) error {
	return c.change(number, "disconnected", func(r *replica) error { return c.connect(r, false) })
}

// Connect ends what Disconnect has begun.
func (c *Cluster) Connect(number int) error {
	return c.change(number, "connected", func(r *replica) error { return c.connect(r, true) })
}

func (c *Cluster) connect(r *replica, connected bool) error {
	id := hostID(r.peer)
	c.linking.Lock()
	switch {
	case c.cut[id] && !connected:
		c.linking.Unlock()
		return ErrDisconnected
	case !c.cut[id] && connected:
		c.linking.Unlock()
		return ErrConnected
	}
	c.cut[id] = !connected
	var broken []*link
	for l := range c.links {
		if c.cut[l.ends[0]] || c.cut[l.ends[1]] {
			broken = append(broken, l)
		}
	}
	for i := range c.replicas {
		other := hostID(i)
		faults := memnet.Faults{Cut: c.cut[id] || c.cut[other]}
		r.group.network.SetLink(id, other, faults)
		r.group.network.SetLink(other, id, faults)
	}
	c.linking.Unlock()
	for _, l := range broken {
		l.Close()
	}
	return nil
}

// Status returns a picture of each replica, in order.
func (c *Cluster) Status() []Status {
	all := c.servers.Status()
	c.linking.Lock()
	defer c.linking.Unlock()
	for i := range all {
		all[i].Disconnected = c.cut[hostID(i)]
	}
	return all
}

// noLeader is ErrNoLeader with the number of running replicas.
func (c *Cluster) noLeader() error {
	run := 0
	for _, r := range c.replicas {
		if now := r.current(); now != nil && now.failure() == nil {
			run++
		}
	}
	return fmt.Errorf("%w: %d of %d replicas run", kvstore.ErrNoLeader, run, len(c.replicas))
}

// awaitLeader waits for a replica that believes to lead, and returns nil if ctx ends
// first.
func (c *Cluster) awaitLeader(ctx context.Context) *etcdapi.Server {
	for ctx.Err() == nil {
		if leader := c.leader(); leader != nil {
			return leader
		}
		pause(ctx)
	}
	return nil
}

// leader returns a replica that believes to lead, or nil.
func (c *Cluster) leader() *etcdapi.Server {
	var newest *etcdapi.Server
	last := uint64(0)
	for _, r := range c.replicas {
		s := r.etcd()
		if s == nil {
			continue
		}
		// A deposed leader without word of its successor has an older term.
		if term, leads := s.member().Leadership(); leads && term > last {
			newest, last = s.server, term
		}
	}
	return newest
}

// Serving returns the replica that takes the requests of clients now: the leader, or
// without a leader one of the running replicas. Serving returns nil if none runs.
func (c *Cluster) Serving() *etcdapi.Server {
	if leader := c.leader(); leader != nil {
		return leader
	}
	for _, r := range c.replicas {
		c.linking.Lock()
		cut := c.cut[hostID(r.peer)]
		c.linking.Unlock()
		if s := r.etcd(); s != nil && !cut {
			return s.server
		}
	}
	return nil
}

// Live reports why the process has to be restarted: no replica runs, and none was
// stopped.
func (c *Cluster) Live() error {
	var all []error
	for _, st := range c.Status() {
		if st.State != "failed" {
			return nil
		}
		all = append(all, errors.New(st.Error))
	}
	return errors.Join(all...)
}

// Health reports why the store should get no requests (see [etcdapi.Server.Health]).
func (c *Cluster) Health(ctx context.Context, linearizable bool, excluded map[string]bool) error {
	if !linearizable {
		if s := c.Serving(); s != nil {
			return s.Health(ctx, false, excluded)
		}
		return c.noLeader()
	}
	leader := c.awaitLeader(ctx)
	if leader == nil {
		return c.noLeader()
	}
	return leader.Health(ctx, true, excluded)
}

// Check reports why the store fails a check (see [etcdapi.Server.Check]).
func (c *Cluster) Check(ctx context.Context, name string) error {
	s := c.Serving()
	if name == etcdapi.CheckLinearizableRead {
		s = c.awaitLeader(ctx)
	}
	if s == nil {
		return c.noLeader()
	}
	return s.Check(ctx, name)
}

// Drain ends the streams of clients of etcd's API. Other requests are served until Close.
func (c *Cluster) Drain() {
	for _, r := range c.replicas {
		if s := r.etcd(); s != nil {
			s.server.Drain()
		}
	}
}

// Sources returns the sources of the figures of all replicas.
func (c *Cluster) Sources() []clientport.Source {
	all := make([]clientport.Source, len(c.replicas))
	for i, r := range c.replicas {
		all[i] = r
	}
	return all
}

// Figures implements clientport.Source.
func (r *replica) Figures() *clientport.Figures {
	run := r.current()
	if run == nil {
		return nil
	}
	return &clientport.Figures{Server: run.server.(*etcdService).server, Host: run.host.Stats()}
}
