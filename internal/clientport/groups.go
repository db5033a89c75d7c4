package clientport

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"raftlab/internal/shardstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// GroupSource is a process of a store with groups.
type GroupSource interface {
	ID() core.NodeID
	HostFigures() (node.HostStats, tcp.Stats)
	GroupFigures() []shardstore.Figures
}

var (
	descShards = describe("raftlab_shards", "Shards that the group owns, awaits or hands over.")
	descConfig = describe("raftlab_shard_configuration", "Number of the newest configuration that the group has taken.")
	descLocked = describe("raftlab_shard_transactions_locked", "Transactions that hold locks in the group's shards.")
)

// NewGroupMetrics returns the figures of a process of a store with groups. The figures of
// each group have the label group.
func NewGroupMetrics(source GroupSource) *Metrics {
	r := newMetrics()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), hostMetrics{source})
	for i, g := range source.GroupFigures() {
		prometheus.WrapRegistererWith(prometheus.Labels{"group": g.Group}, r).MustRegister(groupMetrics{source, i})
	}
	return r
}

// hostMetrics collects the figures of the process.
type hostMetrics struct{ source GroupSource }

// Describe implements prometheus.Collector.
func (c hostMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c hostMetrics) Collect(out chan<- prometheus.Metric) {
	host, net := c.source.HostFigures()
	collectServer(out, c.source.ID())
	collectHost(out, &host)
	collectPeers(out, &net)
}

// groupMetrics collects the figures of one group.
type groupMetrics struct {
	source GroupSource
	index  int
}

// Describe implements prometheus.Collector.
func (c groupMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c groupMetrics) Collect(out chan<- prometheus.Metric) {
	g := c.source.GroupFigures()[c.index]
	collectRaft(out, g.Node)
	gauge(out, descKeys, float64(g.Keys))
	gauge(out, descShards, float64(g.Shards))
	gauge(out, descConfig, float64(g.Config))
	gauge(out, descLocked, float64(g.Locked))
}
