package member

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Limits of an HTTP client's time.
const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeader       = 16 << 10
)

// port serves gRPC and HTTP on one listener.
//
// Without TLS the first bytes of a connection tell the protocol: clients of gRPC begin
// with the preface of HTTP/2, and other clients with a method of HTTP/1. The gRPC server
// then has the connection for itself. With TLS a browser may speak HTTP/2 as well, so
// the HTTP server has all connections, and hands on requests with gRPC's content type.
type port struct {
	listener net.Listener
	grpc     *grpc.Server
	http     *http.Server
	secure   bool
	log      *slog.Logger

	running sync.WaitGroup
	stop    chan struct{}
	closing sync.Once
	calls   *handedOver // connections of gRPC
	pages   *handedOver // connections of HTTP
}

// newPort makes a port. secure is nil for a port without TLS. newPages makes the handler
// of HTTP, which reaches the gRPC server by a listener.
func newPort(listener net.Listener, secure *tls.Config, g *grpc.Server, newPages func(*handedOver) (http.Handler, error), log *slog.Logger) (*port, error) {
	p := &port{listener: listener, grpc: g, secure: secure != nil, log: log, stop: make(chan struct{})}
	p.calls, p.pages = newHandedOver(listener.Addr()), newHandedOver(listener.Addr())
	pages, err := newPages(p.calls)
	if err != nil {
		return nil, err
	}
	handler := pages
	if p.secure {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				g.ServeHTTP(w, r)
				return
			}
			pages.ServeHTTP(w, r)
		})
	}
	p.http = &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

// serve serves until close, or until the listener fails.
func (p *port) serve() error {
	p.running.Go(func() { _ = p.grpc.Serve(p.calls) })
	if p.secure {
		err := p.http.ServeTLS(p.listener, "", "")
		if p.stopped() {
			err = nil
		}
		return err
	}
	p.running.Go(func() { _ = p.http.Serve(p.pages) })
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			p.running.Go(func() { p.sort(conn) })
			continue
		}
		if p.stopped() {
			return nil
		}
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			return err
		}
		p.log.Warn("accepting connections", "error", err) // out of file descriptors, mostly
		select {
		case <-time.After(100 * time.Millisecond):
		case <-p.stop:
		}
	}
}

func (p *port) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// preface is the beginning of HTTP/2's connection preface. No method of HTTP/1 begins
// like this.
var preface = []byte("PRI ")

// sort hands a connection to the server of its protocol.
func (p *port) sort(conn net.Conn) {
	begin := make([]byte, len(preface))
	if err := conn.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		conn.Close()
		return
	}
	stop := make(chan struct{})
	defer close(stop)
	p.running.Go(func() { // close ends the wait
		select {
		case <-p.stop:
			conn.Close()
		case <-stop:
		}
	})
	n, err := io.ReadFull(conn, begin)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return
	}
	server := p.pages
	if bytes.Equal(begin, preface) {
		server = p.calls
	}
	server.give(&begunConn{conn, begin[:n]}, p.stop)
}

// close ends the port. Requests of HTTP have until ctx ends. Those of gRPC are cut off.
func (p *port) close(ctx context.Context) {
	p.closing.Do(func() {
		close(p.stop)
		p.listener.Close()
		p.calls.Close()
		if err := p.http.Shutdown(ctx); err != nil {
			p.http.Close()
		}
		p.grpc.Stop()
	})
	p.running.Wait()
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

// handedOver is a listener of connections that another listener has accepted.
type handedOver struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	closing sync.Once
}

func newHandedOver(address net.Addr) *handedOver {
	return &handedOver{address: address, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give passes a connection to Accept, unless stop or Close comes first.
func (h *handedOver) give(conn net.Conn, stop <-chan struct{}) {
	select {
	case h.conns <- conn:
		return
	case <-h.done:
	case <-stop:
	}
	conn.Close()
}

// Accept implements net.Listener.
func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handedOver) Close() error {
	h.closing.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handedOver) Addr() net.Addr { return h.address }
