package tcp

import (
	"bufio"
	"net"
	"net/netip"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// acceptAll is the goroutine that accepts the connections of a listener.
func (t *Transport) acceptAll(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if t.stopped() {
				return
			}
			// Out of file descriptors, mostly: others have to be closed first.
			t.log.Warn("accepting connections", "error", err)
			t.sleep(t.opts.MinBackoff)
			continue
		}
		if !t.enter(conn) {
			t.stats.refused.Add(1)
			conn.Close()
			continue
		}
		t.running.Go(func() { t.serve(conn) })
	}
}

func (t *Transport) stopped() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

func (t *Transport) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.stop:
	}
}

// enter admits a connection to the handshake.
func (t *Transport) enter(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.incoming) >= t.opts.MaxConnections {
		return false
	}
	t.incoming[conn] = core.None
	return true
}

// identify notes the host of a connection. An older connection of the same host is
// dead, since the host has dialled again. It is closed. A host may restart at another
// address, so the address in the hello replaces the known one.
func (t *Transport) identify(conn net.Conn, h hello) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	from := core.NodeID(h.From)
	for other, id := range t.incoming {
		if id == from {
			other.Close()
		}
	}
	t.incoming[conn] = from
	if address := toldAddress(h.Address, conn.RemoteAddr()); address != "" {
		t.setPeer(from, address, true)
	}
	return true
}

// toldAddress returns the peer's address by the peer's own word in the hello. A peer that
// listens on all addresses of its machine tells its port alone. The other end of the
// connection then completes the port.
func toldAddress(told string, remote net.Addr) string {
	host, port, err := net.SplitHostPort(told)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return told
	}
	if remote, ok := remote.(*net.TCPAddr); ok {
		return net.JoinHostPort(remote.IP.String(), port)
	}
	return ""
}

// leave forgets a connection that has ended. A peer that has come by itself is
// forgotten with its last connection, so that the bound on connections is a bound on
// such peers.
func (t *Transport) leave(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.incoming[conn]
	delete(t.incoming, conn)
	for _, id := range t.incoming {
		if id == from {
			return
		}
	}
	if p := t.peers[from]; p != nil && !p.isMember() {
		delete(t.peers, from)
		p.close()
	}
}

// serve receives from one connection until it ends.
func (t *Transport) serve(raw net.Conn) {
	defer raw.Close()
	defer t.leave(raw)
	from, conn, stream, err := t.handshake(raw)
	if err != nil {
		t.stats.refused.Add(1)
		t.log.Warn("rejected connection on peer endpoint", "address", raw.RemoteAddr().String(), "error", err)
		linger(raw)
		return
	}
	if stream {
		t.hand(newStream(conn, from, func() {}))
		return
	}
	t.log.Info("connection accepted", "from", uint64(from), "address", raw.RemoteAddr().String())
	err = t.receiveAll(conn, from)
	if !t.stopped() {
		t.log.Info("connection ended", "from", uint64(from), "error", err)
	}
}

func (t *Transport) handshake(raw net.Conn) (from core.NodeID, conn net.Conn, stream bool, err error) {
	if err := deadline(raw, t.opts.HandshakeTimeout); err != nil {
		return 0, nil, false, err
	}
	conn, certified, err := t.secure(raw, true)
	if err != nil {
		return 0, nil, false, err
	}
	h, stream, err := t.admit(conn, certified)
	switch {
	case err != nil:
	case stream:
		err = conn.SetDeadline(time.Time{})
	case !t.identify(raw, h):
		err = errTransportClosed
	}
	return core.NodeID(h.From), conn, stream, err
}

// maxReusedBuffer bounds the buffer for frames whose content is not kept.
const maxReusedBuffer = 64 << 10

// receiveAll passes the frames of a connection to the receiver.
func (t *Transport) receiveAll(conn net.Conn, from core.NodeID) error {
	in := frameReader{r: bufio.NewReaderSize(conn, 64<<10), limit: t.opts.MaxFrameBytes}
	var buf []byte
	var messages []node.Message
	var extended time.Time // when the deadline was last set
	t.mu.Lock()
	peer := t.peers[from] // nil if the peer has not told an address, and is no member
	t.mu.Unlock()
	for {
		// Each deadline serves the frames of an eighth of the timeout.
		if now := time.Now(); now.Sub(extended) > t.opts.IdleTimeout/8 {
			extended = now
			if err := deadline(conn, t.opts.IdleTimeout); err != nil {
				return err
			}
		}
		frameType, payload, err := in.next(buf)
		if err != nil {
			return err
		}
		t.stats.receivedFrames.Add(1)
		t.stats.receivedBytes.Add(int64(headerBytes + len(payload)))
		if peer != nil {
			peer.receivedBytes.Add(int64(headerBytes + len(payload)))
		}
		kept := false
		switch frameType {
		case frameMessages:
			if messages, kept, err = decodeMessages(messages[:0], payload); err != nil {
				return err
			}
			t.stats.receivedMessages.Add(int64(len(messages)))
			t.receiver.Receive(from, messages)
			clear(messages)
		case framePing:
			if err := writeFrame(conn, framePong, payload[:min(len(payload), 8)]); err != nil {
				return err
			}
		}
		if buf = payload; kept || cap(buf) > maxReusedBuffer {
			buf = nil
		}
	}
}
