package clientport

import (
	"context"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// Source is a member with figures.
type Source interface {
	// Figures returns the member's figures, nil while the member does not run.
	Figures() *Figures
}

// Figures are the sources of a member's figures.
type Figures struct {
	Server *etcdapi.Server
	Host   node.HostStats
	// Net is nil for a member without a network of its own.
	Net *tcp.Stats
}

// metrics collects a member's figures. Figures with the meaning of one of etcd's have
// etcd's name, so that dashboards for etcd show them.
type metrics struct{ source Source }

// NewMetrics returns the figures of the process, and those of its members. Several
// members of one process are told apart by the label replica, from 1.
func NewMetrics(members ...Source) *Metrics {
	r := newMetrics()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for i, one := range members {
		to := prometheus.Registerer(r)
		if len(members) > 1 {
			to = prometheus.WrapRegistererWith(prometheus.Labels{"replica": strconv.Itoa(i + 1)}, r)
		}
		to.MustRegister(metrics{one})
	}
	return r
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descVersion   = describe("etcd_server_version", "The server: 1, with its version as a label.", "server_version")
	descHasLeader = describe("etcd_server_has_leader", "1 if the member knows a leader, else 0.")
	descAPI       = describe("etcd_cluster_version", "The version of etcd's API: 1, with the version as a label.", "cluster_version")
	descGo        = describe("etcd_server_go_version", "The version of Go: 1, with the version as a label.", "server_go_version")
	descIsLeader  = describe("etcd_server_is_leader", "1 if the member leads, else 0.")
	descIsLearner = describe("etcd_server_is_learner", "1 if the member does not vote yet, else 0.")
	descLeaders   = describe("etcd_server_leader_changes_seen_total", "How often the member has got to know a leader since its start.")
	descFailed    = describe("etcd_server_proposals_failed_total", "Commands that were proposed on this member, and ended with an error of Raft.")
	descID        = describe("etcd_server_id", "The member: 1, with its id as a label.", "server_id")
	descCommitted = describe("etcd_server_proposals_committed_total", "Index of the last committed entry.")
	descApplied   = describe("etcd_server_proposals_applied_total", "Index of the last applied entry.")
	descProposals = describe("raftlab_proposal_duration_seconds", "Time of the commands that were proposed on this member, from the proposal to the result.")
	descApplies   = describe("etcd_disk_backend_commit_duration_seconds", "Time of the calls that apply committed entries.")
	descSaves     = describe("etcd_disk_wal_fsync_duration_seconds", "Time of the writes to the log on disk, each with one sync.")
	descLog       = describe("raftlab_disk_log_bytes", "Size of the log's files.")
	descSnapshots = describe("raftlab_disk_snapshot_bytes", "Size of the snapshots' files.")
	descSent      = describe("etcd_network_peer_sent_bytes_total", "Bytes of Raft messages to another member.", "To")
	descReceived  = describe("etcd_network_peer_received_bytes_total", "Bytes of Raft messages from another member.", "From")
	descDropped   = describe("etcd_network_peer_sent_failures_total", "Messages to another member without room in the queue, or without a connection.", "To")
	descRoundTrip = describe("etcd_network_peer_round_trip_time_seconds", "Time from a ping to another member to the answer.", "To")
	descBytes     = describe("etcd_mvcc_db_total_size_in_bytes", "Accounted size of the store.")
	descInUse     = describe("etcd_mvcc_db_total_size_in_use_in_bytes", "Accounted size of the store, all of which is in use.")
	descQuota     = describe("etcd_server_quota_backend_bytes", "The quota of the store's size.")
	descKeys      = describe("etcd_debugging_mvcc_keys_total", "Keys that exist.")
	descRevision  = describe("etcd_debugging_mvcc_current_revision", "The store's revision.")
	descCompacted = describe("etcd_debugging_mvcc_compact_revision", "Revision of the last compaction.")
	descWatches   = describe("etcd_debugging_mvcc_watcher_total", "Watches of this member's clients.")
	descStreams   = describe("etcd_debugging_mvcc_watch_stream_total", "Streams that carry the watches.")
	descSlow      = describe("etcd_debugging_mvcc_slow_watcher_total", "Watches whose events have waited for more than 100 ms.")
	descUnsent    = describe("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent to watches.")
	descEvents    = describe("etcd_debugging_mvcc_events_total", "Events that were sent to watches.")
	descExpired   = describe("etcd_debugging_server_lease_expired_total", "Expired leases that this member has revoked.")
	descGranted   = describe("etcd_debugging_lease_granted_total", "Leases that were granted.")
	descRevoked   = describe("etcd_debugging_lease_revoked_total", "Leases that were revoked, also because of the end of their time.")
	descRenewed   = describe("etcd_debugging_lease_renewed_total", "Renewals of leases by this member, as the leader.")
	descPuts      = describe("etcd_mvcc_put_total", "Puts that this member has applied.")
	descDeletes   = describe("etcd_mvcc_delete_total", "Deletions that this member has applied.")
	descRanges    = describe("etcd_mvcc_range_total", "Ranges that this member has read.")
	descTxns      = describe("etcd_mvcc_txn_total", "Transactions of more than one operation that this member has applied.")
	descPutBytes  = describe("etcd_debugging_mvcc_total_put_size_in_bytes", "Size of the keys and values of the puts that this member has applied.")
	descNoIndex   = describe("etcd_server_read_indexes_failed_total", "Linearizable reads that got no index from the leader.")
	descSlowIndex = describe("etcd_server_slow_read_indexes_total", "Linearizable reads that timed out before the leader told an index.")
	descPending   = describe("etcd_server_proposals_pending", "Writes of this member's clients that are under way.")
	descActive    = describe("etcd_network_active_peers", "1 if this member has a connection to the other.", "Local", "Remote")
	descKnown     = describe("etcd_network_known_peers", "1 for each member.", "Local", "Remote")
	descLeases    = describe("raftlab_leases", "Leases that are granted.")
	descAlarms    = describe("raftlab_alarms", "Alarms that are raised.")
	descPostponed = describe("raftlab_snapshots_without_room_total", "Snapshots that were postponed because the disk is full.")
	descNoRoom    = describe("raftlab_disk_full", "1 if the disk had no room for the last snapshot.")
	descTerm      = describe("raftlab_raft_term", "The member's term.")
	descLevel     = describe("raftlab_cluster_level", "The level of the cluster, which limits the kinds of entries and messages that members write.")
)

// descriptions are all of them.
var descriptions = []*prometheus.Desc{
	descVersion, descHasLeader, descIsLeader, descID, descCommitted, descApplied, descProposals, descApplies, descSaves, descLog,
	descSnapshots, descSent, descReceived, descDropped, descRoundTrip, descBytes, descQuota, descKeys, descRevision, descCompacted, descWatches,
	descStreams, descSlow, descUnsent, descEvents, descExpired, descLeases, descAlarms, descPostponed, descNoRoom, descTerm, descLevel,
	descAPI, descGo, descIsLearner, descLeaders, descFailed, descInUse,
	descGranted, descRevoked, descRenewed, descPuts, descDeletes, descRanges, descTxns, descPutBytes, descNoIndex, descSlowIndex, descPending, descActive, descKnown,
}

// Describe implements prometheus.Collector.
func (c metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c metrics) Collect(out chan<- prometheus.Metric) {
	figures := c.source.Figures()
	if figures == nil {
		return
	}
	collectServer(out, figures.Server.Node().ID())
	collectRaft(out, figures.Server.Node())
	collectHost(out, &figures.Host)
	if figures.Net != nil {
		collectPeers(out, figures.Net)
	}
	store := figures.Server.Stats()
	gauge(out, descBytes, float64(store.Bytes))
	gauge(out, descInUse, float64(store.Bytes))
	gauge(out, descQuota, float64(store.QuotaBytes))
	gauge(out, descKeys, float64(store.Keys))
	gauge(out, descRevision, float64(store.Revision))
	gauge(out, descCompacted, float64(store.Compacted))
	gauge(out, descWatches, float64(store.Watches))
	gauge(out, descStreams, float64(store.WatchStreams))
	gauge(out, descSlow, float64(store.SlowWatches))
	gauge(out, descUnsent, float64(store.EventsPending))
	counter(out, descEvents, float64(store.EventsSent))
	counter(out, descExpired, float64(store.LeasesExpired))
	gauge(out, descLeases, float64(store.Leases))
	gauge(out, descAlarms, float64(store.Alarms))
	gauge(out, descLevel, float64(figures.Server.Level()))
	counter(out, descGranted, float64(store.Applied.Grants))
	counter(out, descRevoked, float64(store.Applied.Revocations))
	counter(out, descRenewed, float64(store.LeasesRenewed))
	counter(out, descPuts, float64(store.Applied.Puts))
	counter(out, descDeletes, float64(store.Applied.Deletes))
	counter(out, descRanges, float64(store.Applied.Ranges+store.Ranges))
	counter(out, descTxns, float64(store.Applied.Txns))
	counter(out, descPutBytes, float64(store.Applied.PutBytes))
	counter(out, descNoIndex, float64(store.ReadsFailed))
	counter(out, descSlowIndex, float64(store.ReadsSlow))
	gauge(out, descPending, float64(store.Pending))
	local := hexadecimal(figures.Server.Node().ID())
	if store.Peers != nil {
		gauge(out, descKnown, 1, local, local) // as etcd, whose sum is the number of members
	}
	for _, p := range store.Peers {
		remote := hexadecimal(p.ID)
		gauge(out, descKnown, 1, local, remote)
		gauge(out, descActive, truth(p.Connected), local, remote)
	}
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// hexadecimal returns an id as a label, and as etcd's tools show ids.
func hexadecimal(id core.NodeID) string { return strconv.FormatUint(uint64(id), 16) }

// collectServer collects the figures of a process.
func collectServer(out chan<- prometheus.Metric, id core.NodeID) {
	gauge(out, descVersion, 1, apiVersion)
	gauge(out, descAPI, 1, apiVersion[:strings.LastIndexByte(apiVersion, '.')])
	gauge(out, descGo, 1, runtime.Version())
	gauge(out, descID, 1, hexadecimal(id))
}

// collectRaft collects the figures of a host's part in a group.
func collectRaft(out chan<- prometheus.Metric, n *node.Node) {
	leader, _ := n.Leader()
	gauge(out, descHasLeader, truth(leader != core.None))
	gauge(out, descIsLeader, truth(n.IsLeader()))
	gauge(out, descTerm, float64(n.Term()))
	gauge(out, descCommitted, float64(n.Committed()))
	gauge(out, descApplied, float64(n.Applied()))
	stats := n.Stats()
	out <- histogram(descProposals, &stats.Proposals)
	out <- histogram(descApplies, &stats.Applies)
	counter(out, descLeaders, float64(stats.Leaders))
	counter(out, descFailed, float64(stats.Refused+stats.Unknown))
	counter(out, descPostponed, float64(stats.SnapshotsPostponed))
	gauge(out, descNoRoom, truth(n.NoRoom()))
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if st, err := n.Status(ctx); err == nil { // a member that hangs has the other figures
		gauge(out, descIsLearner, truth(st.Learner))
	}
}

// statusTimeout bounds the wait for the member's status.
const statusTimeout = time.Second

// collectHost collects the figures of a host.
func collectHost(out chan<- prometheus.Metric, host *node.HostStats) {
	out <- histogram(descSaves, &host.Saves)
	gauge(out, descLog, float64(host.Storage.Log))
	gauge(out, descSnapshots, float64(host.Storage.Snapshots))
}

// collectPeers collects the figures of the connections to the other hosts.
func collectPeers(out chan<- prometheus.Metric, net *tcp.Stats) {
	for id, p := range net.ByPeer {
		peer := hexadecimal(id)
		counter(out, descSent, float64(p.SentBytes), peer)
		counter(out, descReceived, float64(p.ReceivedBytes), peer)
		counter(out, descDropped, float64(p.Dropped), peer)
		out <- histogram(descRoundTrip, &p.RoundTrips, peer)
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// histogram returns the figures of the library in Prometheus's form.
func histogram(d *prometheus.Desc, h *node.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64)
	count := uint64(0)
	for i, n := range h.Buckets {
		count += uint64(n)
		if i < len(h.Buckets)-1 {
			buckets[math.Ldexp(1e-6, i)] = count // below 2^i microseconds
		}
	}
	return prometheus.MustNewConstHistogram(d, count, h.Sum.Seconds(), buckets, labels...)
}
