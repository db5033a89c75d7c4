package raft_test

import (
	"slices"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// TestStaleSnapshot2D delivers an InstallSnapshot twice, or after its receiver is
// far ahead. The service must not go back.
func TestStaleSnapshot2D(t *testing.T) {
	labtest.Cases(t, "twice=%t", []bool{true, false}, func(t *testing.T, twice bool) {
		play(t, 6, 3, func(round int) bool { return staleSnapshot(t, round, twice) })
	})
}

func staleSnapshot(t *testing.T, round int, twice bool) bool {
	c := labtest.New(t, 3, labtest.Round(round), labtest.SnapshotEvery(snapshotEvery))
	defer c.Shutdown()
	c.One("first", 3)
	victim := c.Others(c.Leader())[0]
	late, snapshots := labrpc.NewHold(), 0
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if m.Kind != labtest.Snapshot || m.Reply || m.To != victim {
			return labrpc.Usual()
		}
		snapshots++
		switch {
		case twice:
			return labrpc.Twice()
		case snapshots == 1:
			return labrpc.HeldBy(late)
		}
		return labrpc.Usual()
	})
	c.Disconnect(victim)
	for k := range snapshotEvery + 5 {
		c.One(k, 2)
	}
	c.Connect(victim)
	caughtUp := func() bool { return c.AppliedBy(victim) >= snapshotEvery+5 }
	if !c.Eventually(5*time.Second, caughtUp) || between(c, func() int { return snapshots }) == 0 {
		late.Release()
		return false
	}
	for k := range 3 * snapshotEvery {
		c.One(k, 3)
	}
	late.Release()
	c.Sleep(50 * time.Millisecond)
	c.One("after", 3)
	c.Restart(victim)
	c.One("last", 3)
	return true
}

// TestSnapshotOfWhatIsApplied2D lets a leader without replies from a follower send a
// snapshot of state that the follower has already applied. The follower must not go
// back. A leader that reports commits only as far as it knows the follower never
// sends such a snapshot, and the test is skipped.
func TestSnapshotOfWhatIsApplied2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 6, 2, func(round int) bool { return snapshotOfApplied(t, round) })
	})
}

func snapshotOfApplied(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	c.One("first", 3)
	leader := c.Leader()
	follower, snapshots := c.Others(leader)[0], 0
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if m.Kind == labtest.Snapshot && !m.Reply && m.To == follower {
			snapshots++
		}
		if m.Reply && m.From == follower {
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	for k := range snapshotEvery {
		c.One(k, 2)
	}
	before := c.LastApplied()
	if !c.Eventually(2*time.Second, func() bool { return c.AppliedBy(follower) >= before && c.AppliedBy(leader) >= before }) {
		return false
	}
	c.TakeSnapshot(leader)
	c.One("more", 2)
	came := c.Eventually(2*time.Second, func() bool { return between(c, func() int { return snapshots }) > 0 })
	c.Sleep(50 * time.Millisecond)
	c.Direct(nil)
	c.One("after", 3)
	c.Restart(follower)
	c.One("last", 3)
	return came
}

// TestSnapshotKeepsLaterEntries2D sends a snapshot to a follower with a longer log.
// The rest of the log must stay (Figure 13, step 6), because the leader has counted
// the entries.
func TestSnapshotKeepsLaterEntries2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 2, func(round int) bool { return laterEntries(t, round) })
	})
}

// The stages of the script for TestSnapshotKeepsLaterEntries2D.
const (
	both     = iota // get the first commands
	late            // the follower alone gets more
	lose            // it misses one message
	snapshot        // it gets nothing but a snapshot
	cut             // it gets nothing
)

// longer is that script: a follower's log becomes longer than the leader, to
// whom no answers come, knows.
type longer struct {
	follower, other        int
	early, later           string // the last of the first commands, and of all
	stage                  int
	carried                map[labtest.Call]string
	answered               map[int]string // by server, which of the two
	acks, otherAcks, never *labrpc.Hold
}

func (l *longer) decide(m labtest.Message) labrpc.Decision {
	for _, command := range []string{l.early, l.later} {
		if !m.Reply && m.Carries(command) {
			l.carried[m.Call] = command
		}
	}
	if command := l.carried[m.Call]; m.Reply && command != "" {
		l.answered[m.From] = command
	}
	switch {
	case m.Asks() || m.Reply && m.Kind == labtest.Snapshot:
		return labrpc.Never()
	case m.Reply && m.From == l.follower:
		return labrpc.HeldBy(l.acks)
	case m.Reply:
		return labrpc.HeldBy(l.otherAcks)
	case m.To == l.other && l.stage != both:
		return labrpc.Never()
	case m.To == l.follower && l.stage == lose:
		l.stage = snapshot
		return labrpc.Never()
	case m.To == l.follower && m.Kind == labtest.Snapshot && l.stage == snapshot:
		l.stage = cut
	case m.To == l.follower && l.stage >= snapshot:
		return labrpc.HeldBy(l.never)
	}
	return labrpc.Usual()
}

// when goes on to a stage once servers have a command.
func (l *longer) when(c *labtest.Cluster, stage int, command string, servers ...int) {
	c.Eventually(100*time.Millisecond, func() bool {
		return between(c, func() bool {
			return !slices.ContainsFunc(servers, func(i int) bool { return l.answered[i] != command })
		})
	})
	c.Scripted(func() { l.stage = stage })
}

func laterEntries(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round), labtest.SnapshotEvery(snapshotEvery))
	defer c.Shutdown()
	leader := c.Leader()
	rest := c.Others(leader)
	l := &longer{
		follower: rest[0], other: rest[1],
		early: randomString(c.Rand, 20), later: randomString(c.Rand, 20),
		carried: make(map[labtest.Call]string), answered: make(map[int]string),
		acks: labrpc.NewHold(), otherAcks: labrpc.NewHold(), never: labrpc.NewHold(),
	}
	c.Direct(l.decide)
	for k := range snapshotEvery - 1 {
		c.Start(leader, k)
	}
	c.Start(leader, l.early)
	l.when(c, late, l.early, l.follower, l.other)
	c.Start(leader, "late")
	c.Start(leader, l.later)
	l.when(c, lose, l.later, l.follower)
	l.otherAcks.Release() // and with it the snapshot is taken
	done := c.Eventually(500*time.Millisecond, func() bool {
		return between(c, func() bool { return l.stage == cut })
	})
	c.Sleep(5 * time.Millisecond)
	l.acks.Release()
	c.Sleep(20 * time.Millisecond)
	done = done && c.AppliedBy(leader) == snapshotEvery+2
	c.Crash(leader)
	c.Direct(nil)
	c.OneAt(rest, "next")
	c.Restart(leader)
	c.One("last", 3)
	return done
}

// TestCrashAfterSnapshot2D crashes a follower at the moment of its reply to a
// snapshot. The follower must go on from this snapshot or from an earlier one,
// without a gap.
func TestCrashAfterSnapshot2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		c.One("first", 3)
		for range 5 {
			victim := c.Others(c.Leader())[0]
			c.Disconnect(victim)
			for k := range snapshotEvery + 2 {
				c.One(k, 2)
			}
			crashed := false
			asked := make(map[labtest.Call]int) // terms
			c.Direct(func(m labtest.Message) labrpc.Decision {
				switch {
				case m.Kind != labtest.Snapshot:
				case !m.Reply:
					asked[m.Call] = m.Term
				case m.From == victim && !crashed && m.Term <= asked[m.Call]: // in a newer term it refuses
					crashed = true
					c.Crash(victim)
				}
				return labrpc.Usual()
			})
			c.Connect(victim)
			if !c.Eventually(5*time.Second, func() bool { return between(c, func() bool { return crashed }) }) {
				t.Skip("not applicable: no InstallSnapshot was answered")
			}
			c.Direct(nil)
			c.Restart(victim)
			c.One("all", 3)
		}
	})
}

// TestTermOfSnapshotIsKept2D restarts a server that has only a snapshot, beside a
// server without the snapshot. Only the term of the snapshot shows the better log
// (section 5.4.1).
func TestTermOfSnapshotIsKept2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 6, 3, func(round int) bool { return nothingButSnapshot(t, round) })
	})
}

func nothingButSnapshot(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round), labtest.SnapshotEvery(snapshotEvery))
	defer c.Shutdown()
	c.One("first", 3)
	rest := c.Others(c.Leader())
	behind, ahead := rest[0], rest[1]
	c.Disconnect(behind)
	for c.LastApplied()%snapshotEvery != 0 {
		c.One(c.LastApplied(), 2)
	}
	last := c.LastApplied()
	if !c.Eventually(time.Second, func() bool { return c.AppliedBy(ahead) == last && c.Persister(ahead).SnapshotSize() > 0 }) {
		return false
	}
	c.Crash(c.Others(behind)...)
	c.Connect(behind)
	c.Restart(ahead)
	c.One("next", 2) // at another index, or the ledger differs
	c.Heal()
	c.Restart(c.Others(behind, ahead)...)
	c.One("last", 3)
	return true
}

// TestSnapshotBesideCommands2D sends a snapshot to a follower while its slow service
// still has commands to take. The service gets the commands in order, and after the
// snapshot no command from within the snapshot.
func TestSnapshotBesideCommands2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 6, 3, func(round int) bool { return slowService(t, round) })
	})
}

func slowService(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round), labtest.SnapshotEvery(snapshotEvery))
	defer c.Shutdown()
	c.One("first", 3)
	leader := c.Leader()
	slow, snapshots := c.Others(leader)[0], 0
	c.Pause(slow)
	c.One("taken", 2)
	c.Sleep(200 * time.Millisecond) // for the follower to hear of it
	last := 0
	for k := range snapshotEvery / 2 { // commit together
		last, _, _ = c.Start(leader, k)
	}
	if !c.Eventually(time.Second, func() bool { n, _ := c.Applied(last); return n > 0 }) {
		return false
	}
	c.Sleep(200 * time.Millisecond)
	c.Disconnect(slow)
	for k := range snapshotEvery + 5 {
		c.One(k, 2)
	}
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if m.Kind == labtest.Snapshot && m.Reply && m.From == slow {
			snapshots++
		}
		return labrpc.Usual()
	})
	c.Connect(slow)
	came := c.Eventually(2*time.Second, func() bool { return between(c, func() int { return snapshots }) > 0 })
	c.Sleep(20 * time.Millisecond)
	c.Resume(slow)
	c.One("last", 3)
	return came
}
