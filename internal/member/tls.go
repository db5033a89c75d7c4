//go:build !wasip1

package member

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"raftlab/internal/pki"
)

// clientTLS returns the configuration of the port for clients, nil without TLS.
func (o *Options) clientTLS() (*tls.Config, error) {
	switch {
	case o.AutoTLS:
		var addresses []string
		for _, e := range o.clients {
			addresses = append(addresses, e.address)
		}
		cert, err := selfSigned(addresses...)
		if err != nil {
			return nil, err
		}
		config := o.tls.Clone()
		config.Certificates = []tls.Certificate{*cert}
		return serve(func() (*tls.Config, error) { return config, nil }), nil
	case o.TLS.empty():
		return nil, nil
	}
	r, err := newReloader(o.TLS, o.tls)
	if err != nil {
		return nil, err
	}
	return serve(r.current), nil
}

// allowPeer returns the check of the names in the certificates of members, nil for none.
func (o *Options) allowPeer() func(*x509.Certificate) error {
	if len(o.PeerNames)+len(o.PeerHosts) == 0 {
		return nil
	}
	return func(c *x509.Certificate) error {
		named := func(host string) bool { return c.VerifyHostname(host) == nil }
		switch {
		case len(o.PeerNames) > 0 && !slices.Contains(o.PeerNames, c.Subject.CommonName):
			return fmt.Errorf("client certificate authentication failed: the common name %q is not among %q", c.Subject.CommonName, o.PeerNames) // etcd's first words
		case len(o.PeerHosts) > 0 && !slices.ContainsFunc(o.PeerHosts, named):
			return fmt.Errorf("client certificate authentication failed: the certificate of %q is for none of the hosts %q", c.Subject.CommonName, o.PeerHosts)
		}
		return nil
	}
}

// serve returns the configuration of a listener whose connections have the current
// configuration.
func serve(current func() (*tls.Config, error)) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current() },
	}
}

// tlsVersions are the versions of TLS by etcd's names.
var tlsVersions = map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

// tlsLimits returns a configuration with the versions and suites of the options.
func (o *Options) tlsLimits() (*tls.Config, error) {
	lowest, ok := tlsVersions[o.TLSMinVersion]
	if !ok {
		return nil, wrong("--tls-min-version is %q; want TLS1.2 or TLS1.3", o.TLSMinVersion)
	}
	highest, ok := tlsVersions[o.TLSMaxVersion]
	if !ok {
		return nil, wrong("--tls-max-version is %q; want TLS1.2 or TLS1.3", o.TLSMaxVersion)
	}
	config := &tls.Config{MinVersion: max(lowest, tls.VersionTLS12), MaxVersion: highest, NextProtos: []string{"h2", "http/1.1"}}
	switch {
	case highest != 0 && highest < config.MinVersion:
		return nil, wrong("--tls-min-version is %s, and --tls-max-version %s", o.TLSMinVersion, o.TLSMaxVersion)
	case len(o.CipherSuites) > 0 && lowest == tls.VersionTLS13:
		return nil, wrong("--cipher-suites are for TLS 1.2, and --tls-min-version is TLS1.3")
	}
	for _, name := range o.CipherSuites { // etcd takes former names without _SHA256, too
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool {
			return (s.Name == name || s.Name == name+"_SHA256") && slices.Contains(s.SupportedVersions, tls.VersionTLS12)
		})
		if i < 0 {
			return nil, wrong("--cipher-suites has %q, which is no safe suite of TLS 1.2", name)
		}
		config.CipherSuites = append(config.CipherSuites, tls.CipherSuites()[i].ID)
	}
	return config, nil
}

// selfSignedLifetime is the lifetime of a certificate that a member makes at each start.
const selfSignedLifetime = 10 * 365 * 24 * time.Hour

// selfSigned makes a certificate for addresses. Nobody has the key of the authority.
func selfSigned(addresses ...string) (*tls.Certificate, error) {
	authority, err := pki.NewAuthority("raftlab", selfSignedLifetime)
	if err != nil {
		return nil, err
	}
	hosts := []string{"localhost", "127.0.0.1"}
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			hosts = append(hosts, host)
		}
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
	files  Files
	limits *tls.Config

	mu     sync.Mutex
	stamps stamps
	config *tls.Config
}

// stamps are the times of the files' last changes.
type stamps [4]time.Time

// newReloader reads the files. limits has the versions and suites of TLS.
func newReloader(files Files, limits *tls.Config) (*reloader, error) {
	r := &reloader{files: files, limits: limits}
	if _, err := r.current(); err != nil {
		return nil, err
	}
	return r, nil
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
func (r *reloader) load() (*tls.Config, stamps, error) {
	var changed stamps
	for i, name := range []string{r.files.Cert, r.files.Key, r.files.CA, r.files.CRL} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, changed, err
		}
		changed[i] = info.ModTime()
	}
	if r.config != nil && changed == r.stamps {
		return nil, changed, nil
	}
	cert, err := tls.LoadX509KeyPair(r.files.Cert, r.files.Key)
	if err != nil {
		return nil, changed, fmt.Errorf("reading %s and %s: %w", r.files.Cert, r.files.Key, err)
	}
	config := r.limits.Clone()
	config.Certificates = []tls.Certificate{cert}
	if r.files.CA != "" {
		err = r.admit(config)
	}
	return config, changed, err
}

// admit has a configuration require a certificate of a client that an authority has
// signed and not revoked.
func (r *reloader) admit(config *tls.Config) error {
	authorities, err := readCertificates(r.files.CA)
	if err != nil {
		return err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	for _, a := range authorities {
		config.ClientCAs.AddCert(a)
	}
	if r.files.CRL == "" {
		return nil
	}
	lists, err := readRevoked(r.files.CRL, authorities)
	config.VerifyConnection = lists.check // of resumed sessions, too
	return err
}

// readCertificates reads the certificates of a file.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return all, nil
}
