//go:build !wasip1

package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// Member is a running member. Its methods may be called from any goroutine.
type Member struct {
	opts      Options
	log       *slog.Logger
	transport *tcp.Transport
	host      *node.Host
	server    *etcdapi.Server
	peers     *grpc.Server // on the streams of the other members
	ports     []*clientport.Port

	running sync.WaitGroup
	failed  chan error // has room for the failures of all ports
	done    chan struct{}
	closing sync.Once
	err     error // of Close
}

// shutdownTimeout bounds the end of a member in order.
const shutdownTimeout = 5 * time.Second

// Start starts a member. Start returns when the ports are open, and does not wait for a
// leader.
func Start(o Options) (*Member, error) {
	m, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", o.Name, err)
	}
	return m, nil
}

func start(o Options) (*Member, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	clientTLS, err := o.clientTLS()
	if err != nil {
		return nil, err
	}
	// The ports come first. If another process on the same data holds them, the error
	// names the address.
	listeners, err := listen(&o)
	if err != nil {
		return nil, err
	}
	m := &Member{opts: o, log: o.Logger, done: make(chan struct{})}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, closeAll(listeners))
	}
	if err := m.newPorts(listeners, clientTLS); err != nil {
		err = errors.Join(err, m.server.Close(), closeAll(listeners))
		m.peers.Stop()
		return nil, errors.Join(err, m.host.Close())
	}
	m.failed = make(chan error, len(m.ports))
	for _, p := range m.ports {
		m.running.Go(func() { m.failed <- p.Serve() })
	}
	return m, nil
}

// listenPeers opens a port for the other members.
func (o *Options) listenPeers(address string) (*tcp.Transport, error) {
	opts := tcp.Options{Listen: address, Advertise: o.AdvertisePeer, Logger: o.Logger}
	switch {
	case o.PeerAutoTLS:
		cert, err := selfSigned(o.AdvertisePeer)
		if err != nil {
			return nil, err
		}
		opts.TLS = &tcp.TLS{Anonymous: cert}
	case o.PeerTLS.empty():
		opts.Plaintext = true
	default:
		opts.TLS = &tcp.TLS{
			CertFile: o.PeerTLS.Cert, KeyFile: o.PeerTLS.Key, CAFile: o.PeerTLS.CA,
			Cluster: o.ClusterName, AnyCertificate: o.PeerAnyCertificate,
		}
	}
	return tcp.Listen(opts)
}

// open starts everything below the client port.
func (m *Member) open() error {
	o := &m.opts
	transport, err := o.listenPeers(o.ListenPeer)
	if err != nil {
		return err
	}
	dir, err := openDirectory(o, m.newcomer)
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	m.transport = transport
	streams := transport.Streams()
	m.host, err = node.NewHost(node.HostConfig{Storage: dir.storage, Transport: transport, Logger: o.Logger})
	if err != nil {
		return err // NewHost has closed both
	}
	if dir.fresh {
		if !dir.Joined {
			err = m.checkFirstStart()
		}
		if err == nil {
			err = dir.run(o.Data)
		}
		if err != nil {
			return errors.Join(err, m.host.Close())
		}
	}
	members := o.members(dir.Identity().Cluster)
	if dir.Joined { // the leader tells a later member the others
		members = nil
	}
	m.server, err = etcdapi.Start(etcdapi.Config{
		Host: m.host,
		Node: node.Config{
			Members: members, Join: dir.Joined,
			HeartbeatInterval: o.HeartbeatInterval, ElectionTimeout: o.ElectionTimeout,
			SnapshotEntries: o.SnapshotEntries,
		},
		ClusterID: uint64(dir.ClusterNumber), Name: o.Name, ClientURLs: o.Advertise, PeerScheme: o.peerScheme(), PeerAddress: o.AdvertisePeer,
		DialMember: func(ctx context.Context, id core.NodeID) (net.Conn, error) { return transport.DialStream(ctx, id) },
		Tokens:     o.tokens, CertificateUsers: o.CertificateUsers, AutoCompaction: o.compaction,
		ProgressInterval: o.ProgressInterval, CompareInterval: o.CompareInterval, MaxStreams: o.MaxStreams,
		MaxRequestBytes: o.MaxRequestBytes, MaxTxnOps: o.MaxTxnOps, Quota: o.Quota,
		Logger: o.Logger,
	})
	if err != nil {
		return errors.Join(err, m.host.Close())
	}
	m.peers = grpc.NewServer(m.server.PeerOptions()...)
	m.server.RegisterPeers(m.peers)
	m.running.Go(func() { _ = m.peers.Serve(streams) })
	return nil
}

// Address returns the address of the client port.
func (m *Member) Address() net.Addr { return m.ports[0].Address() }

// PeerAddress returns the address that the other members dial.
func (m *Member) PeerAddress() string { return m.transport.Address() }

// Figures implements clientport.Source.
func (m *Member) Figures() *clientport.Figures {
	net := m.transport.Stats()
	return &clientport.Figures{Server: m.server, Host: m.host.Stats(), Net: &net}
}

// Server returns the member's services.
func (m *Member) Server() *etcdapi.Server { return m.server }

// Wait waits until the member ends, by Close or by a failure, and returns the failure. A
// failed member has to be closed.
func (m *Member) Wait() error {
	select {
	case err := <-m.failed:
		return err
	case <-m.server.Node().Done():
		return m.server.Node().Err()
	case <-m.done:
		return nil
	}
}

// Close ends the member in order. A leader hands the leadership over first. Streams then
// end, and requests under way are answered. After 5 s the rest is cut off, with errors of
// etcd that clients know. Close may be called more than once.
func (m *Member) Close() error {
	m.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		m.handOver(ctx)
		m.server.Drain()
		m.err = errors.Join(m.closePorts(ctx), m.server.Close())
		m.peers.Stop()
		m.err = errors.Join(m.err, m.host.Close())
		close(m.done)
		m.running.Wait()
	})
	return m.err
}

// handOver gives the leadership to another member.
func (m *Member) handOver(ctx context.Context) {
	if !m.server.Node().IsLeader() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*m.opts.ElectionTimeout)
	defer cancel()
	if err := m.server.Node().TransferLeadership(ctx, core.None); err != nil {
		m.log.Info("the leadership was not handed over", "error", err)
	}
}
