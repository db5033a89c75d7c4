//go:build !wasip1

package member

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// etcdStore is a store without groups, with etcd's API.
type etcdStore struct {
	member *Member
	server *etcdapi.Server
	peers  *grpc.Server // on the streams of the other members
}

// openEtcd starts the store of a member without groups.
func (m *Member) openEtcd(dir *directory, streams net.Listener) (store, error) {
	o := &m.opts
	if dir.fresh {
		if !dir.Joined {
			if err := m.checkFirstStart(); err != nil {
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
	s := &etcdStore{member: m}
	var err error
	s.server, err = etcdapi.Start(etcdapi.Config{
		Host: m.host,
		Node: node.Config{
			Members: members, Join: dir.Joined,
			HeartbeatInterval: o.HeartbeatInterval, ElectionTimeout: o.ElectionTimeout,
			SnapshotEntries: o.SnapshotEntries,
		},
		ClusterID: uint64(dir.ClusterNumber), Name: o.Name, ClientURLs: o.Advertise, PeerScheme: o.peerScheme(), PeerAddress: o.AdvertisePeer,
		DialMember: func(ctx context.Context, id core.NodeID) (net.Conn, error) { return m.transport.DialStream(ctx, id) },
		Tokens:     o.tokens, CertificateUsers: o.CertificateUsers, AutoCompaction: o.compaction,
		ProgressInterval: o.ProgressInterval, CompareInterval: o.CompareInterval, MaxStreams: o.MaxStreams,
		MaxRequestBytes: o.MaxRequestBytes, MaxTxnOps: o.MaxTxnOps, Quota: o.Quota,
		Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.peers = grpc.NewServer(s.server.PeerOptions()...)
	s.server.RegisterPeers(s.peers)
	m.running.Go(func() { _ = s.peers.Serve(streams) })
	return s, nil
}

func (s *etcdStore) services() *grpc.Server {
	g := grpc.NewServer(s.server.Options()...)
	s.server.Register(g)
	return g
}

func (s *etcdStore) pages() clientport.Pages {
	return clientport.Pages{
		Health: s.server.Health, Live: func() error { return s.server.Node().Err() },
		Metrics: clientport.NewMetrics(s), Hosts: s.member.opts.Hosts,
		Others: s.newPage(),
	}
}

// Figures implements clientport.Source.
func (s *etcdStore) Figures() *clientport.Figures {
	net := s.member.transport.Stats()
	return &clientport.Figures{Server: s.server, Host: s.member.host.Stats(), Net: &net}
}

func (s *etcdStore) ready() <-chan struct{} { return s.server.Ready() }

func (s *etcdStore) ended() <-chan struct{} { return s.server.Node().Done() }

func (s *etcdStore) failure() error { return s.server.Node().Err() }

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
	s.peers.Stop()
	return err
}

func (s *etcdStore) wait() {}
