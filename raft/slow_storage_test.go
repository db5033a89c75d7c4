package raft_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
)

// lazyStorage takes its time to save, or fails.
type lazyStorage struct {
	raft.Storage
	mu    sync.Mutex
	takes time.Duration
	fails error
}

func (s *lazyStorage) set(takes time.Duration, fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.fails = takes, fails
}

func (s *lazyStorage) Save(u raft.Update) error {
	s.mu.Lock()
	takes, fails := s.takes, s.fails
	s.mu.Unlock()
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

func newLazyCluster(t *testing.T) *lazyCluster {
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
		if err != nil {
			t.Fatal(err)
		}
		c.disks = append(c.disks, &lazyStorage{Storage: memory})
		applyCh := make(chan raft.ApplyMsg)
		rf, err := raft.Open(ends, i, c.disks[i], applyCh, raft.Options{})
		if err != nil {
			t.Fatal(err)
		}
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
		c := newLazyCluster(t)
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
		c := newLazyCluster(t)
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
		c := newLazyCluster(t)
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
		testkit.WaitFor(t, 5*time.Second, "another leader", func() bool {
			now, leads := c.servers[(leader+1)%3].GetState()
			now2, leads2 := c.servers[(leader+2)%3].GetState()
			return leads && now > term || leads2 && now2 > term
		})
		if n := c.appliedBy(leader); n != 0 {
			t.Errorf("it applied entry %d, which it did not save", n)
		}
	})
}
