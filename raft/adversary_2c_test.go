package raft_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
	"raftlab/raft"
)

// TestVoteIsKept2C restarts a server after its vote, and lets another candidate of
// the same term ask for the vote. A server that forgot the vote or the term makes
// two leaders (Figure 2, persistent state).
func TestVoteIsKept2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 60, 4, func(round int) bool { return restartedVoter(t, round, round%2 == 0, false) })
	})
}

// TestOwnVoteIsKept2C is TestVoteIsKept2C for a candidate, which has voted for
// itself.
func TestOwnVoteIsKept2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 20, 4, func(round int) bool { return restartedVoter(t, round, false, true) })
	})
}

// restartedVoter lets the second candidate stand before the first has its vote,
// or after. It restarts the voter of both, or the first candidate itself.
func restartedVoter(t *testing.T, round int, before, self bool) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	r := newRivals(0, 1)
	winner, term, restarted, asked := -1, 0, false, false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.Kind == labtest.Append || r.refuses(m) && !(self && restarted && m.Between(0, 1)):
			return labrpc.Never()
		case m.Kind != labtest.Vote || m.Reply:
			return labrpc.Usual()
		}
		p := r.ask(m)
		if winner < 0 && (!before || r.met == m.Term) {
			// The one that asked first: its request is still held.
			winner, term = m.From, m.Term
			if before {
				winner = r.a + r.b - m.From
			}
			for _, hold := range p.holds {
				hold.Release()
			}
		}
		switch {
		case winner >= 0 && m.From == winner:
			return labrpc.Usual()
		case winner < 0:
			return labrpc.HeldBy(p.holdOf(m))
		case !restarted:
			return labrpc.Never()
		}
		asked = asked || m.Term == term
		return labrpc.Usual()
	})
	leads := c.Eventually(2*time.Second, func() bool {
		w := between(c, func() int { return winner })
		if w < 0 {
			return false
		}
		now, leads := c.State(w)
		return leads && now == term
	})
	if !leads {
		return false
	}
	voter := 2
	if self {
		voter = winner
	}
	c.Restart(voter)
	c.Scripted(func() { restarted = true })
	c.Sleep(500 * time.Millisecond)
	return between(c, func() bool { return asked })
}

// TestOldEntriesAreNotCommittedByCounting2C is Figure 8 of the paper. An entry of an
// older term on a majority can still be overwritten, so the entry must not be
// applied (section 5.4.2).
func TestOldEntriesAreNotCommittedByCounting2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 10, 3, func(round int) bool { return figure8(t, round) })
	})
}

func figure8(t *testing.T, round int) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 5)
	// (a) s1 replicates an entry to s2 alone.
	s1 := c.Leader()
	rest := c.Others(s1)
	s2 := rest[0]
	c.Partition([]int{s1, s2})
	c.Start(s1, "overwritten")
	c.Sleep(50 * time.Millisecond)
	// (b) s1 crashes; s5 is elected by the rest, and has another entry there.
	c.Crash(s1)
	c.Partition(rest[1:])
	s5 := c.Leader()
	s3, s4 := pick(rest[1:], s5), 0
	for _, i := range rest[1:] {
		if i != s5 && i != s3 {
			s4 = i
		}
	}
	c.Disconnect(s3, s4)
	if _, _, isLeader := c.Start(s5, "wins"); !isLeader {
		return false
	}
	c.Sleep(50 * time.Millisecond)
	// (c) s5 crashes; s1 returns, and replicates its entry to s3: a majority.
	c.Crash(s5)
	c.Restart(s1)
	c.Partition([]int{s1, s2, s3})
	c.Leader()
	c.Sleep(500 * time.Millisecond)
	// (d) s1 crashes; s5 returns and overwrites the entry.
	c.Crash(s1)
	c.Restart(s5)
	c.Partition([]int{s3, s4, s5})
	c.One("after", 3)
	c.Restart(s1)
	c.Heal()
	c.One("last", 5)
	return true
}

// pick returns the first of ids that is not but.
func pick(ids []int, but int) int {
	for _, i := range ids {
		if i != but {
			return i
		}
	}
	return -1
}

// TestNewerTermShorterLog2C leaves two servers, one with the newer term and one with
// the better log. The better log must win, so the candidate must learn the newer
// term from a refusal.
func TestNewerTermShorterLog2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		for range 3 {
			c.One("all", 3)
			old := c.Leader()
			c.Disconnect(old)
			c.Start(old, "better")
			c.Start(old, "log")
			c.Leader()
			rest := c.Others(old)
			c.Crash(rest...)
			c.Restart(rest[0])
			c.Connect(old)
			c.One("two", 2)
			c.Restart(rest[1])
		}
	})
}

// TestAcknowledgedIsSaved2C reads the persister of a follower at the moment of an
// acknowledgement. The command must be there (Figure 2, persistent state is updated
// before the response). Long commands make a save take time.
func TestAcknowledgedIsSaved2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.Leader()
		var command string
		carried, missing, seen := make(map[labtest.Call]string), 0, 0
		c.Direct(func(m labtest.Message) labrpc.Decision {
			if !m.Reply && m.Kind == labtest.Append && m.Carries(command) {
				carried[m.Call] = command
			}
			if command := carried[m.Call]; m.Reply && command != "" && m.Success() {
				seen++
				if !saved(c.Persister(m.From).ReadRaftState(), command) {
					missing++
				}
			}
			return labrpc.Usual()
		})
		for range 12 {
			next := randomString(c.Rand, 40) + randomString(c.Rand, 400_000)
			c.Scripted(func() { command = next[:40] })
			c.One(next, 3)
		}
		c.Direct(nil)
		switch {
		case seen == 0:
			t.Skip("not applicable: no reply to AppendEntries has a field Success")
		case missing > 0:
			t.Fatalf("%d of %d commands were acknowledged before they were saved", missing, seen)
		}
	})
}

// TestOverwrittenStaysOverwritten2C restarts a server after a part of its log was
// overwritten, without a majority that could overwrite the log again. The old
// entries must not return.
func TestOverwrittenStaysOverwritten2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		for range 3 {
			c.One("all", 3)
			old := c.Leader()
			c.Disconnect(old)
			for k := range 3 {
				c.Start(old, k)
			}
			c.One("kept", 2)
			c.One("kept too", 2)
			c.Heal()
			c.One("overwritten", 3)
			other := c.Others(old)[0]
			c.Crash(c.All()...)
			c.Restart(old, other)
			c.One("restarted", 2)
			c.Restart(c.Others(old, other)...)
		}
	})
}

// TestEarlierCopiesStay2C keeps copies of persisters while logs grow and are
// overwritten. A copy must keep its contents.
func TestEarlierCopiesStay2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		var copies []*raft.Persister
		var held [][]byte
		keep := func() {
			for i := range c.N {
				p := c.Persister(i)
				copies, held = append(copies, p), append(held, p.ReadRaftState())
			}
		}
		for round := range 5 {
			c.One(fmt.Sprint("all", round), 3)
			keep()
			old := c.Leader()
			c.Disconnect(old)
			for k := range 3 {
				c.Start(old, fmt.Sprint("lost", round, k))
			}
			c.Sleep(20 * time.Millisecond)
			keep()
			c.One(fmt.Sprint("kept", round), 2)
			c.Heal()
			c.One(fmt.Sprint("overwritten", round), 3)
		}
		for k, p := range copies {
			if !bytes.Equal(p.ReadRaftState(), held[k]) {
				t.Fatalf("copy %d of a persister has changed", k)
			}
		}
	})
}

// TestLeaderSavesFirst2C stops all servers at a commit by the leader and one of two
// followers, and restarts the leader and the other follower. The copy that the
// leader counted for itself must be on its disk.
func TestLeaderSavesFirst2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 6, 4, func(round int) bool { return leaderSaves(t, round) })
	})
}

func leaderSaves(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 3)
	leader := c.Leader()
	without := c.Others(leader)[0]
	c.Disconnect(without)
	index, _, isLeader := c.Start(leader, "kept")
	if !isLeader || !c.Eventually(time.Second, func() bool { n, _ := c.Applied(index); return n > 0 }) {
		return false
	}
	c.Crash(c.All()...)
	c.Connect(without)
	c.Restart(leader, without)
	c.One("next", 2) // at another index, or the ledger differs
	c.Restart(c.Others(leader, without)...)
	c.One("last", 3)
	return true
}

// TestTermIsKept2C restarts a server that has refused its vote in a newer term. The server
// has answered in that term, so the term must be on its disk (Figure 2, currentTerm is
// updated on stable storage before the response).
func TestTermIsKept2C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 8, 3, func(round int) bool { return refusalIsKept(t, round) })
	})
}

func refusalIsKept(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 3)
	leader := c.Leader()
	rest := c.Others(leader)
	behind, voter := rest[0], rest[1]
	c.Disconnect(behind) // its log is too short for the votes of the others
	c.One("second", 2)
	c.Sleep(time.Second) // its term rises
	before, _ := c.State(voter)
	told := 0
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.From == voter && !m.Reply || told > 0:
			return labrpc.Never()
		case m.From == voter && m.Kind == labtest.Vote && m.Term > before:
			told = m.Term
		}
		return labrpc.Usual()
	})
	c.Partition([]int{behind, voter})
	if !c.Eventually(2*time.Second, func() bool { return between(c, func() bool { return told > 0 }) }) {
		return false
	}
	answered := between(c, func() int { return told })
	if now, _ := c.State(voter); now < answered {
		return false
	}
	c.Restart(voter)
	if after, _ := c.State(voter); after < answered {
		t.Errorf("a server answered in term %d, and is in term %d after its restart", answered, after)
	}
	return true
}
