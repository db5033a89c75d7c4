package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Stream is a connection between two hosts for a protocol of the service, as
// opened by [Transport.DialStream]. The transport has authenticated both ends, and
// encrypts with TLS. The transport sends nothing on the connection, and sets no
// deadline.
type Stream struct {
	net.Conn

	peer    core.NodeID
	done    chan struct{} // closed by Close
	closing sync.Once
	forget  func()
}

func newStream(conn net.Conn, peer core.NodeID, forget func()) *Stream {
	return &Stream{Conn: conn, peer: peer, done: make(chan struct{}), forget: forget}
}

// Peer returns the host at the other end.
func (s *Stream) Peer() core.NodeID { return s.peer }

// Close ends the stream. Close may be called more than once.
func (s *Stream) Close() error {
	err := net.ErrClosed
	s.closing.Do(func() {
		err = s.Conn.Close()
		s.forget()
		close(s.done)
	})
	return err
}

// streamWelcome is the answer to the hello of a stream.
type streamWelcome struct {
	Reason string // of a refusal, "" for none
	Host   uint64 // that answers
}

// DialStream opens a stream to a peer that SetPeer has named. HandshakeTimeout of the
// [Options] bounds the time. The error matches [ErrRefused] if the peer takes no
// streams, and [ErrPeer] if another host answers.
func (t *Transport) DialStream(ctx context.Context, to core.NodeID) (*Stream, error) {
	t.mu.Lock()
	p := t.peers[to]
	t.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("tcp: opening a stream to host %d: the host is no peer", to)
	}
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	s, err := t.dialStream(ctx, address, to)
	if err != nil {
		p.unreachable(address) // the next call tries the other address
		return nil, fmt.Errorf("tcp: opening a stream to host %d at %s: %w", to, address, err)
	}
	return s, nil
}

// DialStreamAddress opens a stream to the host at an address, whichever host of the
// cluster that is. A host that is no member yet finds a member in this way.
func (t *Transport) DialStreamAddress(ctx context.Context, address string) (*Stream, error) {
	s, err := t.dialStream(ctx, address, core.None)
	if err != nil {
		return nil, fmt.Errorf("tcp: opening a stream to %s: %w", address, err)
	}
	return s, nil
}

func (t *Transport) dialStream(ctx context.Context, address string, to core.NodeID) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.HandshakeTimeout)
	defer cancel()
	t.mu.Lock()
	started := t.receiver != nil
	t.mu.Unlock()
	if !started {
		return nil, errors.New("the transport was not started")
	}
	raw, err := t.opts.Dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, host, err := t.beginStream(raw, to)
	if !stop() { // the connection was closed
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, explain(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		raw.Close()
		return nil, errTransportClosed
	}
	t.dialled[raw] = struct{}{}
	return newStream(conn, host, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.dialled, raw)
	}), nil
}

var errTransportClosed = fmt.Errorf("the transport is closed: %w", net.ErrClosed)

// beginStream runs the handshake of a stream that was dialled. The hello names no
// host if to is core.None.
func (t *Transport) beginStream(raw net.Conn, to core.NodeID) (net.Conn, core.NodeID, error) {
	if err := deadline(raw, t.opts.HandshakeTimeout); err != nil {
		return nil, 0, err
	}
	conn, certified, err := t.secure(raw, false)
	if err != nil {
		return nil, 0, err
	}
	if err := t.checkCertified(certified, to); err != nil {
		return nil, 0, err
	}
	h := hello{oldestVersion, newestVersion, t.self.Cluster, uint64(t.self.Host), uint64(to), t.address}
	if _, err = io.WriteString(conn, magicStream); err == nil {
		err = writeControl(conn, frameHello, &h)
	}
	var w streamWelcome
	if err := readControl(conn, frameWelcome, &w); err != nil { // may explain a failed write
		return nil, 0, err
	}
	host := core.NodeID(w.Host)
	switch {
	case err != nil:
	case w.Reason != "":
		err = refused(w.Reason)
	case to != core.None && host != to || certified != nil && !covers(*certified, node.Identity{Cluster: t.self.Cluster, Host: host}):
		err = fmt.Errorf("%w: host %d answers", ErrPeer, host)
	default:
		err = conn.SetDeadline(time.Time{})
	}
	return conn, host, err
}

// admitStream answers the hello of a stream.
func (t *Transport) admitStream(conn net.Conn, h hello, certified *node.Identity) error {
	if h.To == 0 {
		h.To = uint64(t.self.Host)
	}
	reason := t.objection(h, newestVersion, certified)
	t.mu.Lock()
	if reason == "" && (t.backlog == nil || t.backlog.closed()) {
		reason = fmt.Sprintf("host %d takes no streams", t.self.Host)
	}
	t.mu.Unlock()
	err := writeControl(conn, frameWelcome, &streamWelcome{reason, uint64(t.self.Host)})
	if reason != "" {
		return fmt.Errorf("%w: %s", ErrPeer, reason)
	}
	return err
}

// hand passes a stream to the listener, and waits for the end of the stream.
func (t *Transport) hand(s *Stream) {
	defer s.Close()
	t.mu.Lock()
	b := t.backlog
	t.mu.Unlock()
	select {
	case b.waiting <- s:
	case <-b.done:
		return
	case <-t.stop:
		return
	}
	select {
	case <-s.done:
	case <-t.stop:
	}
}

// Streams returns the listener of the streams that other hosts open. Accept returns
// a [*Stream]. Before the first call, and after the listener was closed, the transport
// refuses streams. Streams count for MaxConnections of the [Options] from the
// handshake to the end. Close of the transport ends Accept and all streams, and
// RemovePeer ends no stream.
func (t *Transport) Streams() net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.backlog == nil {
		t.backlog = &backlog{waiting: make(chan *Stream), done: make(chan struct{}), transport: t}
	}
	return t.backlog
}

// backlog is the listener of streams.
type backlog struct {
	transport *Transport
	waiting   chan *Stream
	done      chan struct{}
	closing   sync.Once
}

func (b *backlog) closed() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (b *backlog) Accept() (net.Conn, error) {
	select {
	case s := <-b.waiting:
		return s, nil
	case <-b.done:
		return nil, net.ErrClosed
	case <-b.transport.stop:
		return nil, errTransportClosed
	}
}

// Close implements net.Listener.
func (b *backlog) Close() error {
	b.closing.Do(func() { close(b.done) })
	return nil
}

// Addr implements net.Listener.
func (b *backlog) Addr() net.Addr { return b.transport.listeners[0].Addr() }
