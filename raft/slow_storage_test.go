package raft_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/raft/core"
)

// lazyStorage takes its time to save, or fails.
type lazyStorage struct {
	raft.Storage
	mu    sync.Mutex
	takes time.Duration
	fails error
	hangs chan struct{} // closed when the disk answers again; nil: it does
}

// hang makes saves wait until release is called, or the test ends.
func (s *lazyStorage) hang(t *testing.T) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hangs := make(chan struct{})
	s.hangs = hangs
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hangs = nil
		close(hangs)
	})
	t.Cleanup(release)
	return release
}

func (s *lazyStorage) set(takes time.Duration, fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.fails = takes, fails
}

func (s *lazyStorage) Save(u raft.Update) error {
	s.mu.Lock()
	takes, fails, hangs := s.takes, s.fails, s.hangs
	s.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	time.Sleep(takes)
	if fails != nil {
		return fails
	}
	return s.Storage.Save(u)
}

// lazyCluster is three servers, each on a disk that a test slows down.
type lazyCluster struct {
	*testing.T
	disks   []*lazyStorage
	servers []*raft.Raft

	mu      sync.Mutex
	applied []int // by server, the last index
}

// electionTimeout is the default minimum.
const electionTimeout = 300 * time.Millisecond

func newLazyCluster(t *testing.T, opts raft.Options) *lazyCluster {
	const n = 3
	net := labrpc.MakeNetworkSeed(testkit.Seed(t))
	t.Cleanup(net.Cleanup)
	c := &lazyCluster{T: t, applied: make([]int, n)}
	for i := range n {
		ends := make([]*labrpc.ClientEnd, n)
		for j := range n {
			name := fmt.Sprintf("%d-%d", i, j)
			ends[j] = net.MakeEnd(name)
			net.Connect(name, j)
			net.Enable(name, true)
		}
		memory, err := raft.OpenPersister(raft.MakePersister())
		require.NoError(t, err)
		c.disks = append(c.disks, &lazyStorage{Storage: memory})
		applyCh := make(chan raft.ApplyMsg)
		rf, err := raft.Open(ends, i, c.disks[i], applyCh, opts)
		require.NoError(t, err)
		c.servers = append(c.servers, rf)
		stop := make(chan struct{})
		go c.apply(i, applyCh, stop)
		t.Cleanup(func() {
			rf.Close()
			close(stop)
		})
		host := labrpc.MakeServer()
		host.AddService(labrpc.MakeService(rf))
		net.AddServer(i, host)
	}
	return c
}

func (c *lazyCluster) apply(server int, applyCh <-chan raft.ApplyMsg, stop <-chan struct{}) {
	for {
		select {
		case msg := <-applyCh:
			c.mu.Lock()
			c.applied[server] = msg.CommandIndex
			c.mu.Unlock()
		case <-stop:
			return
		}
	}
}

func (c *lazyCluster) appliedBy(server int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied[server]
}

// leader waits until one leads and the others know it.
func (c *lazyCluster) leader() (server, term int) {
	c.Helper()
	testkit.WaitFor(c, 5*time.Second, "a leader that all know", func() bool {
		leaders := 0
		for i, rf := range c.servers {
			st := rf.Status()
			if _, leads := rf.GetState(); leads {
				server, term = i, int(st.CurrentTerm)
				leaders++
			}
			if st.Leader == 0 || st.Leader != c.servers[0].Status().Leader {
				return false
			}
		}
		return leaders == 1
	})
	return server, term
}

// nextLeader waits for another leader than the one of term.
func (c *lazyCluster) nextLeader(leader, term int) (next int) {
	c.Helper()
	testkit.WaitFor(c, 5*time.Second, "another leader", func() bool {
		for i, rf := range c.servers {
			if now, leads := rf.GetState(); leads && now > term && i != leader {
				next = i
				return true
			}
		}
		return false
	})
	return next
}

func (c *lazyCluster) term(server int) int { return int(c.servers[server].Status().CurrentTerm) }

func (c *lazyCluster) start(leader int) int {
	c.Helper()
	index, _, leads := c.servers[leader].Start("command")
	if !leads {
		c.Fatalf("server %d no longer leads", leader)
	}
	return index
}

// TestLeaderWithSlowDisk: an entry commits when the followers have saved it,
// although the leader is still at it (thesis 10.2.1), commands that come meanwhile
// are replicated, and nobody misses its heartbeats.
func TestLeaderWithSlowDisk(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{})
		leader, term := c.leader()
		c.disks[leader].set(4*time.Second, nil)
		follower := (leader + 1) % 3
		for n := range 3 {
			index := c.start(leader)
			testkit.WaitFor(t, time.Second, fmt.Sprintf("entry %d on a follower, while the leader saves", index),
				func() bool { return c.appliedBy(follower) >= index })
			if n == 0 && c.appliedBy(leader) >= index {
				t.Errorf("the leader applied entry %d before it was saved", index)
			}
		}
		testkit.Never(t, 3*time.Second, "the term or the leader changed", func() bool {
			now, leads := c.servers[leader].GetState()
			return !leads || now != term
		})
		testkit.WaitFor(t, 15*time.Second, "the leader to apply", func() bool { return c.appliedBy(leader) >= 3 })
	})
}

// TestFollowerWithSlowDisk: the others go on without it, and it catches up.
func TestFollowerWithSlowDisk(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{})
		leader, term := c.leader()
		slow := (leader + 1) % 3
		c.disks[slow].set(2*time.Second, nil)
		last := 0
		for range 20 {
			last = c.start(leader)
			testkit.WaitFor(t, time.Second, "the others to commit", func() bool { return c.appliedBy(leader) >= last })
		}
		testkit.WaitFor(t, 10*time.Second, "the slow one to catch up", func() bool { return c.appliedBy(slow) >= last })
		if now, leads := c.servers[leader].GetState(); !leads || now != term {
			t.Errorf("term %d, and was %d; still leads: %t", now, term, leads)
		}
	})
}

// TestFailedSave: a server whose disk fails stops, says why, and acknowledges
// nothing; the others elect another.
func TestFailedSave(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{})
		leader, term := c.leader()
		changed := c.servers[leader].Changed()
		broken := errors.New("no space left")
		c.disks[leader].set(0, broken)
		c.start(leader)
		select {
		case <-changed:
		case <-time.After(time.Second):
			t.Fatal("the server goes on, although its disk fails")
		}
		testkit.WaitFor(t, time.Second, "Err", func() bool { return c.servers[leader].Err() != nil })
		if err := c.servers[leader].Err(); !errors.Is(err, broken) {
			t.Errorf("Err is %v; want the storage's", err)
		}
		if _, leads := c.servers[leader].GetState(); leads {
			t.Error("it still says that it leads")
		}
		c.nextLeader(leader, term)
		if n := c.appliedBy(leader); n != 0 {
			t.Errorf("it applied entry %d, which it did not save", n)
		}
	})
}

// TestHungDisk: a leader whose save never returns steps down within two election
// timeouts and says why. The others elect a leader and serve. When the disk
// answers again, the server follows and catches up.
func TestHungDisk(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{StorageTimeout: electionTimeout})
		leader, term := c.leader()
		release := c.disks[leader].hang(t)
		c.start(leader)
		begun := time.Now()
		testkit.WaitFor(t, 2*electionTimeout, "the leader to step down", func() bool {
			_, leads := c.servers[leader].GetState()
			return !leads
		})
		if took := time.Since(begun); took < electionTimeout {
			t.Errorf("the leader stepped down after %v; a slow disk has %v", took, electionTimeout)
		}
		if err := c.servers[leader].Err(); !errors.Is(err, raft.ErrStalled) {
			t.Errorf("Err is %v; want ErrStalled", err)
		}
		next := c.nextLeader(leader, term)
		nextTerm := c.term(next)
		last := 0
		for range 20 {
			last = c.start(next)
			testkit.WaitFor(t, time.Second, "the others to commit", func() bool { return c.appliedBy(next) >= last })
		}
		testkit.Never(t, time.Minute, "another term began, or the stalled server stirred", func() bool {
			now, leads := c.servers[next].GetState()
			return !leads || now != nextTerm || c.servers[leader].Status().State != core.Follower
		})
		changed := c.servers[leader].Changed()
		release()
		<-changed
		testkit.WaitFor(t, 5*time.Second, "the old leader to catch up", func() bool { return c.appliedBy(leader) >= last })
		if err := c.servers[leader].Err(); err != nil {
			t.Errorf("Err after the disk has answered: %v", err)
		}
	})
}

// TestHungFollower: a follower whose disk hangs holds no requests of the leader.
// Kill does not wait for the disk.
func TestHungFollower(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{StorageTimeout: electionTimeout})
		leader, term := c.leader()
		hung := (leader + 1) % 3
		c.disks[hung].hang(t)
		last := c.start(leader)
		testkit.WaitFor(t, 5*electionTimeout, "Err", func() bool { return errors.Is(c.servers[hung].Err(), raft.ErrStalled) })
		before := runtime.NumGoroutine()
		testkit.Never(t, 5*time.Minute, "the leader lost its place", func() bool {
			now, leads := c.servers[leader].GetState()
			return !leads || now != term
		})
		if after := runtime.NumGoroutine(); after > before+20 {
			t.Errorf("%d goroutines, and %d before: requests gather at the stalled server", after, before)
		}
		testkit.WaitFor(t, time.Second, "the others to commit", func() bool { return c.appliedBy(leader) >= last })
		c.servers[hung].Kill()
		if err := c.servers[hung].Err(); err != nil {
			t.Errorf("Err after Kill: %v", err)
		}
	})
}

// TestAllDisksHang: without a majority of disks nobody leads; with them back, the
// cluster serves again.
func TestAllDisksHang(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{StorageTimeout: electionTimeout})
		leader, _ := c.leader()
		var releases []func()
		for _, disk := range c.disks {
			releases = append(releases, disk.hang(t))
		}
		c.start(leader)
		testkit.WaitFor(t, 10*electionTimeout, "nobody to lead", func() bool {
			for _, rf := range c.servers {
				if _, leads := rf.GetState(); leads {
					return false
				}
			}
			return true
		})
		time.Sleep(time.Minute)
		for _, release := range releases {
			release()
		}
		leader, _ = c.leader()
		last := c.start(leader)
		testkit.WaitFor(t, time.Second, "a commit", func() bool { return c.appliedBy(leader) >= last })
	})
}

// TestLargeSave: a save has the time that its size takes on a slow disk.
func TestLargeSave(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := newLazyCluster(t, raft.Options{StorageTimeout: electionTimeout})
		leader, term := c.leader()
		c.disks[leader].set(5*electionTimeout, nil)
		index, _, leads := c.servers[leader].Start(strings.Repeat("x", 16<<20))
		if !leads {
			t.Fatal("the leader no longer leads")
		}
		testkit.WaitFor(t, 6*electionTimeout, "the leader to save and apply", func() bool { return c.appliedBy(leader) >= index })
		if now, leads := c.servers[leader].GetState(); !leads || now != term {
			t.Errorf("leads: %t in term %d; want the leader of term %d", leads, now, term)
		}
	})
}
