package clientport_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"raftlab/internal/clientport"
	"raftlab/internal/testkit"
)

// The figures have the calls of gRPC by method and code. A method that no service has makes
// no figure.
func TestCalls(t *testing.T) {
	t.Parallel()
	metrics := clientport.NewMetrics()
	g := grpc.NewServer(metrics.Calls())
	healthpb.RegisterHealthServer(g, health.NewServer())
	listener := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	client := healthpb.NewHealthClient(conn)
	_, err = client.Check(context.Background(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = client.Check(context.Background(), &healthpb.HealthCheckRequest{Service: "none"})
	require.Error(t, err)
	require.Error(t, conn.Invoke(context.Background(), "/invented/Method", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}))
	ctx, cancel := context.WithCancel(context.Background())
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	cancel()
	require.NoError(t, conn.Close())
	g.GracefulStop() // the calls have ended
	require.NoError(t, testkit.Receive(t, "the end of the server", served))

	w := httptest.NewRecorder()
	promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	const check, watched = `grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"`, `grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"`
	for _, line := range []string{
		"grpc_server_started_total{" + check + "} 2", "grpc_server_msg_received_total{" + check + "} 2", "grpc_server_msg_sent_total{" + check + "} 1",
		`grpc_server_handled_total{grpc_code="OK",` + check + "} 1", `grpc_server_handled_total{grpc_code="NotFound",` + check + "} 1",
		"grpc_server_handling_seconds_count{" + check + "} 2",
		"grpc_server_started_total{" + watched + "} 1", `grpc_server_handled_total{grpc_code="Canceled",` + watched + "} 1",
		"etcd_network_client_grpc_received_bytes_total 6", "etcd_network_client_grpc_sent_bytes_total 4",
	} {
		require.Contains(t, w.Body.String(), line+"\n")
	}
	require.NotContains(t, w.Body.String(), "invented")
}
