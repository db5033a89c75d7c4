//go:build !wasip1

package member

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftlab/internal/auth"
	"raftlab/internal/datadir"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/shardstore"
	"raftlab/raft/node"
)

// Options are the settings of a member. Name, Data, ListenPeer and Listen are required,
// and Cluster or Join for a new data directory. The zero value of each other field means
// its default.
type Options struct {
	// Name is the member's name, unique in the cluster.
	Name string
	// Data is the data directory. Start makes a missing directory.
	Data string
	// ClusterName keeps clusters apart. Default [DefaultCluster].
	ClusterName string

	// ListenPeer is the address for the other members, and AdvertisePeer the address
	// that they dial. ListenPeer may be several addresses, with commas between them. The
	// default of AdvertisePeer is ListenPeer, or the first of several addresses.
	ListenPeer, AdvertisePeer string
	// Listen is the address for clients, and Advertise the URLs that clients learn. The
	// default of Advertise is Listen. An address is host:port, with TLS if the port has a
	// certificate, or a URL. http:// is without TLS, https:// with TLS, and unix://PATH
	// and unixs://PATH are sockets in the file system. http:// and https:// may share a
	// host:port.
	Listen    string
	Advertise []string
	// ListenMore are further addresses for clients, and ListenMetrics addresses for the
	// probes and figures alone, without TLS unless the address begins with https://.
	ListenMore, ListenMetrics []string

	// Cluster are the first members with their peer addresses, the same on all of them.
	// With data, the addresses replace the known ones.
	Cluster map[string]string
	// Join are client URLs of a running cluster. A new member asks the cluster for its
	// addition.
	Join []string
	// JoinUser is NAME:PASSWORD of a user with the role root, for Join in a cluster with
	// users.
	JoinUser string
	// Existing says that Cluster is a running cluster to which an operator has added this
	// member, with AdvertisePeer as its peer URL. A data directory makes no use of
	// Existing.
	Existing bool

	// Replace is the name of the process of a store with groups whose place this one takes
	// with Join. A data directory of a process that has joined makes no use of Replace.
	Replace string

	// PeerTLS protects the port for members, and requires certificates of them.
	PeerTLS Files
	// PeerAnyCertificate takes every certificate of the authority in PeerTLS for one of a
	// member, as etcd does. Otherwise the certificates name the cluster.
	PeerAnyCertificate bool
	// PeerNames and PeerHosts, unless empty, are the common names of the certificates of
	// members, and the names of hosts of which such a certificate has one.
	PeerNames, PeerHosts []string
	// PeerAutoTLS and AutoTLS encrypt a port with a new certificate that nobody has signed.
	// The ports are then no better protected against others who pose as a member or as
	// this server, so the rules for ports without TLS stay.
	PeerAutoTLS, AutoTLS bool
	// TLS protects the port for clients. With CA, clients need certificates, and CRL has
	// lists of revoked certificates.
	TLS Files
	// TLSMinVersion and TLSMaxVersion bound the version of TLS for clients: TLS1.2 or
	// TLS1.3. CipherSuites are the suites of TLS 1.2, by the names of crypto/tls. The
	// defaults are Go's.
	TLSMinVersion, TLSMaxVersion string
	CipherSuites                 []string
	// CertificateUsers takes the common names of clients' certificates as users.
	CertificateUsers bool
	// AuthToken specifies the tokens of users, AuthTokenTTL their lifetime, and BcryptCost
	// the cost of hashing a password (see [auth.NewTokens]).
	AuthToken    string
	AuthTokenTTL time.Duration
	BcryptCost   int
	// Insecure allows ports without TLS on addresses beyond this machine.
	Insecure bool
	// Hosts are names of this server in URLs of browsers, beside localhost and the
	// server's addresses.
	Hosts []string

	// Admin lets people stop, start and cut off this member, by the page and by /v1 of any
	// member with Admin. A store with groups has no such changes.
	Admin bool

	// Quota bounds the size of the store in bytes. Default 2 GiB.
	Quota int64
	// MaxRequestBytes bounds a write. Default 1.5 MiB.
	MaxRequestBytes int
	// MaxTxnOps bounds the operations of a transaction. Default 128.
	MaxTxnOps int
	// LooseReconfig allows changes of members while a majority of the voters is not
	// connected. MaxLearners bounds the learners. Default 1.
	LooseReconfig bool
	MaxLearners   int
	// SnapshotEntries is the number of entries between two snapshots. Default 100,000.
	SnapshotEntries int
	// CompactionMode is "periodic" or "revision", and CompactionRetention the age or the
	// number of revisions that stay, 0 for all. An age without a unit is in hours.
	CompactionMode, CompactionRetention string
	// ProgressInterval is the interval of progress notifications for idle watches.
	// Default 10 minutes.
	ProgressInterval time.Duration
	// CompareInterval is the interval in which the leader compares the members' hashes.
	// Default 10 minutes.
	CompareInterval time.Duration
	// SlowRequest is the time of a request from which on the log has a warning. Default
	// 300 ms.
	SlowRequest time.Duration
	// MaxStreams bounds the requests and streams of a connection. Default no bound.
	MaxStreams uint32
	// HeartbeatInterval and ElectionTimeout are Raft's. Defaults 100 ms and 1 s.
	HeartbeatInterval, ElectionTimeout time.Duration

	// Groups is the number of groups of a store with groups (package shardstore). 0 means
	// the number in the data directory, and no groups in a new one. SnapshotBytes is the size of a group's log before a snapshot
	// replaces the log, and V1 has the settings of the interface /v1 but for Hosts and
	// Logger. Zero values of both mean their defaults.
	Groups        int
	SnapshotBytes int
	V1            handler.Options

	// Logger receives what operators should know. Default: silent.
	Logger *slog.Logger

	peerPorts        []string // the addresses of ListenPeer
	tokens           *auth.Tokens
	compaction       etcdapi.AutoCompaction
	clients, metrics []endpoint  // of Listen, ListenMore and ListenMetrics
	tls              *tls.Config // with the limits of TLS
}

// DefaultCluster is the default of Options.ClusterName.
const DefaultCluster = "raftlab"

// Files are the files of a port's certificate, in PEM. Changed files are read again. The
// port for members takes no CRL.
type Files struct{ Cert, Key, CA, CRL string }

func (f Files) empty() bool { return f == Files{} }

// ErrOptions is matched by the error of a setting that is missing or out of range.
var ErrOptions = errors.New("wrong options")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrOptions, fmt.Errorf(format, args...))
}

func (o *Options) setDefaults() error {
	o.ClusterName = cmp.Or(o.ClusterName, DefaultCluster)
	o.peerPorts = nil
	for _, address := range strings.Split(o.ListenPeer, ",") {
		o.peerPorts = append(o.peerPorts, withoutScheme(address))
	}
	o.AdvertisePeer = withoutScheme(cmp.Or(o.AdvertisePeer, o.Cluster[o.Name], o.peerPorts[0]))
	o.Quota = cmp.Or(o.Quota, 2<<30)
	o.MaxRequestBytes = cmp.Or(o.MaxRequestBytes, 3<<19)
	o.MaxTxnOps = cmp.Or(o.MaxTxnOps, 128)
	o.SnapshotEntries = cmp.Or(o.SnapshotEntries, 100_000)
	o.HeartbeatInterval = cmp.Or(o.HeartbeatInterval, 100*time.Millisecond)
	o.ElectionTimeout = cmp.Or(o.ElectionTimeout, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.readEndpoints(); err != nil {
		return err
	}
	if len(o.Advertise) == 0 {
		o.Advertise = []string{o.clients[0].url()}
	}
	return errors.Join(o.checkNames(), o.checkAddresses(), o.checkTLS(), o.checkLimits(), o.checkServices())
}

// secured reports whether the port for clients has a certificate.
func (o *Options) secured() bool { return !o.TLS.empty() || o.AutoTLS }

// peerScheme returns the scheme of the peer URLs.
func (o *Options) peerScheme() string {
	if o.PeerTLS.empty() && !o.PeerAutoTLS {
		return "http"
	}
	return "https"
}

func (o *Options) checkNames() error {
	switch {
	case o.Name == "":
		return wrong("the member has no name (--name)")
	case strings.ContainsAny(o.Name, "=,\n"):
		return wrong("the name %q has one of the characters = , and newline", o.Name)
	case o.Data == "":
		return wrong("there is no data directory (--data)")
	case len(o.Cluster) > 0 && o.Cluster[o.Name] == "":
		return wrong("--cluster names %s, and not this member, %s", strings.Join(slices.Sorted(maps.Keys(o.Cluster)), ", "), o.Name)
	case o.Existing && len(o.Cluster) == 0:
		return wrong("--initial-cluster-state existing needs --initial-cluster")
	case o.JoinUser != "" && !strings.Contains(o.JoinUser, ":"):
		return wrong("--join-user has no colon; want NAME:PASSWORD")
	case o.Groups < 0 || o.Groups > shardstore.MaxGroups:
		return wrong("--groups is %d; want 1 to %d", o.Groups, shardstore.MaxGroups)
	case o.Groups > 0 && o.Existing:
		return wrong("--groups is %d; a later process of a store with groups joins with --join", o.Groups)
	case o.Groups > 0 && strings.Contains(o.Name, "/"):
		return wrong("the name is %s; names of members of a store with groups have no slash", o.Name)
	case o.Replace != "" && (o.Groups == 0 || len(o.Join) == 0):
		return wrong("--replace is for a process that joins a store with groups; it needs --groups and --join")
	case o.Groups > 0 && slices.ContainsFunc(slices.Collect(maps.Keys(o.Cluster)), func(name string) bool { return strings.Contains(name, "/") }):
		return wrong("--cluster names %s; names of members of a store with groups have no slash", strings.Join(slices.Sorted(maps.Keys(o.Cluster)), ", "))
	case o.Groups > 0 && o.Admin:
		return errAdminGroups
	case len(o.Cluster) > 0 && len(o.Join) > 0:
		return wrong("--cluster is for the first members, and --join for a later one; both are given")
	}
	for name, address := range o.Cluster {
		if _, _, err := net.SplitHostPort(withoutScheme(address)); err != nil {
			return wrong("the address of %s in --cluster is %q; want host:port", name, address)
		}
	}
	for _, u := range slices.Concat(o.Join, o.Advertise) {
		if !isClientURL(u) {
			return wrong("%q is not the URL of a client port; want http://host:port or https://host:port", u)
		}
	}
	return nil
}

// isClientURL reports whether clients of etcd can dial a URL.
func isClientURL(u string) bool {
	parsed, err := url.Parse(u)
	if err != nil {
		return false
	}
	switch parsed.Scheme {
	case "http", "https":
		return parsed.Host != ""
	case "unix", "unixs":
		return parsed.Host+parsed.Path != ""
	}
	return false
}

func (o *Options) checkAddresses() error {
	type address struct {
		flag    string
		at      endpoint
		missing bool // the certificate
		open    bool // the port does not know its clients
	}
	var all []address
	for _, one := range o.peerPorts {
		members, err := parseEndpoint("--listen-peer", one, false)
		if err != nil {
			return err
		}
		all = append(all, address{"--listen-peer", members, false, o.PeerTLS.empty()})
	}
	for _, e := range o.clients {
		all = append(all, address{"--listen", e, e.secure && !o.secured(), !e.secure || o.TLS.empty()})
	}
	for _, e := range o.metrics {
		all = append(all, address{"--listen-metrics-urls", e, e.secure && !o.secured(), !e.secure || o.TLS.empty()})
	}
	for _, a := range all {
		switch {
		case a.missing:
			return wrong("%s is %s, and there is no certificate; give --cert and --key, or --auto-tls", a.flag, a.at.url())
		case a.open && !o.Insecure && a.at.exposed():
			return wrong("%s is %s, which other machines can reach; give the port a certificate, or allow this with --insecure", a.flag, a.at.address)
		}
	}
	if host, port, err := net.SplitHostPort(o.AdvertisePeer); err != nil || port == "0" || host == "" || net.ParseIP(host).IsUnspecified() {
		return wrong("other members cannot dial %q; name an address for them with --advertise-peer", o.AdvertisePeer)
	}
	return nil
}

func (o *Options) checkTLS() error {
	switch p, c := o.PeerTLS, o.TLS; {
	case o.PeerAutoTLS && !p.empty():
		return wrong("--peer-auto-tls is for a port without a certificate; --peer-cert, --peer-key or --peer-ca are given, too")
	case o.AutoTLS && !c.empty():
		return wrong("--auto-tls is for a port without a certificate; --cert, --key or --client-ca are given, too")
	case !p.empty() && (p.Cert == "" || p.Key == "" || p.CA == ""):
		return wrong("the port for members needs all of --peer-cert, --peer-key and --peer-ca")
	case len(o.PeerNames)+len(o.PeerHosts) > 0 && p.empty():
		return wrong("--peer-cert-allowed-cn and --peer-cert-allowed-hostname need --peer-cert, --peer-key and --peer-ca")
	case (c.Cert == "") != (c.Key == "") || c.CA != "" && c.Cert == "":
		return wrong("the port for clients needs both of --cert and --key")
	case c.CRL != "" && c.CA == "":
		return wrong("--client-crl-file has lists of the authorities in --client-ca, which is missing")
	}
	var err error
	o.tls, err = o.tlsLimits()
	return err
}

func (o *Options) checkLimits() error {
	switch {
	case o.Quota < 0:
		return wrong("--quota is %d; want at least 1", o.Quota)
	case o.MaxRequestBytes < 1 || o.MaxRequestBytes > 64<<20:
		return wrong("--max-request-bytes is %d; want 1 to %d", o.MaxRequestBytes, 64<<20)
	case o.MaxTxnOps < 1:
		return wrong("--max-txn-ops is %d; want at least 1", o.MaxTxnOps)
	case o.MaxLearners < 0:
		return wrong("--max-learners is %d; want at least 1", o.MaxLearners)
	case o.SlowRequest < 0:
		return wrong("--warning-unary-request-duration is %v; want more than 0", o.SlowRequest)
	case o.SnapshotEntries < 1:
		return wrong("--snapshot-entries is %d; want at least 1", o.SnapshotEntries)
	case o.HeartbeatInterval < 10*time.Millisecond || o.ElectionTimeout < 5*o.HeartbeatInterval || o.ElectionTimeout > 50*time.Second:
		return wrong("--heartbeat is %v and --election-timeout %v; want at least 10ms, and 5 heartbeats to 50s", o.HeartbeatInterval, o.ElectionTimeout)
	}
	return nil
}

// checkServices reads the settings of tokens and compactions.
func (o *Options) checkServices() error {
	var err error
	if o.tokens, err = auth.NewTokens(o.AuthToken, o.AuthTokenTTL, o.BcryptCost); err != nil {
		return wrong("--auth-token, --auth-token-ttl or --bcrypt-cost: %w", err)
	}
	o.compaction, err = compaction(o.CompactionMode, o.CompactionRetention)
	return err
}

// compaction returns the compactions of two settings.
func compaction(mode, retention string) (etcdapi.AutoCompaction, error) {
	if retention == "" || retention == "0" {
		return etcdapi.AutoCompaction{}, nil
	}
	n, errNumber := strconv.ParseInt(retention, 10, 64)
	switch mode {
	case "", "periodic":
		age, err := time.Duration(n)*time.Hour, errNumber
		if err != nil {
			age, err = time.ParseDuration(retention)
		}
		if err != nil || age <= 0 || n > math.MaxInt64/int64(time.Hour) {
			return etcdapi.AutoCompaction{}, wrong("--auto-compaction-retention is %q; want a number of hours, or a time such as 30m", retention)
		}
		return etcdapi.AutoCompaction{Age: age}, nil
	case "revision":
		if errNumber != nil || n < 0 {
			return etcdapi.AutoCompaction{}, wrong("--auto-compaction-retention is %q; want a number of revisions", retention)
		}
		return etcdapi.AutoCompaction{Revisions: n}, nil
	}
	return etcdapi.AutoCompaction{}, wrong("--auto-compaction-mode is %q; want periodic or revision", mode)
}

// withoutScheme returns host:port of an address, which may be a URL as etcd takes it.
func withoutScheme(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		return strings.TrimSuffix(rest, "/")
	}
	return address
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// members returns the first members of a cluster's identity.
func (o *Options) members(identity string) []node.Member {
	var all []node.Member
	for _, name := range slices.Sorted(maps.Keys(o.Cluster)) {
		all = append(all, node.Member{ID: datadir.FirstID(identity, name), Address: withoutScheme(o.Cluster[name])})
	}
	return all
}
