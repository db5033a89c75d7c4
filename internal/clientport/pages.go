package clientport

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	etcdversion "go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"

	"raftlab/internal/etcdapi"
	"raftlab/internal/webguard"
)

// apiVersion is the version of etcd's API that the server speaks.
var apiVersion = etcdversion.Version

// probeTimeout bounds the check of a probe.
const probeTimeout = 5 * time.Second

// Pages are the contents of the HTTP side of a port.
//
//	GET  /health                    a probe of everything
//	GET  /livez, /readyz            probes with named checks, and /livez/CHECK, /readyz/CHECK
//	GET  /version                   versions, as etcd gives them
//	GET  /metrics                   Prometheus
//	POST /v3/...                    etcd's API as JSON
//
// Requests of the JSON gateway go to the gRPC server of the port.
type Pages struct {
	// Health reports why the server should get no requests: an alarm whose name is not
	// excluded or, with linearizable, that there are no linearizable reads.
	Health func(ctx context.Context, linearizable bool, excluded map[string]bool) error
	// Live reports why the process has to be restarted. A process without a leader does
	// not have to be restarted.
	Live func() error
	// Checks are the names of the checks that together tell whether clients should be sent
	// here, and Check reports why one of the checks fails.
	Checks []string
	Check  func(ctx context.Context, name string) error
	// Metrics has the figures, and counts the probes.
	Metrics *Metrics
	// Hosts are names of this server in URLs of browsers, beside localhost and the
	// server's addresses.
	Hosts []string
	// Others answers requests for all other paths, and checks their senders. The default
	// is 404.
	Others http.Handler
}

// handler returns the HTTP side. Requests of the JSON gateway go to conn.
func (p Pages) handler(conn *grpc.ClientConn) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", p.health)
	probe{"livez", []string{etcdapi.CheckSerializableRead}, func(context.Context, string) error { return p.Live() }, p.Metrics}.register(mux)
	probe{"readyz", p.Checks, p.Check, p.Metrics}.register(mux)
	mux.HandleFunc("GET /version", version)
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(p.Metrics, promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{})))
	if conn != nil {
		api, err := newGateway(conn)
		if err != nil {
			return nil, err
		}
		mux.Handle("/v3/", api)
	}
	guard := webguard.New(p.Hosts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" && p.Others != nil {
			p.Others.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		if refusal := guard.Check(r); refusal != nil {
			http.Error(w, refusal.Error(), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// health says whether the server should get requests, in etcd's words. The query exclude
// names alarms that do not count, and serializable=true asks for local reads alone.
func (p Pages) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"true", ""}
	code := http.StatusOK
	err := p.Health(ctx, r.URL.Query().Get("serializable") != "true", excluded(r))
	if err != nil {
		answer.Health, answer.Reason, code = "false", err.Error(), http.StatusServiceUnavailable
	}
	p.Metrics.countHealth(err == nil)
	writeJSON(w, code, answer)
}

// version gives the version of etcd's API that the server speaks, in etcd's form: those of
// the cluster and of the storage have no patch.
func version(w http.ResponseWriter, _ *http.Request) {
	cluster := etcdversion.Cluster(apiVersion) + ".0"
	writeJSON(w, http.StatusOK, map[string]string{"etcdserver": apiVersion, "etcdcluster": cluster, "storage": cluster})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
