//go:build !wasip1

package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"raftlab/internal/member"
)

// etcdFlags are the names of etcd for flags of raftlab serve.
var etcdFlags = map[string]string{
	"data-dir":                    "data",
	"listen-client-urls":          "listen",
	"advertise-client-urls":       "advertise",
	"listen-peer-urls":            "listen-peer",
	"initial-advertise-peer-urls": "advertise-peer",
	"initial-cluster":             "cluster",
	"initial-cluster-token":       "cluster-name",
	"cert-file":                   "cert",
	"key-file":                    "key",
	"trusted-ca-file":             "client-ca",
	"peer-cert-file":              "peer-cert",
	"peer-key-file":               "peer-key",
	"quota-backend-bytes":         "quota",
	"snapshot-count":              "snapshot-entries",
	"heartbeat-interval":          "heartbeat",
	"host-whitelist":              "allow-host",
	"config-file":                 "config",
}

// etcdName returns the flag of raftlab serve for a name of etcd. Etcd 3.6 and earlier have
// names that begin with experimental-.
func etcdName(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.TrimPrefix(name, "experimental-")
	if own, ok := etcdFlags[name]; ok {
		name = own
	}
	return pflag.NormalizedName(name)
}

// ignoredFlags are flags of etcd without an effect here, with the reason. A deployment of
// etcd may pass them.
var ignoredFlags = map[string]string{
	"backend-batch-interval":               "the store is in memory, beside a log on disk",
	"backend-batch-limit":                  "the store is in memory, beside a log on disk",
	"backend-bbolt-freelist-type":          "the store is in memory, beside a log on disk",
	"bootstrap-defrag-threshold-megabytes": "the store needs no defragmentation",
	"client-cert-file":                     "the gateway is a part of the process, and needs no certificate",
	"client-key-file":                      "the gateway is a part of the process, and needs no certificate",
	"compact-hash-check-time":              "--corrupt-check-time has the interval of all checks",
	"compaction-batch-limit":               "a compaction takes effect at once",
	"compaction-sleep-interval":            "a compaction takes effect at once",
	"distributed-tracing-address":          "there is no tracing",
	"distributed-tracing-instance-id":      "there is no tracing",
	"distributed-tracing-sampling-rate":    "there is no tracing",
	"distributed-tracing-service-name":     "there is no tracing",
	"discovery-fallback":                   "there is no discovery",
	"downgrade-check-time":                 "there are no downgrades",
	"feature-gates":                        "the features have no gates",
	"grpc-keepalive-interval":              "the server pings clients as gRPC does by default",
	"grpc-keepalive-min-time":              "clients may ping every 5 s",
	"grpc-keepalive-timeout":               "the server pings clients as gRPC does by default",
	"log-outputs":                          "the log goes to standard error",
	"log-rotation-config-json":             "the log goes to standard error",
	"max-snapshots":                        "a member keeps the snapshots that it needs",
	"max-wals":                             "a member keeps the log that it needs",
	"metrics":                              "all figures are exported",
	"proxy-dial-timeout":                   "there is no proxy",
	"proxy-failure-wait":                   "there is no proxy",
	"proxy-read-timeout":                   "there is no proxy",
	"proxy-refresh-interval":               "there is no proxy",
	"proxy-write-timeout":                  "there is no proxy",
	"raft-read-timeout":                    "the transport has timeouts of its own",
	"raft-write-timeout":                   "the transport has timeouts of its own",
	"self-signed-cert-validity":            "raftlab cert makes certificates",
	"snapshot-catchup-entries":             "the log keeps what learners and slow members need",
	"v2-deprecation":                       "there is no v2 API",
	"wal-dir":                              "the log is in the data directory",
	"warning-apply-duration":               "the figures have the durations",
}

// ignoredSwitches are flags without a value and without an effect.
var ignoredSwitches = map[string]string{
	"compact-hash-check-enabled":        "--corrupt-check-time has the interval of all checks",
	"enable-distributed-tracing":        "there is no tracing",
	"enable-grpc-gateway":               "the gateway is always there",
	"enable-lease-checkpoint":           "the time left of leases is always recorded",
	"enable-lease-checkpoint-persist":   "the time left of leases is always recorded",
	"enable-log-rotation":               "the log goes to standard error",
	"enable-pprof":                      "profiles are not served",
	"enable-v2":                         "there is no v2 API",
	"initial-corrupt-check":             "a member checks its files at every start, and --corrupt-check-time has the interval in which members are compared",
	"initial-election-tick-advance":     "elections need no advance",
	"memory-mlock":                      "the memory is not locked",
	"peer-client-cert-auth":             "a port for members with certificates always asks for them",
	"peer-skip-client-san-verification": "addresses in certificates of members do not count",
	"pre-vote":                          "there is always a pre-vote",
	"socket-reuse-address":              "ports are opened as usual",
	"socket-reuse-port":                 "ports are opened as usual",
	"stop-grpc-service-on-defrag":       "the store needs no defragmentation",
	"txn-mode-write-with-shared-buffer": "reads run beside writes",
	"unsafe-no-fsync":                   "writes are always synced",
}

// refusedFlags are flags of etcd that a member cannot follow. Without them the member
// would be less safe, or another member than the operator wants.
var refusedFlags = map[string]string{
	"client-cert-allowed-hostname": "names in certificates of clients are users",
	"peer-crl-file":                "--client-crl-file has lists for the port for clients; give members certificates with short lives",
	"cors":                         "pages of other origins are refused; --allow-host names this server",
	"discovery":                    useCluster,
	"discovery-cacert":             useCluster,
	"discovery-cert":               useCluster,
	"discovery-dial-timeout":       useCluster,
	"discovery-endpoints":          useCluster,
	"discovery-keepalive-time":     useCluster,
	"discovery-keepalive-timeout":  useCluster,
	"discovery-key":                useCluster,
	"discovery-password":           useCluster,
	"discovery-proxy":              useCluster,
	"discovery-request-timeout":    useCluster,
	"discovery-srv":                useCluster,
	"discovery-srv-name":           useCluster,
	"discovery-token":              useCluster,
	"discovery-user":               useCluster,
	"peer-client-cert-file":        "--peer-cert is for both directions",
	"peer-client-key-file":         "--peer-cert is for both directions",
	"proxy":                        "there is no v2 API, and no proxy",
}

// useCluster is the reason of the flags of etcd's discovery.
const useCluster = "name the first members with --cluster"

// absent are the values with which a refused flag asks for nothing.
var absent = []string{"", "[]", "false", "[off]"}

// refusedSwitches are refused flags without a value.
var refusedSwitches = map[string]string{
	"discovery-insecure-skip-tls-verify": useCluster,
	"discovery-insecure-transport":       useCluster,
}

// addEtcdFlags adds flags of etcd that have no counterpart here.
func addEtcdFlags(f *pflag.FlagSet) {
	for _, all := range []map[string]string{ignoredFlags, refusedFlags} {
		for name, reason := range all {
			f.StringArray(name, nil, "etcd's; "+reason)
			_ = f.MarkHidden(name) // no error for a flag that is there
		}
	}
	for _, all := range []map[string]string{ignoredSwitches, refusedSwitches} {
		for name, reason := range all {
			f.Bool(name, false, "etcd's; "+reason)
			_ = f.MarkHidden(name)
		}
	}
}

// checkEtcdFlags warns of the ignored flags that are given, and refuses others.
func checkEtcdFlags(f *pflag.FlagSet, log *slog.Logger) error {
	var err error
	f.VisitAll(func(flag *pflag.Flag) {
		if !flag.Changed || err != nil {
			return
		}
		for _, all := range []map[string]string{ignoredFlags, ignoredSwitches} {
			if reason, ok := all[flag.Name]; ok {
				log.Warn("a flag of etcd has no effect", "flag", "--"+flag.Name, "reason", reason)
			}
		}
		reason, refused := refusedFlags[flag.Name]
		if !refused {
			reason, refused = refusedSwitches[flag.Name]
		}
		if refused && !slices.Contains(absent, flag.Value.String()) {
			err = usageError("--%s of etcd is not supported: %s", flag.Name, reason)
		}
	})
	return err
}

// durationValue is a flag for a time, in Go's form or as a number of a unit.
type durationValue struct {
	to   *time.Duration
	unit time.Duration
}

// Set implements pflag.Value.
func (v durationValue) Set(s string) error {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		*v.to = time.Duration(n) * v.unit
		return nil
	}
	d, err := time.ParseDuration(s)
	*v.to = d
	return err
}

// String implements pflag.Value.
func (v durationValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return v.to.String()
}

// Type implements pflag.Value.
func (v durationValue) Type() string { return "duration" }

// clusterState is the flag --initial-cluster-state.
type clusterState struct{ existing *bool }

// Set implements pflag.Value.
func (c clusterState) Set(s string) error {
	if !slices.Contains([]string{"new", "existing"}, s) {
		return fmt.Errorf("want new or existing")
	}
	*c.existing = s == "existing"
	return nil
}

// String implements pflag.Value.
func (c clusterState) String() string {
	if c.existing != nil && *c.existing {
		return "existing"
	}
	return "new"
}

// Type implements pflag.Value.
func (c clusterState) Type() string { return "string" }

// opposite is a flag that is true by default, for a setting that is false by default.
type opposite struct{ to *bool }

// Set implements pflag.Value.
func (o opposite) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*o.to = !v
	return err
}

// String implements pflag.Value.
func (o opposite) String() string { return strconv.FormatBool(o.to == nil || !*o.to) }

// Type implements pflag.Value.
func (o opposite) Type() string { return "bool" }

// trustedCA is the flag --peer-trusted-ca-file, which has etcd's meaning: every certificate
// of the authority is one of a member. --peer-any-cert=false takes the meaning back.
type trustedCA struct {
	flags *pflag.FlagSet
	to    *member.Options
}

// Set implements pflag.Value.
func (c trustedCA) Set(s string) error {
	c.to.PeerTLS.CA = s
	if !c.flags.Changed("peer-any-cert") {
		c.to.PeerAnyCertificate = true
	}
	return nil
}

// String implements pflag.Value.
func (c trustedCA) String() string { return "" }

// Type implements pflag.Value.
func (c trustedCA) Type() string { return "string" }

// addServiceFlags adds the flags of what a member serves, with etcd's names.
func addServiceFlags(f *pflag.FlagSet, o *member.Options) {
	f.Var(clusterState{&o.Existing}, "initial-cluster-state", "new, or existing for a member that an operator has added to the cluster of --cluster")
	f.BoolVar(&o.PeerAnyCertificate, "peer-any-cert", false, "take every certificate of --peer-ca for one of a member, as etcd does")
	f.Var(trustedCA{f, o}, "peer-trusted-ca-file", "etcd's; --peer-ca and --peer-any-cert")
	f.StringSliceVar(&o.PeerNames, "peer-cert-allowed-cn", nil, "common names of certificates of members; others are refused")
	f.StringSliceVar(&o.PeerHosts, "peer-cert-allowed-hostname", nil, "names of hosts in certificates of members; a certificate without one of them is refused")
	f.BoolVar(&o.PeerAutoTLS, "peer-auto-tls", false, "encrypt the port for members with a certificate that nobody has signed")
	f.BoolVar(&o.AutoTLS, "auto-tls", false, "encrypt the port for clients with a certificate that nobody has signed")
	f.BoolVar(&o.CertificateUsers, "client-cert-auth", false, "take the common names of clients' certificates as users")
	f.Var(opposite{&o.LooseReconfig}, "strict-reconfig-check", "refuse changes of members unless a majority of the voters has been connected for 5 s")
	f.Lookup("strict-reconfig-check").NoOptDefVal = "true"
	f.IntVar(&o.MaxLearners, "max-learners", 1, "largest number of learners")
	f.StringVar(&o.AuthToken, "auth-token", "simple", "tokens of users: simple, or jwt,sign-method=RS256,priv-key=file,pub-key=file,ttl=5m")
	f.Var(durationValue{&o.AuthTokenTTL, time.Second}, "auth-token-ttl", "lifetime of simple tokens after their last use (default 5m)")
	f.IntVar(&o.BcryptCost, "bcrypt-cost", 0, "cost of hashing a password, 4 to 31 (default 10)")
	f.StringVar(&o.CompactionMode, "auto-compaction-mode", "periodic", "what --auto-compaction-retention is: periodic for an age, revision for a number of revisions")
	f.StringVar(&o.CompactionRetention, "auto-compaction-retention", "0", "old revisions to keep: 72h or 72 for three days, or a number of revisions (default: all)")
	f.DurationVar(&o.ProgressInterval, "watch-progress-notify-interval", 0, "interval of progress notifications for idle watches (default 10m)")
	f.DurationVar(&o.CompareInterval, "corrupt-check-time", 0, "interval in which the leader compares the members' data (default 10m)")
	f.DurationVar(&o.SlowRequest, "warning-unary-request-duration", 0, "time of a request from which on the log has a warning (default 300ms)")
	f.Uint32Var(&o.MaxStreams, "max-concurrent-streams", 0, "number of requests and streams on one connection (default: no limit)")
	f.StringVar(&o.TLS.CRL, "client-crl-file", "", "file of lists of revoked certificates, signed by the authorities in --client-ca")
	f.StringVar(&o.TLSMinVersion, "tls-min-version", "", "lowest version of TLS for clients: TLS1.2 or TLS1.3 (default TLS1.2)")
	f.StringVar(&o.TLSMaxVersion, "tls-max-version", "", "highest version of TLS for clients: TLS1.2 or TLS1.3 (default: Go's)")
	f.StringSliceVar(&o.CipherSuites, "cipher-suites", nil, "suites of TLS 1.2 for clients (default: Go's)")
	f.StringSliceVar(&o.ListenMore, "listen-client-http-urls", nil, "further addresses for clients, for instance of HTTP alone; --listen serves HTTP, too")
	f.StringSliceVar(&o.ListenMetrics, "listen-metrics-urls", nil, "further URLs for the probes and figures alone, as http://host:port or https://host:port")
}
