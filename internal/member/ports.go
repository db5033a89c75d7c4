//go:build !wasip1

package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"raftlab/internal/clientport"
)

// listen opens the addresses for clients, and then those for probes and figures alone.
func listen(o *Options) ([]net.Listener, error) {
	var all []net.Listener
	for i, address := range append(append([]string{o.Listen}, o.ListenMore...), o.ListenMetrics...) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			what := "the port for clients"
			if i > len(o.ListenMore) {
				what = "the port for figures"
			}
			return nil, errors.Join(fmt.Errorf("%s: %w", what, err), closeAll(all))
		}
		all = append(all, l)
	}
	return all, nil
}

func closeAll(all []net.Listener) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// newPorts makes the ports of the listeners.
func (m *Member) newPorts(listeners []net.Listener, secure *tls.Config) error {
	g, pages := m.engine.store.services(), m.engine.store.pages()
	for i, l := range listeners {
		o := clientport.Options{Listener: l, TLS: secure, GRPC: g, Pages: pages, Logger: m.log}
		if i > len(m.opts.ListenMore) {
			o.TLS, o.GRPC, o.Pages.Others = nil, nil, nil
		}
		port, err := clientport.New(o)
		if err != nil {
			return err
		}
		m.ports = append(m.ports, port)
	}
	return nil
}

// closePorts closes all ports at once, because their requests share the time of ctx.
func (m *Member) closePorts(ctx context.Context) error {
	errs := make([]error, len(m.ports))
	var closing sync.WaitGroup
	for i, p := range m.ports {
		closing.Go(func() { errs[i] = p.Close(ctx) })
	}
	closing.Wait()
	return errors.Join(errs...)
}
