package clientport_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/clientport"
	"raftlab/internal/testkit"
)

// Probes with named checks answer in etcd's form, and the figures count the checks.
func TestProbes(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fails := map[string]error{"second": errors.New("there is no majority")}
	port, err := clientport.New(clientport.Options{Listener: listener, Logger: slog.New(slog.DiscardHandler), Pages: clientport.Pages{
		Health: func(_ context.Context, linearizable bool, excluded map[string]bool) error {
			if linearizable && !excluded["NOSPACE"] {
				return errors.New("ALARM NOSPACE")
			}
			return nil
		},
		Live:    func() error { return nil },
		Checks:  []string{"first", "second", "third"},
		Check:   func(_ context.Context, name string) error { return fails[name] },
		Metrics: clientport.NewMetrics(),
	}})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- port.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, port.Close(context.Background()))
		require.NoError(t, testkit.Receive(t, "the end of the server", served))
	})
	get := func(path string) string {
		r, err := http.Get("http://" + listener.Addr().String() + path)
		require.NoError(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.Status[:4] + string(body)
	}
	failed := "503 [+]first ok\n[-]second failed: there is no majority\n[+]third ok\n\n"
	for path, want := range map[string]string{
		"/livez":                          "200 ok\n",
		"/livez?verbose":                  "200 [+]serializable_read ok\nok\n",
		"/livez/serializable_read":        "200 ok\n",
		"/livez/first":                    "404 404 page not found\n",
		"/readyz":                         failed,
		"/readyz?verbose":                 failed,
		"/readyz?exclude=unknown":         failed,
		"/readyz/second":                  "503 [-]second failed: there is no majority\n\n",
		"/readyz/third":                   "200 ok\n",
		"/readyz/third?verbose":           "200 [+]third ok\nok\n",
		"/readyz?exclude=second":          "200 ok\n",
		"/readyz?exclude=second&verbose":  "200 [+]first ok\n[+]third ok\nok\n",
		"/health":                         `503 {"health":"false","reason":"ALARM NOSPACE"}` + "\n",
		"/health?exclude=NOSPACE":         `200 {"health":"true","reason":""}` + "\n",
		"/health?serializable=true":       `200 {"health":"true","reason":""}` + "\n",
		"/readyz?exclude=second&exclude=": "200 ok\n",
	} {
		require.Equal(t, want, get(path), path)
	}
	figures := get("/metrics")
	for _, line := range []string{
		"etcd_server_health_success 2", "etcd_server_health_failures 1",
		`etcd_server_healthcheck{name="second",type="readyz"} 0`,
		`etcd_server_healthcheck{name="first",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="second",status="error",type="readyz"} 4`,
		`etcd_server_healthchecks_total{name="serializable_read",status="success",type="livez"} 3`,
	} {
		require.Contains(t, figures, line+"\n")
	}
}
