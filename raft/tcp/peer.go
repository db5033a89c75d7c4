package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// peer is another host with the connection for messages to that host.
type peer struct {
	transport *Transport
	id        core.NodeID
	ctx       context.Context // ends when the peer is closed
	cancel    context.CancelFunc
	wake      chan struct{} // capacity 1: there is something to send

	mu         sync.Mutex
	configured string        // the address by SetPeer
	told       string        // the address by the peer itself, which may be newer
	address    string        // one of the two, to be dialled next
	moved      chan struct{} // closed when there is a new address
	connected  bool
	limit      int // for the payload of a frame, while connected
	queue      []node.Message
	bytes      int // of queue
	roundTrips node.Histogram

	sentBytes, receivedBytes, dropped atomic.Int64
}

func newPeer(t *Transport, id core.NodeID) *peer {
	p := &peer{transport: t, id: id, moved: make(chan struct{}), wake: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *peer) close() { p.cancel() }

// figures returns the figures of the peer.
func (p *peer) figures() PeerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStats{SentBytes: p.sentBytes.Load(), ReceivedBytes: p.receivedBytes.Load(), Dropped: p.dropped.Load(), RoundTrips: p.roundTrips}
}

// drop counts messages that are not sent.
func (p *peer) drop(messages int) {
	p.dropped.Add(int64(messages))
	p.transport.stats.dropped.Add(int64(messages))
}

// setAddress takes over a new address, by the configuration or told by the peer. A
// repeated address is no news, and does not replace a newer one of the other kind. A
// working connection outlives the peer's first word, because the peer has not moved
// meanwhile.
func (p *peer) setAddress(address string, told bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := &p.configured
	if told {
		known = &p.told
	}
	if address == *known {
		return
	}
	first := *known == ""
	*known = address
	switch {
	case !told && first && p.told != "": // the peer has come before the configuration
		return
	case told && first && p.connected:
		return
	}
	if address != p.address {
		p.address = address
		close(p.moved)
		p.moved = make(chan struct{})
	}
}

// isMember reports whether the host, and not only the peer itself, has named the peer.
func (p *peer) isMember() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.configured != ""
}

// unreachable chooses the other address, if there is one, after a failure to reach
// the peer at address.
func (p *peer) unreachable(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range []string{p.told, p.configured} {
		if p.address == address && other != "" && other != address {
			p.address = other
			return
		}
	}
}

// send queues messages, if the peer is connected and there is room.
func (p *peer) send(messages []node.Message) {
	p.mu.Lock()
	dropped := 0
	for i := range messages {
		size := messages[i].Size()
		if !p.connected || p.bytes > 0 && p.bytes+size > p.transport.opts.MaxQueueBytes {
			dropped++
			continue
		}
		p.queue = append(p.queue, messages[i])
		p.bytes += size
	}
	p.mu.Unlock()
	if dropped > 0 {
		p.drop(dropped)
	}
	if dropped < len(messages) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// take returns what is queued. spare becomes the new queue.
func (p *peer) take(spare []node.Message) []node.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.queue
	p.queue, p.bytes = spare[:0], 0
	return taken
}

// reached begins to queue messages, for a connection to address, and returns the channel
// for the end of the connection. The peer is at address, so another address, told during
// the handshake, has to wait. An address that neither the membership nor
// the peer names is left.
func (p *peer) reached(address string, limit int, moved chan struct{}) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.limit = true, limit
	p.queue, p.bytes = nil, 0
	if address != p.configured && address != p.told {
		return moved
	}
	p.address = address
	return p.moved
}

// Reasons of this host for the end of a connection.
var (
	errMoved = errors.New("the peer has another address")
	errLeft  = errors.New("this host no longer needs the peer, or is closed")
)

// endedBy returns why a connection ended. This host's own reason comes before the error
// of the closed connection.
func (p *peer) endedBy(moved <-chan struct{}, err error) error {
	select {
	case <-p.ctx.Done():
		return errLeft
	case <-moved:
		return errMoved
	default:
		return err
	}
}

// lost ends the queue.
func (p *peer) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.limit = false, 0
	p.drop(len(p.queue))
	p.queue, p.bytes = nil, 0
}

// run is the goroutine of a peer. It dials the peer and sends the queue.
func (p *peer) run() {
	t := p.transport
	backoff, failures := t.opts.MinBackoff, make(map[string]string) // by address
	for p.ctx.Err() == nil {
		p.mu.Lock()
		address, moved := p.address, p.moved
		p.mu.Unlock()
		begun := time.Now()
		connected, err := p.connect(address, moved)
		if p.ctx.Err() != nil {
			return
		}
		if connected {
			clear(failures)
			t.log.Info("connection lost", "to", uint64(p.id), "address", address, "error", err)
		} else if p.unreachable(address); failures[address] != err.Error() { // a host that is down is reported once
			failures[address] = err.Error()
			t.log.Warn("peer not reached", "to", uint64(p.id), "address", address, "error", err)
		}
		if time.Since(begun) > t.opts.MaxBackoff {
			backoff = t.opts.MinBackoff
		}
		pause := time.NewTimer(backoff/2 + rand.N(backoff/2+1))
		select {
		case <-pause.C:
			backoff = min(2*backoff, t.opts.MaxBackoff)
		case <-moved:
			backoff = t.opts.MinBackoff
		case <-p.ctx.Done():
		}
		pause.Stop()
	}
}

// connect dials the peer and sends until the connection ends. It reports whether
// there was one.
func (p *peer) connect(address string, moved chan struct{}) (bool, error) {
	t := p.transport
	if address == "" {
		return false, errors.New("the address is unknown")
	}
	conn, limit, err := p.dial(address)
	if err != nil {
		return false, err
	}
	moved = p.reached(address, limit, moved)
	ended := make(chan struct{})
	defer close(ended)
	t.running.Go(func() { // closes the connection, which ends the two goroutines that use it
		select {
		case <-p.ctx.Done():
		case <-moved:
		case <-ended:
		}
		conn.Close()
	})
	t.log.Info("connected", "to", uint64(p.id), "address", address)
	t.receiver.PeerUp(p.id)
	err = p.endedBy(moved, p.sendAll(conn, limit))
	p.lost()
	t.receiver.PeerDown(p.id, err)
	return true, err
}

// dial returns a connection after the handshake, and the limit for its frames.
func (p *peer) dial(address string) (conn net.Conn, limit int, err error) {
	t := p.transport
	ctx, cancel := context.WithTimeout(p.ctx, t.opts.HandshakeTimeout)
	defer cancel()
	raw, err := t.opts.Dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, 0, err
	}
	stopping := context.AfterFunc(p.ctx, func() { raw.Close() })
	defer stopping()
	if conn, limit, err = p.begin(raw); err != nil {
		raw.Close()
		return nil, 0, explain(err)
	}
	return conn, limit, nil
}

// begin runs the handshake of a connection that was dialled.
func (p *peer) begin(raw net.Conn) (conn net.Conn, limit int, err error) {
	t := p.transport
	if err := deadline(raw, t.opts.HandshakeTimeout); err != nil {
		return nil, 0, err
	}
	conn, certified, err := t.secure(raw, false)
	if err != nil {
		return nil, 0, err
	}
	if err := t.checkCertified(certified, p.id); err != nil {
		return nil, 0, err
	}
	if limit, err = t.greet(conn, p.id); err != nil {
		return nil, 0, err
	}
	return conn, limit, conn.SetDeadline(time.Time{})
}

// checkCertified refuses a host that was dialled with another host's certificate.
// Without TLS there is no certificate.
func (t *Transport) checkCertified(certified *node.Identity, want core.NodeID) error {
	if certified == nil || covers(*certified, node.Identity{Cluster: t.self.Cluster, Host: want}) ||
		want == core.None && certified.Cluster == t.self.Cluster {
		return nil
	}
	if want == core.None {
		return fmt.Errorf("%w: its certificate is of cluster %q; want %q", ErrPeer, certified.Cluster, t.self.Cluster)
	}
	return fmt.Errorf("%w: its certificate is of host %d of cluster %q; want host %d of %q", ErrPeer, certified.Host, certified.Cluster, want, t.self.Cluster)
}

// sendAll sends what is queued, and pings, until the connection fails. limit bounds the
// frames.
func (p *peer) sendAll(conn net.Conn, limit int) error {
	t := p.transport
	pongs := make(chan error, 1)
	t.running.Go(func() {
		pongs <- p.readPongs(conn)
		conn.Close()
	})
	ping := time.NewTicker(max(t.opts.IdleTimeout/4, time.Millisecond))
	defer ping.Stop()
	w := sender{peer: p, conn: conn, limit: limit}
	for {
		select {
		case <-p.wake:
			if w.last > 1 {
				runtime.Gosched() // for the messages that follow, since a frame costs more than a message
			}
			if err := w.sendQueued(); err != nil {
				return err
			}
		case <-ping.C:
			if err := w.ping(); err != nil {
				return err
			}
		case err := <-pongs:
			return err
		}
	}
}

// readPongs notices that the peer is gone.
func (p *peer) readPongs(conn net.Conn) error {
	buf := make([]byte, 8)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(p.transport.opts.IdleTimeout)); err != nil {
			return err
		}
		_, payload, err := readFrame(conn, len(buf), buf)
		if err != nil {
			return err
		}
		p.answered(payload)
	}
}

// answered takes the round trip time of a ping, which had the time in its payload.
func (p *peer) answered(payload []byte) {
	if len(payload) != 8 {
		return
	}
	now := time.Since(p.transport.opened)
	if sent := time.Duration(binary.BigEndian.Uint64(payload)); sent > 0 && sent <= now {
		p.mu.Lock()
		p.roundTrips.Observe(now - sent)
		p.mu.Unlock()
	}
}

// sender writes frames.
type sender struct {
	peer   *peer
	conn   net.Conn
	limit  int       // for the payload of a frame
	pinged time.Time // when the last ping was written
	frame  frameWriter
	spare  []node.Message
	last   int // messages that were queued last time
	pieces [][]byte
	warned bool // of a message above the limit
}

func (w *sender) ping() error {
	w.pinged = time.Now()
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.peer.transport.opts.IdleTimeout)); err != nil {
		return err
	}
	sent := time.Since(w.peer.transport.opened)
	return writeFrame(w.conn, framePing, binary.BigEndian.AppendUint64(nil, uint64(sent)))
}

// sendQueued sends all that is queued, in as few frames as the limit allows.
func (w *sender) sendQueued() error {
	messages := w.peer.take(w.spare)
	w.last = len(messages)
	defer func() { clear(messages); w.spare = messages }()
	// A frame ends before the message that may pass the limit; the margin holds
	// a message's overhead.
	w.frame.reset()
	count := 0
	for i := range messages {
		if count > 0 && w.frame.size+messages[i].Size() > min(w.limit, frameTarget) {
			if err := w.flush(count); err != nil {
				return err
			}
			count = 0
		}
		if err := w.frame.add(messages[i]); err != nil {
			w.peer.transport.log.Error("message not sent", "error", err)
			continue
		}
		count++
	}
	if count == 0 {
		return nil
	}
	return w.flush(count)
}

// frameTarget is the size from which on a frame is complete. A larger frame would
// only delay its first message.
const frameTarget = 1 << 20

// flush writes the frame and begins another.
func (w *sender) flush(messages int) error {
	t := w.peer.transport
	if size := w.frame.size - headerBytes; size > w.limit {
		if !w.warned { // Raft sends the message again and again
			w.warned = true
			t.log.Error("message not sent", "to", uint64(w.peer.id), "bytes", size, "limit", w.limit)
		}
		w.peer.drop(messages)
		w.frame.reset()
		return nil
	}
	w.pieces = w.frame.finish(w.pieces)
	if err := w.conn.SetWriteDeadline(time.Now().Add(t.opts.IdleTimeout)); err != nil {
		return err
	}
	begun := time.Now()
	t.stats.sentFrames.Add(1)
	t.stats.sentBytes.Add(int64(w.frame.size))
	w.peer.sentBytes.Add(int64(w.frame.size))
	t.stats.sentMessages.Add(int64(messages))
	var err error
	if len(w.pieces) == 1 {
		_, err = w.conn.Write(w.pieces[0])
	} else {
		buffers := net.Buffers(w.pieces) // one vectored write
		_, err = buffers.WriteTo(w.conn)
		clear(w.pieces)
	}
	w.frame.reset()
	if err == nil {
		err = w.keepAlive(begun)
	}
	return err
}

// keepAlive keeps a slow connection from being taken for a dead one, after a write.
// Pings must not wait for the end of a long queue. A write that had to wait for the
// peer's reading is as good as an answer to a ping.
func (w *sender) keepAlive(begun time.Time) error {
	now, idle := time.Now(), w.peer.transport.opts.IdleTimeout
	if now.Sub(begun) > idle/32 {
		if err := w.conn.SetReadDeadline(now.Add(idle)); err != nil {
			return err
		}
	}
	if now.Sub(w.pinged) > idle/4 {
		return w.ping()
	}
	return nil
}
