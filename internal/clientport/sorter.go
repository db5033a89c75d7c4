package clientport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// sorter accepts the connections of a listener, and hands each connection to the server
// of the connection's first bytes.
type sorter struct {
	listener net.Listener
	first    int // number of bytes that pick needs
	pick     func(begin []byte) *Handover
	log      *slog.Logger

	running sync.WaitGroup
	mu      sync.Mutex // so that nothing begins to run after the end
	stop    chan struct{}
}

func newSorter(l net.Listener, first int, pick func([]byte) *Handover, log *slog.Logger) *sorter {
	return &sorter{listener: l, first: first, pick: pick, log: log, stop: make(chan struct{})}
}

// begin counts a server among what Close waits for. It reports whether the server may run.
func (s *sorter) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped() {
		return false
	}
	s.running.Add(1)
	return true
}

// end closes the listener. The connections in hand are closed, too.
func (s *sorter) end() error {
	s.mu.Lock()
	close(s.stop)
	s.mu.Unlock()
	return s.listener.Close()
}

// sort accepts connections until stop is closed, or until the listener fails.
func (s *sorter) sort() error {
	for {
		conn, err := s.listener.Accept()
		if err == nil {
			s.running.Go(func() { s.hand(conn) })
			continue
		}
		if s.stopped() {
			return nil
		}
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			return err
		}
		s.log.Warn("accepting connections", "error", err) // out of file descriptors, mostly
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.stop:
		}
	}
}

func (s *sorter) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// hand hands a connection to its server. A connection that sends nothing is closed after
// a while.
func (s *sorter) hand(conn net.Conn) {
	begin := make([]byte, s.first)
	if err := conn.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		conn.Close()
		return
	}
	read := make(chan struct{})
	defer close(read)
	s.running.Go(func() { // close ends the wait
		select {
		case <-s.stop:
			conn.Close()
		case <-read:
		}
	})
	_, err := io.ReadFull(conn, begin)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return
	}
	s.pick(begin).Give(&begunConn{conn, begin}, s.stop)
}

// begunConn is a connection from which the first bytes were read.
type begunConn struct {
	net.Conn
	begin []byte
}

// Read implements net.Conn.
func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.begin) > 0 {
		n := copy(b, c.begin)
		c.begin = c.begin[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Splitter gives a port with TLS and a port without TLS one address. The first byte of a
// connection tells the port.
type Splitter struct {
	*sorter
	// Plain and Secure are the listeners of the two ports.
	Plain, Secure *Handover

	closing sync.Once
	err     error // of Close
}

// handshake is the first byte of a TLS connection (RFC 8446, section 5.1). No method of
// HTTP/1 begins like this.
const handshake = 0x16

// Split makes the splitter of a listener. The splitter splits from [Splitter.Serve] on.
func Split(l net.Listener, log *slog.Logger) *Splitter {
	s := &Splitter{Plain: NewHandover(l.Addr()), Secure: NewHandover(l.Addr())}
	s.sorter = newSorter(l, 1, func(begin []byte) *Handover {
		if begin[0] == handshake {
			return s.Secure
		}
		return s.Plain
	}, log)
	return s
}

// Serve splits until Close, or until the listener fails. After Close it does nothing.
func (s *Splitter) Serve() error {
	if !s.begin() {
		return nil
	}
	defer s.running.Done()
	return s.sort()
}

// Close ends the splitter, and may be called more than once. Connections that the ports
// have got go on.
func (s *Splitter) Close() error {
	s.closing.Do(func() { s.err = s.end() })
	s.running.Wait()
	return s.err
}
