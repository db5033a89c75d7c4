package clientport

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// probe is a probe with named checks, in etcd's form. A request for /NAME runs all checks
// but those that the query exclude names, and a request for /NAME/CHECK runs one.
type probe struct {
	name    string
	checks  []string
	run     func(ctx context.Context, check string) error
	metrics *Metrics
}

func (p probe) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+p.name, func(w http.ResponseWriter, r *http.Request) {
		without := excluded(r)
		p.serve(w, r, slices.DeleteFunc(slices.Clone(p.checks), func(check string) bool { return without[check] }))
	})
	for _, check := range p.checks {
		mux.HandleFunc("GET /"+p.name+"/"+check, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, []string{check}) })
	}
}

// serve runs checks. The answer lists the checks if one fails, or if the query has verbose.
func (p probe) serve(w http.ResponseWriter, r *http.Request, checks []string) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	var lines strings.Builder
	failed := false
	for _, check := range checks {
		err := p.run(ctx, check)
		p.metrics.countCheck(p.name, check, err == nil)
		if err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", check, err)
		} else {
			fmt.Fprintf(&lines, "[+]%s ok\n", check)
		}
	}
	if failed {
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, lines.String())
	}
	fmt.Fprintln(w, "ok")
}

// excluded returns the names in the query exclude.
func excluded(r *http.Request) map[string]bool {
	names := make(map[string]bool)
	for _, name := range r.URL.Query()["exclude"] {
		names[name] = true
	}
	return names
}

// Metrics are the figures of a process, and the results of its probes.
type Metrics struct {
	*prometheus.Registry
	healthy, unhealthy prometheus.Counter
	last               *prometheus.GaugeVec
	checks             *prometheus.CounterVec
	calls              *calls
}

func newMetrics() *Metrics {
	m := &Metrics{
		Registry:  prometheus.NewRegistry(),
		healthy:   prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success", Help: "Requests for /health that found the server healthy."}),
		unhealthy: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures", Help: "Requests for /health that found the server not healthy."}),
		last:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck", Help: "1 if the last run of a check of a probe succeeded, else 0."}, []string{"type", "name"}),
		checks:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total", Help: "Runs of a check of a probe."}, []string{"type", "name", "status"}),
	}
	m.MustRegister(m.healthy, m.unhealthy, m.last, m.checks)
	m.calls = newCalls(m)
	return m
}

func (m *Metrics) countHealth(healthy bool) {
	if healthy {
		m.healthy.Inc()
	} else {
		m.unhealthy.Inc()
	}
}

func (m *Metrics) countCheck(probe, check string, success bool) {
	status := "error"
	if success {
		status = "success"
	}
	m.last.WithLabelValues(probe, check).Set(truth(success))
	m.checks.WithLabelValues(probe, check, status).Inc()
}
