package member

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"raftlab/internal/webguard"
)

// apiVersion is the version of etcd's API that the server speaks.
var apiVersion = version.Version

// probeTimeout bounds the check of a probe.
const probeTimeout = 5 * time.Second

// newPages returns the HTTP side of the client port. Requests of the JSON gateway go to
// the member's own gRPC server over calls.
//
//	GET  /health, /livez, /readyz   probes
//	GET  /version                   versions, as etcd gives them
//	GET  /metrics                   Prometheus
//	POST /v3/...                    etcd's API as JSON
func (m *Member) newPages(calls *handedOver) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", m.health)
	mux.HandleFunc("GET /livez", m.live)
	mux.HandleFunc("GET /readyz", m.ready)
	mux.HandleFunc("GET /version", m.version)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.newMetrics(), promhttp.HandlerOpts{}))
	api, err := m.newGateway(calls)
	if err != nil {
		return nil, err
	}
	mux.Handle("/v3/", api)
	guard := webguard.New(m.opts.Hosts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		if refusal := guard.Check(r); refusal != nil {
			http.Error(w, refusal.Error(), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// newGateway returns the JSON gateway. JSON has the field names of the API's protocol
// buffers, as etcd's gateway has.
func (m *Member) newGateway(calls *handedOver) (http.Handler, error) {
	conn, err := grpc.NewClient("passthrough:///self",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<31-1)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			calls.give(there, ctx.Done())
			return here, nil
		}))
	if err != nil {
		return nil, err
	}
	m.gateway = conn
	mux := gateway.NewServeMux(gateway.WithMarshalerOption(gateway.MIMEWildcard, &gateway.HTTPBodyMarshaler{
		Marshaler: &gateway.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		},
	}))
	for _, register := range []func(context.Context, *gateway.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
		gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
	} {
		if err := register(context.Background(), mux, conn); err != nil {
			return nil, err
		}
	}
	return mux, nil
}

// health says whether the member serves linearizable reads, in etcd's words.
func (m *Member) health(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"true", ""}
	code := http.StatusOK
	if err := m.reads(r.Context()); err != nil {
		answer.Health, answer.Reason, code = "false", err.Error(), http.StatusServiceUnavailable
	}
	writeJSON(w, code, answer)
}

// reads reports why the member serves no linearizable reads.
func (m *Member) reads(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := m.server.Node().ReadIndex(ctx)
	return err
}

// live says that the process runs, and that its member has not failed. A process that
// has no leader should not be restarted for that.
func (m *Member) live(w http.ResponseWriter, _ *http.Request) {
	if err := m.server.Node().Err(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready says whether clients should be sent here.
func (m *Member) ready(w http.ResponseWriter, r *http.Request) {
	if err := m.reads(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// version gives the version of etcd's API that the server speaks.
func (m *Member) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"etcdserver": apiVersion, "etcdcluster": apiVersion})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
