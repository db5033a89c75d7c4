package core_test

import (
	"errors"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// silent is a cluster that has committed a command and fallen silent.
func silent(t *testing.T, config core.Config) *coretest.Cluster {
	t.Helper()
	config.LeaderNoOp, config.Quiesce = true, true
	c := coretest.New(coretest.Options{Config: config})
	timeout(c, 1)
	if err := c.Propose(1, "a"); err != nil {
		t.Fatal(err)
	}
	tickAll(c, 12*electionTicks)
	for _, id := range c.IDs() {
		if !c.Core(id).Quiescent() {
			t.Fatalf("server %d is not quiescent: %+v", id, c.Core(id).Status())
		}
	}
	return c
}

func wantAwake(t *testing.T, c *coretest.Cluster, want bool) {
	t.Helper()
	for _, id := range c.IDs() {
		if c.Up(id) && c.Core(id).Quiescent() == want {
			t.Errorf("server %d: quiescent %t", id, want)
		}
	}
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}

// A leader checks its quorum at the same tick as it sends a heartbeat, whatever the ratio of
// the two.
func TestQuiescenceWithAnyHeartbeat(t *testing.T) {
	for heartbeat := 1; heartbeat < electionTicks; heartbeat++ {
		c := silent(t, core.Config{HeartbeatTicks: heartbeat})
		wantAwake(t, c, false)
	}
}

// The leader's clock stands still in silence. A learner that has caught up before has caught
// up in silence, too, and may become a voter.
func TestQuiescentLearnerHasCaughtUp(t *testing.T) {
	c := silent(t, core.Config{HeartbeatTicks: electionTicks - 1})
	if err := c.Reconfigure(1, core.Configuration{Voters: ids(1, 2), Learners: ids(3)}); err != nil {
		t.Fatal(err)
	}
	tickAll(c, 12*electionTicks)
	wantAwake(t, c, false)
	if m := c.Core(1).Members()[2]; !m.CaughtUp {
		t.Errorf("the leader's picture: %+v", m)
	}
	if err := c.Reconfigure(1, core.Configuration{Voters: ids(1, 2, 3)}); err != nil {
		t.Error(err)
	}
}

// A former member that cannot know of its removal asks all members. That wakes followers that
// have agreed to be silent. A leader that fell silent then would be deposed by them.
func TestStrangerKeepsTheLeaderAwake(t *testing.T) {
	c := coretest.New(coretest.Options{Config: core.Config{LeaderNoOp: true, Quiesce: true}})
	timeout(c, 1)
	for range 4 * electionTicks {
		if c.Core(2).Quiescent() {
			break
		}
		c.Tick(1)
		c.Settle()
	}
	leader := c.Core(1)
	if !c.Core(2).Quiescent() || leader.Quiescent() {
		t.Fatalf("quiescent: leader %t, follower %t", leader.Quiescent(), c.Core(2).Quiescent())
	}
	ask := core.Message{From: 9, To: 1, Call: 1, Body: &core.RequestVote{Term: 2, CandidateID: 9, PreVote: true}}
	if err := leader.Step(ask); err != nil {
		t.Fatal(err)
	}
	for range electionTicks - 1 {
		leader.Tick()
	}
	if leader.Quiescent() {
		t.Error("the leader falls silent, although its followers were asked for votes")
	}
}

// An idle cluster sends nothing, whatever time passes, and elects nobody.
func TestQuiescentClusterIsSilent(t *testing.T) {
	c := silent(t, core.Config{})
	for range 10 * electionTicks {
		for _, id := range c.IDs() {
			c.Tick(id)
		}
		c.FinishAll()
		if ms := c.InFlight(); len(ms) > 0 {
			t.Fatalf("sent %v", ms)
		}
	}
	if c.Leader() != 1 {
		t.Fatalf("server %d leads", c.Leader())
	}
}

// A command, a read on any server and a transfer wake the cluster.
func TestRequestsWakeAQuiescentCluster(t *testing.T) {
	for name, do := range map[string]func(c *coretest.Cluster) error{
		"command":            func(c *coretest.Cluster) error { return c.Propose(1, "b") },
		"read":               func(c *coretest.Cluster) error { return c.Read(1) },
		"read on a follower": func(c *coretest.Cluster) error { return c.Read(2) },
		"change of members": func(c *coretest.Cluster) error {
			return c.Reconfigure(1, core.Configuration{Voters: ids(1, 2), Learners: ids(3)})
		},
		"transfer":            func(c *coretest.Cluster) error { return c.Transfer(1, 2) },
		"host lost the peers": func(c *coretest.Cluster) error { c.Wake(1); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := silent(t, core.Config{})
			if err := do(c); err != nil {
				t.Fatal(err)
			}
			c.Settle()
			wantAwake(t, c, true)
			tickAll(c, 4*electionTicks)
			if c.Core(c.Leader()).Status().LastApplied != c.Core(c.Leader()).Status().LastIndex {
				t.Errorf("the request was not carried out: %+v", c.Core(c.Leader()).Status())
			}
			wantAwake(t, c, false)
		})
	}
}

// A dead leader stays undiscovered until somebody asks, or the host says that it
// may be dead. Then the others elect a new one, also if only one was told.
func TestDeadLeaderOfAQuiescentCluster(t *testing.T) {
	for _, told := range [][]core.NodeID{{2, 3}, {2}} {
		c := silent(t, core.Config{})
		c.Crash(1)
		tickAll(c, 5*electionTicks)
		if c.Leader() != core.None {
			t.Fatal("silent servers elect a leader")
		}
		for _, id := range told {
			c.Wake(id)
		}
		tickAll(c, 5*electionTicks)
		if c.Leader() == core.None || c.Err() != nil {
			t.Fatalf("told %v, the others elect no leader: %v", told, c.Err())
		}
	}
	c := silent(t, core.Config{})
	c.Crash(1)
	_ = c.Read(2)
	tickAll(c, 5*electionTicks)
	if c.Leader() == core.None || c.Err() != nil {
		t.Fatalf("a read on a follower does not end the silence: %v", c.Err())
	}
}

// A cluster with a member that is away does not fall silent: the leader would not
// learn that the member is back.
func TestNoSilenceWhileAMemberIsAway(t *testing.T) {
	c := coretest.New(coretest.Options{Config: core.Config{LeaderNoOp: true, Quiesce: true}})
	timeout(c, 1)
	c.Crash(3)
	tickAll(c, 12*electionTicks)
	wantAwake(t, c, true)
	c.Restart(3)
	tickAll(c, 12*electionTicks)
	wantAwake(t, c, false)
}

// A server that lacks an entry does not agree to fall silent.
func TestNoSilenceBeforeTheLogIsThere(t *testing.T) {
	s := start(t, 3, disk(1, 1), func(cfg *core.Config) { cfg.Quiesce = true })
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1, LeaderCommit: 1})
	for commit, want := range map[uint64]bool{0: false, 1: true, 2: false} {
		rep := ask[*core.QuiesceReply](s, 2, &core.Quiesce{Term: 1, LeaderID: 2, CommitIndex: commit})
		if rep.Quiescent != want || s.Quiescent() != want {
			t.Errorf("asked at commit %d: %+v; want %t", commit, rep, want)
		}
		s.Wake()
	}
	if err := s.Step(core.Message{From: 3, To: 1, Body: &core.Quiesce{Term: 1, LeaderID: 3, CommitIndex: 1}}); !errors.Is(err, core.ErrUnsafe) {
		t.Errorf("a second leader's request: %v", err)
	}
}

// A silent leader's clock stands still, so it holds no lease.
func TestQuiescentLeaderHasNoLease(t *testing.T) {
	c := silent(t, core.Config{LeaseTicks: electionTicks - 1})
	c.Partition([]core.NodeID{2, 3})
	c.Wake(2)
	c.Wake(3)
	for range 4 * electionTicks {
		c.Tick(2)
		c.Tick(3)
		c.Settle()
	}
	if leader := c.Leader(); leader == 1 || c.Propose(leader, "b") != nil {
		t.Fatalf("server %d leads", leader)
	}
	c.Settle()
	if err := c.Read(1); err != nil {
		t.Fatal(err)
	}
	c.Settle()
	if answered, _ := c.Reads(); answered != 0 || c.Err() != nil {
		t.Fatalf("the silent leader answers %d reads: %v", answered, c.Err())
	}
}
