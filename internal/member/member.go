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
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// Member is a running member. Its methods may be called from any goroutine.
type Member struct {
	opts      Options
	log       *slog.Logger
	transport *tcp.Transport
	host      *node.Host
	store     store
	ports     []*clientport.Port

	running sync.WaitGroup
	failed  chan error // has room for the failures of all ports
	done    chan struct{}
	closing sync.Once
	err     error // of Close
}

// store is what a member serves: etcd's API, or groups.
type store interface {
	// services are those of gRPC for clients, nil for none.
	services() *grpc.Server
	// pages are the probes and the figures, and the pages for people.
	pages() clientport.Pages
	// ready is closed when the store has answered a request.
	ready() <-chan struct{}
	// ended is closed when the store has stopped, and failure has the reason.
	ended() <-chan struct{}
	failure() error
	// handOver gives leaderships to other members.
	handOver(ctx context.Context)
	// drain ends the streams of clients, and close ends the store before the host.
	drain()
	close() error
	// wait waits for the goroutines of the store after the end of the host.
	wait()
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
		err = errors.Join(err, closeAll(listeners), m.store.close(), m.host.Close())
		m.store.wait()
		return nil, err
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
	if dir.Groups > 0 {
		m.store, err = m.openGroups(dir, streams)
	} else {
		m.store, err = m.openEtcd(dir, streams)
	}
	if err != nil {
		return errors.Join(err, m.host.Close())
	}
	return nil
}

// Address returns the address of the client port.
func (m *Member) Address() net.Addr { return m.ports[0].Address() }

// PeerAddress returns the address that the other members dial.
func (m *Member) PeerAddress() string { return m.transport.Address() }

// Ready is closed when the member has answered a request.
func (m *Member) Ready() <-chan struct{} { return m.store.ready() }

// Server returns the member's services of etcd's API, nil for a store with groups.
func (m *Member) Server() *etcdapi.Server {
	if e, ok := m.store.(*etcdStore); ok {
		return e.server
	}
	return nil
}

// Wait waits until the member ends, by Close or by a failure, and returns the failure. A
// failed member has to be closed.
func (m *Member) Wait() error {
	select {
	case err := <-m.failed:
		return err
	case <-m.store.ended():
		return m.store.failure()
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
		m.store.handOver(ctx)
		m.store.drain()
		err := errors.Join(m.closePorts(ctx), m.store.close())
		hangs := m.host.Close()
		if !errors.Is(hangs, node.ErrStalled) && !errors.Is(hangs, node.ErrBlocked) {
			m.store.wait()
		}
		m.err = errors.Join(err, hangs)
		close(m.done)
		m.running.Wait()
	})
	return m.err
}
