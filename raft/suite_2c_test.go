package raft_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
)

// TestRestartOfAll2C restarts all servers at once, and then each in turn. The log
// survives.
func TestRestartOfAll2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.One(11, 3)
		c.Restart(c.All()...)
		c.One(12, 3)

		leader := c.Leader()
		c.Restart(leader)
		c.One(13, 3)

		leader = c.Leader()
		c.Crash(leader)
		c.One(14, 2)
		c.Restart(leader)
		if index := c.One(15, 3); index < 5 {
			t.Fatalf("command 15 is at index %d", index)
		}

		follower := c.Others(c.Leader())[0]
		c.Crash(follower)
		c.One(16, 2)
		c.Restart(follower)
		c.One(17, 3)
	})
}

// TestNothingIsLostWithoutPower2C crashes all servers at the moment of a commit. Any
// majority that returns must have the command.
func TestNothingIsLostWithoutPower2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		for k := range 8 {
			index, command := 0, fmt.Sprint("kept", k)
			for index == 0 {
				index, _, _ = c.Start(c.Leader(), command)
				if !c.Eventually(time.Second, func() bool { n, _ := c.Applied(index); return n > 0 }) {
					index = 0
				}
			}
			_, applied := c.Applied(index)
			c.Crash(c.All()...)
			back := c.Others()[:3]
			c.Restart(back...)
			c.One(fmt.Sprint("after", k), 3) // the ledger holds what was applied before
			if _, now := c.Applied(index); now != applied {
				t.Fatalf("index %d held %v and holds %v", index, applied, now)
			}
			c.Restart(c.Others(back...)...)
			c.One(fmt.Sprint("all", k), 5)
		}
	})
}

// TestRestartsInTurn2C restarts servers in turn, so that a majority of changing
// members stays alive. Agreement goes on.
func TestRestartsInTurn2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		command := 10
		one := func(servers int) { command++; c.One(command, servers) }
		for range 5 {
			one(5)
			leader := c.Leader()
			a, b := (leader+1)%5, (leader+2)%5
			c.Disconnect(a, b)
			one(3)
			c.Crash(leader, (leader+3)%5, (leader+4)%5)
			c.Connect(a, b)
			c.Restart(a, b)
			c.Sleep(500 * time.Millisecond)
			c.Restart((leader + 3) % 5)
			one(3)
			c.Restart((leader+4)%5, leader)
		}
		one(5)
	})
}

// TestPartitionedLeaderRestarts2C crashes the leader and a follower together, and
// restarts one after the other. Agreement goes on.
func TestPartitionedLeaderRestarts2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.One(101, 3)
		leader := c.Leader()
		a, b := (leader+1)%3, (leader+2)%3
		c.Disconnect(b)
		c.One(102, 2)
		c.Crash(leader, a)
		c.Connect(b)
		c.Restart(leader)
		c.One(103, 2)
		c.Restart(a)
		c.One(104, 3)
	})
}

// TestLogIsAppliedAgain2C restarts one server with a committed log. The server
// applies the log again from the start.
func TestLogIsAppliedAgain2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		const commands = 20
		for k := range commands {
			c.One(k, 3)
		}
		c.Restart(c.All()...)
		c.One("after", 3)
		for i := range c.N {
			if n := c.AppliedBy(i); n < commands+1 {
				t.Errorf("server %d has applied %d commands", i, n)
			}
		}
	})
}

// TestFigure8AtRandom2C crashes leaders soon after they accept commands. Entries of
// older terms are replicated again and again, and no applied entry may change
// (section 5.4.2).
func TestFigure8AtRandom2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5)
		c.One("first", 1)
		up := 5
		for round := range 300 {
			leader := -1
			for i := range c.N {
				if _, _, isLeader := c.Start(i, fmt.Sprint("round", round)); isLeader && c.Up(i) {
					leader = i
				}
			}
			pause := time.Duration(c.Rand.IntN(13)) * time.Millisecond
			if c.Rand.IntN(10) == 0 {
				pause = time.Duration(c.Rand.IntN(500)) * time.Millisecond
			}
			c.Sleep(pause)
			if leader >= 0 {
				c.Crash(leader)
				up--
			}
			if i := c.Rand.IntN(c.N); up < 3 && !c.Up(i) {
				c.Restart(i)
				up++
			}
		}
		for i := range c.N {
			if !c.Up(i) {
				c.Restart(i)
			}
		}
		c.One("last", 5)
	})
}

// TestUnreliableAgreement2C proposes many commands on a network that loses and
// delays messages. All servers agree in the end.
func TestUnreliableAgreement2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5, labtest.Unreliable())
		var last []any
		for round := range 50 {
			leader := c.Leader()
			for k := range 4 {
				c.Start(leader, fmt.Sprint("also", round, k))
			}
			last = append(last, c.One(round, 1))
		}
		c.Net.Reliable(true)
		c.One(len(last), 5)
	})
}

// TestFigure8UnderReordering2C is Figure 8 with partitions, loss, and replies that
// are up to 2.2 s late. After the partitions heal, the cluster must agree on the
// same bad network.
func TestFigure8UnderReordering2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5, labtest.Unreliable())
		c.One("first", 1)
		for round := range 400 {
			if round == 80 {
				c.Net.LongReordering(true)
			}
			leader := -1
			for i := range c.N {
				if _, _, isLeader := c.Start(i, fmt.Sprint("round", round)); isLeader && c.IsConnected(i) {
					leader = i
				}
			}
			pause := time.Duration(c.Rand.IntN(13)) * time.Millisecond
			if c.Rand.IntN(10) == 0 {
				pause = time.Duration(c.Rand.IntN(500)) * time.Millisecond
			}
			c.Sleep(pause)
			if leader >= 0 && c.Rand.IntN(1000) < 500 {
				c.Disconnect(leader)
			}
			if i := c.Rand.IntN(c.N); len(c.Connected()) < 3 {
				c.Connect(i)
			}
		}
		c.Heal()
		c.One("last", 5)
	})
}

// TestChurn2C lets clients propose while servers crash, restart and lose
// connections. Each value that a client saw applied must be in the log.
func TestChurn2C(t *testing.T) {
	for _, unreliable := range []bool{false, true} {
		t.Run(fmt.Sprintf("unreliable=%t", unreliable), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) { churn(t, unreliable) })
		})
	}
}

func churn(t *testing.T, unreliable bool) {
	c := labtest.New(t, 5)
	c.Net.Reliable(!unreliable)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	values := make([][]string, 3)
	var committed atomic.Int64
	for me := range values {
		r := rand.New(rand.NewPCG(uint64(testkit.Seed(t)), uint64(me)))
		wg.Go(func() { values[me] = churnClient(c, me, r, &committed, stop) })
	}
	// Crashed or disconnected servers are never more than a minority, or nothing could commit.
	away := make(map[int]bool)
	for step := 0; step < 25 || committed.Load() < 20 && step < 150; step++ {
		if i := c.Rand.IntN(c.N); c.Rand.IntN(1000) < 300 && len(away) < c.N/2 {
			c.Disconnect(i)
			away[i] = true
		}
		if i := c.Rand.IntN(c.N); c.Rand.IntN(1000) < 500 {
			if !c.Up(i) {
				c.Restart(i)
			}
			c.Connect(i)
			delete(away, i)
		}
		if i := c.Rand.IntN(c.N); c.Rand.IntN(1000) < 300 && (len(away) < c.N/2 || away[i]) {
			c.Crash(i)
			away[i] = true
		}
		c.Sleep(400 * time.Millisecond)
	}
	c.Net.Reliable(true)
	c.Heal()
	for i := range c.N {
		if !c.Up(i) {
			c.Restart(i)
		}
	}
	close(stop)
	wg.Wait()
	last := c.One("last", 5)
	applied := make(map[any]bool)
	for index := 1; index <= last; index++ {
		_, command := c.Applied(index)
		applied[command] = true
	}
	for _, of := range values {
		for _, v := range of {
			if !applied[v] {
				t.Errorf("value %s was applied, and is not in the log", v)
			}
		}
	}
	if n := committed.Load(); n < 20 {
		t.Errorf("only %d values were committed in a minute of churn", n)
	}
}

// churnClient proposes values until stop, and returns and counts those that it saw applied.
func churnClient(c *labtest.Cluster, me int, r *rand.Rand, count *atomic.Int64, stop chan struct{}) (committed []string) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return committed
		default:
		}
		value := fmt.Sprintf("client %d value %d", me, n)
		var places []int // at an old leader that is cut off, too
		for i := range c.N {
			if at, _, isLeader := c.Start(i, value); isLeader {
				places = append(places, at)
			}
		}
		if len(places) == 0 {
			time.Sleep(time.Duration(79+me*17) * time.Millisecond)
			continue
		}
		for _, wait := range []int{10, 20, 50, 100, 200} {
			applied, lost := false, true
			for _, at := range places {
				_, command := c.Applied(at)
				applied = applied || command == value
				lost = lost && command != nil
			}
			if applied {
				committed = append(committed, value)
				count.Add(1)
			}
			if applied || lost {
				break
			}
			time.Sleep(time.Duration(wait+r.IntN(10)) * time.Millisecond)
		}
	}
}
