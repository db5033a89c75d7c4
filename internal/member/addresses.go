//go:build !wasip1

package member

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"raftlab/internal/clientport"
)

// endpoint is an address on which a member listens.
type endpoint struct {
	network string // tcp or unix
	address string // host:port, or the path of a socket
	secure  bool   // with TLS
}

// parseEndpoint reads an address of a flag: host:port, or a URL as etcd takes it. secure
// says whether an address without a scheme has TLS.
func parseEndpoint(flag, s string, secure bool) (endpoint, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	e := endpoint{"tcp", strings.TrimSuffix(rest, "/"), secure}
	switch scheme {
	case "":
	case "http", "https":
		e.secure = scheme == "https"
	case "unix", "unixs":
		if rest == "" {
			return e, wrong("%s is %q; want %s://PATH", flag, s, scheme)
		}
		return endpoint{"unix", rest, scheme == "unixs"}, nil
	default:
		return e, wrong("%s is %q; want host:port, or a URL that begins with http, https, unix or unixs", flag, s)
	}
	if _, _, err := net.SplitHostPort(e.address); err != nil {
		return e, wrong("%s is %q; want host:port", flag, s)
	}
	return e, nil
}

// url returns the URL of an endpoint.
func (e endpoint) url() string {
	scheme := map[string]string{"tcp": "http", "unix": "unix"}[e.network]
	if e.secure {
		scheme += "s"
	}
	return scheme + "://" + e.address
}

// exposed reports whether other machines can reach the endpoint.
func (e endpoint) exposed() bool {
	host, _, _ := net.SplitHostPort(e.address)
	return e.network == "tcp" && !isLoopback(host)
}

// readEndpoints reads the addresses for clients and for figures.
func (o *Options) readEndpoints() error {
	o.clients, o.metrics = nil, nil
	for _, s := range append([]string{o.Listen}, o.ListenMore...) {
		e, err := parseEndpoint("--listen", s, o.secured())
		if err != nil {
			return err
		}
		if slices.Contains(o.clients, e) {
			return wrong("--listen names %s twice", s)
		}
		o.clients = append(o.clients, e)
	}
	for _, s := range o.ListenMetrics {
		e, err := parseEndpoint("--listen-metrics-urls", s, false)
		if err != nil {
			return err
		}
		o.metrics = append(o.metrics, e)
	}
	return nil
}

// gate is an open address.
type gate struct {
	net.Listener
	secure  bool
	figures bool // for probes and figures alone
}

// gates are the open addresses of a member. A splitter serves an address with TLS and
// without.
type gates struct {
	all       []gate
	splitters []*clientport.Splitter
}

// listen opens the addresses for clients, and then those for probes and figures alone.
func listen(o *Options) (*gates, error) {
	g := &gates{}
	for i, e := range o.clients {
		other := e
		other.secure = !e.secure
		if slices.Contains(o.clients[:i], other) {
			continue // open already
		}
		l, err := listenOn(e)
		switch {
		case err != nil:
			return nil, errors.Join(fmt.Errorf("the port for clients: %w", err), g.close())
		case slices.Contains(o.clients[i:], other):
			s := clientport.Split(l, o.Logger)
			g.splitters = append(g.splitters, s)
			g.all = append(g.all, gate{Listener: s.Plain}, gate{Listener: s.Secure, secure: true})
		default:
			g.all = append(g.all, gate{Listener: l, secure: e.secure})
		}
	}
	for _, e := range o.metrics {
		l, err := listenOn(e)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the port for figures: %w", err), g.close())
		}
		g.all = append(g.all, gate{Listener: l, secure: e.secure, figures: true})
	}
	return g, nil
}

// close closes addresses without ports.
func (g *gates) close() error {
	var errs []error
	for _, l := range g.all {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, g.closeSplitters())...)
}

func (g *gates) closeSplitters() error {
	var errs []error
	for _, s := range g.splitters {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// listenOn opens an address. A process that was killed leaves the file of a socket. The
// file is replaced if nobody listens there.
func listenOn(e endpoint) (net.Listener, error) {
	l, err := net.Listen(e.network, e.address)
	if e.network != "unix" || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	info, errFile := os.Lstat(e.address)
	if errFile != nil || info.Mode().Type() != fs.ModeSocket {
		return nil, err
	}
	conn, errDial := net.Dial(e.network, e.address)
	if errDial == nil {
		conn.Close()
	}
	if !errors.Is(errDial, syscall.ECONNREFUSED) {
		return nil, err
	}
	if err := os.Remove(e.address); err != nil {
		return nil, err
	}
	return net.Listen(e.network, e.address)
}
