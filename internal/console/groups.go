//go:build !wasip1

package console

import (
	"bytes"
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"raftlab/internal/cluster"
	"raftlab/internal/shardstore"
	"raftlab/shardkv"
)

// GroupsOptions are the settings of the page of a store with groups.
type GroupsOptions struct {
	// Title names the store.
	Title string
	// Layout returns the groups and the places of the shards, and Status a picture of
	// each replica.
	Layout func(context.Context) (shardstore.Layout, error)
	Status func() []cluster.Status
	// Hosts, Next and Logger are those of Options.
	Hosts  []string
	Next   http.Handler
	Logger *slog.Logger
}

// layoutPatience bounds the wait for the controllers. Without them the page has the replicas
// alone.
const layoutPatience = time.Second

var groupsTemplate = template.Must(template.ParseFS(files, "page/groups.html"))

// groupsPage serves the page of a store with groups.
type groupsPage struct {
	opts GroupsOptions

	mu   sync.Mutex
	page []byte
	made time.Time
}

// NewGroups returns the handler of the page of a store with groups. The page needs no
// script: the server writes the HTML, and the browser loads the page again every other
// second.
func NewGroups(o GroupsOptions) http.Handler {
	p := &groupsPage{opts: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serve)
	mux.HandleFunc("GET /ui/style.css", file("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /ui/icon.svg", file("icon.svg", "image/svg+xml"))
	return guarded(mux, o.Hosts, o.Next)
}

func (p *groupsPage) serve(w http.ResponseWriter, r *http.Request) {
	page, err := p.current(r.Context())
	if err != nil {
		p.opts.Logger.Error("the page of the groups", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	_, _ = w.Write(page) // a browser that is gone needs no answer
}

// current returns the page, which browsers that ask at the same time share.
func (p *groupsPage) current(ctx context.Context) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.made) < stateAge {
		return p.page, nil
	}
	var page bytes.Buffer
	err := groupsTemplate.Execute(&page, p.state(ctx))
	if err == nil {
		p.page, p.made = page.Bytes(), time.Now()
	}
	return page.Bytes(), err
}

// groupsState is what the template shows.
type groupsState struct {
	Title string
	// Err is why there is no layout.
	Err    string
	Config int
	Groups []groupRow
	Shards []shardstore.ShardPlace
	Moves  []string
	// Members are the processes, and Replicas their replicas of each group.
	Members  []string
	Replicas []replicaRow
}

// groupRow is a group, the controllers last.
type groupRow struct {
	Name    string
	Member  bool
	Shards  int
	Keys    int
	Config  int
	Behind  bool   // a newer configuration is there
	Leader  string // "" for none
	Term    uint64
	Running int // replicas
	Of      int
}

// replicaRow has the replicas of a group by process.
type replicaRow struct {
	Group string
	Cells []cluster.Status
}

func (p *groupsPage) state(ctx context.Context) *groupsState {
	s := &groupsState{Title: p.opts.Title}
	all := p.opts.Status()
	for _, one := range all {
		s.addReplica(one)
	}
	for _, row := range s.Replicas {
		s.Groups = append(s.Groups, describeGroup(row))
	}
	ctx, cancel := context.WithTimeout(ctx, layoutPatience)
	defer cancel()
	layout, err := p.opts.Layout(ctx)
	if err != nil {
		s.Err = err.Error()
		return s
	}
	s.addLayout(&layout)
	return s
}

// addReplica adds a replica. Replicas of a group follow one another.
func (s *groupsState) addReplica(one cluster.Status) {
	if n := len(s.Replicas); n == 0 || s.Replicas[n-1].Group != one.Group {
		s.Replicas = append(s.Replicas, replicaRow{Group: one.Group})
	}
	last := &s.Replicas[len(s.Replicas)-1]
	last.Cells = append(last.Cells, one)
	if len(s.Replicas) == 1 {
		s.Members = append(s.Members, one.Name)
	}
}

// describeGroup returns what the replicas of a group say of the group. The leader of the
// highest term counts.
func describeGroup(row replicaRow) groupRow {
	g := groupRow{Name: row.Group, Of: len(row.Cells)}
	for _, r := range row.Cells {
		if r.State == "running" {
			g.Running++
		}
		if r.Role == "leader" && r.Term >= g.Term {
			g.Leader, g.Term, g.Keys = r.Name, r.Term, r.Keys
		}
	}
	return g
}

func (s *groupsState) addLayout(l *shardstore.Layout) {
	s.Config, s.Shards = l.Config, l.Shards
	for _, g := range l.Groups {
		row := &s.Groups[g.Group-1]
		row.Member, row.Shards, row.Keys, row.Config, row.Behind = g.Member, g.Shards, g.Keys, g.Config, g.Config < l.Config
	}
	for _, place := range l.Shards {
		if move := move(place); move != "" {
			s.Moves = append(s.Moves, move)
		}
	}
}

// move describes a shard on its way, "" for others.
func move(p shardstore.ShardPlace) string {
	text := "shard " + strconv.Itoa(p.Shard)
	switch {
	case p.From != 0 && p.Group != 0:
		return text + ": from group " + strconv.Itoa(p.From) + " to group " + strconv.Itoa(p.Group)
	case p.State == string(shardkv.StateArriving):
		return text + ": to group " + strconv.Itoa(p.Group)
	}
	return ""
}
