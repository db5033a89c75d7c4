//go:build !wasip1

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"raftlab/internal/member"
)

// settings parses a command line, an environment and a file of settings.
func settings(t *testing.T, args, environ []string, file string) (member.Options, error) {
	var o member.Options
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.String("config", "", "")
	addMemberFlags(f, &o)
	f.SetNormalizeFunc(etcdName)
	require.NoError(t, f.Parse(args))
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "settings.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	return o, applySettings(f, path, environ)
}

// The command line counts before the environment, and the environment before the file.
func TestSettings(t *testing.T) {
	const file = `
# a comment
name: from the file
listen-peer: 10.0.0.1:1
quota: 3
cluster:
  n1: a:1
  n2: b:2
join: [http://a:1, http://b:1]
insecure: true
`
	o, err := settings(t, []string{"--name=from the line"}, []string{"RAFTLAB_NAME=x", "RAFTLAB_QUOTA=2", "RAFTLAB_SOAK=1", "OTHER=1", "RAFTLAB_MAX_TXN_OPS=7"}, file)
	require.NoError(t, err)
	require.Equal(t, "from the line", o.Name)
	require.Equal(t, int64(2), o.Quota)
	require.Equal(t, 7, o.MaxTxnOps)
	require.Equal(t, "10.0.0.1:1", o.ListenPeer)
	require.Equal(t, map[string]string{"n1": "a:1", "n2": "b:2"}, o.Cluster)
	require.Equal(t, []string{"http://a:1", "http://b:1"}, o.Join)
	require.True(t, o.Insecure)

	o, err = settings(t, []string{"--initial-cluster", "n1=a:1,n2=b:2", "--initial-cluster-token=c", "--peer-trusted-ca-file=f"}, []string{"RAFTLAB_JOIN=http://a:1,http://b:1"}, "initial-advertise-peer-urls: http://a:1\n")
	require.NoError(t, err, "etcd's names")
	require.Equal(t, map[string]string{"n1": "a:1", "n2": "b:2"}, o.Cluster)
	require.Equal(t, "c", o.ClusterName)
	require.Equal(t, "f", o.PeerTLS.CA)
	require.Equal(t, "http://a:1", o.AdvertisePeer)
	require.Len(t, o.Join, 2)

	_, err = settings(t, nil, nil, " \n")
	require.NoError(t, err, "an empty file")
	for file, says := range map[string]string{
		"name: n1\nnmae: n2\n":   `line 2: there is no setting "nmae"`,
		"config: other\n":        `no setting "config"`,
		"quota: many\n":          `line 1: invalid argument "many"`,
		"quota: 1\nquota: 2\n":   "quota",
		"- name\n":               "want a mapping",
		"name: {a: {b: c}}\n":    "want a plain value",
		"name: [\n":              "settings.yaml",
		"listen-peer: &a [*a]\n": "settings.yaml",
		"name: n1\n\tquota: 1\n": "settings.yaml",
	} {
		_, err := settings(t, nil, nil, file)
		require.ErrorContains(t, err, says, "%q", file)
	}
	_, err = settings(t, nil, []string{"RAFTLAB_QUOTA=many"}, "")
	require.ErrorContains(t, err, `RAFTLAB_QUOTA: invalid argument "many"`)
}

// The environment and the file of a deployment of etcd give a member its settings.
func TestSettingsOfEtcd(t *testing.T) {
	o, err := settings(t, []string{"--heartbeat-interval=300"}, []string{
		"ETCD_NAME=n1", "ETCD_LISTEN_CLIENT_URLS=http://a:1", "ETCD_HEARTBEAT_INTERVAL=200", "ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME=3m",
		"ETCD_MAX_TXN_OPS=7", "RAFTLAB_MAX_TXN_OPS=8", "ETCD_QUOTA_BACKEND_BYTES=9", "ETCD_VERSION=3.6", "ETCD_CORS=",
	}, "quota-backend-bytes: 10\n")
	require.NoError(t, err)
	require.Equal(t, "n1", o.Name)
	require.Equal(t, 300*time.Millisecond, o.HeartbeatInterval, "the command line counts first")
	require.Equal(t, 3*time.Minute, o.CompareInterval)
	require.Equal(t, 8, o.MaxTxnOps, "RAFTLAB_ counts before ETCD_")
	require.Equal(t, int64(9), o.Quota, "ETCD_ counts before the file")
	_, err = settings(t, nil, []string{"ETCD_QUOTA_BACKEND_BYTES=many"}, "")
	require.ErrorContains(t, err, `ETCD_QUOTA_BACKEND_BYTES: invalid argument "many"`)

	const file = `
name: 'n1'
wal-dir:
quota-backend-bytes: 0
max-wals: 5
cors:
advertise-client-urls: https://a:1,https://b:1
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
initial-cluster: n1=https://a:2,n2=https://b:2
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
client-transport-security:
  cert-file: c
  key-file: k
  client-cert-auth: true
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file: pc
  key-file: pk
  client-cert-auth: false
  trusted-ca-file: pca
  allowed-cn: m
  auto-tls: false
log-outputs: [stderr]
auto-compaction-retention: "1"
cipher-suites: [
  d,
  e
]
`
	o, err = settings(t, nil, nil, file)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"n1": "https://a:2", "n2": "https://b:2"}, o.Cluster)
	require.Equal(t, []string{"https://a:1", "https://b:1"}, o.Advertise)
	require.Equal(t, member.Files{Cert: "c", Key: "k"}, o.TLS)
	require.Equal(t, member.Files{Cert: "pc", Key: "pk", CA: "pca"}, o.PeerTLS)
	require.True(t, o.CertificateUsers)
	require.True(t, o.PeerAnyCertificate)
	require.Equal(t, []string{"m"}, o.PeerNames)
	require.Equal(t, []string{"d", "e"}, o.CipherSuites)
	for file, says := range map[string]string{
		"client-transport-security: {cert: c}\n":                     `line 1: there is no setting "cert" in client-transport-security`,
		"peer-transport-security: {quota: 7}\n":                      `line 1: there is no setting "quota" in peer-transport-security`,
		"peer-transport-security: [pc]\n":                            "line 1: want a mapping",
		"client-transport-security: {cert-file: [[c]]}\n":            "line 1: want a plain value",
		"cert-file: c\nclient-transport-security:\n  cert-file: d\n": "line 3: cert stands twice",
	} {
		_, err := settings(t, nil, nil, file)
		require.ErrorContains(t, err, says, "%q", file)
	}
}

// Flags of etcd without an effect are accepted with a warning, and those that a member
// cannot follow are refused.
func TestFlagsOfEtcd(t *testing.T) {
	o, err := settings(t, []string{
		"--heartbeat-interval=200", "--election-timeout=2s", "--auth-token-ttl=60", "--initial-cluster-state=existing",
		"--auto-compaction-mode=revision", "--auto-compaction-retention=100", "--client-cert-auth", "--listen-metrics-urls=http://a:1,http://b:1",
		"--peer-cert-allowed-cn=h,i", "--peer-cert-allowed-hostname=j", "--listen-peer-urls=https://k:1,https://l:2",
		"--warning-unary-request-duration=1us", "--client-crl-file=c", "--cipher-suites=d,e", "--tls-min-version=TLS1.2", "--tls-max-version=TLS1.3", "--listen-client-http-urls=http://f:1,http://g:1",
	}, nil, "")
	require.NoError(t, err)
	require.Equal(t, 200*time.Millisecond, o.HeartbeatInterval)
	require.Equal(t, 2*time.Second, o.ElectionTimeout)
	require.Equal(t, time.Minute, o.AuthTokenTTL)
	require.Equal(t, time.Microsecond, o.SlowRequest)
	require.Equal(t, []string{"h", "i", "j"}, append(o.PeerNames, o.PeerHosts...))
	require.Equal(t, "https://k:1,https://l:2", o.ListenPeer)
	require.True(t, o.Existing)
	require.True(t, o.CertificateUsers)
	require.Equal(t, "revision100", o.CompactionMode+o.CompactionRetention)
	require.Len(t, o.ListenMetrics, 2)
	require.Len(t, o.ListenMore, 2)
	require.Equal(t, "c", o.TLS.CRL)
	require.Equal(t, []string{"d", "e"}, o.CipherSuites)
	require.Equal(t, "TLS1.2 TLS1.3", o.TLSMinVersion+" "+o.TLSMaxVersion)
	check := func(args ...string) error {
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		addMemberFlags(f, &member.Options{})
		require.NoError(t, f.Parse(args))
		var log strings.Builder
		err := checkEtcdFlags(f, slog.New(slog.NewTextHandler(&log, nil)))
		require.Equal(t, err == nil, strings.Contains(log.String(), "no effect"), "%q: %s", args, log.String())
		return err
	}
	err = check("--max-wals=3", "--backend-batch-limit", "7", "--pre-vote", "--initial-corrupt-check")
	require.NoError(t, err)
	require.NoError(t, check("--max-wals=3", "--cors=", "--discovery", "", "--proxy=off"), "refused flags without a value")
	for _, flag := range []string{"--peer-crl-file=x", "--discovery-token=x", "--cors=https://a", "--proxy=on"} {
		err := check(flag)
		require.ErrorContains(t, err, "is not supported", flag)
	}
	o, err = settings(t, []string{"--experimental-corrupt-check-time=3m"}, []string{"RAFTLAB_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s"}, "")
	require.NoError(t, err, "the names of earlier versions of etcd")
	require.Equal(t, 3*time.Minute, o.CompareInterval)
	require.Equal(t, 5*time.Second, o.ProgressInterval)
	for _, want := range []struct {
		any  bool
		args []string
	}{
		{false, []string{"--peer-ca=c"}},
		{true, []string{"--peer-trusted-ca-file=c"}},
		{false, []string{"--peer-trusted-ca-file=c", "--peer-any-cert=false"}},
		{false, []string{"--peer-any-cert=false", "--peer-trusted-ca-file=c"}},
	} {
		o, err = settings(t, want.args, nil, "")
		require.NoError(t, err)
		require.Equal(t, "c", o.PeerTLS.CA)
		require.Equal(t, want.any, o.PeerAnyCertificate, "%q", want.args)
	}
	o, err = settings(t, []string{"--strict-reconfig-check=false", "--max-learners=3"}, nil, "")
	require.NoError(t, err)
	require.True(t, o.LooseReconfig)
	require.Equal(t, 3, o.MaxLearners)
	o, err = settings(t, []string{"--strict-reconfig-check"}, nil, "")
	require.NoError(t, err)
	require.False(t, o.LooseReconfig)
	var exists bool
	require.ErrorContains(t, clusterState{&exists}.Set("old"), "new or existing")
}
