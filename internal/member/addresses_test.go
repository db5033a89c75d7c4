//go:build !wasip1

package member_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"raftlab/internal/member"
	"raftlab/internal/pki"
	"raftlab/internal/testkit"
)

// single returns a cluster of one member that does not run yet.
func single(t *testing.T) (*cluster, member.Options) {
	c := &cluster{T: t, dir: t.TempDir(), secure: true, options: make(map[string]member.Options), members: make(map[string]*member.Member)}
	c.makeCertificates()
	o := c.common("n1")
	o.ListenPeer = testkit.FreeAddress(t)
	o.Cluster = map[string]string{"n1": o.ListenPeer}
	return c, o
}

// run starts the member until the end of the test.
func (c *cluster) run(o member.Options) {
	c.options["n1"] = o
	c.start("n1")
	c.Cleanup(func() { c.stop("n1") })
}

// reaches puts a key, and asks for the version, at an address.
func (c *cluster) reaches(network, address string, secure *tls.Config) error {
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	creds := insecure.NewCredentials()
	url := "http://localhost/version"
	if secure != nil {
		creds, url = credentials.NewTLS(secure), "https://localhost/version"
	}
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	require.NoError(c, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(address)}); err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig: secure.Clone(), ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(c, err)
	require.Contains(c, string(body), "etcdserver")
	return nil
}

// An address may have TLS or not, or both, and be a socket in the file system.
func TestAddresses(t *testing.T) {
	t.Parallel()
	c, o := single(t)
	sockets, err := os.MkdirTemp("", "m") // paths of sockets are short
	require.NoError(t, err)
	defer os.RemoveAll(sockets)
	both, figures := testkit.FreeAddress(t), testkit.FreeAddress(t)
	plain, secure := filepath.Join(sockets, "plain"), filepath.Join(sockets, "secure")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: plain, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	o.Listen, o.ListenMore = "http://"+both, []string{"https://" + both, "unix://" + plain, "unixs://" + secure}
	o.ListenMetrics, o.Advertise = []string{"https://" + figures}, nil
	_, err = member.Start(o)
	require.ErrorContains(t, err, "address already in use", "somebody listens on the socket")
	require.NoError(t, left.Close()) // as a killed process leaves the file
	require.NoError(t, os.WriteFile(secure, []byte("a file"), 0o600))
	_, err = member.Start(o)
	require.ErrorContains(t, err, "address already in use", "the path has another file")
	require.FileExists(t, secure)
	require.NoError(t, os.Remove(secure))

	c.run(o)
	c.ready("n1")
	config := c.tls()
	config.ServerName = "127.0.0.1"
	require.NoError(t, c.reaches("tcp", both, nil))
	require.NoError(t, c.reaches("tcp", both, config))
	require.NoError(t, c.reaches("unix", plain, nil))
	require.NoError(t, c.reaches("unix", secure, config))
	require.Error(t, c.reaches("unix", plain, config), "a socket without TLS")
	require.Error(t, c.reaches("unix", secure, nil), "a socket with TLS")
	stranger := config.Clone()
	stranger.Certificates = nil
	require.Error(t, c.reaches("tcp", both, stranger), "TLS asks for a certificate")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	answer, err := client.Get("https://" + figures + "/health")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)

	// A connection that sends nothing delays neither others nor the end.
	silent, err := net.Dial("tcp", both)
	require.NoError(t, err)
	defer silent.Close()
	require.NoError(t, c.reaches("tcp", both, config))
	list, err := c.members["n1"].Server().Survey(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"http://" + both}, list[0].ClientURLs, "the default of the URLs that clients learn")
}

// list writes a list of revoked certificates.
func (c *cluster) list(ca *pki.Authority, number int64, all ...pki.Pair) {
	cert, err := x509.ParseCertificate(block(c.T, ca.Cert))
	require.NoError(c, err)
	pair, err := tls.X509KeyPair(ca.Cert, ca.Key)
	require.NoError(c, err)
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)}
	for _, one := range all {
		revoked, err := x509.ParseCertificate(block(c.T, one.Cert))
		require.NoError(c, err)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: revoked.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, cert, pair.PrivateKey.(crypto.Signer))
	require.NoError(c, err)
	c.write("revoked.pem", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), number)
}

// write replaces a file, with a time of change that rises with number.
func (c *cluster) write(name string, data []byte, number int64) {
	require.NoError(c, os.WriteFile(c.path(name), data, 0o600))
	require.NoError(c, os.Chtimes(c.path(name), time.Time{}, time.Now().Add(time.Duration(number)*time.Second)))
}

func block(t *testing.T, data []byte) []byte {
	b, _ := pem.Decode(data)
	require.NotNil(t, b)
	return b.Bytes
}

// A client whose certificate is on a list is refused, also when the client resumes a
// session. A new list counts from the next connection on.
func TestRevokedCertificates(t *testing.T) {
	t.Parallel()
	c, o := single(t)
	ca, err := pki.LoadAuthority(c.path("ca.pem"), c.path("ca.key"))
	require.NoError(t, err)
	issue := func(name string) pki.Pair {
		pair, err := ca.Issue(pki.Request{Name: name, Lifetime: time.Hour})
		require.NoError(t, err)
		return pair
	}
	alice, bob := issue("alice"), issue("bob")
	o.TLS.CRL = c.path("revoked.pem")
	_, err = member.Start(o)
	require.ErrorContains(t, err, "revoked.pem", "the file is missing")
	other, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	c.list(other, 1, alice)
	_, err = member.Start(o)
	require.ErrorContains(t, err, "no authority of the clients has signed")
	c.write("revoked.pem", []byte("nothing"), 2)
	_, err = member.Start(o)
	require.ErrorContains(t, err, "has no list of revoked certificates")

	c.list(ca, 3, alice)
	c.run(o)
	c.ready("n1")
	address := c.members["n1"].Address().String()
	reaches := func(config *tls.Config) error {
		config.ServerName = "127.0.0.1"
		return c.reaches("tcp", address, config)
	}
	resuming := c.tlsOf(bob)
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	require.Error(t, reaches(c.tlsOf(alice)))
	require.NoError(t, reaches(resuming))
	require.NoError(t, reaches(resuming))
	c.write("revoked.pem", []byte("half a file"), 4)
	require.Error(t, reaches(c.tlsOf(alice)), "the former list counts")
	require.NoError(t, reaches(c.tlsOf(bob)))
	c.list(ca, 5, alice, bob)
	require.Error(t, reaches(resuming))
	require.Error(t, reaches(c.tlsOf(bob)))
	require.NoError(t, reaches(c.tls()))
	c.list(ca, 6)
	require.NoError(t, reaches(c.tlsOf(alice)))
}

// The versions and the suites of TLS have limits.
func TestVersionsOfTLS(t *testing.T) {
	t.Parallel()
	c, o := single(t)
	const suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	o.TLSMaxVersion, o.CipherSuites = "TLS1.2", []string{suite}
	c.run(o)
	c.ready("n1")
	address := c.members["n1"].Address().String()
	conn, err := tls.Dial("tcp", address, c.tls())
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, uint16(tls.VersionTLS12), conn.ConnectionState().Version)
	require.Equal(t, suite, tls.CipherSuiteName(conn.ConnectionState().CipherSuite))
	config := c.tls()
	config.ServerName = "127.0.0.1"
	require.NoError(t, c.reaches("tcp", address, config))
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	_, err = tls.Dial("tcp", address, config)
	require.ErrorContains(t, err, "handshake failure")
	config.CipherSuites, config.MinVersion = nil, tls.VersionTLS13
	_, err = tls.Dial("tcp", address, config)
	require.ErrorContains(t, err, "protocol version")
}
