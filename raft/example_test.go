package raft_test

import (
	"fmt"
	"sync"
	"time"

	"raftlab/labrpc"
	"raftlab/raft"
)

// counter is a service: a number to which commands add. It takes a snapshot
// after every third command.
type counter struct {
	rf *raft.Raft

	mu      sync.Mutex
	applied int // index
	sum     int
}

// run applies what comes out of applyCh until stop.
func (c *counter) run(applyCh chan raft.ApplyMsg, stop chan struct{}) {
	for {
		select {
		case m := <-applyCh:
			c.apply(m)
		case <-stop:
			return
		}
	}
}

func (c *counter) apply(m raft.ApplyMsg) {
	c.mu.Lock()
	if m.SnapshotValid {
		c.restore(m.Snapshot)
	} else {
		c.applied, c.sum = m.CommandIndex, c.sum+m.Command.(int)
	}
	state := fmt.Appendf(nil, "%d %d", c.applied, c.sum)
	c.mu.Unlock()
	if m.CommandValid && m.CommandIndex%3 == 0 {
		c.rf.Snapshot(m.CommandIndex, state)
	}
}

func (c *counter) restore(snapshot []byte) {
	fmt.Sscan(string(snapshot), &c.applied, &c.sum)
}

func (c *counter) state() (applied, sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied, c.sum
}

// cluster is three counters on a network.
type cluster struct {
	net      *labrpc.Network
	counters [3]*counter
	stop     chan struct{}
}

// start starts server me with what persister holds.
func (x *cluster) start(me int, persister *raft.Persister) {
	ends := make([]*labrpc.ClientEnd, len(x.counters))
	for peer := range ends {
		name := fmt.Sprint(me, " to ", peer, " ", time.Now().UnixNano())
		ends[peer] = x.net.MakeEnd(name)
		x.net.Connect(name, peer)
		x.net.Enable(name, true)
	}
	c := &counter{}
	c.restore(persister.ReadSnapshot()) // before Make: what it includes is not applied again
	applyCh := make(chan raft.ApplyMsg)
	c.rf = raft.Make(ends, me, persister, applyCh)
	go c.run(applyCh, x.stop)

	server := labrpc.MakeServer()
	server.AddService(labrpc.MakeService(c.rf))
	x.net.AddServer(me, server)
	x.counters[me] = c
}

// add finds the leader, gives it a command, and waits until all have applied it.
func (x *cluster) add(n int) (index int) {
	for {
		for _, c := range x.counters {
			index, _, isLeader := c.rf.Start(n)
			if isLeader {
				x.wait(index)
				return index
			}
		}
		time.Sleep(10 * time.Millisecond) // an election is under way
	}
}

func (x *cluster) wait(index int) {
	for _, c := range x.counters {
		for applied, _ := c.state(); applied < index; applied, _ = c.state() {
			time.Sleep(time.Millisecond)
		}
	}
}

// Three servers replicate a counter.
func Example() {
	x := &cluster{net: labrpc.MakeNetwork(), stop: make(chan struct{})}
	defer close(x.stop)
	defer x.net.Cleanup()
	for me := range x.counters {
		x.start(me, raft.MakePersister())
		defer func() { x.counters[me].rf.Kill() }()
	}
	for n := range 5 {
		index := x.add(10 * n)
		_, sum := x.counters[0].state()
		fmt.Printf("command %d: the sum is %d\n", index, sum)
	}
	for me, c := range x.counters {
		applied, sum := c.state()
		fmt.Printf("server %d has applied %d commands: %d\n", me, applied, sum)
	}
	// Output:
	// command 1: the sum is 0
	// command 2: the sum is 10
	// command 3: the sum is 30
	// command 4: the sum is 60
	// command 5: the sum is 100
	// server 0 has applied 5 commands: 100
	// server 1 has applied 5 commands: 100
	// server 2 has applied 5 commands: 100
}

// A server crashes and restarts: it goes on from its snapshot, and what was
// committed after that is applied again.
func ExamplePersister() {
	x := &cluster{net: labrpc.MakeNetwork(), stop: make(chan struct{})}
	defer close(x.stop)
	defer x.net.Cleanup()
	var persisters [3]*raft.Persister
	for me := range x.counters {
		persisters[me] = raft.MakePersister()
		x.start(me, persisters[me])
		defer func() { x.counters[me].rf.Kill() }()
	}
	for range 4 {
		x.add(1)
	}
	x.net.DeleteServer(2) // the crash: nothing goes in or out any more
	x.counters[2].rf.Kill()
	disk := persisters[2].Copy() // what it had saved
	fmt.Printf("snapshot: %s\n", disk.ReadSnapshot())

	x.start(2, disk)
	x.add(1)
	applied, sum := x.counters[2].state()
	fmt.Printf("server 2 has applied %d commands: %d\n", applied, sum)
	// Output:
	// snapshot: 3 3
	// server 2 has applied 5 commands: 5
}
