//go:build !wasip1

package member

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"

	"raftlab/internal/etcdapi"
	"raftlab/internal/shardstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// engine is what runs below the ports for clients, until the member is stopped: the log,
// the port for the other members, and the store.
type engine struct {
	link    *link
	host    *node.Host
	peers   etcdapi.Connections
	store   store
	closing atomic.Bool // the end of the store is no failure
}

// open starts an engine on the data directory.
func (m *Member) open() (*engine, error) {
	o := &m.opts
	transport, err := o.listenPeers(o.peerPorts...)
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(o, m.newcomer)
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	e := &engine{link: newLink(transport)}
	streams := transport.Streams()
	e.host, err = node.NewHost(node.HostConfig{Storage: dir.storage, Transport: e.link, Observe: e.peers.Observe, Logger: o.Logger})
	if err != nil {
		return nil, err // NewHost has closed both
	}
	if dir.Groups > 0 {
		e.store, err = m.openGroups(e, dir, streams)
	} else {
		e.store, err = m.openEtcd(e, dir, streams)
	}
	if err != nil {
		return nil, errors.Join(err, e.host.Close())
	}
	return e, nil
}

// close ends the engine. The goroutines of a store whose host hangs are left behind.
func (e *engine) close() error {
	e.closing.Store(true)
	err := e.store.close()
	hangs := e.host.Close()
	if !errors.Is(hangs, node.ErrStalled) && !errors.Is(hangs, node.ErrBlocked) {
		e.store.wait()
	}
	return errors.Join(err, hangs)
}

// finishTimeout bounds the time for answers to other members that are on their way.
const finishTimeout = time.Second

// finish ends a server after the answers that are on their way, such as that to the wish
// to stop the member.
func finish(g *grpc.Server) {
	late := time.AfterFunc(finishTimeout, g.Stop)
	defer late.Stop()
	g.GracefulStop()
}

// errCut is the error of a request to or from a member that is cut off.
var errCut = errors.New("the member is cut off from the others")

// link is the transport of a member, which an operator can cut. While the link is cut,
// messages are dropped in both directions, and no request of the members to each other
// passes, apart from those of operators.
type link struct {
	*tcp.Transport
	cut atomic.Bool

	mu      sync.Mutex
	dialled map[*linked]struct{}
}

func newLink(t *tcp.Transport) *link {
	return &link{Transport: t, dialled: make(map[*linked]struct{})}
}

// linked is a connection that ends with the link.
type linked struct {
	net.Conn
	link *link
}

// Close implements net.Conn.
func (c *linked) Close() error {
	c.link.mu.Lock()
	delete(c.link.dialled, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// dial connects to another member for requests.
func (l *link) dial(ctx context.Context, id core.NodeID) (net.Conn, error) {
	conn, err := l.DialStream(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &linked{conn, l}
	l.mu.Lock()
	l.dialled[c] = struct{}{}
	l.mu.Unlock()
	if l.cut.Load() { // set before the connections are closed
		_ = c.Close()
		return nil, errCut
	}
	return c, nil
}

// set cuts the link, or ends the cut.
func (l *link) set(cut bool) {
	l.cut.Store(cut)
	if !cut {
		return
	}
	l.mu.Lock()
	all := make([]*linked, 0, len(l.dialled))
	for c := range l.dialled {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// admit refuses the requests of other members while the link is cut.
func (l *link) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if l.cut.Load() && !strings.HasPrefix(info.FullMethodName, controlPath) {
		return ctx, errCut
	}
	return ctx, nil
}

// SetPeer implements node.Transport. An address of a store with groups may begin with the
// name of the process.
func (l *link) SetPeer(id core.NodeID, address string) {
	_, plain := shardstore.SplitAddress(address)
	l.Transport.SetPeer(id, plain)
}

// Send implements node.Transport.
func (l *link) Send(to core.NodeID, messages []node.Message) {
	if !l.cut.Load() {
		l.Transport.Send(to, messages)
	}
}

// Start implements node.Transport.
func (l *link) Start(self node.Identity, receiver node.Receiver) error {
	return l.Transport.Start(self, &cuttable{receiver, l})
}

// cuttable is a receiver that hears nothing while the link is cut.
type cuttable struct {
	node.Receiver
	link *link
}

// Receive implements node.Receiver.
func (c *cuttable) Receive(from core.NodeID, messages []node.Message) {
	if !c.link.cut.Load() {
		c.Receiver.Receive(from, messages)
	}
}
