package tcp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// authority signs certificates in a test.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir(), next: 1}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign writes NAME.pem and NAME.key, signed by the authority or by itself.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	a.next++
	template.SerialNumber = big.NewInt(a.next)
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", keyDER)
	return cert, key
}

func (a *authority) write(name, blockType string, der []byte) {
	data := pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})
	require.NoError(a.t, os.WriteFile(filepath.Join(a.dir, name), data, 0o600))
}

// host makes a certificate for a host, and returns its files.
func (a *authority) host(name string, id node.Identity) *tcp.TLS {
	a.sign(name, &x509.Certificate{URIs: []*url.URL{tcp.HostURI(id)}})
	return a.files(name)
}

// anyHost makes a certificate for every host of a cluster.
func (a *authority) anyHost(name, cluster string) *tcp.TLS {
	a.sign(name, &x509.Certificate{URIs: []*url.URL{tcp.ClusterURI(cluster)}})
	return a.files(name)
}

func (a *authority) files(name string) *tcp.TLS {
	return &tcp.TLS{
		CertFile: filepath.Join(a.dir, name+".pem"),
		KeyFile:  filepath.Join(a.dir, name+".key"),
		CAFile:   filepath.Join(a.dir, "ca.pem"),
	}
}
