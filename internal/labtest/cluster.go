package labtest

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
)

// Run runs a test of a lab suite beside others, in virtual time unless
// RAFTLAB_REALTIME=1.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	testkit.Run(t, body)
}

// A Cluster is a number of Raft servers, 0 to N-1, on a network of their own.
// Its methods are for the test's goroutine, except where they say otherwise.
type Cluster struct {
	N   int
	Net *labrpc.Network
	// Rand draws what the test leaves to chance, from the test's seed.
	Rand *rand.Rand

	t             testing.TB
	snapshotEvery int
	done          chan struct{}
	running       sync.WaitGroup
	next          int // where One looks for a leader first
	wire          *wire
	untap         func() // takes the wire off the network

	script sync.Mutex // held while a rule of Direct runs

	mu      sync.Mutex
	servers []*server // the newest incarnation of each
	group   []int     // servers of one group reach each other; mainGroup at first
	groups  int       // the highest group given out
	// incarnations counts the starts of servers.
	incarnations int
	ledger       ledger
	leaders      map[int]int // who led a term
	failed       bool
}

// mainGroup is the group of all servers that are not set apart.
const mainGroup = 0

// A server is one incarnation of a server, from its start to its crash.
type server struct {
	id        int
	rf        *raft.Raft
	persister *raft.Persister
	ends      []endName

	// Guarded by the cluster's lock.
	down     bool
	paused   chan struct{} // closed when its service goes on; nil: it does not pause
	applied  int           // last index
	lastTerm int           // as GetState told it last
}

// An endName names the end by which one server calls another.
type endName struct{ From, To, Incarnation int }

// An Option is a property of a new cluster.
type Option func(*Cluster)

// Unreliable makes the network lose and delay messages.
func Unreliable() Option { return func(c *Cluster) { c.Net.Reliable(false) } }

// SnapshotEvery makes the service take a snapshot after each n commands.
func SnapshotEvery(n int) Option { return func(c *Cluster) { c.snapshotEvery = n } }

// Round makes the cluster one of many in a test: each round has a network and
// a Rand of its own. It comes before other options.
func Round(k int) Option {
	return func(c *Cluster) {
		seed := testkit.Seed(c.t)
		c.Net = labrpc.MakeNetworkSeed(seed + int64(k))
		c.Rand = rand.New(rand.NewPCG(uint64(seed), uint64(k)))
	}
}

// New starts n servers that all reach each other. They are killed when the test
// ends. Options hold from the first message on.
func New(t testing.TB, n int, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{
		N:       n,
		Net:     labrpc.MakeNetworkSeed(testkit.Seed(t)),
		Rand:    testkit.Rand(t),
		t:       t,
		done:    make(chan struct{}),
		servers: make([]*server, n),
		group:   make([]int, n),
		leaders: make(map[int]int),
		wire:    newWire(),
	}
	for _, option := range options {
		option(c)
	}
	Trace(t, c.Net)
	c.untap = c.Net.AddTap(func(e labrpc.Event) {
		if err := c.wire.listen(e); err != nil {
			c.fail("%v", err)
		}
	})
	for i := range n {
		c.servers[i] = &server{id: i, down: true, persister: raft.MakePersister()}
	}
	for i := range n {
		c.Restart(i)
	}
	c.running.Go(c.watch)
	t.Cleanup(c.Shutdown)
	return c
}

// Drain gives killed servers time to finish what they were doing: applyCh is
// still read, and a ticker may sleep for an election timeout before it looks
// whether it was killed.
func Drain() {
	if testkit.RealTime() {
		time.Sleep(time.Second)
		return
	}
	time.Sleep(ElectionLimit)
}

// Shutdown kills all servers and ends the network. It is called when the test
// ends, and may be called before: a test that makes many clusters should.
func (c *Cluster) Shutdown() {
	select {
	case <-c.done:
		return
	default:
	}
	for i := range c.N {
		c.server(i).rf.Kill()
	}
	c.Net.Cleanup()
	Drain()
	c.untap()
	close(c.done)
	c.running.Wait()
}

// Crash stops servers at once. What their persisters hold at this moment is
// what they will find when they restart.
func (c *Cluster) Crash(ids ...int) {
	for _, i := range ids {
		s := c.server(i)
		if !c.Up(i) {
			continue
		}
		// First nobody hears of it any more: what it says must not go beyond what
		// its persister holds.
		c.Net.DeleteServer(i)
		for _, end := range s.ends {
			c.Net.DeleteEnd(end)
		}
		c.mu.Lock()
		// A copy: what the old incarnation may still write comes too late.
		c.servers[i] = &server{id: i, rf: s.rf, persister: s.persister.Copy(), down: true}
		s.down = true
		c.mu.Unlock()
		s.rf.Kill()
	}
}

// Restart starts servers from what their persisters hold; running ones crash
// first. A server comes back into the group it was in.
func (c *Cluster) Restart(ids ...int) {
	for _, i := range ids {
		c.Crash(i)
		s := &server{id: i, persister: c.server(i).persister, ends: make([]endName, c.N)}
		c.load(s)
		c.mu.Lock()
		c.incarnations++
		incarnation := c.incarnations
		c.mu.Unlock()
		ends := make([]*labrpc.ClientEnd, c.N)
		for j := range ends {
			s.ends[j] = endName{i, j, incarnation}
			ends[j] = c.Net.MakeEnd(s.ends[j])
			c.Net.Connect(s.ends[j], j)
		}
		applyCh := make(chan raft.ApplyMsg)
		s.rf = raft.Make(ends, i, s.persister, applyCh)
		c.mu.Lock()
		c.servers[i] = s
		c.mu.Unlock()
		srv := labrpc.MakeServer()
		srv.AddService(labrpc.MakeService(s.rf))
		c.Net.AddServer(i, srv)
		c.link()
		c.running.Go(func() { c.serve(s, applyCh) })
	}
}

func (c *Cluster) server(i int) *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i]
}

// Persister returns what server i's persister holds now, as a copy.
func (c *Cluster) Persister(i int) *raft.Persister { return c.server(i).persister.Copy() }

// Start proposes a command at server i.
func (c *Cluster) Start(i int, command any) (index, term int, isLeader bool) {
	return c.server(i).rf.Start(command)
}

// State returns what server i says it is; a server that is down leads nothing.
func (c *Cluster) State(i int) (term int, isLeader bool) {
	c.mu.Lock()
	s := c.servers[i]
	down := s.down
	c.mu.Unlock()
	if down {
		return 0, false
	}
	return s.rf.GetState()
}

// Disconnect cuts each of the servers off from all others.
func (c *Cluster) Disconnect(ids ...int) {
	c.mu.Lock()
	for _, i := range ids {
		c.groups++
		c.group[i] = c.groups
	}
	c.mu.Unlock()
	c.link()
}

// Connect brings servers back among those that are not cut off.
func (c *Cluster) Connect(ids ...int) { c.assign(mainGroup, ids) }

// Heal connects all servers.
func (c *Cluster) Heal() {
	c.mu.Lock()
	clear(c.group)
	c.mu.Unlock()
	c.link()
}

// Partition lets the servers of each set reach each other and nobody else. The
// first set is then the connected one; servers in none are cut off.
func (c *Cluster) Partition(sets ...[]int) {
	all := make([]int, c.N)
	for i := range all {
		all[i] = i
	}
	c.Disconnect(all...)
	for k, set := range sets {
		group := mainGroup
		if k > 0 {
			c.mu.Lock()
			c.groups++
			group = c.groups
			c.mu.Unlock()
		}
		c.assign(group, set)
	}
}

func (c *Cluster) assign(group int, ids []int) {
	c.mu.Lock()
	for _, i := range ids {
		c.group[i] = group
	}
	c.mu.Unlock()
	c.link()
}

// link enables the ends between servers of one group, and no others.
func (c *Cluster) link() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.servers {
		for j, end := range s.ends {
			c.Net.Enable(end, c.group[i] == c.group[j])
		}
	}
}

// Connected returns the servers that run and are not cut off.
func (c *Cluster) Connected() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []int
	for i, s := range c.servers {
		if !s.down && c.group[i] == mainGroup {
			ids = append(ids, i)
		}
	}
	return ids
}

// All returns the numbers of all servers.
func (c *Cluster) All() []int {
	ids := make([]int, c.N)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

// Others returns all servers but those named, in an order left to chance.
func (c *Cluster) Others(but ...int) []int {
	var ids []int
	for _, i := range c.Rand.Perm(c.N) {
		skip := false
		for _, b := range but {
			skip = skip || b == i
		}
		if !skip {
			ids = append(ids, i)
		}
	}
	return ids
}

// Up says whether server i runs.
func (c *Cluster) Up(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.servers[i].down
}

// IsConnected says whether server i runs and is not cut off.
func (c *Cluster) IsConnected(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.servers[i].down && c.group[i] == mainGroup
}

// Snapshot hands server i a snapshot that its service did not take.
func (c *Cluster) Snapshot(i, index int, data []byte) { c.server(i).rf.Snapshot(index, data) }

// CutRequests keeps the requests of one server from reaching another, or lets
// them through again. It ends with the first one's next restart.
func (c *Cluster) CutRequests(from, to int, cut bool) {
	if s := c.server(from); len(s.ends) > 0 {
		c.Net.CutRequests(s.ends[to], cut)
	}
}

// Pause keeps the service of server i from reading applyCh, until Resume. It may
// still take one message, and handle it later.
func (c *Cluster) Pause(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[i].paused = make(chan struct{})
}

// Resume lets the service of server i go on.
func (c *Cluster) Resume(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.servers[i].paused)
	c.servers[i].paused = nil
}
