package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/pki"
)

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	made, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	require.NoError(t, made.Write(certFile, keyFile))
	ca, err := pki.LoadAuthority(certFile, keyFile)
	require.NoError(t, err)
	require.Equal(t, made.Expires(), ca.Expires())

	uri := &url.URL{Scheme: "raftlab", Host: "orders", Path: "/1"}
	pair, err := ca.Issue(pki.Request{Name: "host 1", Hosts: []string{"127.0.0.1", "db.example"}, URI: uri, Lifetime: 1000 * time.Hour})
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	require.Equal(t, "host 1", cert.Leaf.Subject.CommonName)
	require.Equal(t, []string{"db.example"}, cert.Leaf.DNSNames)
	require.True(t, cert.Leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)))
	require.Equal(t, uri.String(), cert.Leaf.URIs[0].String())
	require.False(t, cert.Leaf.NotAfter.After(ca.Expires()), "a certificate ends with its authority")
	require.Len(t, cert.Certificate, 2, "the chain")

	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca.Cert))
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{use}})
		require.NoError(t, err)
	}
	other, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(other.Cert))
	_, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: pool})
	require.Error(t, err)
}

// No existing file is replaced, and no half of a pair is left.
func TestWriteReplacesNothing(t *testing.T) {
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	for _, taken := range []string{"ca.pem", "ca.key"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, taken), []byte("mine"), 0o600))
		require.ErrorIs(t, ca.Write(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")), fs.ErrExist)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, files, 1)
		content, err := os.ReadFile(filepath.Join(dir, taken))
		require.NoError(t, err)
		require.Equal(t, "mine", string(content))
	}
	dir := t.TempDir()
	require.NoError(t, ca.Write(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")))
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "others may not read a key")
}

func TestWrongRequests(t *testing.T) {
	_, err := pki.NewAuthority("", time.Hour)
	require.ErrorIs(t, err, pki.ErrRequest)
	_, err = pki.NewAuthority("test", 0)
	require.ErrorIs(t, err, pki.ErrRequest)
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	for _, r := range []pki.Request{
		{Lifetime: time.Hour},
		{Name: "n", Lifetime: -time.Hour},
		{Name: "n", Lifetime: time.Hour, Hosts: []string{""}},
		{Name: "n", Lifetime: time.Hour, Hosts: []string{"bücher"}},
	} {
		_, err := ca.Issue(r)
		require.ErrorIs(t, err, pki.ErrRequest, "%+v", r)
	}
}

func TestLoadAuthority(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	require.NoError(t, ca.Write(path("ca.pem"), path("ca.key")))
	leaf, err := ca.Issue(pki.Request{Name: "host", Lifetime: time.Hour})
	require.NoError(t, err)
	require.NoError(t, leaf.Write(path("host.pem"), path("host.key")))

	_, err = pki.LoadAuthority(path("no.pem"), path("ca.key"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = pki.LoadAuthority(path("ca.pem"), path("no.key"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = pki.LoadAuthority(path("ca.pem"), path("host.key"))
	require.ErrorContains(t, err, "host.key", "the key of another certificate")
	_, err = pki.LoadAuthority(path("host.pem"), path("host.key"))
	require.ErrorContains(t, err, "not an authority")
}
