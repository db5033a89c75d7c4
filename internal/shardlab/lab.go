// Package shardlab builds the clusters for the suites of the sharded services. A
// cluster consists of groups of servers on one simulated network. A suite can crash,
// restart and partition single servers. The package uses only the names that every
// course has (LAB_API.md).
package shardlab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/internal/labtrace"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
	"raftlab/trace"
)

// Lab is a network with groups of servers. Any goroutine may call the methods of a
// lab and of its groups.
type Lab struct {
	T   testing.TB
	Net *labrpc.Network
	// Open ends when the lab is closed. Clients with this context end with the lab.
	Open context.Context
	// Recording records the network.
	Recording *labrun.Recording

	shut context.CancelFunc

	mu      sync.Mutex
	servers map[string]*server
	links   map[string]*link // by the name of the end
	made    int
	clients int
}

// server is a server of a group.
type server struct {
	name  string
	group *Group
	disk  *raft.Persister
	run   *Instance // nil while the server is down
	side  int       // side of the group's partition
}

// link connects a server or a client to a server.
type link struct {
	from   *server // nil for a client
	client *Client // nil for a server, and for a client that no test cuts off
	to     *server
}

// open reports whether no partition cuts the link.
func (l *link) open() bool {
	switch {
	case l.from == nil:
		return l.to.side == 0 && (l.client == nil || !l.client.cut)
	case l.from.group == l.to.group:
		return l.from.side == l.to.side
	}
	return l.from.side == 0 && l.to.side == 0
}

// Instance is one run of a server, from its start to its crash.
type Instance struct {
	Services []any // RPC services
	Kill     func()
}

// Starter starts server i of a group. peers are ends to the group's servers, and end
// makes an end to any server.
type Starter func(i int, peers []*labrpc.ClientEnd, end func(name string) *labrpc.ClientEnd, disk *raft.Persister) Instance

// New returns a lab without servers. The seed of the test determines the faults of
// the network.
func New(t testing.TB) *Lab {
	ctx, cancel := context.WithCancel(context.Background())
	lab := &Lab{
		Open:    ctx,
		shut:    cancel,
		T:       t,
		Net:     labrpc.MakeNetworkSeed(testkit.Seed(t)),
		servers: make(map[string]*server),
		links:   make(map[string]*link),
	}
	lab.Recording = labtest.Record(t, lab.Net, labtrace.Lanes{End: laneOf, Server: labtrace.ServerName})
	return lab
}

// laneOf returns the lane of an end, the part of its name before the arrow.
func laneOf(end any) (name string, server bool) {
	name, _, _ = strings.Cut(end.(string), ">")
	return name, !strings.HasPrefix(name, "client")
}

// note records an event of a server.
func (lab *Lab) note(kind trace.Kind, s *server, text string) {
	lane := trace.NoLane
	if s != nil {
		lane = lab.Recording.Lane(s.name, trace.Server)
	}
	lab.Recording.Add(trace.Event{Time: lab.Recording.Now(), Kind: kind, Lane: lane, Text: text})
}

// Close crashes every server and ends the network.
func (lab *Lab) Close() {
	lab.Recording.Stop()
	lab.shut()
	lab.mu.Lock()
	var groups []*Group
	for _, s := range lab.servers {
		if !slices.Contains(groups, s.group) {
			groups = append(groups, s.group)
		}
	}
	lab.mu.Unlock()
	for _, g := range groups {
		g.CrashAll()
	}
	lab.Net.Cleanup()
	labtest.Drain()
}

// End makes an end for a client to a server.
func (lab *Lab) End(name string) *labrpc.ClientEnd {
	lab.mu.Lock()
	defer lab.mu.Unlock()
	return lab.end(nil, nil, name)
}

// Client is a client whose connections a test can cut.
type Client struct {
	lab *Lab
	id  int
	cut bool
}

// Client returns a new client.
func (lab *Lab) Client() *Client {
	testkit.Apart()
	lab.mu.Lock()
	defer lab.mu.Unlock()
	lab.clients++
	return &Client{lab: lab, id: lab.clients}
}

// End makes an end for the client to a server.
func (c *Client) End(name string) *labrpc.ClientEnd {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return c.lab.end(nil, c, name)
}

// Ends makes ends for the client to all servers of a group.
func (c *Client) Ends(g *Group) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, len(g.servers))
	for i, s := range g.servers {
		ends[i] = c.End(s.name)
	}
	return ends
}

// Cut cuts the client off, or lets the client reach the servers again. Calls in
// progress fail.
func (c *Client) Cut(cut bool) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	c.cut = cut
	c.lab.connect()
}

// Sent reports whether a message belongs to a call of the client.
func (c *Client) Sent(m labrpc.Message) bool {
	id, ok := m.End.(string)
	return ok && strings.HasPrefix(id, c.Lane()+">")
}

// Lane is the name of the client in recordings.
func (c *Client) Lane() string { return fmt.Sprint("client ", c.id) }

// end makes an end for a server or a client. Without both the end belongs to a client
// that no test cuts off. The caller holds the lock.
func (lab *Lab) end(from *server, client *Client, name string) *labrpc.ClientEnd {
	to := lab.servers[name]
	if to == nil {
		panic(fmt.Sprintf("shardlab: there is no server %q", name))
	}
	lab.made++
	source := "client"
	switch {
	case from != nil:
		source = from.name
	case client != nil:
		source = client.Lane()
	}
	id := fmt.Sprintf("%s>%s#%d", source, name, lab.made)
	end := lab.Net.MakeEnd(id)
	lab.Net.Connect(id, name)
	lab.links[id] = &link{from: from, client: client, to: to}
	lab.Net.Enable(id, lab.links[id].open())
	return end
}

// connect enables the open links and disables the others. The caller holds the lock.
func (lab *Lab) connect() {
	for id, l := range lab.links {
		lab.Net.Enable(id, l.open())
	}
}

// Group is a group of servers that replicate one service.
type Group struct {
	lab     *Lab
	servers []*server
	start   Starter
}

// Group starts n servers, named prefix-0 and so on.
func (lab *Lab) Group(prefix string, n int, start Starter) *Group {
	g := &Group{lab: lab, start: start}
	lab.mu.Lock()
	for i := range n {
		s := &server{name: fmt.Sprintf("%s-%d", prefix, i), group: g, disk: raft.MakePersister()}
		lab.servers[s.name] = s
		g.servers = append(g.servers, s)
	}
	lab.mu.Unlock()
	g.StartAll()
	return g
}

// Controller starts a configuration service of n servers.
func (lab *Lab) Controller(n int) *Group {
	return lab.Group("ctrl", n, func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, disk *raft.Persister) Instance {
		sc := shardctrler.StartServer(peers, i, disk)
		return Instance{Services: []any{sc, sc.Raft()}, Kill: sc.Kill}
	})
}

// N returns the number of servers.
func (g *Group) N() int { return len(g.servers) }

// Names returns the names of the servers.
func (g *Group) Names() []string {
	names := make([]string, len(g.servers))
	for i, s := range g.servers {
		names[i] = s.name
	}
	return names
}

// Ends returns the ends of a new client to all servers.
func (g *Group) Ends() []*labrpc.ClientEnd { return g.lab.Client().Ends(g) }

// Start starts server i from its disk. If the server is up, Start does nothing.
func (g *Group) Start(i int) {
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	s := g.servers[i]
	if s.run != nil {
		return
	}
	peers := make([]*labrpc.ClientEnd, len(g.servers))
	for j, peer := range g.servers {
		peers[j] = g.lab.end(s, nil, peer.name)
	}
	end := func(name string) *labrpc.ClientEnd {
		g.lab.mu.Lock()
		defer g.lab.mu.Unlock()
		return g.lab.end(s, nil, name)
	}
	g.lab.mu.Unlock()
	g.lab.note(trace.Restarted, s, "")
	testkit.Apart()
	run := g.start(i, peers, end, s.disk)
	g.lab.mu.Lock()
	s.run = &run
	host := labrpc.MakeServer()
	for _, service := range run.Services {
		host.AddService(labrpc.MakeService(service))
	}
	g.lab.Net.AddServer(s.name, host)
}

// Crash stops server i. The server loses everything except its disk.
func (g *Group) Crash(i int) {
	g.lab.mu.Lock()
	s := g.servers[i]
	run := s.run
	s.run = nil
	if run != nil {
		// The server is disconnected before its disk is copied. So no message has
		// left the server about writes that come too late for the copy.
		g.lab.Net.DeleteServer(s.name)
		for id, l := range g.lab.links {
			if l.from == s {
				g.lab.Net.Enable(id, false)
				delete(g.lab.links, id)
			}
		}
		s.disk = s.disk.Copy()
		g.lab.note(trace.Crashed, s, "")
	}
	g.lab.mu.Unlock()
	if run != nil {
		run.Kill()
	}
}

// StartAll starts all servers that are down.
func (g *Group) StartAll() {
	for i := range g.servers {
		g.Start(i)
	}
}

// CrashAll crashes all servers that are up.
func (g *Group) CrashAll() {
	for i := range g.servers {
		g.Crash(i)
	}
}

// Partition splits the group. A server reaches only the servers on its side. Clients
// and other groups reach side 0. sides has a number for each server.
func (g *Group) Partition(sides ...int) {
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	for i, side := range sides {
		g.servers[i].side = side
	}
	g.lab.note(trace.Network, nil, fmt.Sprintf("sides of %s and the servers after it: %v", g.servers[0].name, sides))
	g.lab.connect()
}

// Heal ends every partition of the group.
func (g *Group) Heal() { g.Partition(make([]int, len(g.servers))...) }

// Strand cuts the leader off from the other servers of the group, and returns when the others
// have another leader. Clients in with reach the old leader alone, and clients in without
// reach the others alone, until the caller calls end. Calls under way stay under way.
func (g *Group) Strand(with, without []*Client) (end func()) {
	old := g.await(func(leader int) bool { return leader >= 0 })
	own, names := g.servers[old].name, g.Names()
	var over atomic.Bool
	g.lab.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
		id, _ := m.End.(string)
		from, to, _ := strings.Cut(id, ">")
		to, _, _ = strings.Cut(to, "#")
		sent := func(c *Client) bool { return c.Sent(m) }
		switch {
		case over.Load() || !slices.Contains(names, to):
			return labrpc.Usual()
		case slices.Contains(names, from) && (from == own) != (to == own),
			to != own && slices.ContainsFunc(with, sent), to == own && slices.ContainsFunc(without, sent):
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	g.await(func(leader int) bool { return leader >= 0 && leader != old })
	return func() { over.Store(true) }
}

// await returns the leader when right accepts it, or fails the test after 10 s.
func (g *Group) await(right func(leader int) bool) int {
	for range 1000 {
		if leader := g.Leader(); right(leader) {
			return leader
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.lab.T.Fatal("no leader within 10s")
	return 0
}

// Leader returns the leader with the newest term, or -1.
func (g *Group) Leader() int {
	leader, newest := -1, -1
	g.eachState(func(i, term int, leads bool) {
		if leads && term > newest {
			leader, newest = i, term
		}
	})
	return leader
}

// Term returns the newest term of any server. The term grows with each election, won
// or not.
func (g *Group) Term() int {
	newest := 0
	g.eachState(func(_, term int, _ bool) { newest = max(newest, term) })
	return newest
}

// eachState calls do for each server that is up, with the result of GetState.
func (g *Group) eachState(do func(i, term int, leads bool)) {
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	for i, s := range g.servers {
		if s.run == nil {
			continue
		}
		for _, service := range s.run.Services {
			if rf, ok := service.(interface{ GetState() (int, bool) }); ok {
				term, leads := rf.GetState()
				do(i, term, leads)
			}
		}
	}
}

// Disk returns the disk of server i.
func (g *Group) Disk(i int) *raft.Persister {
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	return g.servers[i].disk
}

// StateBytes returns the total size of the Raft states and snapshots of all servers.
func (g *Group) StateBytes() int {
	sum := 0
	for i := range g.servers {
		sum += g.Disk(i).RaftStateSize() + g.Disk(i).SnapshotSize()
	}
	return sum
}
