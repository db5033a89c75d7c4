// Package shardlab builds what the suites of the sharded services test: groups
// of servers on a simulated network, which can be crashed, restarted and cut
// off one by one, and the controller as one such group. It uses nothing of the
// packages under test but what every course has (LAB_API.md).
package shardlab

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"raftlab/labrpc"
	"raftlab/raft"
)

// Instance is one run of a server, from its start to its crash.
type Instance struct {
	Services []any // what it offers on the network
	Kill     func()
}

// Starter starts server i of a group; peers are its ends to the group's servers.
type Starter func(i int, peers []*labrpc.ClientEnd, persister *raft.Persister) Instance

// Group is a replicated service: some servers that have names on a network. Its
// methods may be called from any goroutine.
type Group struct {
	t     testing.TB
	net   *labrpc.Network
	names []string
	start Starter

	mu       sync.Mutex
	running  []*Instance
	disks    []*raft.Persister
	peerEnds [][]string     // of each server's current run, by the server it leads to
	side     []int          // of each server: those on one side reach each other
	clients  map[string]int // ends of clients, by the server they lead to
	made     int
}

// NewGroup starts n servers, named prefix-0 and so on. The test's end kills them.
func NewGroup(t testing.TB, net *labrpc.Network, prefix string, n int, start Starter) *Group {
	g := &Group{
		t: t, net: net, start: start,
		running:  make([]*Instance, n),
		disks:    make([]*raft.Persister, n),
		peerEnds: make([][]string, n),
		side:     make([]int, n),
		clients:  make(map[string]int),
	}
	for i := range n {
		g.names = append(g.names, fmt.Sprintf("%s-%d", prefix, i))
		g.disks[i] = raft.MakePersister()
	}
	g.StartAll()
	return g
}

// N returns the number of servers.
func (g *Group) N() int { return len(g.names) }

// Names returns the servers' names.
func (g *Group) Names() []string { return slices.Clone(g.names) }

// Start starts server i, if it is down, on what its disk holds.
func (g *Group) Start(i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running[i] != nil {
		return
	}
	g.disks[i] = g.disks[i].Copy() // what an old run still writes is lost
	peers := make([]*labrpc.ClientEnd, len(g.names))
	g.peerEnds[i] = make([]string, len(g.names))
	for j, name := range g.names {
		g.made++
		end := fmt.Sprintf("%s>%d#%d", g.names[i], j, g.made)
		peers[j] = g.net.MakeEnd(end)
		g.net.Connect(end, name)
		g.peerEnds[i][j] = end
	}
	run := g.start(i, peers, g.disks[i])
	g.running[i] = &run
	server := labrpc.MakeServer()
	for _, s := range run.Services {
		server.AddService(labrpc.MakeService(s))
	}
	g.net.AddServer(g.names[i], server)
	g.connect()
}

// Crash stops server i, which loses all but what is on its disk now.
func (g *Group) Crash(i int) {
	g.mu.Lock()
	run := g.running[i]
	g.running[i] = nil
	if run != nil {
		g.net.DeleteServer(g.names[i])
		g.disks[i] = g.disks[i].Copy()
		g.connect()
	}
	g.mu.Unlock()
	if run != nil {
		run.Kill()
	}
}

// StartAll starts every server that is down.
func (g *Group) StartAll() {
	for i := range g.names {
		g.Start(i)
	}
}

// CrashAll crashes every server that is up.
func (g *Group) CrashAll() {
	for i := range g.names {
		g.Crash(i)
	}
}

// Partition splits the group: a server reaches those on its side only. sides
// has a number for each server; clients reach side 0. Heal ends it.
func (g *Group) Partition(sides ...int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	copy(g.side, sides)
	g.connect()
}

// Heal joins all sides.
func (g *Group) Heal() { g.Partition(make([]int, len(g.names))...) }

// connect enables and disables ends as the sides and crashes want it. The lock
// is held.
func (g *Group) connect() {
	for i, ends := range g.peerEnds {
		for j, end := range ends {
			g.net.Enable(end, g.running[i] != nil && g.side[i] == g.side[j])
		}
	}
	for end, j := range g.clients {
		g.net.Enable(end, g.side[j] == 0)
	}
}

// ClientEnds returns new ends to all servers.
func (g *Group) ClientEnds() []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, len(g.names))
	for j := range ends {
		ends[j] = g.ClientEnd(j)
	}
	return ends
}

// ClientEnd returns a new end to server j.
func (g *Group) ClientEnd(j int) *labrpc.ClientEnd {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made++
	name := fmt.Sprintf(">%s#%d", g.names[j], g.made)
	end := g.net.MakeEnd(name)
	g.net.Connect(name, g.names[j])
	g.clients[name] = j
	g.net.Enable(name, g.side[j] == 0)
	return end
}

// Leader returns the server that leads, or -1.
func (g *Group) Leader() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	leader, newest := -1, -1
	for i, run := range g.running {
		if run == nil {
			continue
		}
		for _, s := range run.Services {
			if rf, ok := s.(interface{ GetState() (int, bool) }); ok {
				if term, leads := rf.GetState(); leads && term > newest {
					leader, newest = i, term
				}
			}
		}
	}
	return leader
}

// Disk returns what server i has written.
func (g *Group) Disk(i int) *raft.Persister {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disks[i]
}

// StateBytes returns the sum of the servers' Raft states and snapshots.
func (g *Group) StateBytes() int {
	sum := 0
	for i := range g.names {
		sum += g.Disk(i).RaftStateSize() + g.Disk(i).SnapshotSize()
	}
	return sum
}
