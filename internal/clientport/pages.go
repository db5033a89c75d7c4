package clientport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	etcdversion "go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"

	"raftlab/internal/webguard"
)

// apiVersion is the version of etcd's API that the server speaks.
var apiVersion = etcdversion.Version

// probeTimeout bounds the check of a probe.
const probeTimeout = 5 * time.Second

// Pages are the contents of the HTTP side of a port.
//
//	GET  /health, /livez, /readyz   probes
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
	// Metrics has the figures.
	Metrics prometheus.Gatherer
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
	mux.HandleFunc("GET /livez", p.live)
	mux.HandleFunc("GET /readyz", p.ready)
	mux.HandleFunc("GET /version", version)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{}))
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
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"true", ""}
	code := http.StatusOK
	if err := p.serves(r, true); err != nil {
		answer.Health, answer.Reason, code = "false", err.Error(), http.StatusServiceUnavailable
	}
	writeJSON(w, code, answer)
}

// serves is Health within the time for a probe. alarms says whether alarms count.
func (p Pages) serves(r *http.Request, alarms bool) error {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	excluded := make(map[string]bool)
	for _, name := range r.URL.Query()["exclude"] {
		excluded[name] = true
	}
	if !alarms {
		excluded["NOSPACE"] = true // reads and deletions go on
	}
	return p.Health(ctx, r.URL.Query().Get("serializable") != "true", excluded)
}

// live says that the process runs, and that its member has not failed. A process that
// has no leader should not be restarted for that.
func (p Pages) live(w http.ResponseWriter, _ *http.Request) {
	if err := p.Live(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready says whether clients should be sent here.
func (p Pages) ready(w http.ResponseWriter, r *http.Request) {
	if err := p.serves(r, false); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// version gives the version of etcd's API that the server speaks.
func version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"etcdserver": apiVersion, "etcdcluster": apiVersion})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
