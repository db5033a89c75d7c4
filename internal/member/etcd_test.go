//go:build !wasip1

package member_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"raftlab/internal/member"
	"raftlab/internal/pki"
	"raftlab/internal/testkit"
)

// A deployment of etcd: certificates that nobody has signed, a member that an operator has
// added, users over JSON, a lock over JSON, and a port for figures.
func TestEtcdsDeployment(t *testing.T) {
	t.Parallel()
	c := &cluster{T: t, dir: t.TempDir(), options: make(map[string]member.Options), members: make(map[string]*member.Member)}
	trusting := &tls.Config{InsecureSkipVerify: true} // the certificate is nobody's
	first, second, figures := testkit.FreeAddress(t), testkit.FreeAddress(t), testkit.FreeAddress(t)
	for name, peer := range map[string]string{"n1": first, "n2": second} {
		o := c.common(name)
		o.PeerAutoTLS, o.AutoTLS, o.ListenPeer, o.BcryptCost = true, true, peer, 4
		o.ElectionTimeout = time.Second // a new leader would refuse requests of this test
		c.options[name] = o
	}
	o := c.options["n1"]
	o.Cluster, o.ListenMetrics = map[string]string{"n1": "https://" + first}, []string{"http://" + figures}
	c.options["n1"] = o
	c.start("n1")
	defer c.stop("n1")
	c.ready("n1")
	dial := func(name string) *grpc.ClientConn {
		conn, err := grpc.NewClient(c.members[name].Address().String(), grpc.WithTransportCredentials(credentials.NewTLS(trusting)))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	added, err := pb.NewClusterClient(dial("n1")).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://" + second}})
	require.NoError(t, err)
	o = c.options["n2"]
	o.Existing, o.Cluster = true, map[string]string{"n1": "https://" + first, "n2": "https://" + second}
	c.options["n2"] = o
	c.start("n2")
	defer c.stop("n2")
	c.ready("n2")
	require.Equal(t, added.Member.ID, uint64(c.members["n2"].Server().Node().ID()))

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	post := func(path, token, body string) (int, map[string]any) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.members["n2"].Address().String()+path, strings.NewReader(body))
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		answer, err := client.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		got := make(map[string]any)
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&got))
		return answer.StatusCode, got
	}
	code, locked := post("/v3/lock/lock", "", `{"name":"bA=="}`)
	require.Equal(t, http.StatusOK, code, "%v", locked)
	require.NotEmpty(t, locked["key"])
	code, won := post("/v3/election/campaign", "", `{"name":"ZQ==","value":"dg=="}`)
	require.Equal(t, http.StatusOK, code, "%v", won)
	code, leads := post("/v3/election/leader", "", `{"name":"ZQ=="}`)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "dg==", leads["kv"].(map[string]any)["value"])
	observing, stop := context.WithCancel(ctx)
	observe, err := http.NewRequestWithContext(observing, http.MethodPost, "https://"+c.members["n2"].Address().String()+"/v3/election/observe", strings.NewReader(`{"name":"ZQ=="}`))
	require.NoError(t, err)
	observed, err := client.Do(observe)
	require.NoError(t, err)
	var leader struct {
		Result struct{ KV struct{ Value string } }
	}
	require.NoError(t, json.NewDecoder(observed.Body).Decode(&leader))
	require.Equal(t, "dg==", leader.Result.KV.Value)
	stop()
	require.NoError(t, observed.Body.Close())
	for _, request := range [][2]string{
		{"/v3/auth/user/add", `{"name":"root","password":"secret"}`},
		{"/v3/auth/user/grant", `{"user":"root","role":"root"}`},
		{"/v3/auth/enable", `{}`},
	} {
		code, got := post(request[0], "", request[1])
		require.Equal(t, http.StatusOK, code, "%v", got)
	}
	code, refused := post("/v3/kv/range", "", `{"key":"YQ=="}`)
	require.Equal(t, http.StatusBadRequest, code, "%v", refused)
	code, entered := post("/v3/auth/authenticate", "", `{"name":"root","password":"secret"}`)
	require.Equal(t, http.StatusOK, code)
	code, _ = post("/v3/kv/range", entered["token"].(string), `{"key":"YQ=="}`)
	require.Equal(t, http.StatusOK, code)

	for path, want := range map[string]int{"/health": http.StatusOK, "/metrics": http.StatusOK, "/v3/kv/range": http.StatusNotFound} {
		answer, err := http.Get("http://" + figures + path)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, want, answer.StatusCode, path)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A certificate of a member names the cluster, unless every certificate of the authority
// is one of a member.
func TestAnyCertificate(t *testing.T) {
	t.Parallel()
	c := &cluster{T: t, dir: t.TempDir()}
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	require.NoError(t, ca.Write(c.path("ca.pem"), c.path("ca.key")))
	pair, err := ca.Issue(pki.Request{Name: "member", Hosts: []string{"127.0.0.1"}, Lifetime: time.Hour})
	require.NoError(t, err)
	require.NoError(t, pair.Write(c.path("member.pem"), c.path("member.key")))
	o := c.common("n1")
	o.ListenPeer = testkit.FreeAddress(t)
	o.Cluster = map[string]string{"n1": o.ListenPeer}
	o.PeerTLS = member.Files{Cert: c.path("member.pem"), Key: c.path("member.key"), CA: c.path("ca.pem")}
	_, err = member.Start(o)
	require.ErrorContains(t, err, "names 0 hosts")
	o.PeerAnyCertificate = true
	m, err := member.Start(o)
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

// A member takes those certificates of members alone that have an allowed common name, and
// an allowed host. The port for members may have several addresses.
func TestAllowedCertificates(t *testing.T) {
	t.Parallel()
	c := &cluster{T: t, dir: t.TempDir(), secure: true, options: make(map[string]member.Options), members: make(map[string]*member.Member)}
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	require.NoError(t, ca.Write(c.path("ca.pem"), c.path("ca.key")))
	first := map[string]string{"n1": testkit.FreeAddress(t), "n2": testkit.FreeAddress(t)}
	for name, host := range map[string]string{"n1": "good.example", "n2": "good.example", "other": "good.example"} {
		pair, err := ca.Issue(pki.Request{Name: name, Hosts: []string{host, "127.0.0.1"}, Lifetime: time.Hour})
		require.NoError(t, err)
		require.NoError(t, pair.Write(c.path(name+".pem"), c.path(name+".key")))
	}
	more := testkit.FreeAddress(t)
	var log lines
	for name, address := range first {
		o := c.common(name)
		o.TLS, o.PeerTLS = member.Files{}, member.Files{Cert: c.path(name + ".pem"), Key: c.path(name + ".key"), CA: c.path("ca.pem")}
		o.PeerAnyCertificate, o.Cluster, o.AdvertisePeer = true, first, address
		o.ListenPeer, o.PeerNames, o.PeerHosts = "https://"+address, []string{"n1", "n2"}, []string{"good.example", "x.example"}
		if name == "n1" {
			o.ListenPeer += ",https://" + more
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		}
		c.options[name] = o
		c.start(name)
		defer c.stop(name)
	}
	c.ready("n1")
	c.ready("n2")
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(c.path("ca.pem"))
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(pem))
	handshake := func(address, name string) error {
		cert, err := tls.LoadX509KeyPair(c.path(name+".pem"), c.path(name+".key"))
		require.NoError(t, err)
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "good.example", Certificates: []tls.Certificate{cert}})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // a refusal comes behind the handshake of TLS 1.3
		return err
	}
	for _, address := range []string{first["n1"], more} {
		require.ErrorContains(t, handshake(address, "other"), "bad certificate")
		log.await(t, "client certificate authentication failed")
	}
	require.NotContains(t, fmt.Sprint(handshake(more, "n2")), "certificate")

	o := c.options["n2"]
	c.stop("n2")
	var strict lines
	o.PeerNames, o.PeerHosts, o.Logger = nil, []string{"bad.example"}, slog.New(slog.NewTextHandler(&strict, nil))
	c.options["n2"] = o
	c.start("n2")
	strict.await(t, "is for none of the hosts")
	o.PeerTLS = member.Files{}
	_, err = member.Start(o)
	require.ErrorIs(t, err, member.ErrOptions)
	require.ErrorContains(t, err, "--peer-cert-allowed-hostname")
}
