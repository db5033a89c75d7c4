package tcp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// TLS names the files of a host's certificate. Changed files are read again, so a
// certificate or a CA is replaced without a restart. New connections use the new
// files.
type TLS struct {
	// CertFile and KeyFile hold the host's certificate, with the chain to the CA,
	// and its key, in PEM. The certificate is good for clients and servers and
	// names the host by its [HostURI], or the cluster by its [ClusterURI].
	CertFile, KeyFile string
	// CAFile holds the certificates in PEM that sign those of all hosts.
	CAFile string
	// Cluster is the cluster's name in the certificates, if the name differs from that
	// of the host's identity. A cluster that was restored from a backup has an identity
	// of its own, and keeps its certificates. The handshake then keeps the clusters
	// apart, and the certificates do not. The default is the name of the identity.
	Cluster string
	// AnyCertificate takes a certificate without such a URI for one of every host of the
	// cluster. The CA then signs certificates of this cluster's hosts alone.
	AnyCertificate bool
	// Allow, unless nil, returns an error for a peer's certificate that the host refuses,
	// although the CA has signed the certificate.
	Allow func(*x509.Certificate) error
	// Anonymous, in place of all files, encrypts with a certificate that names nobody. The
	// hosts then believe one another, as without TLS.
	Anonymous *tls.Certificate

	mu     sync.Mutex
	loaded *credentials
}

// credentials are the content of the files.
type credentials struct {
	stamps [3]time.Time // of the files
	cert   tls.Certificate
	pool   *x509.CertPool
}

const uriScheme = "raftlab"

// HostURI returns the URI of a host, raftlab://CLUSTER/HOST. A host's certificate
// has the URI among the subject's alternative names.
//
// A cluster's name of letters, digits, hyphens, underscores and single dots stands in
// the URI unchanged. A space becomes a plus sign. Each byte of another character is
// escaped twice, because a URI's host may not have an escaped ASCII character. A slash
// becomes %252F. Dots are escaped as well (%252E) if the name begins or ends with a dot
// or has two in a row. The text for a certificate is HostURI(id).String().
func HostURI(id node.Identity) *url.URL {
	host := url.QueryEscape(id.Cluster)
	if slices.Contains(strings.Split(host, "."), "") { // no name of a domain
		host = strings.ReplaceAll(host, ".", "%2E")
	}
	return &url.URL{Scheme: uriScheme, Host: host, Path: "/" + strconv.FormatUint(uint64(id.Host), 10)}
}

// anyHost is the path of a URI for all hosts of a cluster.
const anyHost = "/*"

// ClusterURI returns the URI of all hosts of a cluster, raftlab://CLUSTER/*. A
// certificate with the URI is good for every host. Its holder may pose as any host of
// the cluster, so HostURI is the better choice where the ids of hosts are known
// before the certificates are made. The cluster's name is escaped as by [HostURI].
func ClusterURI(cluster string) *url.URL {
	u := HostURI(node.Identity{Cluster: cluster})
	u.Path = anyHost
	return u
}

// identityOf returns the host that a certificate names. The host is core.None if the
// certificate is good for every host of the cluster.
func identityOf(cert *x509.Certificate) (node.Identity, error) {
	var found []node.Identity
	for _, u := range cert.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		cluster, err := url.QueryUnescape(u.Host)
		host, errHost := strconv.ParseUint(strings.TrimPrefix(u.Path, "/"), 10, 64)
		if u.Path == anyHost {
			host, errHost = uint64(core.None), nil
		} else if host == 0 {
			errHost = errors.New("no host")
		}
		if err != nil || errHost != nil {
			return node.Identity{}, fmt.Errorf("%w: its certificate names %q, which is no host", ErrPeer, u)
		}
		found = append(found, node.Identity{Cluster: cluster, Host: core.NodeID(host)})
	}
	if len(found) != 1 {
		return node.Identity{}, fmt.Errorf("%w: its certificate %q names %d hosts by a URI %s://CLUSTER/HOST; want 1", ErrPeer, cert.Subject, len(found), uriScheme)
	}
	return found[0], nil
}

// identityOf returns the host that a certificate names. TLS.Cluster stands for the
// cluster of self.
func (t *TLS) identityOf(cert *x509.Certificate, self node.Identity) (node.Identity, error) {
	if t.AnyCertificate && !slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.Scheme == uriScheme }) {
		return node.Identity{Cluster: self.Cluster}, nil
	}
	id, err := identityOf(cert)
	if t.Cluster != "" && id.Cluster == t.Cluster {
		id.Cluster = self.Cluster
	}
	return id, err
}

// covers reports whether a certificate that names certified is good for a host.
func covers(certified, host node.Identity) bool {
	return certified.Cluster == host.Cluster && (certified.Host == core.None || certified.Host == host.Host)
}

// load reads the files, unless they are what they were.
func (t *TLS) load() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Anonymous != nil {
		t.loaded = &credentials{cert: *t.Anonymous}
		return nil
	}
	var stamps [3]time.Time
	for i, file := range []string{t.CertFile, t.KeyFile, t.CAFile} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		stamps[i] = info.ModTime()
	}
	if t.loaded != nil && t.loaded.stamps == stamps {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", t.CertFile, t.KeyFile, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return fmt.Errorf("reading %s: %w", t.CertFile, err)
		}
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s has no certificate in PEM", t.CAFile)
	}
	t.loaded = &credentials{stamps, cert, pool}
	return nil
}

// current returns the credentials in the files, or the last ones that could be
// read: a half-written file does not cut a running host off.
func (t *TLS) current() (*credentials, error) {
	err := t.load()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loaded == nil {
		return nil, err
	}
	return t.loaded, nil
}

// checkOwn refuses a certificate that is not the host's own.
func (t *TLS) checkOwn(self node.Identity) error {
	c, err := t.current()
	if err != nil || t.Anonymous != nil {
		return err
	}
	id, err := t.identityOf(c.cert.Leaf, self)
	if err == nil && !covers(id, self) {
		err = fmt.Errorf("%w: %s is the certificate of host %d of cluster %q; this is host %d of %q", ErrPeer, t.CertFile, id.Host, id.Cluster, self.Host, self.Cluster)
	}
	return err
}

// config is the configuration of both sides. The names in certificates are hosts'
// ids, not addresses, so the chain is verified here.
func (t *TLS) config() (*tls.Config, error) {
	c, err := t.current()
	if err != nil {
		return nil, err
	}
	if t.Anonymous != nil {
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.cert}, InsecureSkipVerify: true}, nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{c.cert},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // of the address alone: VerifyConnection verifies the rest
		VerifyConnection: func(state tls.ConnectionState) error {
			err := c.verify(state)
			if err == nil && t.Allow != nil {
				err = t.Allow(state.PeerCertificates[0])
			}
			return err
		},
	}, nil
}

// verify checks that the CA has signed the peer's certificate.
func (c *credentials) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer has no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         c.pool,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
