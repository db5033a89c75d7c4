package raft_test

import (
	"fmt"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
)

// snapshotEvery is how many commands the service of part 2D applies before it
// takes a snapshot.
const snapshotEvery = 10

// maxStateBytes is what the Raft state may take with a snapshot every
// snapshotEvery small commands and at most as many again under way.
const maxStateBytes = 2000

// checkStateSizes fails the test if a server keeps more log than it needs.
func checkStateSizes(t *testing.T, c *labtest.Cluster) {
	t.Helper()
	for i := range c.N {
		if n := c.Persister(i).RaftStateSize(); n >= maxStateBytes {
			t.Fatalf("the Raft state of server %d takes %d bytes with a snapshot every %d commands; want less than %d",
				i, n, snapshotEvery, maxStateBytes)
		}
	}
}

// TestSnapshots2D lets the service take a snapshot every few commands. The Raft
// state stays small, and every server has a snapshot in the end.
func TestSnapshots2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		for k := range 10 * snapshotEvery {
			c.One(k, 3)
			checkStateSizes(t, c)
		}
		for i := range c.N {
			if c.Persister(i).SnapshotSize() == 0 {
				t.Errorf("server %d has no snapshot", i)
			}
		}
	})
}

type structCommand struct {
	Op    string
	Key   string
	Value int
}

// TestLaggingFollowers2D lets a follower, or the leader, miss more commands than the
// log keeps, by a cut or by a crash, on a good and on a bad network.
func TestLaggingFollowers2D(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for _, unreliable := range []bool{false, true} {
			t.Run(fmt.Sprintf("crash=%t/unreliable=%t", crash, unreliable), func(t *testing.T) {
				labtest.Run(t, func(t *testing.T) { lag(t, crash, unreliable) })
			})
		}
	}
}

func lag(t *testing.T, crash, unreliable bool) {
	c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
	c.Net.Reliable(!unreliable)
	c.One(-1, 3)
	for round := range 30 {
		victim, sender := c.Others(c.Leader())[0], c.Leader()
		if round%3 == 1 {
			victim, sender = sender, victim
		}
		if crash {
			c.Crash(victim)
		} else {
			c.Disconnect(victim)
		}
		c.One(1000*round, 2)
		if round%3 == 1 {
			sender = c.Leader()
		}
		// More than a snapshot's worth, so that the victim needs a snapshot; or
		// less, so that it needs the log.
		many := snapshotEvery/2 + c.Rand.IntN(snapshotEvery)
		if c.Rand.IntN(2) == 0 {
			many = 2*snapshotEvery + 2
		}
		for k := range many {
			c.Start(sender, 1000*round+100+k)
			if k%snapshotEvery == snapshotEvery-1 {
				c.One(1000*round+200+k, 2)
			}
		}
		c.One(1000*round+998, 2)
		checkStateSizes(t, c)
		if crash {
			c.Restart(victim)
		} else {
			c.Connect(victim)
		}
		c.One(1000*round+999, 3)
	}
}

// TestRestartFromSnapshots2D crashes all servers. They go on from their snapshots
// and apply no command from within a snapshot.
func TestRestartFromSnapshots2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 5, labtest.SnapshotEvery(snapshotEvery))
		for round := range 10 {
			for k := range snapshotEvery + 3 {
				c.One(fmt.Sprint(round, "-", k), 5)
			}
			c.Crash(c.All()...)
			for i := range c.N {
				if c.Persister(i).SnapshotSize() == 0 {
					t.Fatalf("server %d has no snapshot", i)
				}
			}
			c.Restart(c.All()...)
			if leader := c.Leader(); c.AppliedBy(leader) == 0 {
				t.Fatalf("server %d applied nothing after its restart from a snapshot", leader)
			}
		}
		c.One("last", 5)
	})
}

// TestStateSurvivesCommands2D makes saves of the Raft state follow a snapshot. The
// snapshot must survive these saves, because nobody can send its commands after
// restarts.
func TestStateSurvivesCommands2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		for k := range snapshotEvery {
			c.One(k, 3)
		}
		for round := range 5 {
			c.One(fmt.Sprint("more", round), 3)
			for i := range c.N {
				c.Restart(i)
				c.One(fmt.Sprint("restarted", round, i), 3)
			}
		}
	})
}

// TestSnapshotAfterRestart2D sends a snapshot to a follower whose whole log is
// older, after the leader has restarted from the same snapshot.
func TestSnapshotAfterRestart2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		c.One("first", 3)
		victim := c.Others(c.Leader())[0]
		c.Disconnect(victim)
		for k := range 2*snapshotEvery + 5 {
			c.One(k, 2)
		}
		c.Restart(c.Others(victim)...)
		c.One("restarted", 2)
		c.Connect(victim)
		c.One("joined", 3)
		c.Restart(victim) // from the snapshot that it was sent
		c.One("last", 3)
		checkStateSizes(t, c)
	})
}

// TestSnapshotUnderLoad2D takes snapshots while commands keep coming. Snapshots
// block nobody, and all commands are applied in order.
func TestSnapshotUnderLoad2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		leader := c.Leader()
		const commands = 1000
		for k := range commands {
			c.Start(leader, structCommand{"put", randomString(c.Rand, 3), k})
			if k%20 == 19 {
				c.Sleep(5 * time.Millisecond)
			}
		}
		c.One("last", 3)
	})
}

// TestOldSnapshotsAreIgnored2D calls Snapshot with an index below the newest
// snapshot and with an index beyond the applied state. Nothing changes.
func TestOldSnapshotsAreIgnored2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		for k := range 2*snapshotEvery + 5 {
			c.One(k, 3)
		}
		for i := range c.N {
			before := c.Persister(i).ReadSnapshot()
			c.Snapshot(i, snapshotEvery, []byte("older than the newest"))
			if string(c.Persister(i).ReadSnapshot()) != string(before) {
				t.Errorf("server %d took an old snapshot", i)
			}
		}
		c.Restart(c.All()...)
		c.One("last", 3)
	})
}

// TestStructCommandsStayCompact2D looks at the size of the state for commands of a
// struct type. A description of the type with each command is a note.
func TestStructCommandsStayCompact2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(25))
		for k := range 49 {
			c.One(structCommand{"put", "key", k}, 3)
			for i := range c.N {
				if n := c.Persister(i).RaftStateSize(); n >= maxStateBytes {
					labrun.Note(t, "the Raft state grows fast; does it describe the type of each command?")
					t.Logf("%d bytes with a snapshot every 25 commands", n)
					return
				}
			}
		}
	})
}

// TestSnapshotReplacesLog2D brings back a follower that is far behind. The follower
// gets a snapshot instead of the commands in the snapshot.
func TestSnapshotReplacesLog2D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(snapshotEvery))
		c.One("first", 3)
		victim := c.Others(c.Leader())[0]
		c.Disconnect(victim)
		missed := 0
		for range 10 * snapshotEvery {
			command := randomString(c.Rand, 2000)
			missed += len(command)
			c.One(command, 2)
		}
		before := c.Net.GetTotalBytes()
		c.Connect(victim)
		c.One("last", 3)
		if n := c.Net.GetTotalBytes() - before; n > int64(missed/2) {
			t.Errorf("%d bytes were sent to a follower that missed %d bytes of commands, of which a snapshot stands for most", n, missed)
		}
	})
}
