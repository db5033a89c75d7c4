package clientport

import (
	"context"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// calls count the calls of gRPC, with etcd's names. calls is a [stats.Handler].
type calls struct {
	started, received, sent *prometheus.CounterVec
	handled                 *prometheus.CounterVec
	seconds                 *prometheus.HistogramVec
	in, out                 prometheus.Counter

	methods sync.Map // of *method, by the full name
}

// method has the figures of a method.
type method struct {
	labels                  []string
	started, received, sent prometheus.Counter
	seconds                 prometheus.Observer
}

// call is a call under way.
type call struct {
	name   string
	method *method // nil before the begin
}

type callKey struct{}

func newCalls(r prometheus.Registerer) *calls {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(more, labels...))
	}
	c := &calls{
		started:  counter("grpc_server_started_total", "Calls that began."),
		received: counter("grpc_server_msg_received_total", "Messages from clients."),
		sent:     counter("grpc_server_msg_sent_total", "Messages to clients."),
		handled:  counter("grpc_server_handled_total", "Calls that ended.", "grpc_code"),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "grpc_server_handling_seconds", Help: "Time from the begin to the end of a call.", Buckets: prometheus.DefBuckets}, labels),
		in:       prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_network_client_grpc_received_bytes_total", Help: "Bytes of messages from clients."}),
		out:      prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_network_client_grpc_sent_bytes_total", Help: "Bytes of messages to clients."}),
	}
	r.MustRegister(c.started, c.received, c.sent, c.handled, c.seconds, c.in, c.out)
	return c
}

// Calls returns the option of a gRPC server whose calls are counted.
func (m *Metrics) Calls() grpc.ServerOption { return grpc.StatsHandler(m.calls) }

// TagRPC implements stats.Handler.
func (c *calls) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, callKey{}, &call{name: info.FullMethodName})
}

// HandleRPC implements stats.Handler. The server calls HandleRPC for registered methods
// alone, so clients cannot invent labels.
func (c *calls) HandleRPC(ctx context.Context, event stats.RPCStats) {
	one, _ := ctx.Value(callKey{}).(*call)
	if one == nil {
		return
	}
	if begin, ok := event.(*stats.Begin); ok {
		one.method = c.method(one.name, begin)
		one.method.started.Inc()
		return
	}
	if one.method == nil {
		return
	}
	switch e := event.(type) {
	case *stats.InPayload:
		one.method.received.Inc()
		c.in.Add(float64(e.Length))
	case *stats.OutPayload:
		one.method.sent.Inc()
		c.out.Add(float64(e.Length))
	case *stats.End:
		code := status.Code(e.Error).String()
		c.handled.WithLabelValues(append([]string{code}, one.method.labels...)...).Inc()
		one.method.seconds.Observe(e.EndTime.Sub(e.BeginTime).Seconds())
	}
}

func (c *calls) method(name string, begin *stats.Begin) *method {
	if m, ok := c.methods.Load(name); ok {
		return m.(*method)
	}
	kind := "unary"
	switch {
	case begin.IsClientStream && begin.IsServerStream:
		kind = "bidi_stream"
	case begin.IsClientStream:
		kind = "client_stream"
	case begin.IsServerStream:
		kind = "server_stream"
	}
	service, short, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	labels := []string{kind, service, short}
	m, _ := c.methods.LoadOrStore(name, &method{
		labels: labels, started: c.started.WithLabelValues(labels...),
		received: c.received.WithLabelValues(labels...), sent: c.sent.WithLabelValues(labels...),
		seconds: c.seconds.WithLabelValues(labels...),
	})
	return m.(*method)
}

// TagConn implements stats.Handler.
func (c *calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (c *calls) HandleConn(context.Context, stats.ConnStats) {}
