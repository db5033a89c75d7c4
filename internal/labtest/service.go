package labtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/trace"
)

// A Host is one running server of a service built on Raft.
type Host struct {
	Services []any // the RPC receivers, namely the service and its Raft server
	Kill     func()
	State    func() (term int, isLeader bool) // of its Raft server
}

// Launch starts server me of a service from the contents of persister.
type Launch func(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) Host

// A Service is a group of servers of a service, 0 to N-1, and their clients, on a
// network of their own. Any goroutine may call the methods, unless a method says
// otherwise.
type Service struct {
	N   int
	Net *labrpc.Network
	// Rand makes the test's random choices from the test's seed. Only the test's
	// goroutine may use Rand.
	Rand *rand.Rand

	t      testing.TB
	rec    *labrun.Recording
	launch Launch
	stop   sync.Once
	done   chan struct{} // closed by Shutdown

	mu    sync.Mutex
	hosts []*host
	group []int // servers of one group reach each other; mainGroup at first
	made  int   // counts starts of servers and clients, for unique names of ends
}

// A host is one incarnation of a server.
type host struct {
	Host
	persister *raft.Persister
	ends      []serviceEnd
	down      bool
}

// A serviceEnd names the end for the calls of a server or client to a server.
type serviceEnd struct {
	Client bool
	From   int // a server, or the number of a client
	To     int
	Made   int
}

// NewService starts n connected servers, and kills the servers when the test ends.
func NewService(t testing.TB, n int, launch Launch) *Service {
	t.Helper()
	s := &Service{
		N:      n,
		Net:    labrpc.MakeNetworkSeed(testkit.Seed(t)),
		Rand:   testkit.Rand(t),
		t:      t,
		launch: launch,
		done:   make(chan struct{}),
		hosts:  make([]*host, n),
		group:  make([]int, n),
	}
	s.record()
	for i := range n {
		s.hosts[i] = &host{down: true, persister: raft.MakePersister()}
	}
	for i := range n {
		s.Restart(i)
	}
	if testkit.RealTime() {
		go s.watch(newGuard(t, s.done, func(int) bool { return false }))
	}
	t.Cleanup(s.Shutdown)
	return s
}

// watch asks each server for its state, so that the guard notices a deadlock.
func (s *Service) watch(g *guard) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		for i := range s.N {
			s.mu.Lock()
			h := s.hosts[i]
			s.mu.Unlock()
			if !h.down {
				g.asks(i)
				h.State()
				g.answered()
			}
		}
	}
}

// Done returns a channel that Shutdown closes.
func (s *Service) Done() <-chan struct{} { return s.done }

// Shutdown kills all servers and ends the network. The end of the test calls
// Shutdown, and the test may do so before.
func (s *Service) Shutdown() {
	s.stop.Do(func() {
		s.rec.Stop()
		for i := range s.N {
			s.Crash(i)
		}
		s.Net.Cleanup()
		close(s.done)
		Drain()
	})
}

// Crash stops servers at once. After a restart the servers find the contents of
// their persisters at this moment.
func (s *Service) Crash(ids ...int) {
	for _, i := range ids {
		s.mu.Lock()
		h := s.hosts[i]
		s.mu.Unlock()
		if h.down {
			continue
		}
		// First cut the server off. No message may reveal state beyond the contents of
		// the persister.
		s.Net.DeleteServer(i)
		for _, end := range h.ends {
			s.Net.DeleteEnd(end)
		}
		s.mu.Lock()
		// The new incarnation gets a copy, so late writes of the old one have no effect.
		s.hosts[i] = &host{persister: h.persister.Copy(), down: true}
		s.mu.Unlock()
		s.notes(trace.Crashed, i, "")
		h.Kill()
	}
}

// Restart starts servers from the contents of their persisters. Running servers
// crash first. A server returns to its previous group.
func (s *Service) Restart(ids ...int) {
	for _, i := range ids {
		s.Crash(i)
		s.mu.Lock()
		s.made++
		h := &host{persister: s.hosts[i].persister, ends: make([]serviceEnd, s.N)}
		ends := make([]*labrpc.ClientEnd, s.N)
		for j := range ends {
			h.ends[j] = serviceEnd{From: i, To: j, Made: s.made}
			ends[j] = s.Net.MakeEnd(h.ends[j])
			s.Net.Connect(h.ends[j], j)
		}
		s.mu.Unlock()
		s.notes(trace.Restarted, i, "")
		testkit.Apart()
		h.Host = s.launch(ends, i, h.persister)
		server := labrpc.MakeServer()
		for _, service := range h.Services {
			server.AddService(labrpc.MakeService(service))
		}
		s.mu.Lock()
		s.hosts[i] = h
		s.mu.Unlock()
		s.Net.AddServer(i, server)
		s.link()
	}
}

// Partition lets the servers of each set reach each other and nobody else. A server
// in no set is cut off. The connections of clients do not change.
func (s *Service) Partition(sets ...[]int) {
	s.mu.Lock()
	for i := range s.group {
		s.group[i] = -1 - i
	}
	for k, set := range sets {
		for _, i := range set {
			s.group[i] = mainGroup + k
		}
	}
	s.notes(trace.Network, trace.NoLane, partition(s.group))
	s.mu.Unlock()
	s.link()
}

// CutOneWay drops all requests and replies from one server to another, or lets the
// messages through again. Heal ends the cut. The restart of a server ends the cut of
// its requests and of replies to it.
func (s *Service) CutOneWay(from, to int, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cut {
		s.notes(trace.Network, trace.NoLane, fmt.Sprintf("messages from S%d to S%d are cut", from, to))
	}
	if ends := s.hosts[from].ends; ends != nil {
		s.Net.CutRequests(ends[to], cut)
	}
	if ends := s.hosts[to].ends; ends != nil {
		s.Net.CutReplies(ends[from], cut)
	}
}

// Heal connects all servers, both ways.
func (s *Service) Heal() {
	for from := range s.N {
		for to := range s.N {
			s.CutOneWay(from, to, false)
		}
	}
	s.Partition(s.All())
}

// link enables the ends between servers of one group, and no others.
func (s *Service) link() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.hosts {
		for j, end := range h.ends {
			s.Net.Enable(end, s.group[i] == s.group[j])
		}
	}
}

// All returns the numbers of all servers.
func (s *Service) All() []int {
	ids := make([]int, s.N)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

// Others returns all servers except but, in order.
func (s *Service) Others(but ...int) []int {
	skip := make(map[int]bool)
	for _, i := range but {
		skip[i] = true
	}
	var ids []int
	for i := range s.N {
		if !skip[i] {
			ids = append(ids, i)
		}
	}
	return ids
}

// Leader waits for a leader among the servers ids, and returns the leader of the
// highest term. Without ids, Leader considers all servers.
func (s *Service) Leader(ids ...int) int {
	s.t.Helper()
	if len(ids) == 0 {
		ids = s.All()
	}
	leader := -1
	testkit.WaitFor(s.t, ElectionLimit, "a leader", func() bool {
		leader = s.leaderNow(ids)
		return leader >= 0
	})
	return leader
}

func (s *Service) leaderNow(ids []int) int {
	leader, highest := -1, -1
	for _, i := range ids {
		s.mu.Lock()
		h := s.hosts[i]
		s.mu.Unlock()
		if h.down {
			continue
		}
		if term, isLeader := h.State(); isLeader && term > highest {
			leader, highest = i, term
		}
	}
	return leader
}

// Persister returns a copy of server i's persister.
func (s *Service) Persister(i int) *raft.Persister {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[i].persister.Copy()
}

// RaftStateSize returns the largest Raft state of any server, in bytes.
func (s *Service) RaftStateSize() int { return s.largest((*raft.Persister).RaftStateSize) }

// SnapshotSize returns the largest snapshot of any server, in bytes.
func (s *Service) SnapshotSize() int { return s.largest((*raft.Persister).SnapshotSize) }

func (s *Service) largest(size func(*raft.Persister) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for _, h := range s.hosts {
		most = max(most, size(h.persister))
	}
	return most
}

// A Client holds the ends of one client, in random order.
type Client struct {
	Ends []*labrpc.ClientEnd

	service *Service
	names   []serviceEnd
}

// Lane is the name of the client in recordings.
func (c *Client) Lane() string { return clientLane(c.names[0].From) }

// Client makes the ends of a new client. The client reaches the servers ids, or all
// servers without ids. Only the test's goroutine may call Client.
func (s *Service) Client(ids ...int) *Client {
	s.mu.Lock()
	s.made++
	made := s.made
	s.mu.Unlock()
	testkit.Apart()
	c := &Client{service: s}
	for _, to := range s.Rand.Perm(s.N) {
		name := serviceEnd{Client: true, From: made, To: to, Made: made}
		c.names = append(c.names, name)
		c.Ends = append(c.Ends, s.Net.MakeEnd(name))
		s.Net.Connect(name, to)
	}
	c.Reach(ids...)
	return c
}

// Reach lets the client reach the servers ids and no others. Without ids, the client
// reaches all servers.
func (c *Client) Reach(ids ...int) {
	if len(ids) == 0 {
		ids = c.service.All()
	}
	reached := make(map[int]bool)
	for _, i := range ids {
		reached[i] = true
	}
	for _, name := range c.names {
		c.service.Net.Enable(name, reached[name.To])
	}
}

// Cut lets the client reach nobody.
func (c *Client) Cut() { c.Reach(-1) }

// Direct makes rule decide the fate of every deliverable message between this client
// and a server. The rule holds until the next change of the network's scheduler.
// Many goroutines may call rule at once, and rule must not block.
func (c *Client) Direct(rule func(labrpc.Message) labrpc.Decision) {
	c.service.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
		if name, ok := m.End.(serviceEnd); ok && name.Client && name.From == c.names[0].From {
			return rule(m)
		}
		return labrpc.Usual()
	})
}
