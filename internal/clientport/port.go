package clientport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Limits of an HTTP client's time.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // a key of 1 KiB, percent-encoded, has 3
)

// Options are the settings of a Port.
type Options struct {
	Listener net.Listener
	// TLS is nil for a port without TLS.
	TLS *tls.Config
	// GRPC has the services for clients. A port without services speaks HTTP alone.
	GRPC *grpc.Server
	// Pages are the contents of the HTTP side.
	Pages Pages
	// Logger receives failures of connections. Required.
	Logger *slog.Logger
}

// Port serves gRPC and HTTP on one listener, either with TLS or without. A [Splitter]
// gives two ports one address.
//
// Without TLS the first bytes of a connection tell the protocol: clients of gRPC begin
// with the preface of HTTP/2, and other clients with a method of HTTP/1. The gRPC server
// then has the connection for itself. With TLS a browser may speak HTTP/2 as well, so
// the HTTP server has all connections, and hands on requests with gRPC's content type.
type Port struct {
	*sorter
	grpc   *grpc.Server
	http   *http.Server
	secure bool

	closing sync.Once
	calls   *Handover // connections of gRPC
	pages   *Handover // connections of HTTP
	gateway *grpc.ClientConn
	err     error // of Close
}

// New makes a port. The port serves from [Port.Serve] on. Close closes the listener.
func New(o Options) (*Port, error) {
	p := &Port{grpc: o.GRPC, secure: o.TLS != nil}
	p.calls, p.pages = NewHandover(o.Listener.Addr()), NewHandover(o.Listener.Addr())
	p.sorter = newSorter(o.Listener, len(preface), p.server, o.Logger)
	handler, err := p.handler(&o.Pages)
	if err != nil {
		return nil, err
	}
	p.http = &http.Server{
		Handler:           handler,
		TLSConfig:         o.TLS.Clone(), // the server changes its configuration
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(&failures{o.Logger}, "", 0),
	}
	return p, nil
}

// failures receives what net/http logs. A client that TLS refuses is an operator's matter,
// and the rest is a client's. A probe of the port connects, and says nothing.
type failures struct{ log *slog.Logger }

// Write logs one message.
func (f *failures) Write(message []byte) (int, error) {
	text := strings.TrimSpace(string(message))
	if rest, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok && !strings.HasSuffix(rest, ": EOF") {
		from, why, _ := strings.Cut(rest, ": ")
		f.log.Warn("rejected connection on client endpoint", "remote-addr", from, "error", why) // etcd's words
	} else {
		f.log.Debug(text)
	}
	return len(message), nil
}

// handler returns the handler of the HTTP server.
func (p *Port) handler(contents *Pages) (http.Handler, error) {
	if p.grpc == nil {
		return contents.handler(nil)
	}
	var err error
	if p.gateway, err = grpc.NewClient("passthrough:///self",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<31-1)),
		grpc.WithContextDialer(p.calls.Dial)); err != nil {
		return nil, err
	}
	pages, err := contents.handler(p.gateway)
	if err != nil {
		return nil, errors.Join(err, p.gateway.Close())
	}
	if !p.secure {
		return pages, nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			p.grpc.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// Serve serves until Close, or until the listener fails. After Close it does nothing.
func (p *Port) Serve() error {
	if !p.begin() {
		return nil
	}
	defer p.running.Done()
	if p.grpc != nil {
		p.running.Go(func() { _ = p.grpc.Serve(p.calls) })
	}
	if p.secure || p.grpc == nil {
		serve := p.http.Serve
		if p.secure {
			serve = func(l net.Listener) error { return p.http.ServeTLS(l, "", "") }
		}
		err := serve(p.listener)
		if p.stopped() {
			err = nil
		}
		return err
	}
	p.running.Go(func() { _ = p.http.Serve(p.pages) })
	return p.sort()
}

// Address returns the address of the port.
func (p *Port) Address() net.Addr { return p.listener.Addr() }

// preface is the beginning of HTTP/2's connection preface. No method of HTTP/1 begins
// like this.
var preface = []byte("PRI ")

// server returns the server of a connection's protocol.
func (p *Port) server(begin []byte) *Handover {
	if bytes.Equal(begin, preface) {
		return p.calls
	}
	return p.pages
}

// Close ends the port, and may be called more than once. Requests under way have until
// ctx ends. The rest is cut off.
func (p *Port) Close(ctx context.Context) error {
	p.closing.Do(func() {
		_ = p.end()
		// The requests of the gateway end first, because they need the gRPC server. With
		// TLS, Shutdown waits for the requests of gRPC, too.
		if err := p.http.Shutdown(ctx); err != nil {
			p.log.Warn("requests were cut off", "error", err)
			p.http.Close()
		}
		p.calls.Close()
		if p.grpc != nil && !p.secure {
			p.drain(ctx)
		}
		if p.grpc != nil {
			p.grpc.Stop()
			p.err = p.gateway.Close()
		}
	})
	p.running.Wait()
	return p.err
}

// drain waits for the requests of gRPC, until ctx ends.
func (p *Port) drain(ctx context.Context) {
	drained := make(chan struct{})
	p.running.Go(func() { // Stop ends GracefulStop
		p.grpc.GracefulStop()
		close(drained)
	})
	select {
	case <-drained:
	case <-ctx.Done():
		p.log.Warn("requests of gRPC were cut off", "error", ctx.Err())
	}
}

// Handover is a listener of connections from elsewhere: from another listener, or from
// this process.
type Handover struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	closing sync.Once
}

// NewHandover makes a Handover with an address for Addr.
func NewHandover(address net.Addr) *Handover {
	return &Handover{address: address, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Give passes a connection to Accept. If stop or Close comes first, Give closes the
// connection.
func (h *Handover) Give(conn net.Conn, stop <-chan struct{}) {
	select {
	case h.conns <- conn:
		return
	case <-h.done:
	case <-stop:
	}
	conn.Close()
}

// Dial connects to the listener within the process.
func (h *Handover) Dial(ctx context.Context, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	h.Give(there, ctx.Done())
	return here, nil
}

// Accept implements net.Listener.
func (h *Handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *Handover) Close() error {
	h.closing.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *Handover) Addr() net.Addr { return h.address }
