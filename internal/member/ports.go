//go:build !wasip1

package member

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"

	"raftlab/internal/clientport"
)

// newPorts makes the ports of the open addresses. Each port has a gRPC server of its own,
// because the end of a port ends its gRPC server.
func (m *Member) newPorts(secure *tls.Config) error {
	pages := m.engine.store.pages()
	for _, g := range m.gates.all {
		o := clientport.Options{Listener: g, Pages: pages, Logger: m.log}
		if g.secure {
			o.TLS = secure
		}
		if g.figures {
			o.Pages.Others = nil
		} else {
			o.GRPC = m.engine.store.services(pages.Metrics.Calls())
		}
		port, err := clientport.New(o)
		if err != nil {
			return err
		}
		m.ports = append(m.ports, port)
	}
	return nil
}

// servePorts serves until closePorts. The first failure ends the member.
func (m *Member) servePorts() {
	for _, s := range m.gates.splitters {
		m.running.Go(func() { m.fail(s.Serve()) })
	}
	for _, p := range m.ports {
		m.running.Go(func() { m.fail(p.Serve()) })
	}
}

// closePorts closes all ports at once, because their requests share the time of ctx.
func (m *Member) closePorts(ctx context.Context) error {
	errs := make([]error, len(m.ports))
	var closing sync.WaitGroup
	for i, p := range m.ports {
		closing.Go(func() { errs[i] = p.Close(ctx) })
	}
	closing.Wait()
	return errors.Join(append(errs, m.gates.closeSplitters())...)
}
