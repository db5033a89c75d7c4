package labtest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
)

// A Host is one running server of a service that stands on Raft.
type Host struct {
	Services []any // what answers RPCs: the service and its Raft server
	Kill     func()
	State    func() (term int, isLeader bool) // of its Raft server
}

// Launch starts server me of a service, from what persister holds.
type Launch func(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) Host

// A Service is a number of servers of a service, 0 to N-1, and its clients, on a
// network of their own. Its methods may be called from any goroutine, except
// where they say otherwise.
type Service struct {
	N   int
	Net *labrpc.Network
	// Rand draws what the test leaves to chance, from the test's seed. It is for
	// the test's goroutine.
	Rand *rand.Rand

	t      testing.TB
	launch Launch
	stop   sync.Once

	mu    sync.Mutex
	hosts []*host
	group []int // servers of one group reach each other; mainGroup at first
	made  int   // starts of servers, and clients, which gives ends their names
}

// A host is one incarnation of a server.
type host struct {
	Host
	persister *raft.Persister
	ends      []serviceEnd
	down      bool
}

// A serviceEnd names the end by which a server or a client calls a server.
type serviceEnd struct {
	Client bool
	From   int // a server, or the number of a client
	To     int
	Made   int
}

// NewService starts n servers that all reach each other. They are killed when
// the test ends.
func NewService(t testing.TB, n int, launch Launch) *Service {
	t.Helper()
	s := &Service{
		N:      n,
		Net:    labrpc.MakeNetworkSeed(testkit.Seed(t)),
		Rand:   testkit.Rand(t),
		t:      t,
		launch: launch,
		hosts:  make([]*host, n),
		group:  make([]int, n),
	}
	Trace(t, s.Net)
	for i := range n {
		s.hosts[i] = &host{down: true, persister: raft.MakePersister()}
	}
	for i := range n {
		s.Restart(i)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Shutdown kills all servers and ends the network. It is called when the test
// ends, and may be called before.
func (s *Service) Shutdown() {
	s.stop.Do(func() {
		for i := range s.N {
			s.Crash(i)
		}
		s.Net.Cleanup()
		Drain()
	})
}

// Crash stops servers at once. What their persisters hold at this moment is
// what they will find when they restart.
func (s *Service) Crash(ids ...int) {
	for _, i := range ids {
		s.mu.Lock()
		h := s.hosts[i]
		s.mu.Unlock()
		if h.down {
			continue
		}
		// First nobody hears of it any more: what it says must not go beyond what
		// its persister holds.
		s.Net.DeleteServer(i)
		for _, end := range h.ends {
			s.Net.DeleteEnd(end)
		}
		s.mu.Lock()
		// A copy: what the old incarnation may still write comes too late.
		s.hosts[i] = &host{persister: h.persister.Copy(), down: true}
		s.mu.Unlock()
		h.Kill()
	}
}

// Restart starts servers from what their persisters hold; running ones crash
// first. A server comes back into the group it was in.
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

// Partition lets the servers of each set reach each other and nobody else;
// servers in none are cut off. Clients reach whom they reach.
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
	s.mu.Unlock()
	s.link()
}

// CutOneWay loses what one server sends to another, its replies too, or lets it
// through again. It ends with Heal, and for a server with its restart.
func (s *Service) CutOneWay(from, to int, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// Others returns the servers that are not named, in order.
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

// Leader waits for a leader among the servers named (none named: all), and
// returns the one of the highest term.
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

// Persister returns what server i's persister holds now, as a copy.
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

// A Client is the ends of one client, in an order left to chance.
type Client struct {
	Ends []*labrpc.ClientEnd

	service *Service
	names   []serviceEnd
}

// Client makes the ends of a new client that reaches the servers named (none
// named: all). It is for the test's goroutine.
func (s *Service) Client(ids ...int) *Client {
	s.mu.Lock()
	s.made++
	made := s.made
	s.mu.Unlock()
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

// Reach lets the client reach the servers named, and no others (none named: all).
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

// Direct makes rule decide over every message between this client and a server
// that could arrive, until the network's scheduler is set again. It may be
// called by many goroutines at once and must not block.
func (c *Client) Direct(rule func(labrpc.Message) labrpc.Decision) {
	c.service.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
		if name, ok := m.End.(serviceEnd); ok && name.Client && name.From == c.names[0].From {
			return rule(m)
		}
		return labrpc.Usual()
	})
}
