package core_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"raftlab/raft/core"
)

// A cluster of three by hand: all that a host does, with slices for disks and
// function calls for a network.
func Example() {
	servers := map[core.NodeID]*core.Core{}
	disks := map[core.NodeID]*core.Persistent{1: {}, 2: {}, 3: {}}
	for id, disk := range disks {
		servers[id], _ = core.New(core.Config{
			ID: id, Voters: []core.NodeID{1, 2, 3},
			ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(1, uint64(id))),
		}, *disk)
	}
	run := func() { // until nobody has anything more to say
		for quiet := false; !quiet; {
			quiet = true
			for id := core.NodeID(1); id <= 3; id++ {
				rd := servers[id].Ready()
				if rd.HardState != nil {
					disks[id].HardState = *rd.HardState
				}
				if len(rd.Entries) > 0 {
					kept := rd.Entries[0].Index - 1
					disks[id].Entries = append(disks[id].Entries[:kept], rd.Entries...)
				}
				for _, m := range slices.Concat(rd.Messages, rd.AfterSave) {
					_ = servers[m.To].Step(m)
				}
				servers[id].Saved(rd)
				_, entries := servers[id].NextToApply(1 << 20)
				for _, e := range entries {
					fmt.Printf("server %d applies %s\n", id, e.Data)
				}
				quiet = quiet && rd.Empty()
			}
		}
	}

	for servers[1].Status().State == core.Follower { // server 1 loses patience first
		servers[1].Tick()
	}
	run()
	fmt.Printf("server 1 is %v of term %d\n", servers[1].Status().State, servers[1].Status().CurrentTerm)

	_, _, _ = servers[1].Propose([]byte("x=1"))
	_, _, _ = servers[1].Propose([]byte("y=2"))
	run()
	servers[1].Tick() // tells the others what is committed
	run()
	// Output:
	// server 1 is leader of term 1
	// server 1 applies x=1
	// server 1 applies y=2
	// server 2 applies x=1
	// server 2 applies y=2
	// server 3 applies x=1
	// server 3 applies y=2
}

// What a server wants saved and sent, and in which order: a vote leaves when it
// is on disk.
func ExampleCore_Ready() {
	c, _ := core.New(core.Config{
		ID: 2, Voters: []core.NodeID{1, 2, 3},
		ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(1, 1)),
	}, core.Persistent{})
	_ = c.Step(core.Message{From: 1, To: 2, Call: 7, Body: &core.RequestVote{Term: 1, CandidateID: 1}})

	rd := c.Ready()
	fmt.Println("send at once:", rd.Messages)
	fmt.Printf("save: %+v\n", *rd.HardState)
	fmt.Println("then send:", rd.AfterSave)
	c.Saved(rd)
	fmt.Println("nothing left:", c.Ready().Empty())
	// Output:
	// send at once: []
	// save: {CurrentTerm:1 VotedFor:1}
	// then send: [2->1 RequestVoteReply term=1 granted=true]
	// nothing left: true
}

// A service's snapshot takes the place of the log up to it.
func ExampleCore_Compact() {
	log := []core.Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1}, {Index: 3, Term: 1}}
	c, _ := core.New(core.Config{
		ID: 2, Voters: []core.NodeID{1, 2, 3},
		ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(1, 1)),
	}, core.Persistent{HardState: core.HardState{CurrentTerm: 1}, Entries: log})
	_ = c.Step(core.Message{From: 1, To: 2, Body: &core.AppendEntries{
		Term: 1, LeaderID: 1, PrevLogIndex: 3, PrevLogTerm: 1, LeaderCommit: 2,
	}})
	_, applied := c.NextToApply(1 << 20)
	fmt.Println("applied:", len(applied))

	term, _ := c.SnapshotTerm(2) // the host saves its state with this index and term
	fmt.Println("compact 2 of term", term, ":", c.Compact(2))
	fmt.Println("compact 3:", c.Compact(3))
	fmt.Println("left in the log:", len(c.Entries()))
	// Output:
	// applied: 2
	// compact 2 of term 1 : <nil>
	// compact 3: core: index is not applied yet: 3; applied up to 2
	// left in the log: 1
}

// alone starts a server that is the only voter of its cluster, and works through its
// duties until it leads.
func alone() (c *core.Core, work func()) {
	c, _ = core.New(core.Config{
		ID: 1, Voters: []core.NodeID{1}, LeaderNoOp: true,
		ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(1, 1)),
	}, core.Persistent{})
	work = func() {
		for rd := c.Ready(); !rd.Empty(); rd = c.Ready() {
			for _, m := range rd.Messages {
				fmt.Println("send", m)
			}
			c.Saved(rd)
		}
	}
	for c.Status().State != core.Leader {
		c.Tick()
		work()
	}
	return c, work
}

// A linearizable read: the service answers when it has applied the log up to the
// read's index.
func ExampleCore_ReadIndex() {
	c, work := alone()
	_, _, _ = c.Propose([]byte("x=1"))
	work()
	if err := c.ReadIndex(42); err != nil {
		fmt.Println(err)
	}
	work()
	for _, read := range c.Reads() {
		_, entries := c.NextToApply(1 << 20)
		last := entries[len(entries)-1]
		fmt.Printf("read %d waits for index %d; applied up to %d: %s\n", read.ID, read.Index, last.Index, last.Data)
	}
	// Output:
	// read 42 waits for index 2; applied up to 2: x=1
}

// A new server is a learner first. As a voter it is refused until it has the log.
func ExampleCore_ProposeConfiguration() {
	c, work := alone()
	_, _, err := c.ProposeConfiguration(core.Configuration{Voters: []core.NodeID{1, 2}})
	fmt.Println(err)

	_, _, err = c.ProposeConfiguration(core.Configuration{Voters: []core.NodeID{1}, Learners: []core.NodeID{2}})
	fmt.Println("as a learner:", err)
	work()
	// Server 2 answers that it has nothing, and then that it has everything.
	_ = c.Step(core.Message{From: 2, To: 1, Body: &core.AppendEntriesReply{Term: 1, RequestTerm: 1, PrevLogIndex: 1}})
	work()
	_ = c.Step(core.Message{From: 2, To: 1, Body: &core.AppendEntriesReply{Term: 1, RequestTerm: 1, Success: true, MatchIndex: 2}})

	_, _, err = c.ProposeConfiguration(core.Configuration{Voters: []core.NodeID{1, 2}})
	cfg, _ := c.Configuration()
	fmt.Println("as a voter:", err, cfg)
	// Output:
	// core: new voter has not caught up as a learner: server 2 is no learner yet
	// as a learner: <nil>
	// send 1->2 AppendEntries term=1 prev=1/1 entries=[2/1] commit=1
	// send 1->2 AppendEntries term=1 prev=0/0 entries=[1/1 2/1] commit=2
	// as a voter: <nil> voters=[1 2] outgoing=[1]
}
