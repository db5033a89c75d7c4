package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Transport is a host's [node.Transport] over TCP.
type Transport struct {
	opts      Options
	log       *slog.Logger
	listeners []net.Listener
	address   string

	stop    chan struct{} // closed by Close
	opened  time.Time
	running sync.WaitGroup
	closing sync.Once
	stats   counters

	mu       sync.Mutex
	self     node.Identity
	receiver node.Receiver // nil before Start
	closed   bool
	peers    map[core.NodeID]*peer
	incoming map[net.Conn]core.NodeID // 0 before the handshake, and for a stream
	dialled  map[net.Conn]struct{}    // for streams
	backlog  *backlog                 // of streams, nil before Streams
}

var (
	_ node.Transport = (*Transport)(nil)
	_ node.Limited   = (*Transport)(nil)
)

// Stats are a transport's counters since its start.
type Stats struct {
	// SentFrames, SentBytes and SentMessages count writes to connections, and the
	// other three count reads.
	SentFrames, SentBytes, SentMessages             int64
	ReceivedFrames, ReceivedBytes, ReceivedMessages int64
	// Dropped counts the messages for which a queue had no room, or a peer no
	// connection.
	Dropped int64
	// Peers is the number of hosts to which this one connects, and Connections the
	// number of incoming connections now.
	Peers, Connections int
	// Refused counts incoming connections that were closed before the end of
	// the handshake.
	Refused int64
	// ByPeer has the figures of each of Peers.
	ByPeer map[core.NodeID]PeerStats
}

// PeerStats are the figures of a host to which this one connects, since this host has
// known the peer.
type PeerStats struct {
	// SentBytes and ReceivedBytes count the frames of messages.
	SentBytes, ReceivedBytes int64
	// Dropped counts the messages for the peer for which the queue had no room, or the
	// peer no connection, and those that were lost with a connection before they were sent.
	Dropped int64
	// RoundTrips is how long the peer took to answer pings.
	RoundTrips node.Histogram
}

type counters struct {
	sentFrames, sentBytes, sentMessages             atomic.Int64
	receivedFrames, receivedBytes, receivedMessages atomic.Int64
	dropped, refused                                atomic.Int64
}

// Listen opens the transport's ports. Connections are accepted once the host
// starts the transport.
func Listen(opts Options) (*Transport, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	if opts.TLS != nil {
		if err := opts.TLS.load(); err != nil {
			return nil, fmt.Errorf("tcp: %w", err)
		}
	}
	t := &Transport{
		opts:     opts,
		log:      opts.Logger,
		opened:   time.Now(),
		stop:     make(chan struct{}),
		peers:    make(map[core.NodeID]*peer),
		incoming: make(map[net.Conn]core.NodeID),
		dialled:  make(map[net.Conn]struct{}),
	}
	for _, address := range append([]string{opts.Listen}, opts.ListenMore...) {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("tcp: %w", err), t.closeListeners())
		}
		t.listeners = append(t.listeners, listener)
	}
	if t.address = opts.Advertise; t.address == "" {
		t.address = t.listeners[0].Addr().String()
	}
	return t, nil
}

func (t *Transport) closeListeners() error {
	var all []error
	for _, l := range t.listeners {
		all = append(all, l.Close())
	}
	return errors.Join(all...)
}

// Address returns the address that other hosts dial.
func (t *Transport) Address() string { return t.address }

// Stats returns the transport's counters.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	peers, connections := len(t.peers), len(t.incoming)
	byPeer := make(map[core.NodeID]PeerStats, peers)
	for id, p := range t.peers {
		if id != t.self.Host {
			byPeer[id] = p.figures()
		}
	}
	t.mu.Unlock()
	c := &t.stats
	return Stats{
		Peers: peers, Connections: connections, ByPeer: byPeer,
		SentFrames: c.sentFrames.Load(), SentBytes: c.sentBytes.Load(), SentMessages: c.sentMessages.Load(),
		ReceivedFrames: c.receivedFrames.Load(), ReceivedBytes: c.receivedBytes.Load(), ReceivedMessages: c.receivedMessages.Load(),
		Dropped: c.dropped.Load(), Refused: c.refused.Load(),
	}
}

// Start begins to accept connections and to dial the peers.
func (t *Transport) Start(self node.Identity, receiver node.Receiver) error {
	if t.opts.TLS != nil {
		if err := t.opts.TLS.checkOwn(self); err != nil {
			return fmt.Errorf("tcp: %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.receiver != nil {
		return errors.New("tcp: the transport was started or closed before")
	}
	t.self, t.receiver = self, receiver
	t.log = t.log.With("host", uint64(self.Host))
	for _, l := range t.listeners {
		t.running.Go(func() { t.acceptAll(l) })
	}
	for _, p := range t.peers {
		t.startPeer(p)
	}
	return nil
}

// startPeer starts the goroutine that sends to a peer. t.mu is held.
func (t *Transport) startPeer(p *peer) {
	if t.receiver != nil && !t.closed && p.id != t.self.Host {
		t.running.Go(p.run)
	}
}

// SetPeer tells where a peer is. A connection to another address is closed.
// A peer that has moved tells its address itself. If the peer is not reached at one
// of the two addresses, the other one is tried.
func (t *Transport) SetPeer(id core.NodeID, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setPeer(id, address, false)
}

// setPeer takes over an address, by the host or told by the peer itself. t.mu is held.
func (t *Transport) setPeer(id core.NodeID, address string, told bool) {
	p := t.peers[id]
	if p != nil {
		p.setAddress(address, told)
		return
	}
	p = newPeer(t, id)
	p.setAddress(address, told)
	t.peers[id] = p
	t.startPeer(p)
}

// RemovePeer closes the connections to a peer, and those from it.
func (t *Transport) RemovePeer(id core.NodeID) {
	t.mu.Lock()
	p := t.peers[id]
	delete(t.peers, id)
	for conn, from := range t.incoming {
		if from == id {
			conn.Close()
		}
	}
	t.mu.Unlock()
	if p != nil {
		p.close()
	}
}

// MaxMessageBytes implements [node.Limited]. The bound is the lower MaxFrameBytes of
// the two hosts, and this host's own MaxFrameBytes for core.None.
func (t *Transport) MaxMessageBytes(to core.NodeID) int {
	if to == core.None {
		return t.opts.MaxFrameBytes
	}
	t.mu.Lock()
	p := t.peers[to]
	t.mu.Unlock()
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// Send queues messages for a peer.
func (t *Transport) Send(to core.NodeID, messages []node.Message) {
	t.mu.Lock()
	p := t.peers[to]
	t.mu.Unlock()
	if p == nil {
		t.stats.dropped.Add(int64(len(messages)))
		return
	}
	p.send(messages)
}

// Close ends all connections, and returns when the transport's goroutines have ended.
func (t *Transport) Close() error {
	var err error
	t.closing.Do(func() {
		t.mu.Lock()
		t.closed = true
		close(t.stop)
		err = t.closeListeners()
		for conn := range t.incoming {
			conn.Close()
		}
		for conn := range t.dialled {
			conn.Close()
		}
		peers := t.peers
		t.peers = make(map[core.NodeID]*peer)
		t.mu.Unlock()
		for _, p := range peers {
			p.close()
		}
	})
	t.running.Wait()
	return err
}
