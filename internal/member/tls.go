//go:build !wasip1

package member

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"raftlab/internal/pki"
)

// clientTLS returns the configuration of the port for clients, nil without TLS.
func (o *Options) clientTLS() (*tls.Config, error) {
	switch {
	case o.AutoTLS:
		cert, err := selfSigned(o.Listen)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*cert}}, nil
	case o.TLS.empty():
		return nil, nil
	}
	r, err := newReloader(o.TLS)
	if err != nil {
		return nil, err
	}
	return r.server(), nil
}

// selfSignedLifetime is the lifetime of a certificate that a member makes at each start.
const selfSignedLifetime = 10 * 365 * 24 * time.Hour

// selfSigned makes a certificate for an address. Nobody has the key of the authority.
func selfSigned(address string) (*tls.Certificate, error) {
	authority, err := pki.NewAuthority("raftlab", selfSignedLifetime)
	if err != nil {
		return nil, err
	}
	hosts := []string{"localhost", "127.0.0.1"}
	if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	pair, err := authority.Issue(pki.Request{Name: "raftlab", Hosts: hosts, Lifetime: selfSignedLifetime})
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	return &cert, err
}

// reloader is the TLS configuration of a server, read from files. Changed files are read
// again at the next connection. If the new files cannot be used, the former content
// stays in use.
type reloader struct {
	files Files

	mu     sync.Mutex
	stamps [3]time.Time
	config *tls.Config
}

// newReloader reads the files.
func newReloader(files Files) (*reloader, error) {
	r := &reloader{files: files}
	if _, err := r.current(); err != nil {
		return nil, err
	}
	return r, nil
}

// server returns the configuration for a listener.
func (r *reloader) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.current()
		},
	}
}

// current returns the configuration of the files.
func (r *reloader) current() (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	config, stamps, err := r.load()
	switch {
	case err == nil && config != nil:
		r.config, r.stamps = config, stamps
	case err != nil && r.config == nil:
		return nil, err
	}
	return r.config, nil
}

// load reads the files, and returns nil if they have not changed.
func (r *reloader) load() (*tls.Config, [3]time.Time, error) {
	var stamps [3]time.Time
	for i, name := range []string{r.files.Cert, r.files.Key, r.files.CA} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, stamps, err
		}
		stamps[i] = info.ModTime()
	}
	if r.config != nil && stamps == r.stamps {
		return nil, stamps, nil
	}
	cert, err := tls.LoadX509KeyPair(r.files.Cert, r.files.Key)
	if err != nil {
		return nil, stamps, fmt.Errorf("reading %s and %s: %w", r.files.Cert, r.files.Key, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{cert},
	}
	if r.files.CA != "" {
		pem, err := os.ReadFile(r.files.CA)
		if err != nil {
			return nil, stamps, err
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, stamps, fmt.Errorf("%s has no certificate in PEM", r.files.CA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, stamps, nil
}
