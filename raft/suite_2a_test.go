package raft_test

import (
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// Limits on messages that an implementation without waste keeps.
const (
	maxFirstElectionRPCs = 30 // three servers
	maxIdleRPCsPerSecond = 20 // per server
)

// TestInitialElection2A elects a leader among three servers, with few RPCs, and
// keeps the leader and its term while nothing fails.
func TestInitialElection2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.Leader()
		if n := c.Net.GetTotalCount(); n > maxFirstElectionRPCs {
			t.Errorf("the first election of 3 servers took %d RPCs; want at most %d", n, maxFirstElectionRPCs)
		}
		c.Sleep(100 * time.Millisecond) // for the followers to hear of it
		term := c.Term()
		if term < 1 {
			t.Fatalf("the term is %d after an election", term)
		}
		c.Sleep(2 * time.Second)
		if again := c.Term(); again != term {
			labrun.Note(t, "the term changed though nothing failed")
			t.Logf("term %d became term %d", term, again)
		}
		c.Leader()
	})
}

// TestIdleRPCs2A counts the RPCs of an idle cluster, because heartbeats must be few.
func TestIdleRPCs2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.Leader()
		const seconds = 5
		before := c.Net.GetTotalCount()
		c.Sleep(seconds * time.Second)
		if n, most := c.Net.GetTotalCount()-before, 3*seconds*maxIdleRPCsPerSecond; n > most {
			t.Errorf("%d RPCs in %d idle seconds of 3 servers; want at most %d", n, seconds, most)
		}
	})
}

// TestReElection2A disconnects leaders and followers. A majority elects a new
// leader, a minority elects none, and a server that returns ends with the others
// under one leader.
func TestReElection2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		first := c.Leader()
		c.Disconnect(first)
		c.Leader()
		c.Connect(first)                // the old leader does not disturb the new one
		c.Sleep(500 * time.Millisecond) // for it to hear that it leads no more
		second := c.Leader()

		other := c.Others(second)[0]
		c.Disconnect(second, other)
		c.Sleep(2 * time.Second)
		c.NoLeader(c.Others(second, other)...)

		c.Connect(other) // a majority again
		third := c.Leader()
		c.Connect(second)
		c.Sleep(500 * time.Millisecond)
		if now := c.Leader(); now != third {
			t.Logf("server %d lost the leadership to %d when a server came back", third, now)
		}
	})
}

// TestSplitVotesEnd2A delays each message by 10 ms, so all servers ask for votes before a
// request arrives if their timeouts are equal. Random timeouts end such a split (section 5.2).
func TestSplitVotesEnd2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.Net.SetScheduler(func(labrpc.Message) labrpc.Decision { return labrpc.After(10 * time.Millisecond) })
		for range 3 {
			c.Disconnect(c.Leader())
			c.Leader()
			c.Heal()
		}
		c.Leader()
	})
}

// TestManyElections2A disconnects three of seven servers again and again. The four
// others always find a leader.
func TestManyElections2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 7)
		c.Leader()
		for range 12 {
			c.Disconnect(c.Others()[:3]...) // four go on
			c.Leader()
			c.Heal()
		}
		c.Leader()
	})
}

// TestSplitPartition2A leaves the old leader with a minority. Two leaders may exist,
// but only in different terms.
func TestSplitPartition2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		for range 5 {
			leader := c.Leader()
			rest := c.Others(leader)
			minority, majority := []int{leader, rest[0]}, rest[1:]
			old, _ := c.State(leader)
			c.Partition(majority, minority)
			c.Leader()
			if term, _ := c.State(c.Leader()); term <= old {
				t.Fatalf("a new leader was elected in term %d, after one in term %d", term, old)
			}
			c.Heal()
			c.Sleep(300 * time.Millisecond)
		}
	})
}

// TestElectionUnderLoss2A lets leaders fail one by one on a network that loses and
// delays messages. The others elect a new leader each time.
func TestElectionUnderLoss2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5, labtest.Unreliable())
		for range 6 {
			leader := c.Leader()
			c.Disconnect(leader)
			c.Leader()
			c.Connect(leader)
		}
	})
}

// TestNoElectionWithoutMajority2A cuts all links between the servers and restores
// them. Nobody leads without a majority.
func TestNoElectionWithoutMajority2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		for round := range 4 {
			leader := c.Leader()
			cut := c.Others(leader)[:3]
			if round%2 == 0 {
				cut = append(cut[:2], leader)
			}
			c.Partition(c.Others(cut...))
			c.Sleep(2 * time.Second)
			if round%2 == 0 {
				c.NoLeader(c.Others(cut...)...)
			} // else the old leader may still believe in itself
			for _, i := range c.Others(cut...) {
				if index, _, isLeader := c.Start(i, "lost"); isLeader {
					c.Sleep(500 * time.Millisecond)
					notApplied(t, c, index, "lost")
				}
			}
			c.Heal()
			c.Leader()
		}
	})
}

// TestKilledServersAreSilent2A kills servers. A killed server may send messages for
// some seconds, until its goroutines notice the kill, but not forever.
func TestKilledServersAreSilent2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		for range 2 {
			c.Crash(c.Leader())
			c.Leader()
		}
		c.Crash(c.All()...)
		const patience = time.Minute
		silent := c.Eventually(patience, func() bool {
			before := c.Net.GetTotalCount()
			c.Sleep(2 * time.Second)
			return c.Net.GetTotalCount() == before
		})
		if !silent {
			t.Errorf("%v after Kill, killed servers still send RPCs", patience)
		}
	})
}

// TestKillWithBlockedApply2B kills servers that wait for a reader of applyCh, which
// never comes. Until then they go on without their services. Goroutines that stay behind
// are a note. A server that holds its lock meanwhile has no such case.
func TestKillWithBlockedApply2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.One("first", 3)
		for i := range c.N {
			c.Pause(i)
		}
		leader := c.Leader()
		for k := range 3 { // a paused service takes one of them
			c.Start(leader, k)
		}
		c.Sleep(2 * time.Second) // blocked by now
		c.Leader()
		c.Crash(c.All()...)
	})
}
