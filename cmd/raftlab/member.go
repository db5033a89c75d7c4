//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/member"
	"raftlab/raft/node"
)

// addMemberFlags adds the flags of a process that runs one member of a cluster.
func addMemberFlags(f *pflag.FlagSet, o *member.Options) {
	f.StringVar(&o.Name, "name", "", "run one member of a cluster, under this name, in place of replicas in one process")
	f.StringVar(&o.ClusterName, "cluster-name", member.DefaultCluster, "name of the cluster, which keeps clusters apart")
	f.StringToStringVar(&o.Cluster, "cluster", nil, "first members of the cluster: n1=host:port,n2=host:port")
	f.StringSliceVar(&o.Join, "join", nil, "client URLs of a running cluster that this member asks for its addition")
	f.StringVar(&o.Replace, "replace", "", "name of a process of a store with groups whose place this one takes with --join")
	f.StringVar(&o.JoinUser, "join-user", "", "NAME:PASSWORD of a user with the role root, for --join in a cluster with users")
	f.StringVar(&o.ListenPeer, "listen-peer", "127.0.0.1:2380", "address for the other members, or several with commas between them")
	f.StringVar(&o.AdvertisePeer, "advertise-peer", "", "address that the other members dial (default: that in --cluster, or --listen-peer)")
	f.StringSliceVar(&o.Advertise, "advertise", nil, "URLs that clients learn (default: --listen)")
	f.StringVar(&o.PeerTLS.Cert, "peer-cert", "", "file of the certificate for the other members")
	f.StringVar(&o.PeerTLS.Key, "peer-key", "", "file of the certificate's key")
	f.StringVar(&o.PeerTLS.CA, "peer-ca", "", "file of the authority that signs the certificates of members")
	f.StringVar(&o.TLS.Cert, "cert", "", "file of the certificate for clients")
	f.StringVar(&o.TLS.Key, "key", "", "file of the certificate's key")
	f.StringVar(&o.TLS.CA, "client-ca", "", "file of the authority that signs the certificates of clients; clients need a certificate then")
	f.BoolVar(&o.Insecure, "insecure", false, "allow ports without TLS on addresses that other machines can reach")
	f.BoolVar(&o.Admin, "admin", false, "let people stop, start and cut off this member, by the page and by /v1 of each member with --admin")
	f.Int64Var(&o.Quota, "quota", 2<<30, "size of the store in bytes, beyond which writes are refused")
	f.IntVar(&o.MaxRequestBytes, "max-request-bytes", 3<<19, "largest write in bytes")
	f.IntVar(&o.MaxTxnOps, "max-txn-ops", 128, "largest number of operations in a transaction")
	f.IntVar(&o.SnapshotEntries, "snapshot-entries", 100_000, "number of log entries between two snapshots")
	f.Var(durationValue{&o.HeartbeatInterval, time.Millisecond}, "heartbeat", "interval of a leader's messages (default 100ms)")
	f.Var(durationValue{&o.ElectionTimeout, time.Millisecond}, "election-timeout", "time without a leader before an election (default 1s)")
	addServiceFlags(f, o)
	addEtcdFlags(f)
}

// Flags that not every kind of a store takes. groupFlags are those of a store with groups
// and of replicas in one process, and etcdOnly those of a member without groups.
var (
	groupFlags = []string{"snapshot-bytes", "patience", "in-flight", "in-flight-bytes"}
	etcdOnly   = []string{
		"admin", "join-user", "initial-cluster-state", "advertise", "quota", "max-request-bytes", "max-txn-ops", "snapshot-entries", "client-cert-auth",
		"auth-token", "auth-token-ttl", "bcrypt-cost", "auto-compaction-mode", "auto-compaction-retention",
		"watch-progress-notify-interval", "corrupt-check-time", "max-concurrent-streams", "strict-reconfig-check", "max-learners", "force-new-cluster", "warning-unary-request-duration",
	}
)

// checkMemberFlags refuses flags that a member does not take.
func (o *serveOptions) checkMemberFlags(f *pflag.FlagSet, groups int) error {
	if f.Changed("replicas") {
		return usageError("--replicas is for replicas in one process, and --name for one member of a cluster; both are given")
	}
	for _, name := range groupFlags {
		if groups == 0 && f.Changed(name) {
			return usageError("--%s is for replicas in one process and for a member of a store with groups; --name is given without --groups", name)
		}
	}
	for _, name := range etcdOnly {
		if groups > 0 && f.Changed(name) {
			return usageError("--%s is for a member of a store without groups; the store has %s", name, count(groups, "group"))
		}
	}
	if groups > 0 || f.Changed("groups") {
		return o.validate(f.Changed)
	}
	return nil
}

// memberGroups returns the number of groups of a member's store, 0 for a store without.
func (o *serveOptions) memberGroups(f *pflag.FlagSet, data string) int {
	if f.Changed("groups") {
		return o.groups
	}
	m, err := datadir.Read(data)
	if err != nil { // the start reports an error of the directory
		return 0
	}
	return m.Groups
}

// serveMember runs one member until ctx ends.
func (o *serveOptions) serveMember(ctx context.Context, f *pflag.FlagSet, out, logs io.Writer) error {
	data := o.data
	if !f.Changed("data") {
		data = o.member.Name + ".raftlab"
	}
	groups := o.memberGroups(f, data)
	if err := o.checkMemberFlags(f, groups); err != nil {
		return err
	}
	log, err := o.log.logger(logs)
	if err != nil {
		return err
	}
	if err := checkEtcdFlags(f, log); err != nil {
		return err
	}
	settings := o.member
	settings.Data, settings.Listen, settings.Hosts, settings.Logger = data, o.listen, o.allowHosts, log
	settings.Groups, settings.SnapshotBytes = groups, o.snapshotBytes
	settings.V1 = handler.Options{Patience: o.patience, MaxInFlightBytes: o.inFlightBytes, MaxInFlight: o.inFlight}
	if !f.Changed("listen") {
		settings.Listen = defaultMemberAddress
	}
	listen := strings.Split(settings.Listen, ",")
	settings.Listen, settings.ListenMore = listen[0], append(listen[1:], settings.ListenMore...)
	if o.forceNew {
		if err := recoverMember(data, log); err != nil {
			return operated(err)
		}
	}
	m, err := member.Start(settings)
	if err != nil {
		code := exitFailure
		if errors.Is(err, member.ErrOptions) {
			code = exitUsage
		}
		return &exitError{code, err}
	}
	of := settings.ClusterName
	if groups > 0 {
		of += " with " + count(groups, "group")
	}
	if o.log.etcds() { // whose log and output are one
		log.Info("the member serves", "name", settings.Name, "cluster", of, "clients", m.Address(), "members", m.PeerAddress(), "data", settings.Data)
	} else {
		fmt.Fprintf(out, "raftlab: member %s of %s serves clients on %s and members on %s, data in %s\n",
			settings.Name, of, m.Address(), m.PeerAddress(), settings.Data)
	}
	err = errors.Join(await(ctx, m, log), m.Close())
	if errors.Is(err, node.ErrRemoved) {
		log.Warn("the member was removed from the cluster, and ends; its data directory has no further use, and a new member joins on an empty one", "data", settings.Data, "reason", err)
		return nil
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	log.Info("stopped")
	return nil
}

// recoverMember makes the member of a directory the only one of a new cluster. The only
// member of a cluster stays as the member is, so the flag of the recovery may stay, too.
func recoverMember(data string, log *slog.Logger) (err error) {
	plan, err := datadir.PlanRecovery([]string{data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	former := plan.Before
	if len(former.Log.Members) == 1 {
		log.Info("the member is the only one of its cluster already, so --force-new-cluster has no effect", "name", former.Name)
		return nil
	}
	log.Warn("the member becomes the only one of a new cluster; writes that the member does not have are lost, and the other members must never start again on their data",
		"name", former.Name, "cluster", former.Cluster, "members", len(former.Log.Members),
		"last index", former.Log.LastIndex, "last term", former.Log.LastTerm, "revision", former.Store.Revision, "former manifest", plan.Kept)
	return plan.Run(0, false)
}

// await waits until ctx ends, or the member, and returns the member's failure.
func await(ctx context.Context, m *member.Member, log *slog.Logger) error {
	ended := make(chan error, 1)
	go func() { ended <- m.Wait() }()
	for ready := m.Ready(); ; {
		select {
		case <-ready:
			log.Info("ready to serve client requests", "address", m.Address()) // etcd's words
			ready = nil
		case err := <-ended:
			return err
		case <-ctx.Done():
			log.Info("stopping")
			return nil
		}
	}
}

// defaultMemberAddress is the address for clients of a member, etcd's.
const defaultMemberAddress = "127.0.0.1:2379"
