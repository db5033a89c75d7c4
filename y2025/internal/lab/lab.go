// Package lab is the harness of the suites of the 2025 edition. A [Lab] runs groups of
// servers on one simulated network, in virtual time. A test can crash, restart and
// partition servers, cut off clients, and decide the fate of single messages. The
// operations of a [Clerk] are recorded, and the history is checked at the end of the
// test.
//
// The harness uses only the names that the course gives to students, so a student's
// package can take the place of any package under test.
package lab

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// Limits on the time that a correct implementation takes, whatever happened before.
const (
	// OperationLimit bounds an operation while a majority of each group is connected. An
	// RPC may take seconds, and a clerk may call each server more than once.
	OperationLimit = 30 * time.Second
	// ChangeLimit bounds a change of the configuration.
	ChangeLimit = time.Minute
)

// A Lab is a network with groups of servers. Any goroutine may call the methods.
type Lab struct {
	*shardlab.Lab
	T *testing.T

	start   time.Time
	history history
}

// Run runs a test of a suite, as package labtest does. At the end the recorded history
// must be linearizable.
func Run(t *testing.T, body func(t *testing.T, l *Lab)) {
	t.Helper()
	labtest.Run(t, func(t *testing.T) {
		l := &Lab{Lab: shardlab.New(t), T: t, start: time.Now()}
		defer l.Close()
		labtest.History(l.Recording, model, l.start, l.history.lane, l.history.all)
		body(t, l)
		if !t.Failed() {
			l.history.check(t)
		}
	})
}

// StartGroup starts n servers of a group.
func (l *Lab) StartGroup(gid tester.Tgid, n int, start tester.FstartServer) *shardlab.Group {
	return l.Group(tester.GroupName(gid), n, func(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, disk *tester.Persister) shardlab.Instance {
		services := start(peers, gid, i, disk)
		run := shardlab.Instance{Kill: func() {
			for _, s := range services {
				s.Kill()
			}
		}}
		for _, s := range services {
			run.Services = append(run.Services, s)
		}
		return run
	})
}

// A Client is a client's connections. A test can cut them.
type Client struct {
	*shardlab.Client
	*tester.Clnt
}

// NewClient returns a client that reaches all servers. A call after the end of the test
// ends the calling goroutine, because clerks retry for ever.
func (l *Lab) NewClient() *Client {
	client := l.Client()
	var mu sync.Mutex
	ends := make(map[string]*labrpc.ClientEnd)
	clnt := tester.MakeClnt(func(server, method string, args, reply any) bool {
		mu.Lock()
		end := ends[server]
		if end == nil {
			end = client.End(server)
			ends[server] = end
		}
		mu.Unlock()
		ok := end.Call(method, args, reply)
		if l.Open.Err() != nil {
			runtime.Goexit()
		}
		return ok
	})
	return &Client{client, clnt}
}

// Direct makes rule decide the fate of each deliverable message of a client. The rule
// holds until the next call. A nil rule leaves the decisions to the network.
func (l *Lab) Direct(c *Client, rule func(labrpc.Message) labrpc.Decision) {
	if rule == nil {
		l.Net.SetScheduler(nil)
		return
	}
	l.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
		if c.Sent(m) {
			return rule(m)
		}
		return labrpc.Usual()
	})
}

// Clerk records the operations of a clerk that uses the connections of a client. In the
// recording both share a lane.
func (l *Lab) Clerk(client *Client, ck kvtest.IKVClerk) *Clerk {
	return &Clerk{ck: ck, lab: l, id: l.history.newClient(client.Lane())}
}

// Go runs an operation in the background.
func Go(operation func()) (done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		operation()
	}()
	return ended
}

// Await waits for background operations. The test ends if they take longer than limit.
func (l *Lab) Await(what string, limit time.Duration, operations ...<-chan struct{}) {
	l.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, done := range operations {
		select {
		case <-done:
		case <-ctx.Done():
			l.T.Fatalf("%s: not done within %v", what, limit)
		}
	}
	if l.T.Failed() {
		l.T.FailNow()
	}
}

// Pending ends the test if a background operation ends within a while.
func (l *Lab) Pending(what string, span time.Duration, done <-chan struct{}) {
	l.T.Helper()
	select {
	case <-done:
		l.T.Fatal(what)
	case <-time.After(span):
	}
}

// AwaitLeader waits for a leader among the servers of a group, and returns the leader
// of the newest term.
func (l *Lab) AwaitLeader(g *shardlab.Group) int {
	l.T.Helper()
	leader := -1
	testkit.WaitFor(l.T, labtest.ElectionLimit, "a leader", func() bool {
		leader = g.Leader()
		return leader >= 0
	})
	return leader
}

// Isolate gives the servers ids of a group a partition of their own. Clients and other
// groups reach the rest of the group.
func Isolate(g *shardlab.Group, ids ...int) { Sides(g, 1, ids...) }

// Sides splits a group into the servers ids, on the given side 0 or 1, and the rest on the
// other side. Clients and other groups reach side 0.
func Sides(g *shardlab.Group, side int, ids ...int) {
	sides := make([]int, g.N())
	for i := range sides {
		sides[i] = 1 - side
	}
	for _, i := range ids {
		sides[i] = side
	}
	g.Partition(sides...)
}

// NewLeader waits for a leader of a newer term among the servers of the group that are
// not isolated.
func (l *Lab) NewLeader(g *shardlab.Group, old, term int) int {
	l.T.Helper()
	leader := -1
	testkit.WaitFor(l.T, labtest.ElectionLimit, "a new leader", func() bool {
		leader = g.Leader()
		return leader >= 0 && leader != old && g.Term() > term
	})
	return leader
}
