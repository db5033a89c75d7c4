//go:build !wasip1

package member

import (
	"crypto/tls"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/etcdapi"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

func good() Options {
	return Options{
		Name: "n1", Data: "data", ListenPeer: "127.0.0.1:2380", Listen: "127.0.0.1:2379",
		Cluster: map[string]string{"n1": "http://127.0.0.1:2380", "n2": "127.0.0.1:2381"},
	}
}

func TestOptions(t *testing.T) {
	o := good()
	require.NoError(t, o.setDefaults())
	require.Equal(t, "127.0.0.1:2380", o.AdvertisePeer)
	require.Equal(t, []string{"http://127.0.0.1:2379"}, o.Advertise)
	require.Len(t, o.members("a"), 2)
	require.Equal(t, datadir.FirstID("a", "n1"), o.members("a")[0].ID)
	require.NotEqual(t, datadir.FirstID("a", "bc"), datadir.FirstID("ab", "c"))

	files := Files{Cert: "c", Key: "k", CA: "a"}
	secured := good()
	secured.ListenPeer, secured.Listen, secured.AdvertisePeer = "10.0.0.1:2380", ":2379", "10.0.0.1:2380"
	secured.PeerTLS, secured.TLS = files, files
	require.NoError(t, secured.setDefaults())
	require.Equal(t, []string{"https://:2379"}, secured.Advertise)
	secured.Listen, secured.Advertise = "unixs://run/n1", nil
	require.NoError(t, secured.setDefaults())
	require.Equal(t, []string{"unixs://run/n1"}, secured.Advertise)
	secured.CipherSuites = []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"}
	require.NoError(t, secured.setDefaults())
	require.Equal(t, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}, secured.tls.CipherSuites)

	for name, c := range map[string]struct {
		change func(o *Options)
		says   string
	}{
		"no name":             {func(o *Options) { o.Name = "" }, "no name"},
		"a name with =":       {func(o *Options) { o.Name = "a=b" }, `"a=b"`},
		"no data":             {func(o *Options) { o.Data = "" }, "--data"},
		"not in the cluster":  {func(o *Options) { o.Name = "n9" }, "n1, n2, and not this member, n9"},
		"cluster and join":    {func(o *Options) { o.Join = []string{"http://a:1"} }, "both are given"},
		"groups and admin":    {func(o *Options) { o.Groups, o.Admin = 2, true }, "--admin is for a member of a store without groups"},
		"a wrong peer":        {func(o *Options) { o.Cluster["n2"] = "nowhere" }, `address of n2 in --cluster is "nowhere"`},
		"a wrong join":        {func(o *Options) { o.Cluster, o.Join = nil, []string{"a:1"} }, `"a:1" is not the URL`},
		"a wrong listen":      {func(o *Options) { o.Listen = "x" }, `--listen is "x"`},
		"a wrong scheme":      {func(o *Options) { o.Listen = "ftp://127.0.0.1:1" }, `--listen is "ftp://127.0.0.1:1"`},
		"a socket nowhere":    {func(o *Options) { o.Listen = "unix://" }, "unix://PATH"},
		"listen twice":        {func(o *Options) { o.ListenMore = []string{"http://127.0.0.1:2379"} }, "--listen names http://127.0.0.1:2379 twice"},
		"no certificate":      {func(o *Options) { o.Listen = "https://127.0.0.1:2379" }, "--listen is https://127.0.0.1:2379, and there is no certificate"},
		"secure figures":      {func(o *Options) { o.ListenMetrics = []string{"https://127.0.0.1:2381"} }, "--listen-metrics-urls is https://127.0.0.1:2381, and there is no"},
		"plain beside a cert": {func(o *Options) { o.TLS, o.Listen = files, "http://10.0.0.1:2379" }, "--insecure"},
		"lists without a CA":  {func(o *Options) { o.TLS = Files{Cert: "c", Key: "k", CRL: "r"} }, "--client-ca"},
		"an old TLS":          {func(o *Options) { o.TLSMinVersion = "TLS1.1" }, `--tls-min-version is "TLS1.1"`},
		"a new TLS":           {func(o *Options) { o.TLSMaxVersion = "TLS1.4" }, `--tls-max-version is "TLS1.4"`},
		"no TLS at all":       {func(o *Options) { o.TLSMinVersion, o.TLSMaxVersion = "TLS1.3", "TLS1.2" }, "--tls-min-version is TLS1.3, and --tls-max-version TLS1.2"},
		"suites of TLS 1.3":   {func(o *Options) { o.TLSMinVersion, o.CipherSuites = "TLS1.3", []string{"x"} }, "--cipher-suites are for TLS 1.2"},
		"an unsafe suite":     {func(o *Options) { o.CipherSuites = []string{"TLS_RSA_WITH_RC4_128_SHA"} }, `"TLS_RSA_WITH_RC4_128_SHA", which is no safe suite`},
		"clients in plain":    {func(o *Options) { o.Listen = "10.0.0.1:2379" }, "--insecure"},
		"members in plain":    {func(o *Options) { o.ListenPeer = ":2380" }, "--insecure"},
		"no address to dial":  {func(o *Options) { o.Insecure, o.AdvertisePeer = true, "0.0.0.0:2380" }, "--advertise-peer"},
		"half a certificate":  {func(o *Options) { o.TLS.Cert = "c" }, "--key"},
		"members without CA":  {func(o *Options) { o.PeerTLS = Files{Cert: "c", Key: "k"} }, "--peer-ca"},
		"a negative quota":    {func(o *Options) { o.Quota = -1 }, "--quota is -1"},
		"large requests":      {func(o *Options) { o.MaxRequestBytes = 1 << 30 }, "1 to 67108864"},
		"a short election":    {func(o *Options) { o.ElectionTimeout = 200 * time.Millisecond }, "--election-timeout 200ms"},
		"negative operations": {func(o *Options) { o.MaxTxnOps = -1 }, "--max-txn-ops is -1"},
	} {
		o := good()
		c.change(&o)
		err := o.setDefaults()
		require.ErrorIs(t, err, ErrOptions, name)
		require.ErrorContains(t, err, c.says, name)
	}
}

// A data directory belongs to one member, and a lost log is not made anew.
func TestDirectory(t *testing.T) {
	o := good()
	o.Data = filepath.Join(t.TempDir(), "data")
	require.NoError(t, o.setDefaults())
	id := func() (newcomer, error) { return newcomer{id: 0xabc}, nil }
	d, err := openDirectory(&o, id)
	require.NoError(t, err)
	require.True(t, d.fresh)
	require.Equal(t, node.Identity{Cluster: DefaultCluster, Host: 0xabc}, d.storage.Identity())
	_, err = openDirectory(&o, id)
	require.ErrorIs(t, err, node.ErrInUse)
	require.NoError(t, d.storage.Close())
	require.NoError(t, d.run(o.Data))

	none := func() (newcomer, error) { require.Fail(t, "the member has an id"); return newcomer{}, nil }
	d, err = openDirectory(&o, none)
	require.NoError(t, err)
	require.False(t, d.fresh)
	require.NoError(t, d.storage.Close())

	other := o
	other.Name = "n2"
	_, err = openDirectory(&other, none)
	require.ErrorIs(t, err, ErrOwner)
	require.ErrorContains(t, err, `to member "n1"`)
	other = o
	other.ClusterName = "other"
	_, err = openDirectory(&other, none)
	require.ErrorIs(t, err, ErrOwner)

	require.NoError(t, os.RemoveAll(filepath.Join(o.Data, "log")))
	_, err = openDirectory(&o, none)
	require.ErrorIs(t, err, node.ErrDamaged)
	require.ErrorContains(t, err, "the log is lost")

	path := filepath.Join(o.Data, datadir.ManifestName)
	require.NoError(t, os.WriteFile(path, []byte("format: 9\n"), 0o600))
	_, err = openDirectory(&o, none)
	require.ErrorIs(t, err, datadir.ErrFormat)
	require.NoError(t, os.WriteFile(path, []byte("format: 1\nid: 0\n"), 0o600))
	_, err = openDirectory(&o, none)
	require.ErrorIs(t, err, datadir.ErrManifest)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(filepath.Join(o.Data, "something"), nil, 0o600))
	_, err = openDirectory(&o, none)
	require.ErrorIs(t, err, ErrOwner, "the directory has other things")
}

// An interrupted first start is repeated, with the same id.
func TestInterruptedFirstStart(t *testing.T) {
	o := good()
	o.Data = t.TempDir()
	require.NoError(t, o.setDefaults())
	m, err := makeManifest(&o, func() (newcomer, error) { return newcomer{id: 7, number: 9}, nil })
	require.NoError(t, err)
	require.NoError(t, wal.Create(m.LogPath(o.Data), wal.Options{Identity: m.Identity()}))
	d, err := openDirectory(&o, nil)
	require.NoError(t, err)
	require.True(t, d.fresh)
	require.Equal(t, node.Identity{Cluster: DefaultCluster + "#9", Host: 7}, d.storage.Identity())
	require.NoError(t, d.storage.Close())
	_, err = datadir.Read(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCompactionOptions(t *testing.T) {
	for _, c := range []struct {
		mode, retention string
		want            etcdapi.AutoCompaction
	}{
		{"", "", etcdapi.AutoCompaction{}},
		{"periodic", "0", etcdapi.AutoCompaction{}},
		{"periodic", "72", etcdapi.AutoCompaction{Age: 72 * time.Hour}},
		{"", "30m", etcdapi.AutoCompaction{Age: 30 * time.Minute}},
		{"revision", "1000", etcdapi.AutoCompaction{Revisions: 1000}},
	} {
		got, err := compaction(c.mode, c.retention)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, c := range [][2]string{{"periodic", "-1"}, {"periodic", "soon"}, {"periodic", "9223372036854775807"}, {"revision", "1h"}, {"revision", "-3"}, {"always", "1"}} {
		_, err := compaction(c[0], c[1])
		require.ErrorIs(t, err, ErrOptions, "%q", c)
	}
	o := good()
	o.AuthToken = "jwt,ttl=1s"
	require.ErrorContains(t, o.setDefaults(), "sign-method")
	o = good()
	o.Existing, o.Cluster = true, nil
	require.ErrorContains(t, o.setDefaults(), "--initial-cluster")
	o = good()
	o.AutoTLS, o.TLS = true, Files{Cert: "c", Key: "k"}
	require.ErrorContains(t, o.setDefaults(), "--auto-tls")
	o = good()
	o.ListenMetrics = []string{"http://10.0.0.1:2381"}
	require.ErrorContains(t, o.setDefaults(), "--listen-metrics-urls is 10.0.0.1:2381")
}
