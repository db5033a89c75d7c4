package labtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtrace"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/trace"
)

// Run runs a test of a lab suite in parallel with others, as package labrun does: in
// a process of its own and in virtual time. The real clock takes over where virtual
// time stands still, and for all tests under RAFTLAB_REALTIME=1.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	labrun.Run(t, body)
}

// Cases runs the cases of a test as subtests, one after another and in parallel with
// other tests. If every case is skipped, the test is skipped.
func Cases[C any](t *testing.T, format string, cases []C, body func(t *testing.T, c C)) {
	t.Helper()
	t.Parallel()
	skipped := 0
	for _, c := range cases {
		t.Run(fmt.Sprintf(format, c), func(t *testing.T) {
			defer func() {
				if t.Skipped() {
					skipped++
				}
			}()
			labrun.Run(t, func(t *testing.T) { body(t, c) })
		})
	}
	if skipped == len(cases) {
		t.Skip("not applicable: no case came about")
	}
}

// A Cluster is a group of Raft servers, 0 to N-1, on a network of their own. Only
// the test's goroutine may call the methods, unless a method says otherwise.
type Cluster struct {
	N   int
	Net *labrpc.Network
	// Rand makes the test's random choices from the test's seed.
	Rand *rand.Rand

	t             testing.TB
	snapshotEvery int
	absent        int // servers that do not start with the others
	guard         *guard
	done          chan struct{}
	running       sync.WaitGroup
	next          int // the server at which One begins its search for a leader
	kinds         *kinds
	wire          *wire
	rec           *labrun.Recording
	untap         func() // takes the wire off the network

	script sync.Mutex // held while a rule of Direct runs

	mu      sync.Mutex
	servers []*server // the newest incarnation of each
	group   []int     // servers of one group reach each other; mainGroup at first
	groups  int       // the highest group in use so far
	// incarnations counts the starts of servers.
	incarnations int
	partition    string // as recorded last
	ledger       ledger
	leaders      map[int]int // the leader of each term
	failed       bool
}

// mainGroup is the group of the connected servers.
const mainGroup = 0

// A Server is a Raft server with the methods that all editions of the course have.
type Server interface {
	Start(command any) (index int, term int, isLeader bool)
	GetState() (term int, isLeader bool)
	Snapshot(index int, snapshot []byte)
	Kill()
}

// Make starts a server. The network calls the methods of the value behind the interface.
type Make func(peers []*labrpc.ClientEnd, me int, persister *raft.Persister, applyCh chan raft.ApplyMsg) Server

// MakeServer starts a server of package raft, or of the package under test instead.
var MakeServer Make = func(peers []*labrpc.ClientEnd, me int, persister *raft.Persister, applyCh chan raft.ApplyMsg) Server {
	return raft.Make(peers, me, persister, applyCh)
}

// Use puts the servers of make under test, in the place of those of package raft. A
// package variable of a suite has the result, so that Use runs before the functions init.
func Use(make Make) (used bool) {
	MakeServer, otherRaft = make, true
	return true
}

// otherRaft is set by Use.
var otherRaft bool

// A server is one incarnation of a server, from its start to its crash.
type server struct {
	id        int
	rf        Server
	persister *raft.Persister
	ends      []endName

	// Guarded by the cluster's lock.
	down     bool
	paused   chan struct{} // closed when its service resumes; nil if not paused
	applied  int           // last index
	restored bool          // nothing was applied after the snapshot of the start
	lastTerm int           // from the latest call of GetState
	led      bool          // in that call
	told     *trace.Event  // the latest recorded answer of GetState
	saved    atomic.Int64  // the size of the persister's state, as recorded last
}

// An endName names the end for one server's calls to another server.
type endName struct{ From, To, Incarnation int }

// An Option is a property of a new cluster.
type Option func(*Cluster)

// Unreliable makes the network lose and delay messages.
func Unreliable() Option { return func(c *Cluster) { c.Net.Reliable(false) } }

// SnapshotEvery makes the service take a snapshot after each n commands.
func SnapshotEvery(n int) Option { return func(c *Cluster) { c.snapshotEvery = n } }

// Absent leaves out the last n servers until their Restart, which is then their first
// start.
func Absent(n int) Option { return func(c *Cluster) { c.absent = n } }

// Round makes the cluster one of many in a test. Each round has a network and a
// Rand of its own. Round must precede other options.
func Round(k int) Option {
	return func(c *Cluster) {
		seed := testkit.Seed(c.t)
		c.Net = labrpc.MakeNetworkSeed(seed + int64(k))
		c.Rand = rand.New(rand.NewPCG(uint64(seed), uint64(k)))
	}
}

// New starts n connected servers, and kills the servers when the test ends. Options
// hold from the first message on.
func New(t testing.TB, n int, options ...Option) *Cluster {
	t.Helper()
	return newCluster(t, n, kindsFor(t), options...)
}

func newCluster(t testing.TB, n int, k *kinds, options ...Option) *Cluster {
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
		kinds:   k,
		wire:    newWire(k),
	}
	for _, option := range options {
		option(c)
	}
	c.record()
	c.untap = c.Net.AddTap(func(e labrpc.Event) {
		if err := c.wire.listen(e); err != nil {
			c.fail(err)
		}
	})
	for i := range n {
		c.servers[i] = &server{id: i, down: true, persister: raft.MakePersister()}
	}
	for i := range n - c.absent {
		c.Restart(i)
	}
	c.guard = newGuard(t, c.done, c.isPaused)
	c.running.Go(c.watch)
	t.Cleanup(c.Shutdown)
	return c
}

// Drain gives the goroutines of killed servers time to end. The services still read
// applyCh meanwhile. A ticker may sleep for a whole election timeout before the
// ticker notices the kill.
func Drain() {
	if testkit.RealTime() {
		time.Sleep(time.Second)
		return
	}
	time.Sleep(ElectionLimit)
}

// Shutdown kills all running servers and ends the network. The end of the test calls
// Shutdown. A test with many clusters should call Shutdown for each cluster in time.
func (c *Cluster) Shutdown() {
	select {
	case <-c.done:
		return
	default:
	}
	c.rec.Stop()
	for i := range c.N {
		if c.Up(i) {
			c.server(i).rf.Kill() // once a server; a second Kill may panic
		}
	}
	c.Net.Cleanup()
	Drain()
	c.untap()
	close(c.done)
	c.running.Wait()
}

// Crash stops servers at once. After a restart the servers find the contents of
// their persisters at this moment.
func (c *Cluster) Crash(ids ...int) {
	for _, i := range ids {
		s := c.server(i)
		if !c.Up(i) {
			continue
		}
		// First cut the server off. No message may reveal state beyond the contents of
		// the persister.
		c.Net.DeleteServer(i)
		for _, end := range s.ends {
			c.Net.DeleteEnd(end)
		}
		c.mu.Lock()
		// The new incarnation gets a copy, so late writes of the old one have no effect.
		c.servers[i] = &server{id: i, rf: s.rf, persister: s.persister.Copy(), down: true}
		s.down = true
		c.mu.Unlock()
		c.notesSave(s)
		c.notes(trace.Crashed, i, 0, 0, "")
		s.rf.Kill()
	}
}

// Restart starts servers from the contents of their persisters. Running servers
// crash first. A server returns to its previous group.
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
		c.notes(trace.Restarted, i, s.applied, 0, "")
		testkit.Apart()
		applyCh := make(chan raft.ApplyMsg)
		s.rf = MakeServer(ends, i, s.persister, applyCh)
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

// Persister returns a copy of server i's persister.
func (c *Cluster) Persister(i int) *raft.Persister { return c.server(i).persister.Copy() }

// Start proposes a command at server i.
func (c *Cluster) Start(i int, command any) (index, term int, isLeader bool) {
	c.kinds.proposed(command)
	s := c.server(i)
	c.notesSave(s) // a save of another size after this may hold the command
	index, term, isLeader = s.rf.Start(command)
	if isLeader {
		c.notes(trace.Proposed, i, index, term, labtrace.CommandOf(command))
	}
	return index, term, isLeader
}

// State returns server i's own view of its term and role. A server that is down has
// term 0 and does not lead.
func (c *Cluster) State(i int) (term int, isLeader bool) {
	c.mu.Lock()
	s := c.servers[i]
	down := s.down
	c.mu.Unlock()
	if down {
		return 0, false
	}
	term, isLeader = s.rf.GetState()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.down {
		c.tells(s, term, isLeader)
	}
	return term, isLeader
}

// Disconnect isolates each of the servers from all others.
func (c *Cluster) Disconnect(ids ...int) {
	c.mu.Lock()
	for _, i := range ids {
		c.groups++
		c.group[i] = c.groups
	}
	c.mu.Unlock()
	c.link()
}

// Connect returns servers to the group of connected servers.
func (c *Cluster) Connect(ids ...int) { c.assign(mainGroup, ids) }

// Heal connects all servers.
func (c *Cluster) Heal() {
	c.mu.Lock()
	clear(c.group)
	c.mu.Unlock()
	c.link()
}

// Partition lets the servers of each set reach each other and nobody else. The
// servers of the first set are the connected servers. A server in no set is cut off.
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
	c.notesLinks()
}

// Connected returns the running servers of the main group.
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

// Others returns all servers except but, in random order.
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

// Up reports whether server i runs.
func (c *Cluster) Up(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.servers[i].down
}

// IsConnected reports whether server i runs and is not cut off.
func (c *Cluster) IsConnected(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.servers[i].down && c.group[i] == mainGroup
}

// Snapshot calls server i's Snapshot method in place of the service.
func (c *Cluster) Snapshot(i, index int, data []byte) {
	c.kinds.taken(data)
	c.server(i).rf.Snapshot(index, data)
}

// CutRequests drops the requests of server from to server to, or lets the requests
// through again. The cut ends at the next restart of server from.
func (c *Cluster) CutRequests(from, to int, cut bool) {
	if s := c.server(from); len(s.ends) > 0 {
		c.Net.CutRequests(s.ends[to], cut)
	}
}

// Pause stops the service of server i from reading applyCh until Resume. The service
// may still receive one message, and handles the message after Resume.
func (c *Cluster) Pause(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[i].paused = make(chan struct{})
}

func (c *Cluster) isPaused(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i].paused != nil
}

// Resume ends a Pause of server i.
func (c *Cluster) Resume(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.servers[i].paused)
	c.servers[i].paused = nil
}
