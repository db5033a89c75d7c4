package raft_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// between runs f while no rule of the adversary runs.
func between[T any](c *labtest.Cluster, f func() T) (v T) {
	c.Scripted(func() { v = f() })
	return v
}

// TestDelayedAppendRemovesNothing2B delays an AppendEntries, with an entry or as a
// heartbeat, until later entries are committed. The late message must not remove
// these entries. Figure 2 removes an entry only at a conflict.
func TestDelayedAppendRemovesNothing2B(t *testing.T) {
	labtest.Cases(t, "heartbeat=%t", []bool{false, true}, func(t *testing.T, heartbeat bool) {
		play(t, 10, 4, func(round int) bool { return delayedAppend(t, round, heartbeat) })
	})
}

func delayedAppend(t *testing.T, round int, heartbeat bool) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	leader := c.Leader()
	away := c.Others(leader)[0]
	first, second := randomString(c.Rand, 20), randomString(c.Rand, 20)
	delayed := labrpc.NewHold()
	held, complete := false, false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.Involves(away) || m.Asks():
			return labrpc.Never()
		case m.Reply:
			return labrpc.Usual()
		case complete:
			return labrpc.Never() // the leader may not repair anything
		case !held && m.Carries(first) != heartbeat && !m.Carries(second):
			held = true
			return labrpc.HeldBy(delayed)
		}
		complete = m.Carries(first) && m.Carries(second)
		return labrpc.Usual()
	})
	if !heartbeat {
		c.Start(leader, first)
	}
	if !c.Eventually(time.Second, func() bool { return delayed.Waiting() > 0 }) {
		return false
	}
	if heartbeat {
		c.Start(leader, first)
	}
	c.Start(leader, second)
	if !c.Eventually(time.Second, func() bool { n, _ := c.Applied(2); return n > 0 }) {
		return false
	}
	delayed.Release()
	c.Sleep(20 * time.Millisecond)
	c.Disconnect(leader)
	c.Direct(nil)
	c.One("next", 2)
	c.Heal()
	c.One("last", 3)
	return true
}

// TestOldLeaderIsRefused2B delivers an AppendEntries of an old leader to a follower
// that has committed another entry in a later term. The follower must refuse (Figure
// 2, AppendEntries 1).
func TestOldLeaderIsRefused2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		old := c.Leader()
		rest := c.Others(old)
		follower, other := rest[0], rest[1]
		lost := randomString(c.Rand, 20)
		delayed := labrpc.NewHold()
		c.Direct(func(m labtest.Message) labrpc.Decision {
			switch {
			case m.To == follower && !m.Reply && m.Carries(lost):
				return labrpc.HeldBy(delayed)
			case m.Involves(old):
				return labrpc.Never()
			}
			return labrpc.Usual()
		})
		c.Start(old, lost)
		c.OneAt(rest, "kept")
		if delayed.Waiting() == 0 {
			t.Skip("not applicable: a call ended before the network ended it")
		}
		delayed.Release()
		c.Sleep(20 * time.Millisecond)
		c.Disconnect(other)
		c.Direct(nil)
		c.One("next", 2)
		c.Heal()
		c.One("last", 3)
	})
}

// TestRepliesOfAnOldTerm2B holds back the replies of a follower until the same
// leader leads a later term and the follower has lost the entries. A leader that
// counts the old replies commits entries without a majority.
func TestRepliesOfAnOldTerm2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 6, func(round int) bool { return oldReplies(t, round, true) })
	})
}

// TestMatchIndexStartsAgain2B delivers replies of an earlier leadership directly
// after an election. They must not count, because matchIndex starts again after an
// election (Figure 2).
func TestMatchIndexStartsAgain2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 6, func(round int) bool { return oldReplies(t, round, false) })
	})
}

func oldReplies(t *testing.T, round int, keptBack bool) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	leader := c.Leader()
	rest := c.Others(leader)
	follower, helper := rest[0], rest[1]
	late, answered := labrpc.NewHold(), false
	carried := make(map[labtest.Call]bool)
	cut := make(map[int]bool)                                                    // servers that nobody reaches
	allow := func(m labtest.Message) bool { return m.Reply || m.To == follower } // of the leader's entries
	lost := []string{randomString(c.Rand, 20), randomString(c.Rand, 20), randomString(c.Rand, 20)}
	fresh := randomString(c.Rand, 20)
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if !m.Reply && slices.ContainsFunc(lost, m.Carries) {
			carried[m.Call] = true
		}
		switch {
		case m.Reply && carried[m.Call] && m.From == follower:
			answered = true
			if keptBack {
				return labrpc.HeldBy(late)
			}
		case cut[m.From] || cut[m.To]:
			return labrpc.Never()
		case m.From == leader && (carried[m.Call] || m.Carries(fresh)) && !allow(m):
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	// The follower, alone, gets three entries.
	for _, command := range lost {
		c.Start(leader, command)
	}
	if !c.Eventually(time.Second, func() bool { return between(c, func() bool { return answered }) }) {
		return false
	}
	c.Sleep(10 * time.Millisecond)
	// The others overwrite them.
	c.Scripted(func() { cut[leader], cut[follower] = true, true })
	c.OneAt(rest[1:], "one")
	c.Scripted(func() { clear(cut) })
	c.One("two", 5)
	if !leadAgain(c, leader, cut) {
		return false
	}
	// The leader has one helper: two of five are no majority.
	c.Scripted(func() {
		allow = func(m labtest.Message) bool { return m.Reply || m.To == helper }
	})
	c.Start(leader, fresh)
	c.Sleep(10 * time.Millisecond)
	late.Release()
	c.Sleep(50 * time.Millisecond)
	c.Scripted(func() { cut[leader], cut[helper] = true, true })
	c.OneAt(c.Others(leader, helper), "three")
	c.Direct(nil)
	c.One("last", 5)
	return true
}

// leadAgain cuts off other leaders until the one named leads; cut is what the
// script cuts off.
func leadAgain(c *labtest.Cluster, leader int, cut map[int]bool) bool {
	for range 60 {
		now := c.Leader()
		if now == leader {
			return true
		}
		c.Scripted(func() { cut[now] = true })
		c.LeaderOf(c.Others(now)...)
		c.Scripted(func() { delete(cut, now) })
		c.Sleep(100 * time.Millisecond)
	}
	return false
}

// TestOnlyUpToDateLogsWin2B leaves a server without a committed command, or with
// older ones in its place, alone with a server that has the command. Only the latter
// may lead (section 5.4.1).
func TestOnlyUpToDateLogsWin2B(t *testing.T) {
	for _, longer := range []bool{false, true} {
		t.Run(fmt.Sprintf("longer=%t", longer), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				c := labtest.New(t, 3)
				c.One("first", 3)
				for round := range 8 {
					behind := c.Leader()
					c.Disconnect(behind)
					for k := range 10 {
						if longer { // but of an older term
							c.Start(behind, fmt.Sprint("lost", round, k))
						}
					}
					c.One(fmt.Sprint("kept", round), 2)
					term := c.Term()
					c.Disconnect(c.Leader())
					c.Connect(behind)
					c.WaitFor(labtest.ElectionLimit, "a new leader", func() bool {
						now := c.Leader()
						in, _ := c.State(now)
						if now == behind && in > term {
							t.Fatalf("a server leads term %d that lacks a committed command", in)
						}
						return in > term
					})
					c.One(fmt.Sprint("next", round), 2)
					c.Heal()
					c.One(fmt.Sprint("all", round), 3)
				}
			})
		})
	}
}

// TestCommitStopsAtLastNewEntry2B brings back a server that has entries of an old
// term at committed indexes. The first message of the leader, perhaps with a high
// leaderCommit, must not commit the old entries (Figure 2, AppendEntries 5).
func TestCommitStopsAtLastNewEntry2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		for round := range 5 {
			c.One(fmt.Sprint("all", round), 3)
			old := c.Leader()
			c.Disconnect(old)
			for k := range 5 {
				c.Start(old, fmt.Sprint("lost", round, k))
			}
			c.Leader()
			c.Sleep(300 * time.Millisecond) // the leader finds out who is away
			for k := range 3 {
				c.One(fmt.Sprint("kept", round, k), 2)
			}
			c.Connect(old)
			c.One(fmt.Sprint("joined", round), 3)
		}
	})
}

// TestOnlyWhatWasSentCounts2B holds back replies to heartbeats until the leader has
// a command that no follower received. A reply confirms the log only up to the end
// of the request, so the command must not commit.
func TestOnlyWhatWasSentCounts2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 5, 3, func(round int) bool { return unsent(t, round) })
	})
}

func unsent(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 3)
	leader, late, lost := c.Leader(), labrpc.NewHold(), randomString(c.Rand, 20)
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.Asks() || m.Carries(lost):
			return labrpc.Never()
		case m.Reply && m.To == leader:
			return labrpc.HeldBy(late)
		}
		return labrpc.Usual()
	})
	if !c.Eventually(150*time.Millisecond, func() bool { return late.Waiting() > 0 }) {
		return false
	}
	index, _, isLeader := c.Start(leader, lost)
	c.Sleep(20 * time.Millisecond)
	late.Release()
	c.Sleep(50 * time.Millisecond)
	if n, command := c.Applied(index); isLeader && n > 0 && command == lost {
		t.Errorf("a command was applied that no follower was sent")
	}
	c.Disconnect(leader)
	c.Direct(nil)
	c.One("next", 2)
	c.Heal()
	c.One("last", 3)
	return isLeader
}

// TestLateRefusals2B delivers many refusals of a follower at once. All of them
// report the same gap in the log, and the leader must step back once.
func TestLateRefusals2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 3, 2, func(round int) bool { return lateRefusals(t, round) })
	})
}

func lateRefusals(t *testing.T, round int) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 5)
	behind := c.Others(c.Leader())[0]
	c.Disconnect(behind)
	for k := range 6 {
		c.One(k, 4)
	}
	old := c.Leader()
	c.Disconnect(old) // its successor does not know who has what
	c.Leader()
	late := labrpc.NewHold()
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.Asks():
			return labrpc.Never()
		case m.From == behind && m.Reply && m.Kind == labtest.Append:
			return labrpc.HeldBy(late)
		}
		return labrpc.Usual()
	})
	c.Connect(behind)
	c.Eventually(2*time.Second, func() bool { return late.Waiting() >= 8 })
	came := late.Waiting() > 0
	late.Release()
	c.Sleep(100 * time.Millisecond)
	c.Direct(nil)
	c.Heal()
	c.One("last", 5)
	return came
}

// TestSlowFollowers2B delays messages to and from two of four followers by seconds.
// The leader must commit with the other two and not wait for the slow ones, because
// it sends AppendEntries in parallel (section 5.3).
func TestSlowFollowers2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const delay = 4 * time.Second
		c := labtest.New(t, 5)
		c.One("first", 5)
		leader := c.Leader()
		slow := c.Others(leader)[:2]
		c.Direct(func(m labtest.Message) labrpc.Decision {
			switch {
			case !slices.ContainsFunc(slow, m.Involves):
				return labrpc.Usual()
			case m.Asks() || m.Kind == labtest.Vote || m.Kind == labtest.PreVote:
				return labrpc.Never() // they hear of the leader late, and stand
			}
			return labrpc.After(delay)
		})
		fast := c.Others(slow...)
		for k := range 20 {
			c.OneAt(fast, k)
			c.Sleep(100 * time.Millisecond)
		}
		c.Direct(nil)
		c.One("last", 5)
	})
}

// TestSlowReaderGetsEverything2B commits commands while the service of a server still
// holds an earlier one. The service then gets all of them, although nothing new commits.
// A server that misses a wakeup waits for the next commit.
func TestSlowReaderGetsEverything2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		for slow := range c.N {
			if !c.InOneTerm(10, func() error { return slowReader(c, slow) }) {
				t.Skip("not applicable: a service that does not read applyCh stops the Raft of its server")
			}
		}
	})
}

func slowReader(c *labtest.Cluster, slow int) error {
	c.One(fmt.Sprint("before ", slow), 3)
	leader := c.Leader()
	c.Pause(slow)
	last := 0
	for k := range 4 {
		last, _, _ = c.Start(leader, fmt.Sprintf("while %d waits %d", slow, k))
		c.Eventually(time.Second, func() bool { n, _ := c.Applied(last); return n >= 2 })
		c.Sleep(300 * time.Millisecond) // for the slow server to hear of the commit
	}
	c.Resume(slow)
	if !c.Eventually(labtest.ElectionLimit, func() bool { return c.AppliedBy(slow) >= last }) {
		return fmt.Errorf("the service of server %d was slow, and has got %d of %d commands %v later", slow, c.AppliedBy(slow), last, labtest.ElectionLimit)
	}
	return nil
}

// TestLostEntriesAreSentAgain2B loses the first request with a command to one follower or
// to both, and proposes nothing else. The leader sends the command again until each
// follower has it (section 5.3).
func TestLostEntriesAreSentAgain2B(t *testing.T) {
	labtest.Cases(t, "followers=%d", []int{1, 2}, func(t *testing.T, followers int) {
		play(t, 6, 3, func(round int) bool { return lostOnce(t, round, followers) })
	})
}

func lostOnce(t *testing.T, round, followers int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 3)
	leader, command := c.Leader(), randomString(c.Rand, 20)
	waiting := make(map[int]bool) // followers that lose the next request with the command
	for _, i := range c.Others(leader)[:followers] {
		waiting[i] = true
	}
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if waiting[m.To] && !m.Reply && m.Carries(command) {
			delete(waiting, m.To)
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	index, term, isLeader := c.Start(leader, command)
	if !isLeader {
		return false
	}
	_, kept := c.AppliedIn(term, index, 3)
	return kept && between(c, func() bool { return len(waiting) == 0 })
}

// TestRefusedCandidatesDelayNobody2B lets servers with old logs ask the only server with
// a newer log for its vote, again and again. A refused candidate does not restart the
// election timer of the voter (Figure 2, rules for followers), so the server with the
// newer log soon stands for election itself.
func TestRefusedCandidatesDelayNobody2B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 9, 3, func(round int) bool { return besieged(t, round) })
	})
}

func besieged(t *testing.T, round int) bool {
	c := labtest.New(t, 7, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 7)
	leader := c.Leader()
	ahead, command := c.Others(leader)[0], randomString(c.Rand, 20)
	carried := make(map[labtest.Call]bool)
	received, cut, stands, refused := false, false, false, 0
	c.Direct(func(m labtest.Message) labrpc.Decision {
		carried[m.Call] = carried[m.Call] || m.Carries(command)
		switch {
		case carried[m.Call] && !m.Reply && m.To != ahead:
			return labrpc.Never()
		case !cut:
			received = received || m.From == ahead && m.Reply && carried[m.Call]
		case m.Involves(leader) || !m.Involves(ahead):
			return labrpc.Never() // the others reach only the server ahead
		case m.From == ahead && m.Asks():
			stands = true
		case m.From == ahead && m.Reply && (m.Kind == labtest.Vote || m.Kind == labtest.PreVote) && !stands:
			refused++
		}
		return labrpc.Usual()
	})
	c.Start(leader, command)
	if !c.Eventually(time.Second, func() bool { return between(c, func() bool { return received }) }) {
		return false
	}
	c.Scripted(func() { cut = true })
	stood := c.Eventually(labtest.ElectionLimit, func() bool { return between(c, func() bool { return stands }) })
	if between(c, func() int { return refused }) == 0 {
		return false
	}
	if !stood {
		t.Errorf("a server refused %d candidates with older logs in %v, and did not stand for election itself; a refusal must not restart the election timer",
			between(c, func() int { return refused }), labtest.ElectionLimit)
	}
	return true
}
