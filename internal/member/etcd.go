//go:build !wasip1

package member

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// etcdStore is a store without groups, with etcd's API.
type etcdStore struct {
	member  *Member
	engine  *engine
	server  *etcdapi.Server
	peers   *grpc.Server // on the streams of the other members
	serving sync.WaitGroup
}

// openEtcd starts the store of a member without groups.
func (m *Member) openEtcd(e *engine, dir *directory, streams net.Listener) (store, error) {
	o := &m.opts
	if dir.fresh {
		if !dir.Joined {
			if err := m.checkFirstStart(e.link.Transport); err != nil {
				return nil, err
			}
		}
		if err := dir.run(o.Data); err != nil {
			return nil, err
		}
	}
	members := o.members(dir.Identity().Cluster)
	if dir.Joined { // the leader tells a later member the others
		members = nil
	}
	s := &etcdStore{member: m, engine: e}
	var err error
	s.server, err = etcdapi.Start(etcdapi.Config{
		Host: e.host,
		Node: node.Config{
			Members: members, Join: dir.Joined,
			HeartbeatInterval: o.HeartbeatInterval, ElectionTimeout: o.ElectionTimeout,
			SnapshotEntries: o.SnapshotEntries,
		},
		ClusterID: uint64(dir.ClusterNumber), Name: o.Name, ClientURLs: o.Advertise, PeerScheme: o.peerScheme(), PeerAddress: o.AdvertisePeer,
		DialMember: e.link.dial,
		Tokens:     o.tokens, CertificateUsers: o.CertificateUsers, AutoCompaction: o.compaction,
		ProgressInterval: o.ProgressInterval, CompareInterval: o.CompareInterval, SlowRequest: o.SlowRequest, MaxStreams: o.MaxStreams,
		MaxRequestBytes: o.MaxRequestBytes, MaxTxnOps: o.MaxTxnOps, Quota: o.Quota,
		Connections: &e.peers, LooseReconfig: o.LooseReconfig, MaxLearners: o.MaxLearners,
		Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.peers = grpc.NewServer(append(s.server.PeerOptions(), grpc.InTapHandle(e.link.admit))...)
	s.server.RegisterPeers(s.peers)
	m.registerControl(s.peers)
	s.serving.Go(func() { _ = s.peers.Serve(streams) })
	return s, nil
}

func (s *etcdStore) services(calls grpc.ServerOption) *grpc.Server {
	o := &s.member.opts
	if !o.Admin { // nobody replaces the store
		g := grpc.NewServer(append(s.server.Options(), calls)...)
		s.server.Register(g)
		return g
	}
	router := &etcdapi.Router{Pick: front{s.member}.serving}
	options := append(router.Options(), etcdapi.Limits(o.MaxRequestBytes, o.MaxStreams)...)
	g := grpc.NewServer(append(options, calls)...)
	router.Register(g)
	return g
}

func (s *etcdStore) pages() clientport.Pages {
	f := front{s.member}
	return clientport.Pages{
		Health: f.health, Live: f.live, Checks: etcdapi.Checks(), Check: f.check,
		Metrics: clientport.NewMetrics(f), Hosts: f.member.opts.Hosts,
		Others: f.newPage(),
	}
}

// front leads clients to the store without groups that the member runs at the time.
type front struct{ member *Member }

// store returns the store, nil if the member is stopped.
func (f front) store() *etcdStore {
	if e := f.member.current(); e != nil {
		return e.store.(*etcdStore)
	}
	return nil
}

// serving returns the services of the store, nil if the member is stopped.
func (f front) serving() *etcdapi.Server {
	if s := f.store(); s != nil {
		return s.server
	}
	return nil
}

// Figures implements clientport.Source.
func (f front) Figures() *clientport.Figures {
	s := f.store()
	if s == nil {
		return nil
	}
	net := s.engine.link.Stats()
	return &clientport.Figures{Server: s.server, Host: s.engine.host.Stats(), Net: &net}
}

// errStopped is the reason why a stopped member is not healthy.
var errStopped = errors.New("an operator has stopped the member")

func (f front) health(ctx context.Context, linearizable bool, excluded map[string]bool) error {
	if s := f.serving(); s != nil {
		return s.Health(ctx, linearizable, excluded)
	}
	return errStopped
}

func (f front) check(ctx context.Context, name string) error {
	if s := f.serving(); s != nil {
		return s.Check(ctx, name)
	}
	return errStopped
}

// live reports the failure of the member. A restart of a stopped member is the operator's.
func (f front) live() error {
	if s := f.serving(); s != nil {
		return etcdapi.Stopped(s.Node())
	}
	return nil
}

func (s *etcdStore) ready() <-chan struct{} { return s.server.Ready() }

func (s *etcdStore) ended() <-chan struct{} { return s.server.Node().Done() }

func (s *etcdStore) failure() error { return etcdapi.Stopped(s.server.Node()) }

func (s *etcdStore) handOver(ctx context.Context) {
	if !s.server.Node().IsLeader() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.member.opts.ElectionTimeout)
	defer cancel()
	if err := s.server.Node().TransferLeadership(ctx, core.None); err != nil {
		s.member.log.Info("the leadership was not handed over", "error", err)
	}
}

func (s *etcdStore) drain() { s.server.Drain() }

func (s *etcdStore) close() error {
	err := s.server.Close()
	finish(s.peers)
	return err
}

func (s *etcdStore) wait() { s.serving.Wait() }
