// Package harness runs a protocol on a few nodes in virtual time, with faults and a
// seed. A protocol's test needs one function.
//
//	func TestElection(t *testing.T) {
//		harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
//			c.SetFaults(harness.Lossy)
//			for i := range 3 {
//				c.Serve(i, election.New(c.Ends(i), i))
//			}
//			harness.WaitFor(t, time.Minute, "a leader", func() bool { ... })
//		})
//	}
//
// A node is a number from 0, and a set of services of package labrpc. Node i reaches node j
// through the end c.Ends(i)[j], by calls or by one-way messages. The cluster crashes
// nodes, cuts the network into parts, and loses, delays and duplicates messages.
//
// Run runs the body in a testing/synctest bubble, so an hour of waiting costs no time.
// All goroutines must end with the body. Run fails a test with goroutines left over, and
// prints the seed of a failed test with the command that repeats the test. The command
// "raftlab sim" replays a test exactly, schedule included.
//
// With RAFTLAB_PAGES=DIR each test writes a page with a space-time diagram of its
// messages to the directory.
package harness

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftlab/internal/labtrace"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/trace"
)

// Faults for SetFaults. Late delays messages, so messages overtake each other. Lossy also
// loses one message in ten in each direction, and duplicates one in ten.
var (
	Late  = labrpc.Faults{MaxDelay: 50 * time.Millisecond}
	Lossy = labrpc.Faults{MaxDelay: 50 * time.Millisecond, RequestLoss: 0.1, ReplyLoss: 0.1, Duplicate: 0.1}
)

// PagesDir is the environment variable with the directory for pages.
const PagesDir = "RAFTLAB_PAGES"

// A Cluster is a network with nodes. One goroutine, usually of the test, calls the
// methods.
type Cluster struct {
	Net  *labrpc.Network // for schedulers, taps and faults of single links
	Rand *rand.Rand      // seeded with the seed of the network
	ends [][]*labrpc.ClientEnd
	open []func() // for each node, closes the services
	part []int    // the number of each node's part of the network
}

// endName names the end of a node for another one.
type endName struct{ from, to int }

func (e endName) String() string { return fmt.Sprintf("S%d-S%d", e.from, e.to) }

// clientEnd names the end of a client for a node.
type clientEnd struct {
	client string
	to     int
}

// New makes a cluster of n nodes without services, outside of a test. The caller calls
// Close.
func New(n int, seed int64) *Cluster {
	c := &Cluster{
		Net:  labrpc.MakeNetworkSeed(seed),
		Rand: rand.New(rand.NewPCG(uint64(seed), 1)),
		open: make([]func(), n),
		part: make([]int, n),
	}
	for from := range n {
		row := make([]*labrpc.ClientEnd, n)
		for to := range n {
			row[to] = c.connect(endName{from, to}, to)
		}
		c.ends = append(c.ends, row)
	}
	return c
}

func (c *Cluster) connect(name any, to int) *labrpc.ClientEnd {
	end := c.Net.MakeEnd(name)
	c.Net.Connect(name, to)
	c.Net.Enable(name, true)
	return end
}

// Run runs body in virtual time with a cluster of n nodes, and closes the cluster. Node and
// client goroutines must end soon after Close.
func Run(t *testing.T, n int, body func(t *testing.T, c *Cluster)) {
	t.Helper()
	testkit.Run(t, func(t *testing.T) {
		c := New(n, testkit.Seed(t))
		defer time.Sleep(time.Second) // calls under way return
		defer c.Close()
		defer c.page(t)()
		body(t, c)
	})
}

// Close crashes all nodes and ends the network. Calls under way return false.
func (c *Cluster) Close() {
	c.Net.Cleanup()
	for node := range c.open {
		c.Crash(node)
	}
}

// Size returns the number of nodes.
func (c *Cluster) Size() int { return len(c.ends) }

// Ends returns the ends of a node for all nodes, itself included.
func (c *Cluster) Ends(node int) []*labrpc.ClientEnd { return c.ends[node] }

// Client returns ends of a new client for all nodes. A client stays connected to every
// node, partitions notwithstanding.
func (c *Cluster) Client(name string) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, c.Size())
	for to := range ends {
		ends[to] = c.connect(clientEnd{name, to}, to)
	}
	return ends
}

// Serve starts a node with services, or restarts a crashed one with new services. A crash
// closes each service with a method Close, and so does the end of the cluster.
func (c *Cluster) Serve(node int, services ...any) {
	rs := labrpc.MakeServer()
	for _, s := range services {
		rs.AddService(labrpc.MakeService(s))
	}
	c.open[node] = func() {
		for _, s := range services {
			if s, ok := s.(interface{ Close() }); ok {
				s.Close()
			}
		}
	}
	c.Net.AddServer(node, rs)
	c.enable()
}

// Crash stops a node and closes its services. Messages from and to the node are lost,
// those on their way included.
func (c *Cluster) Crash(node int) {
	closeServices := c.open[node]
	c.open[node] = nil
	c.Net.DeleteServer(node)
	c.enable()
	if closeServices != nil {
		closeServices()
	}
}

// Partition cuts the network into parts. A node outside of all parts is alone.
func (c *Cluster) Partition(parts ...[]int) {
	for node := range c.part {
		c.part[node] = -1 - node
	}
	for i, nodes := range parts {
		for _, node := range nodes {
			c.part[node] = i
		}
	}
	c.enable()
}

// Heal ends the partition.
func (c *Cluster) Heal() {
	clear(c.part)
	c.enable()
}

// enable enables the ends between running nodes of one part.
func (c *Cluster) enable() {
	for from := range c.ends {
		for to := range c.ends {
			c.Net.Enable(endName{from, to}, c.open[from] != nil && c.open[to] != nil && c.part[from] == c.part[to])
		}
	}
}

// SetFaults sets the faults of all links.
func (c *Cluster) SetFaults(f labrpc.Faults) { c.Net.SetFaults(f) }

// SetFIFO makes the links between nodes keep the order of one-way messages.
func (c *Cluster) SetFIFO(fifo bool) {
	for from := range c.ends {
		for to := range c.ends {
			c.Net.SetFIFO(endName{from, to}, fifo)
		}
	}
}

// WaitFor waits in virtual time until a condition holds, and fails the test after limit.
func WaitFor(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	testkit.WaitFor(t, limit, what, cond)
}

// page records the messages if PagesDir is set. The returned function writes the page.
func (c *Cluster) page(t *testing.T) func() {
	dir := os.Getenv(PagesDir)
	if dir == "" {
		return func() {}
	}
	rec := trace.NewRecorder(trace.Options{Spin: testkit.Simulated()})
	for node := range c.ends {
		rec.Lane(labtrace.ServerName(node), trace.Server)
	}
	stop := labtrace.Listen(c.Net, rec, labtrace.Lanes{End: lane, Server: labtrace.ServerName})
	return func() {
		stop()
		run := rec.Recording()
		run.Test, run.Repeat = t.Name(), testkit.RepeatLine(t.Name(), testkit.Seed(t), testkit.RealTime())
		labtrace.Describe(run)
		path := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".html")
		if err := trace.WritePageFile(path, run); err != nil {
			t.Errorf("%s=%s: %v", PagesDir, dir, err)
			return
		}
		t.Logf("page: %s", path)
	}
}

// lane returns the lane of an end.
func lane(end any) (name string, server bool) {
	switch end := end.(type) {
	case endName:
		return labtrace.ServerName(end.from), true
	case clientEnd:
		return end.client, false
	}
	return fmt.Sprint(end), false
}
