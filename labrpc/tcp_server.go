//go:build !wasip1

package labrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A TCPListener accepts connections to one server.
type TCPListener struct {
	net      *TCPNetwork
	server   *Server
	listener net.Listener
	running  sync.WaitGroup // the goroutines of accept and of connections

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Listen lets other processes call a server, which has all its services already.
// The address is a host and a port, and port 0 chooses a port. The host must be a
// loopback address or localhost, unless TCPOptions.BeyondLoopback is set.
func (tn *TCPNetwork) Listen(address string, rs *Server) (*TCPListener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("labrpc: listen: %w", err)
	}
	if err := tn.checkLoopback(resolved); err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", resolved)
	if err != nil {
		return nil, fmt.Errorf("labrpc: %w", err)
	}
	return tn.Serve(listener, rs)
}

func (tn *TCPNetwork) checkLoopback(a net.Addr) error {
	if t, ok := a.(*net.TCPAddr); ok && !t.IP.IsLoopback() && !tn.opts.BeyondLoopback {
		return fmt.Errorf("%w: %v; TCPOptions.BeyondLoopback allows it", ErrNotLoopback, a)
	}
	return nil
}

// Serve is Listen on a listener of the caller's. Serve closes the listener after
// an error, and Close closes it later.
func (tn *TCPNetwork) Serve(listener net.Listener, rs *Server) (*TCPListener, error) {
	l := &TCPListener{net: tn, server: rs, listener: listener, conns: make(map[net.Conn]struct{})}
	if err := tn.enter(l); err != nil {
		listener.Close()
		return nil, err
	}
	return l, nil
}

// enter starts a listener.
func (tn *TCPNetwork) enter(l *TCPListener) error {
	if err := tn.checkLoopback(l.listener.Addr()); err != nil {
		return err
	}
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.ctx.Err() != nil {
		return fmt.Errorf("labrpc: the network is closed: %w", net.ErrClosed)
	}
	tn.listeners[l] = struct{}{}
	l.running.Go(l.acceptAll)
	return nil
}

// Address returns the host and the port, for MakeEnd.
func (l *TCPListener) Address() string { return l.listener.Addr().String() }

// Close ends the listener and its connections, and waits for their goroutines.
// Running handlers go on, and their replies are dropped. Close may be called
// twice.
func (l *TCPListener) Close() {
	l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	delete(l.net.listeners, l)
}

// acceptAll is the goroutine of a listener.
func (l *TCPListener) acceptAll() {
	for {
		conn, err := l.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, mostly
			l.net.opts.Logger.Warn("labrpc: accept", "error", err)
			l.net.pause()
		default:
			l.admit(conn)
		}
	}
}

// admit starts to serve a connection, if there is room for one more.
func (l *TCPListener) admit(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= l.net.opts.MaxConnections {
		l.net.opts.Logger.Warn("labrpc: connection refused", "from", conn.RemoteAddr(), "MaxConnections", l.net.opts.MaxConnections)
		conn.Close()
		return
	}
	l.conns[conn] = struct{}{}
	l.running.Go(func() { l.serve(conn) })
}

func (l *TCPListener) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	conn.Close()
}

// serve is the goroutine of a connection.
func (l *TCPListener) serve(conn net.Conn) {
	defer l.leave(conn)
	o := &l.net.opts
	c := &serverConn{
		server: l.server,
		opts:   o,
		in:     newFrameReader(conn, o, 2*o.IdleTimeout),
		done:   make(chan struct{}),
	}
	c.budget.max = load{o.MaxCalls, o.MaxCallBytes}
	c.workers = newWorkers(c.done, c.serve)
	c.out = newOutbox(conn, o, c.budget.release)
	if err := c.greet(conn); err != nil {
		o.Logger.Warn("labrpc: connection refused", "from", conn.RemoteAddr(), "error", err)
		return
	}
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() {
		if failed = c.out.run(c.done); failed != nil {
			conn.Close()
		}
	})
	err := c.receive()
	close(c.done)
	conn.Close()
	writing.Wait()
	l.net.ended(conn.RemoteAddr().String(), errors.Join(failed, err))
}

// A serverConn is a connection from an end.
type serverConn struct {
	server  *Server
	opts    *TCPOptions
	in      *frameReader
	out     *outbox
	budget  budget
	done    chan struct{}
	workers *workers[request]
}

// A request is a call that was taken.
type request struct {
	call    uint64
	svcMeth string
	args    []byte
}

// greet exchanges hellos.
func (c *serverConn) greet(conn net.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.HandshakeTimeout)
	defer cancel()
	expire := context.AfterFunc(ctx, func() { conn.Close() })
	err := c.in.hello()
	if err == nil || errors.Is(err, errPeer) { // the end learns of another version
		_, writing := conn.Write(hello())
		err = errors.Join(err, writing)
	}
	if !expire() {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// receive hands requests to workers.
func (c *serverConn) receive() error {
	for {
		f, err := c.in.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameRequest:
			svcMeth, args, err := cutMethod(f.content)
			if err != nil {
				return err
			}
			if c.budget.take(len(svcMeth) + len(args)) {
				c.workers.run(request{f.call, svcMeth, args})
			} else if err := c.out.control(frameRefused, f.call, c.opts.MaxCalls); err != nil {
				return err
			}
		case framePing:
			if err := c.out.control(framePong, 0, c.opts.MaxCalls); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: an end sent kind %d", errFrame, f.kind)
		}
	}
}

// maxMistakeBytes bounds the text of a mistake.
const maxMistakeBytes = 4 << 10

func (c *serverConn) serve(r request) {
	kind := frameReply
	reply, err := c.server.handle(r.svcMeth, r.args)
	if err == nil && len(reply) > c.opts.MaxFrameBytes {
		err = fmt.Errorf("the reply has %d bytes; TCPOptions.MaxFrameBytes is %d", len(reply), c.opts.MaxFrameBytes)
	}
	if err != nil {
		kind, reply = frameMistake, []byte(err.Error())
		reply = reply[:min(len(reply), maxMistakeBytes, c.opts.MaxFrameBytes)]
	}
	c.budget.release(load{0, len(r.svcMeth) + len(r.args) - len(reply)})
	c.out.put(kind, r.call, "", reply, load{1, len(reply)})
}
