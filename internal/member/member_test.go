//go:build !wasip1

package member_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"raftlab/internal/httpkv"
	"raftlab/internal/member"
	"raftlab/internal/pki"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/tcp"
)

// patience bounds the wait for a condition. A busy machine holds elections.
const patience = time.Minute

// cluster is a cluster of members on loopback.
type cluster struct {
	*testing.T
	dir     string
	secure  bool
	options map[string]member.Options
	members map[string]*member.Member
}

// newCluster starts three members.
func newCluster(t *testing.T, secure bool) *cluster {
	c := &cluster{T: t, dir: t.TempDir(), secure: secure, options: make(map[string]member.Options), members: make(map[string]*member.Member)}
	if secure {
		c.makeCertificates()
	}
	first := make(map[string]string)
	for i := 1; i <= 3; i++ {
		first[fmt.Sprint("n", i)] = testkit.FreeAddress(t)
	}
	for name, address := range first {
		o := c.common(name)
		o.ListenPeer, o.Cluster = address, first
		c.options[name] = o
		c.start(name)
	}
	t.Cleanup(func() {
		for name := range c.members {
			c.stop(name)
		}
	})
	return c
}

// common returns the options that do not depend on the kind of the start.
func (c *cluster) common(name string) member.Options {
	o := member.Options{
		Name: name, Data: filepath.Join(c.dir, name), ClusterName: "test", Listen: "127.0.0.1:0", Advertise: []string{"http://" + name},
		HeartbeatInterval: 10 * time.Millisecond, ElectionTimeout: 500 * time.Millisecond,
		LooseReconfig: true, // no wait of 5 s before a change of members
		BcryptCost:    4,    // the default takes seconds with the race detector on a busy machine
	}
	if c.secure {
		o.PeerTLS = member.Files{Cert: c.path("member.pem"), Key: c.path("member.key"), CA: c.path("ca.pem")}
		o.TLS = o.PeerTLS
	}
	return o
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) makeCertificates() {
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(c, err)
	require.NoError(c, ca.Write(c.path("ca.pem"), c.path("ca.key")))
	pair, err := ca.Issue(pki.Request{Name: "member", Hosts: []string{"127.0.0.1"}, URI: tcp.ClusterURI("test"), Lifetime: time.Hour})
	require.NoError(c, err)
	require.NoError(c, pair.Write(c.path("member.pem"), c.path("member.key")))
}

func (c *cluster) start(name string) {
	c.Helper()
	m, err := member.Start(c.options[name])
	require.NoError(c, err)
	c.members[name] = m
}

func (c *cluster) stop(name string) {
	c.Helper()
	m := c.members[name]
	delete(c.members, name)
	require.NoError(c, m.Close())
	require.NoError(c, m.Close(), "the second time")
	ended := make(chan error, 1)
	go func() { ended <- m.Wait() }()
	require.NoError(c, testkit.Receive(c, "the end of "+name, ended))
}

// ready waits until a member has joined its cluster.
func (c *cluster) ready(name string) {
	c.Helper()
	testkit.Receive(c, name+" to be ready", c.members[name].Ready())
}

func (c *cluster) tls() *tls.Config {
	pem, err := os.ReadFile(c.path("ca.pem"))
	require.NoError(c, err)
	pool := x509.NewCertPool()
	require.True(c, pool.AppendCertsFromPEM(pem))
	pair, err := tls.LoadX509KeyPair(c.path("member.pem"), c.path("member.key"))
	require.NoError(c, err)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
}

// conn returns a client's connection to a member.
func (c *cluster) conn(name string) *grpc.ClientConn {
	c.Helper()
	secure := insecure.NewCredentials()
	if c.secure {
		secure = credentials.NewTLS(c.tls())
	}
	conn, err := grpc.NewClient(c.members[name].Address().String(), grpc.WithTransportCredentials(secure))
	require.NoError(c, err)
	c.Cleanup(func() { conn.Close() })
	return conn
}

func (c *cluster) kv(name string) pb.KVClient {
	c.Helper()
	return pb.NewKVClient(c.conn(name))
}

// put writes a key.
func (c *cluster) put(name, key string) {
	c.Helper()
	kv := c.kv(name)
	c.until("a put of "+key+" on "+name, func(ctx context.Context) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(name)}, grpc.WaitForReady(true))
		return err
	})
}

func (c *cluster) has(name string, keys ...string) {
	c.Helper()
	var r *pb.RangeResponse
	kv := c.kv(name)
	c.until("a read on "+name, func(ctx context.Context) (err error) {
		r, err = kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, grpc.WaitForReady(true))
		return err
	})
	var found []string
	for _, kv := range r.Kvs {
		found = append(found, string(kv.Key))
	}
	require.Equal(c, keys, found)
}

// request asks a member over HTTP.
func (c *cluster) request(method, name, path, body string, header http.Header) *http.Response {
	c.Helper()
	scheme, transport := "http", &http.Transport{}
	if c.secure {
		scheme, transport = "https", &http.Transport{TLSClientConfig: c.tls(), ForceAttemptHTTP2: true}
	}
	r, err := http.NewRequest(method, scheme+"://"+c.members[name].Address().String()+path, strings.NewReader(body))
	require.NoError(c, err)
	maps.Copy(r.Header, header)
	client := &http.Client{Transport: transport, Timeout: patience}
	answer, err := client.Do(r)
	require.NoError(c, err)
	c.Cleanup(func() {
		answer.Body.Close()
		client.CloseIdleConnections()
	})
	return answer
}

func (c *cluster) post(name, path, body string, header http.Header) *http.Response {
	c.Helper()
	return c.request(http.MethodPost, name, path, body, header)
}

func (c *cluster) get(name, path string) (int, string) {
	c.Helper()
	r := c.request(http.MethodGet, name, path, "", nil)
	body, err := io.ReadAll(r.Body)
	require.NoError(c, err)
	return r.StatusCode, string(body)
}

// serves waits until a page of a member has a text. A busy machine holds elections, and a
// member without a leader is not healthy.
func (c *cluster) serves(name, path, text string) {
	c.Helper()
	testkit.WaitFor(c, patience, name+path+" to say "+text, func() bool {
		code, body := c.get(name, path)
		return code == http.StatusOK && strings.Contains(body, text)
	})
}

// Every member takes writes, whichever leads, and has them after a restart.
func TestCluster(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plaintext": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, secure)
			for _, name := range []string{"n1", "n2", "n3"} {
				c.put(name, "by "+name)
			}
			for _, name := range []string{"n1", "n2", "n3"} {
				c.has(name, "by n1", "by n2", "by n3")
				c.serves(name, "/health", "")
			}
			for _, name := range []string{"n1", "n2", "n3"} {
				c.stop(name)
				for other := range c.members {
					c.put(other, "z"+name)
				}
				c.start(name)
			}
			c.has("n2", "by n1", "by n2", "by n3", "zn1", "zn2", "zn3")
		})
	}
}

// A member without its data does not start under its name. After its removal a new one
// joins under the same name, at the same address.
func TestLostData(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	c.put("n1", "k")
	c.put("n3", "k") // n3 has published its name
	id := c.members["n3"].Server().Node().ID()
	c.stop("n3")
	o := c.options["n3"]
	require.NoError(t, os.RemoveAll(o.Data))
	for range 2 {
		_, err := member.Start(o)
		require.ErrorIs(t, err, member.ErrNoData)
		require.ErrorContains(t, err, "has run before")
	}
	o.Cluster, o.Join = nil, []string{"https://" + c.members["n1"].Address().String()}
	o.Data += ".new"
	_, err := member.Start(o)
	require.ErrorContains(t, err, "remove the member first")

	members := pb.NewClusterClient(c.conn("n1"))
	c.until("the removal", func(ctx context.Context) error {
		_, err := members.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: uint64(id)})
		return err
	})
	c.options["n3"] = o
	c.start("n3")
	c.has("n3", "k")
	require.NotEqual(t, id, c.members["n3"].Server().Node().ID())
	o.Join = nil // a restart needs no cluster to join
	c.options["n3"] = o
	c.stop("n3")
	c.start("n3")
	c.put("n3", "l")
}

func scheme(secure bool) string {
	if secure {
		return "https://"
	}
	return "http://"
}

func clientTLS(c *cluster) *tls.Config {
	if !c.secure {
		return nil
	}
	return c.tls()
}

// dashboards are the figures in the queries of etcd's Grafana dashboard and of its rules for
// alerts (contrib/mixin). up and those of processes come from Prometheus and its client.
var dashboards = []string{
	"etcd_disk_backend_commit_duration_seconds_bucket", "etcd_disk_wal_fsync_duration_seconds_bucket",
	"etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_server_quota_backend_bytes",
	"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
	"etcd_network_peer_received_bytes_total", "etcd_network_peer_sent_bytes_total",
	"etcd_network_peer_round_trip_time_seconds_bucket", "etcd_network_peer_sent_failures_total",
	"etcd_server_has_leader", "etcd_server_leader_changes_seen_total",
	"etcd_server_proposals_applied_total", "etcd_server_proposals_committed_total",
	"etcd_server_proposals_failed_total", "etcd_server_proposals_pending",
	"etcd_debugging_mvcc_slow_watcher_total", "etcd_debugging_mvcc_pending_events_total",
	"etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_watch_stream_total", "etcd_debugging_mvcc_keys_total",
	"grpc_server_handled_total", "grpc_server_handling_seconds_bucket", "grpc_server_started_total",
	"process_resident_memory_bytes", "process_open_fds", "process_max_fds",
}

// HTTP has probes, the version, figures for Prometheus, and etcd's API as JSON.
func TestPages(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plaintext": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, secure)
			c.put("n1", "k")
			for path, says := range map[string]string{
				"/health": `{"health":"true","reason":""}`,
				"/livez":  "ok",
				"/readyz": "ok",

				"/readyz?verbose":          "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
				"/readyz/data_corruption":  "ok",
				"/livez/serializable_read": "ok",
				"/version":                 `{"etcdcluster":"3.7.0","etcdserver":"3.7.3","storage":"3.7.0"}`,
				"/metrics":                 "etcd_server_has_leader 1\n",
			} {
				c.serves("n1", path, says)
			}
			var body string
			testkit.WaitFor(t, patience, "the others' names and the newest level in the figures", func() bool {
				_, body = c.get("n1", "/metrics")
				return strings.Contains(body, "etcd_network_active_peers{") && strings.Contains(body, "raftlab_cluster_level 2\n")
			})
			require.Contains(t, body, "etcd_disk_wal_fsync_duration_seconds_count")
			require.Contains(t, body, "go_goroutines")
			for _, line := range []string{
				"etcd_server_is_learner 0\n", "etcd_server_leader_changes_seen_total ", "etcd_server_proposals_failed_total ",
				"etcd_mvcc_db_total_size_in_use_in_bytes ", `etcd_cluster_version{cluster_version="3.`, `etcd_server_go_version{server_go_version="go1.`,
				`etcd_server_version{server_version="3.7.3"} 1`, "etcd_mvcc_put_total 1\n", "etcd_mvcc_delete_total 0\n", "etcd_mvcc_range_total ", "etcd_server_proposals_pending 0\n", "etcd_server_read_indexes_failed_total ", "etcd_server_slow_read_indexes_total ",
				`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
				"etcd_debugging_mvcc_watch_stream_total 0\n", "promhttp_metric_handler_requests_total",
			} {
				require.Contains(t, body, line)
			}

			for _, name := range dashboards {
				require.Regexp(t, "(?m)^"+name+"[ {]", body)
			}
			require.Len(t, regexp.MustCompile(`(?m)^etcd_network_peer_sent_failures_total{To="[0-9a-f]+"} `).FindAllString(body, -1), 2)
			require.Len(t, regexp.MustCompile(`(?m)^etcd_network_known_peers{`).FindAllString(body, -1), 3, "members")

			r := c.post("n2", "/v3/kv/put", `{"key":"aw==","value":"dg=="}`, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}) // as curl -d sends it
			require.Equal(t, http.StatusOK, r.StatusCode)
			r = c.post("n3", "/v3/kv/range", `{"key":"aw=="}`, nil)
			data, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Contains(t, string(data), `"value":"dg=="`)
			require.Contains(t, string(data), `"cluster_id"`)
			r = c.post("n3", "/v3/kv/put", `{"key":"aw==","value":"eA=="}`, http.Header{"Origin": {"http://evil.example"}})
			require.Equal(t, http.StatusForbidden, r.StatusCode, "a page of another origin")
			// The interface /v1 stands on the same keys, on every member.
			v1 := &httpkv.Client{BaseURL: scheme(secure) + c.members["n3"].Address().String(), HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(c)}}}
			version, err := v1.Do(c.Context(), httpkv.Write{Op: kv.Append("k", "w"), IdempotencyKey: "once"})
			require.NoError(t, err)
			again, err := v1.Do(c.Context(), httpkv.Write{Op: kv.Append("k", "w"), IdempotencyKey: "once"})
			require.NoError(t, err)
			require.Equal(t, version, again)
			got, err := v1.Get(c.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, "vw", got.Value)
			testkit.WaitFor(t, patience, "a leader in the status", func() bool {
				status, err := v1.Status(c.Context())
				require.NoError(t, err)
				require.Len(t, status.Replicas, 3)
				return status.Leader != 0
			})
			require.ErrorContains(t, v1.ChangeReplica(c.Context(), 1, "stop"), "--admin")
			if secure {
				return
			}
			c.stop("n2")
			c.stop("n3")
			code, body := c.get("n1", "/readyz")
			require.Equal(t, http.StatusServiceUnavailable, code, body)
			require.Contains(t, body, "[-]linearizable_read failed: etcdserver: ")
			code, body = c.get("n1", "/readyz?exclude=linearizable_read")
			require.Equal(t, http.StatusOK, code, body)
			code, body = c.get("n1", "/livez")
			require.Equal(t, http.StatusOK, code, body)
			c.start("n2")
		})
	}
}

// The client port bears clients that say nothing, and those of another protocol.
func TestPort(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	address := c.members["n1"].Address().String()
	silent, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer silent.Close()
	half, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer half.Close()
	_, err = half.Write([]byte("PR"))
	require.NoError(t, err)
	garbage, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer garbage.Close()
	_, err = garbage.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	require.NoError(t, err)
	c.put("n1", "k")
	code, _ := c.get("n1", "/nothing")
	require.Equal(t, http.StatusNotFound, code)
	require.NoError(t, garbage.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.ReadAll(garbage)
	require.NoError(t, err, "the port answers, and ends the connection")
}

// A certificate in new files serves new connections.
func TestCertificatesAreReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	c.put("n1", "before")
	serial := func() string {
		conn, err := tls.Dial("tcp", c.members["n1"].Address().String(), c.tls())
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := serial()
	ca, err := pki.LoadAuthority(c.path("ca.pem"), c.path("ca.key"))
	require.NoError(t, err)
	pair, err := ca.Issue(pki.Request{Name: "member", Hosts: []string{"127.0.0.1"}, URI: tcp.ClusterURI("test"), Lifetime: time.Hour})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(c.path("member.pem"), []byte("half"), 0o600))
	require.NoError(t, os.Chtimes(c.path("member.pem"), time.Time{}, time.Now().Add(time.Second)))
	config := c.tlsOf(pair)
	conn, err := tls.Dial("tcp", c.members["n1"].Address().String(), config)
	require.NoError(t, err, "a file that was half written")
	require.NoError(t, conn.Close())
	require.NoError(t, os.WriteFile(c.path("member.key"), pair.Key, 0o600))
	require.NoError(t, os.WriteFile(c.path("member.pem"), pair.Cert, 0o600))
	require.NoError(t, os.Chtimes(c.path("member.pem"), time.Time{}, time.Now().Add(2*time.Second)))
	require.NotEqual(t, old, serial())
	c.put("n2", "after")

	config.Certificates = nil
	conn, err = tls.Dial("tcp", c.members["n1"].Address().String(), config)
	if err == nil { // TLS 1.3 refuses after the handshake
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorContains(t, err, "certificate required")
}

// tlsOf returns a client's configuration with a certificate.
func (c *cluster) tlsOf(pair pki.Pair) *tls.Config {
	pem, err := os.ReadFile(c.path("ca.pem"))
	require.NoError(c, err)
	pool := x509.NewCertPool()
	require.True(c, pool.AppendCertsFromPEM(pem))
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(c, err)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
}

// The log names clients and members whose TLS fails, and no probes of the port for clients.
func TestRejectedConnections(t *testing.T) {
	c := newCluster(t, true)
	c.stop("n1")
	o := c.options["n1"]
	var log lines
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c.options["n1"] = o
	c.start("n1")
	probe, err := net.Dial("tcp", c.members["n1"].Address().String())
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	for address, want := range map[string]string{
		c.members["n1"].Address().String(): "rejected connection on client endpoint",
		c.members["n1"].PeerAddress():      "rejected connection on peer endpoint",
	} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err == nil {
			conn.Close()
		}
		log.await(t, want)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	require.NotContains(t, log.text.String(), "EOF", "a probe of the port")
}

// lines is a log.
type lines struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{} // closed by the next line
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrote != nil {
		close(l.wrote)
		l.wrote = nil
	}
	return l.text.Write(b)
}

// await waits for a text.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	tooLate := time.After(patience)
	for {
		l.mu.Lock()
		if l.wrote == nil {
			l.wrote = make(chan struct{})
		}
		so, next := l.text.String(), l.wrote
		l.mu.Unlock()
		if strings.Contains(so, text) {
			return
		}
		select {
		case <-next:
		case <-tooLate:
			require.Fail(t, "the log has no such line", "%s\n%s", text, so)
		}
	}
}
