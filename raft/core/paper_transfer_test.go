package core_test

import (
	"errors"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// transfer begins a transfer that must be accepted.
func (s *server) transfer(to core.NodeID) {
	s.t.Helper()
	if err := s.TransferLeadership(to); err != nil {
		s.t.Fatalf("TransferLeadership(%d): %v", to, err)
	}
}

// Thesis 3.10: the leader stops accepting commands, brings the successor's log up
// to date, and sends it TimeoutNow.
func TestThesis3_10_Transfer(t *testing.T) {
	s := lead(t, 3)
	s.propose("a")
	s.transfer(2)
	if _, _, err := s.Propose(nil); !errors.Is(err, core.ErrTransferring) {
		t.Errorf("Propose during a transfer: %v", err)
	}
	s.refuses(core.Configuration{Voters: ids(1, 2)}, core.ErrTransferring)
	if err := s.TransferLeadership(3); !errors.Is(err, core.ErrTransferring) {
		t.Errorf("a second transfer: %v", err)
	}
	if ms := sent[*core.TimeoutNow](s.work(), core.None); len(ms) > 0 {
		t.Fatalf("TimeoutNow before the successor has the log: %v", ms)
	}
	s.accept(3, 2)
	s.accept(2, 2)
	if ms := sent[*core.TimeoutNow](s.work(), 2); len(ms) != 1 {
		t.Fatalf("%d TimeoutNow to the successor that has the log", len(ms))
	}
	s.wantState(core.Leader, 1) // until it hears of the new term
}

// A transfer that comes to nothing is given up after an election timeout.
func TestThesis3_10_TransferIsGivenUp(t *testing.T) {
	s := lead(t, 3)
	s.transfer(2)
	for range electionTicks {
		s.tick(1)
		s.accept(3, 1)
	}
	if _, _, err := s.Propose(nil); err != nil {
		t.Fatalf("Propose after an election timeout: %v", err)
	}
}

// The successor campaigns at once, without a pre-vote, and the others vote
// although they hear the leader.
func TestThesis3_10_SuccessorCampaignsAtOnce(t *testing.T) {
	s := start(t, 3, disk(1, 1))
	s.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	s.step(2, &core.TimeoutNow{Term: 1, LeaderID: 2})
	s.wantState(core.Candidate, 2)
	reqs := sent[*core.RequestVote](s.work(), core.None)
	if len(reqs) != 2 || reqs[0].PreVote || !reqs[0].Transfer {
		t.Fatalf("the successor asks by %v", reqs)
	}
	voter := start(t, 3, disk(1, 1))
	voter.append(2, core.AppendEntries{Term: 1, PrevLogIndex: 1, PrevLogTerm: 1})
	if rep := voter.vote(3, core.RequestVote{Term: 2, LastLogIndex: 1, LastLogTerm: 1}); rep.VoteGranted {
		t.Errorf("a vote for one that the leader did not choose: %+v", rep)
	}
	if rep := voter.vote(3, core.RequestVote{Term: 2, LastLogIndex: 1, LastLogTerm: 1, Transfer: true}); !rep.VoteGranted {
		t.Errorf("no vote for the leader's choice: %+v", rep)
	}
}

// A delayed TimeoutNow of an old term, or one to a learner, starts nothing.
func TestThesis3_10_LateTimeoutNow(t *testing.T) {
	s := start(t, 3, disk(3, 1))
	s.step(2, &core.TimeoutNow{Term: 2, LeaderID: 2})
	s.wantState(core.Follower, 3)
	s = start(t, 3, disk(3, 1), func(cfg *core.Config) { cfg.Voters, cfg.Learners = ids(2, 3), ids(1) })
	s.step(2, &core.TimeoutNow{Term: 3, LeaderID: 2})
	s.wantState(core.Follower, 3)
}

// Only a voter can take over. Left to itself, the leader chooses one that answers
// and has the longest log.
func TestThesis3_10_Successor(t *testing.T) {
	s := withLearner(t)
	for _, id := range ids(4, 9) {
		if err := s.TransferLeadership(id); !errors.Is(err, core.ErrNoSuccessor) {
			t.Errorf("transfer to server %d: %v", id, err)
		}
	}
	s.propose("a")
	s.work()
	s.accept(3, 3)
	s.transfer(1) // itself: nothing to do
	s.transfer(core.None)
	if to := s.Status().Transferee; to != 3 {
		t.Errorf("the leader chooses server %d; want 3", to)
	}
	if err := start(t, 3, core.Persistent{}).TransferLeadership(2); !errors.Is(err, core.ErrNotLeader) {
		t.Errorf("transfer by a follower: %v", err)
	}
	alone := start(t, 1, core.Persistent{}, library)
	alone.tick(2 * electionTicks)
	alone.work()
	if err := alone.TransferLeadership(core.None); !errors.Is(err, core.ErrNoSuccessor) {
		t.Errorf("transfer by a leader alone: %v", err)
	}
}

// A whole transfer takes no election timeout, and the old leader follows.
func TestThesis3_10_TransferTakesNoTicks(t *testing.T) {
	c := coretest.New(coretest.Options{Servers: 5, Config: core.Config{LeaderNoOp: true}})
	timeout(c, 1)
	for _, to := range c.IDs() {
		if err := c.Transfer(c.Leader(), to); err != nil {
			t.Fatal(err)
		}
		c.Settle()
		if got := c.Leader(); got != to || c.Err() != nil {
			t.Fatalf("server %d leads after a transfer to %d: %v", got, to, c.Err())
		}
	}
}

// timeout lets a server of a cluster call an election, and settles it.
func timeout(c *coretest.Cluster, id core.NodeID) {
	for range 20 {
		c.Tick(id)
	}
	c.Settle()
}

func tickAll(c *coretest.Cluster, ticks int) {
	for range ticks {
		for _, id := range c.IDs() {
			c.Tick(id)
		}
		c.Settle()
	}
}

// The leader of a busy cluster gives way to a voter of higher priority as well: the
// voter has what is on its way soon enough.
func TestPriorityUnderLoad(t *testing.T) {
	s := start(t, 3, core.Persistent{}, library, func(cfg *core.Config) { cfg.Members = []core.Member{{ID: 2, Priority: 1}} })
	s.tick(electionTicks) // lower priority, longer wait
	s.elect()
	s.accept(2, 1)
	s.work()
	for i := range uint64(electionTicks) {
		s.propose("a")
		s.work()
		s.accept(3, 2+i)
		s.accept(2, 1+i) // always one entry behind
		s.tick(1)
	}
	if to := s.Status().Transferee; to != 2 {
		t.Errorf("the leader transfers to server %d; want 2", to)
	}
}

// A voter of higher priority gets the leadership as soon as it has the log, and a
// voter of lower priority waits longer before it calls an election.
func TestPriority(t *testing.T) {
	priorities := []core.Member{{ID: 1, Priority: 1}, {ID: 2, Priority: 1}, {ID: 3, Priority: 2}}
	c := coretest.New(coretest.Options{Config: core.Config{LeaderNoOp: true, Members: priorities}})
	timeout(c, 1)
	timeout(c, 1) // lower priority, longer wait
	if c.Leader() != 1 {
		t.Fatalf("server %d leads; want 1", c.Leader())
	}
	c.Partition([]core.NodeID{1, 2})
	tickAll(c, 2*electionTicks)
	if c.Leader() != 1 {
		t.Fatalf("server %d leads while server 3 is away", c.Leader())
	}
	c.Heal()
	tickAll(c, 3*electionTicks)
	if c.Leader() != 3 || c.Err() != nil {
		t.Fatalf("server %d leads; want 3, with the highest priority: %v", c.Leader(), c.Err())
	}
	for seed := range uint64(20) {
		c := coretest.New(coretest.Options{Seed: seed, Config: core.Config{LeaderNoOp: true, Members: priorities}})
		for c.Leader() == core.None && c.Err() == nil {
			tickAll(c, 1)
		}
		if c.Leader() != 3 {
			t.Errorf("seed %d: server %d wins the first election", seed, c.Leader())
		}
	}
}
