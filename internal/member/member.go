//go:build !wasip1

package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/etcdapi"
	"raftlab/raft/tcp"
)

// Member is a member in a process. Its methods may be called from any goroutine.
type Member struct {
	opts  Options
	log   *slog.Logger
	gates *gates
	ports []*clientport.Port

	// turn is held by the one who starts, stops or closes the member's engine.
	turn chan struct{}

	mu      sync.Mutex
	engine  *engine                 // the last one
	stopped bool                    // by an operator; the engine is closed
	lobby   *lobby                  // while stopped
	members []etcdapi.MemberPicture // at the last stop

	running sync.WaitGroup
	failure error         // set before ended is closed
	ended   chan struct{} // closed by the first failure
	failing sync.Once
	done    chan struct{}
	closing sync.Once
	err     error // of Close
}

// store is what a member serves: etcd's API, or groups.
type store interface {
	// services are those of gRPC for clients, nil for none. The services and the pages
	// serve the member's next store, too.
	services(calls grpc.ServerOption) *grpc.Server
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
	if clientTLS != nil && !slices.ContainsFunc(slices.Concat(o.clients, o.metrics), func(e endpoint) bool { return e.secure }) {
		o.Logger.Warn("the certificate for clients has no use, because all addresses are without TLS", "listen", o.Listen)
	}
	// The ports come first. If another process on the same data holds them, the error
	// names the address.
	open, err := listen(&o)
	if err != nil {
		return nil, err
	}
	m := &Member{opts: o, log: o.Logger, gates: open, turn: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{})}
	if m.engine, err = m.open(); err != nil {
		return nil, errors.Join(err, open.close())
	}
	if err := m.newPorts(clientTLS); err != nil {
		return nil, errors.Join(err, open.close(), m.engine.close())
	}
	m.follow(m.engine)
	m.servePorts()
	return m, nil
}

// fail ends Wait.
func (m *Member) fail(err error) {
	m.failing.Do(func() {
		m.failure = err
		close(m.ended)
	})
}

// follow ends Wait when the store of an engine ends by itself.
func (m *Member) follow(e *engine) {
	m.running.Go(func() {
		select {
		case <-e.store.ended():
			if !e.closing.Load() {
				m.fail(e.store.failure())
			}
		case <-m.done:
		}
	})
}

// listenPeers opens the port for the other members, at one address or more.
func (o *Options) listenPeers(addresses ...string) (*tcp.Transport, error) {
	opts := tcp.Options{Listen: addresses[0], ListenMore: addresses[1:], Advertise: o.AdvertisePeer, Logger: o.Logger}
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
			Cluster: o.ClusterName, AnyCertificate: o.PeerAnyCertificate, Allow: o.allowPeer(),
		}
	}
	return tcp.Listen(opts)
}

// Address returns the address of the client port.
func (m *Member) Address() net.Addr { return m.ports[0].Address() }

// PeerAddress returns the address that the other members dial.
func (m *Member) PeerAddress() string { return m.last().link.Address() }

// Ready is closed when the member has answered a request since its last start.
func (m *Member) Ready() <-chan struct{} { return m.last().store.ready() }

// Server returns the member's services of etcd's API, nil for a store with groups. The
// services of a stopped member are closed.
func (m *Member) Server() *etcdapi.Server {
	if s, ok := m.last().store.(*etcdStore); ok {
		return s.server
	}
	return nil
}

// last returns the engine, which is closed if the member is stopped.
func (m *Member) last() *engine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine
}

// current returns the engine, nil if the member is stopped.
func (m *Member) current() *engine {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil
	}
	return m.engine
}

// Wait waits until the member ends, by Close or by a failure, and returns the failure. A
// failed member has to be closed.
func (m *Member) Wait() error {
	select {
	case <-m.ended:
		return m.failure
	case <-m.done:
		return nil
	}
}

// Close ends the member in order. A leader hands the leadership over first. Streams then
// end, and requests under way are answered. After 5 s the rest is cut off, with errors of
// etcd that clients know. Close may be called more than once.
func (m *Member) Close() error {
	m.closing.Do(func() {
		m.turn <- struct{}{} // nobody starts or stops the engine any more
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if e := m.current(); e != nil {
			e.store.handOver(ctx)
			e.store.drain()
			m.err = errors.Join(m.closePorts(ctx), e.close())
		} else {
			m.err = errors.Join(m.closePorts(ctx), m.lobby.close())
		}
		close(m.done)
		m.running.Wait()
	})
	return m.err
}
