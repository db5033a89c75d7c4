//go:build !wasip1

package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"raftlab/internal/clientport"
	"raftlab/internal/cluster"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv"
	"raftlab/internal/webguard"
	"raftlab/raft/node"
)

// Options are the settings of the page.
type Options struct {
	// Title names the cluster.
	Title string
	// Status returns a picture of each member.
	Status func() []cluster.Status
	// Serving returns the member whose store the page shows, nil if none runs.
	Serving func() *etcdapi.Server
	// Sources are the members of this process.
	Sources []clientport.Source
	// Admin offers buttons to stop, start, disconnect and connect members.
	Admin bool
	// Hosts are names of this server in URLs of browsers, beside localhost and the
	// server's addresses.
	Hosts []string
	// Next answers requests for other paths, and checks their senders.
	Next http.Handler
	// Logger receives failures. Required.
	Logger *slog.Logger
}

// State is the answer to GET /ui/state.
type State struct {
	Title   string                 `json:"title"`
	Admin   bool                   `json:"admin"`
	Members []httpkv.ReplicaStatus `json:"members"`
	// Writes and Saves have the durations of the members of this process: of writes from
	// the proposal to the result, and of writes to the disk.
	Writes Durations `json:"writes"`
	Saves  Durations `json:"saves"`
	// Commands is the number of executed commands of the serving member.
	Commands int64    `json:"commands"`
	Store    *Store   `json:"store"` // null if no member runs
	Alarms   []string `json:"alarms"`
	Leases   []Lease  `json:"leases"` // the first ones; none with access control
	Locked   bool     `json:"locked"` // access control is enabled, so /v1 has no keys
}

// Durations counts durations since the start in buckets: bucket i has those below 2^i
// microseconds that no lower bucket has.
type Durations struct {
	Buckets []int64 `json:"buckets"`
	Seconds float64 `json:"seconds"` // sum
}

// Store has the figures of the store.
type Store struct {
	Revision  int64 `json:"revision"`
	Compacted int64 `json:"compacted"`
	Keys      int   `json:"keys"`
	Versions  int   `json:"versions"`
	Bytes     int64 `json:"bytes"`
	Quota     int64 `json:"quota"`
	Leases    int   `json:"leases"`
	Watches   int   `json:"watches"`
	Streams   int   `json:"streams"`
	Events    int64 `json:"events"`
}

// Lease is a lease in a State.
type Lease struct {
	ID   string `json:"id"` // hexadecimal
	TTL  int64  `json:"ttl"`
	Keys int    `json:"keys"`
}

// maxLeases bounds the leases in a State.
const maxLeases = 20

// stateAge is the age up to which pages share a State.
const stateAge = 200 * time.Millisecond

// policy is the page's Content-Security-Policy.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed page
var files embed.FS

// page serves the console.
type page struct {
	opts Options

	mu    sync.Mutex
	state []byte // as JSON
	made  time.Time
}

// New returns the handler of the page.
func New(o Options) http.Handler {
	p := &page{opts: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", file("index.html", "text/html; charset=utf-8"))
	mux.HandleFunc("GET /ui/app.js", file("app.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /ui/style.css", file("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /ui/icon.svg", file("icon.svg", "image/svg+xml"))
	mux.HandleFunc("GET /ui/state", p.serveState)
	return guarded(mux, o.Hosts, o.Next)
}

// guarded returns a handler that refuses foreign pages the paths of mux, and passes other
// paths to next.
func guarded(mux *http.ServeMux, hosts []string, next http.Handler) http.Handler {
	guard := webguard.New(hosts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		if refusal := guard.Check(r); refusal != nil {
			http.Error(w, refusal.Error(), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// file serves a file of the page.
func file(name, kind string) http.HandlerFunc {
	content, err := fs.ReadFile(files, "page/"+name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
}

func (p *page) serveState(w http.ResponseWriter, _ *http.Request) {
	data, err := p.current()
	if err != nil {
		p.opts.Logger.Error("the page's state", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // a browser that is gone needs no answer
}

// current returns the state, which pages that ask at the same time share.
func (p *page) current() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.made) < stateAge {
		return p.state, nil
	}
	data, err := json.Marshal(p.makeState())
	if err == nil {
		p.state, p.made = data, time.Now()
	}
	return data, err
}

func (p *page) makeState() State {
	s := State{Title: p.opts.Title, Admin: p.opts.Admin, Members: []httpkv.ReplicaStatus{}, Alarms: []string{}, Leases: []Lease{}}
	for _, one := range p.opts.Status() {
		s.Members = append(s.Members, httpkv.ReplicaStatus(one))
	}
	serving := p.opts.Serving()
	if serving == nil {
		return s
	}
	stats := serving.Stats()
	s.Commands = serving.Node().Stats().Commands
	s.Store = &Store{
		Revision: stats.Revision, Compacted: stats.Compacted, Keys: stats.Keys, Versions: stats.Versions,
		Bytes: stats.Bytes, Quota: stats.QuotaBytes, Leases: stats.Leases,
	}
	s.Alarms = append(s.Alarms, serving.AlarmNames()...)
	s.Locked = serving.AccessControl()
	for _, one := range serving.FirstLeases(maxLeases) {
		s.Leases = append(s.Leases, Lease{ID: strconv.FormatInt(one.ID, 16), TTL: one.TTL, Keys: one.Keys})
	}
	for _, source := range p.opts.Sources {
		f := source.Figures()
		if f == nil {
			continue
		}
		own := f.Server.Stats()
		s.Store.Watches += own.Watches
		s.Store.Streams += own.WatchStreams
		s.Store.Events += own.EventsSent
		proposals := f.Server.Node().Stats().Proposals
		s.Writes.add(&proposals)
		s.Saves.add(&f.Host.Saves)
	}
	return s
}

func (d *Durations) add(h *node.Histogram) {
	if d.Buckets == nil {
		d.Buckets = make([]int64, len(h.Buckets))
	}
	for i, n := range h.Buckets {
		d.Buckets[i] += n
	}
	d.Seconds += h.Sum.Seconds()
}
