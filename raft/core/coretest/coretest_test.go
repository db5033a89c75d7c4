package coretest_test

import (
	"strings"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// A checker must be seen to say no. Each test breaks one thing that Raft stands
// on, behind the servers' backs, and wants to hear of it.

func wantViolation(t *testing.T, c *coretest.Cluster, words string) {
	t.Helper()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), words) {
		t.Fatalf("the checker says %v; want %q", err, words)
	}
}

func wantNone(t *testing.T, c *coretest.Cluster) {
	t.Helper()
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
}

// timeout lets a server call an election, and settles it.
func timeout(c *coretest.Cluster, id core.NodeID) {
	for range 20 {
		c.Tick(id)
	}
	c.Settle()
}

// replicated is a cluster in which all have committed two commands.
func replicated(t *testing.T, servers int) *coretest.Cluster {
	t.Helper()
	c := coretest.New(coretest.Options{Servers: servers})
	timeout(c, 1)
	for _, data := range []string{"a", "b"} {
		if err := c.Propose(1, data); err != nil {
			t.Fatal(err)
		}
	}
	c.Settle()
	c.Tick(1)
	c.Settle()
	wantNone(t, c)
	if err := c.Converged(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestForgottenVoteIsSeen(t *testing.T) {
	c := coretest.New(coretest.Options{})
	c.Partition([]core.NodeID{1, 3})
	timeout(c, 1)
	c.Crash(3)
	c.ChangeDisk(3, func(d *core.Persistent) { d.HardState.VotedFor = core.None })
	c.Restart(3)
	c.Partition([]core.NodeID{2, 3})
	timeout(c, 2)
	wantViolation(t, c, "saves term 1, vote 0 over term 1, vote 1")
}

func TestForgottenTermIsSeen(t *testing.T) {
	c := replicated(t, 3)
	c.Crash(2)
	c.ChangeDisk(2, func(d *core.Persistent) { *d = core.Persistent{} })
	c.Restart(2)
	wantViolation(t, c, "restarts in term 0 after it has spoken of term 1")
}

func TestLostLogIsSeen(t *testing.T) {
	c := replicated(t, 3)
	for id := core.NodeID(2); id <= 3; id++ {
		c.Crash(id)
		c.ChangeDisk(id, func(d *core.Persistent) { d.Entries = nil })
		c.Restart(id)
	}
	c.Crash(1)
	timeout(c, 2)
	wantViolation(t, c, "Leader Completeness")
}

func TestOtherEntryOfTheSameTermIsSeen(t *testing.T) {
	c := replicated(t, 3)
	c.Crash(2)
	c.ChangeDisk(2, func(d *core.Persistent) { d.Entries[0].Data = []byte("other") })
	c.Restart(2)
	wantViolation(t, c, "Log Matching")
}

func TestServiceThatDiffersIsSeen(t *testing.T) {
	c := replicated(t, 3)
	c.Snapshot(2, false)
	c.Crash(2)
	c.ChangeDisk(2, func(d *core.Persistent) { d.Snapshot.Data[8]++ })
	c.Restart(2)
	if err := c.Propose(1, "c"); err != nil {
		t.Fatal(err)
	}
	c.Settle()
	for range 3 {
		c.Tick(1)
		c.Settle()
	}
	wantViolation(t, c, "State Machine Safety")
}

func TestBrokenDiskIsSeen(t *testing.T) {
	c := replicated(t, 3)
	c.Crash(2)
	c.ChangeDisk(2, func(d *core.Persistent) { d.Entries = d.Entries[1:] })
	c.Restart(2)
	wantViolation(t, c, "does not start from its disk")
}

// A process that panics is a violation and a crash, with the others unharmed.
func TestPanicIsSeen(t *testing.T) {
	for _, keepGoing := range []bool{false, true} {
		c := coretest.New(coretest.Options{KeepGoing: keepGoing})
		propose := func() {
			if err := c.Propose(1, "x"); err != nil {
				t.Fatal(err)
			}
			c.Settle()
			c.Tick(1)
			c.Tick(1)
			c.Settle()
		}
		timeout(c, 1)
		propose()
		c.Snapshot(2, false)
		c.Crash(2)
		c.ChangeDisk(2, func(d *core.Persistent) { d.Snapshot.Data = nil }) // the service reads behind its end
		c.Restart(2)
		if c.Up(2) {
			t.Fatal("a server runs on after a panic")
		}
		if !keepGoing {
			wantViolation(t, c, "server 2 panics: runtime error: index out of range")
			wantViolation(t, c, "(*service).restore")
			continue
		}
		wantNone(t, c)
		if all := c.Violations(); len(all) != 1 || strings.Contains(all[0].Error(), "\n") {
			t.Fatalf("violations %v; want the panic in one line", all)
		}
		before := c.Core(3).Status().CommitIndex
		propose()
		if now := c.Core(3).Status().CommitIndex; now <= before {
			t.Fatalf("server 3 has committed %d entries, and %d after a proposal", before, now)
		}
	}
}

// A crash fits between any two duties of a host: whatever was not saved is gone,
// and whatever was said was saved.
func TestCrashBetweenDuties(t *testing.T) {
	for duties := range 12 {
		c := replicated(t, 3)
		if err := c.Propose(1, "c"); err != nil {
			t.Fatal(err)
		}
		c.Settle()
		c.Tick(1)
		for range duties {
			c.Work(1)
		}
		c.Crash(1)
		c.Restart(1)
		timeout(c, 2)
		for range 3 {
			timeout(c, 1)
		}
		wantNone(t, c)
	}
}

// One seed, one run: to the last line of the trace.
func TestRunsRepeat(t *testing.T) {
	run := func(seed uint64) string {
		var lines []string
		c := coretest.New(coretest.Options{Servers: 5, Seed: seed, Trace: func(line string) { lines = append(lines, line) }})
		if err := coretest.Explore(c, coretest.Seeded(seed, 400)); err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	if a, b := run(7), run(7); a != b || len(a) < 1000 {
		t.Fatalf("seed 7 made two runs, of %d and %d bytes", len(a), len(b))
	}
	if run(7) == run(8) {
		t.Fatal("seeds 7 and 8 made the same run")
	}
}

// Liveness: a cluster that cannot make progress is reported, not waited for.
func TestStandstillIsSeen(t *testing.T) {
	log := func(term uint64) core.Persistent {
		return core.Persistent{HardState: core.HardState{CurrentTerm: term, VotedFor: 1}}
	}
	// Two servers whose disks hold the highest term there is: no new one can begin.
	c := coretest.New(coretest.Options{Servers: 2, Disks: map[core.NodeID]core.Persistent{1: log(1<<63 - 1), 2: log(1<<63 - 1)}})
	err := coretest.Explore(c, coretest.FromBytes(nil))
	if err == nil {
		t.Fatal("no error from a cluster at a standstill")
	}
}
