package raft_test

import (
	"slices"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// The tests in the adversary files decide over each message, so as to bring
// about what chance almost never does. A scenario that needs the timers of
// servers to fall in a certain order is played in rounds, with a new cluster
// each, until it has come about so many times.

// play plays rounds until scene has said some times that it came about. If it
// never does, an implementation has no such case, and the test is skipped.
func play(t *testing.T, rounds, wanted int, scene func(round int) bool) {
	t.Helper()
	found := 0
	for round := 0; round < rounds && found < wanted; round++ {
		if scene(round) {
			found++
		}
	}
	if found == 0 {
		labtest.New(t, 3).Leader() // who elects nobody fails
		t.Skipf("not applicable: the case did not come about in %d rounds", rounds)
	}
}

// rivals is a script in which two servers that never hear each other stand for
// election, and their requests for votes are kept back until both are
// candidates of one term.
type rivals struct {
	a, b  int
	asked map[int]*poll // by term
	met   int           // the first term in which both are candidates; 0: none yet
}

// poll is the election of one term.
type poll struct {
	candidates map[int]bool
	holds      map[[2]int]*labrpc.Hold // by candidate and voter
}

// holdOf keeps a request back.
func (p *poll) holdOf(m labtest.Message) *labrpc.Hold {
	key := [2]int{m.From, m.To}
	if p.holds[key] == nil {
		p.holds[key] = labrpc.NewHold()
	}
	return p.holds[key]
}

func newRivals(a, b int) *rivals { return &rivals{a: a, b: b, asked: make(map[int]*poll)} }

// refuses says whether a message does not belong to the contest of the two.
func (r *rivals) refuses(m labtest.Message) bool {
	return m.Between(r.a, r.b) || m.Asks() && m.From != r.a && m.From != r.b
}

// ask notes that one of the two asks for votes in a term.
func (r *rivals) ask(m labtest.Message) *poll {
	p := r.asked[m.Term]
	if p == nil {
		p = &poll{make(map[int]bool), make(map[[2]int]*labrpc.Hold)}
		r.asked[m.Term] = p
	}
	p.candidates[m.From] = true
	if len(p.candidates) == 2 && r.met == 0 {
		r.met = m.Term
	}
	return p
}

// TestOneVoteATerm2A lets two candidates of one term ask for votes at the same
// moment. A server that votes for both makes two leaders (section 5.2). A candidate
// that counts replies to other requests as votes does the same.
func TestOneVoteATerm2A(t *testing.T) {
	labtest.Cases(t, "servers=%d", []int{3, 5}, func(t *testing.T, n int) {
		play(t, 40, 8, func(round int) bool { return contest(t, round, n) })
	})
}

func contest(t *testing.T, round int, n int) bool {
	c := labtest.New(t, n, labtest.Round(round))
	defer c.Shutdown()
	r := newRivals(0, 1)
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case r.refuses(m) || m.Kind == labtest.Append:
			return labrpc.Never() // the first leader must not win the others over
		case m.Kind != labtest.Vote || m.Reply:
			return labrpc.Usual()
		}
		return labrpc.HeldBy(r.ask(m).holdOf(m))
	})
	if !c.Eventually(2*time.Second, func() bool { return between(c, func() bool { return r.met > 0 }) }) {
		return false
	}
	c.Sleep(2 * time.Millisecond)
	var holds []*labrpc.Hold
	c.Scripted(func() {
		for _, hold := range r.asked[r.met].holds {
			holds = append(holds, hold)
		}
	})
	c.Rand.Shuffle(len(holds), func(i, j int) { holds[i], holds[j] = holds[j], holds[i] })
	for _, hold := range holds {
		hold.Release()
		if round%2 == 0 { // or all at once
			c.Sleep(time.Millisecond)
		}
	}
	c.Sleep(300 * time.Millisecond) // the watcher looks at who leads
	return true
}

// TestVotesOfAnOldTerm2A holds back a vote for a candidate until the candidate
// stands again in a later term that another server has won. The old vote must not
// count.
func TestVotesOfAnOldTerm2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 60, 4, func(round int) bool { return lateVote(t, round) })
	})
}

func lateVote(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	r := newRivals(0, 1)
	late, first := labrpc.NewHold(), -1
	asked := make(map[int]int) // the newest term in which each asked
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case r.refuses(m):
			return labrpc.Never()
		case m.Kind == labtest.Vote && m.Reply && m.To == first:
			return labrpc.HeldBy(late)
		case m.Kind == labtest.Vote && !m.Reply:
			again := asked[m.From] > 0
			asked[m.From] = m.Term
			if first < 0 {
				first = m.From
			}
			if m.From == first && again {
				return labrpc.Never()
			}
		}
		return labrpc.Usual()
	})
	// The other one wins a term in which the first is a candidate.
	came := c.Eventually(3*time.Second, func() (came bool) {
		c.Scripted(func() {
			if first < 0 {
				return
			}
			term, leads := c.State(1 - first)
			now, _ := c.State(first)
			came = leads && asked[first] == term && now == term
		})
		return came
	})
	late.Release()
	c.Sleep(200 * time.Millisecond)
	return came
}

// TestGrantingAVoteRestartsTheTimer2A elects leaders and cuts them off at once. A
// server that has voted must wait a full election timeout before it stands for
// election (Figure 2, rules for followers). The shortest full timeout is taken from
// the first elections of the servers.
func TestGrantingAVoteRestartsTheTimer2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		shortest := time.Hour
		var waits []time.Duration
		for round := range 20 {
			first, after := voteAndWait(t, round)
			shortest = min(shortest, first)
			waits = append(waits, after...)
		}
		if len(waits) == 0 {
			t.Skip("not applicable: nobody voted before it stood for election itself")
		}
		// A server whose time had come already when it was asked stands at once, and
		// rightly. That is rare.
		slices.Sort(waits)
		if wait := waits[len(waits)/4]; wait < shortest/2 {
			t.Fatalf("a quarter of %d servers stood for election within %v after they had voted; election timeouts are at least %v",
				len(waits), wait, shortest)
		}
	})
}

// voteAndWait returns how long the first server waited before it stood for
// election, and how long those that voted for it waited after that.
func voteAndWait(t *testing.T, round int) (first time.Duration, waits []time.Duration) {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	start := time.Now()
	stood := make(map[int]time.Time)  // first time that a server asked
	voting := make(map[int]time.Time) // when a server that had not stood answered a request for its vote
	c.Direct(func(m labtest.Message) labrpc.Decision {
		if m.Asks() && stood[m.From].IsZero() {
			stood[m.From] = time.Now()
		}
		if m.Kind == labtest.Append {
			return labrpc.Never()
		}
		if m.Kind == labtest.Vote && m.Reply && stood[m.From].IsZero() && voting[m.From].IsZero() {
			voting[m.From] = time.Now()
		}
		return labrpc.Usual()
	})
	c.Eventually(3*time.Second, func() (all bool) {
		c.Scripted(func() { all = len(stood) == c.N })
		return all
	})
	c.Scripted(func() {
		first = 3 * time.Second
		for id, at := range stood {
			first = min(first, at.Sub(start))
			if !voting[id].IsZero() {
				waits = append(waits, at.Sub(voting[id]))
			}
		}
	})
	return first, waits
}

// TestLeaderLearnsOfItsSuccessor2A lets a leader that was cut off send requests
// again and receive only replies. The term in a reply must end the old leadership
// (section 5.1).
func TestLeaderLearnsOfItsSuccessor2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 30, 4, func(round int) bool { return succession(t, round) })
	})
}

func succession(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	old := c.Leader()
	c.Sleep(time.Duration(c.Rand.IntN(300)) * time.Millisecond)
	healed := false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		fromOld := m.From == old && !m.Reply || m.To == old && m.Reply
		if m.Involves(old) && !(healed && fromOld) {
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	c.LeaderOf(c.Others(old)...)
	led, believes := c.State(old)
	if !believes {
		return false
	}
	c.Scripted(func() { healed = true })
	c.WaitFor(time.Second, "a leader to step down that is told of a newer term", func() bool {
		term, believes := c.State(old)
		return !believes || term > led // it may lead again at once: its messages get through
	})
	return true
}

// TestVoteOutlivesTheElection2A delivers a request for a vote after the rival
// candidate of the same term was elected and has sent heartbeats. The vote of the
// term is already given.
func TestVoteOutlivesTheElection2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 40, 6, func(round int) bool { return tooLate(t, round) })
	})
}

func tooLate(t *testing.T, round int) bool {
	const voter = 2
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	r, heard := newRivals(0, 1), false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case r.refuses(m):
			return labrpc.Never()
		case m.Kind == labtest.Append && m.Reply:
			heard = true
		case m.Kind == labtest.Vote && !m.Reply:
			return labrpc.HeldBy(r.ask(m).holdOf(m))
		}
		return labrpc.Usual()
	})
	if !c.Eventually(2*time.Second, func() bool { return between(c, func() bool { return r.met > 0 }) }) {
		return false
	}
	first := c.Rand.IntN(2)
	c.Scripted(func() { r.asked[r.met].holds[[2]int{first, voter}].Release() })
	came := c.Eventually(250*time.Millisecond, func() bool { return between(c, func() bool { return heard }) })
	c.Scripted(func() { r.asked[r.met].holds[[2]int{1 - first, voter}].Release() })
	c.Sleep(100 * time.Millisecond) // the watcher looks at who leads
	return came
}

// TestCandidateLearnsOfANewerTerm2A starts a server after several elections of the
// others, and lets the server receive only replies. The first refusal must bring the
// server to the newer term (section 5.1).
func TestCandidateLearnsOfANewerTerm2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 3, 2, func(round int) bool { return latecomer(t, round) })
	})
}

func latecomer(t *testing.T, round int) bool {
	c := labtest.New(t, 5, labtest.Round(round), labtest.Absent(1))
	defer c.Shutdown()
	late := c.N - 1
	for range 6 {
		leader := c.Leader()
		c.Disconnect(leader)
		c.Leader()
		c.Connect(leader)
	}
	told := 0 // the newest term that it was told
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.To == late && !m.Reply:
			return labrpc.Never()
		case m.To == late && m.Kind == labtest.Vote:
			told = max(told, m.Term)
		}
		return labrpc.Usual()
	})
	c.Restart(late)
	if !c.Eventually(2*time.Second, func() bool { return between(c, func() int { return told }) > 0 }) {
		return false
	}
	newest := between(c, func() int { return told })
	c.WaitFor(250*time.Millisecond, "a candidate to take over the term with which it was refused", func() bool {
		term, _ := c.State(late)
		return term >= newest
	})
	return true
}

// TestHeartbeatBringsTheTerm2A elects a leader without the vote of one follower, which
// hears of the election by the leader's heartbeats alone. The follower must be in the
// leader's term then (Figure 2, rules for all servers).
func TestHeartbeatBringsTheTerm2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 4, func(round int) bool { return unasked(t, round) })
	})
}

func unasked(t *testing.T, round int) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	old := c.Leader()
	follower := c.Others(old)[0]
	before, stood, heard := c.Term(), false, false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.Involves(old):
			return labrpc.Never()
		case m.Kind == labtest.Append && m.From == follower && m.Reply:
			heard = true
		case (m.Kind == labtest.Vote || m.Kind == labtest.PreVote) && m.Involves(follower):
			stood = stood || m.From == follower && m.Asks()
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	leader := c.LeaderOf(c.Others(old)...)
	term, _ := c.State(leader)
	if !c.Eventually(time.Second, func() bool { return between(c, func() bool { return heard }) }) || term <= before {
		return false
	}
	c.WaitFor(time.Second, "a follower to take over the term of the heartbeats that it answers", func() bool {
		now, _ := c.State(follower)
		return now >= term
	})
	return between(c, func() bool { return !stood })
}

// TestOldLeaderIsNoLeader2A lets a server hear from a deposed leader alone. Messages of an
// old term must not keep the server from standing for election (Figure 2, rules for
// followers: AppendEntries from the current leader).
func TestOldLeaderIsNoLeader2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 3, func(round int) bool { return oldHeartbeats(t, round) })
	})
}

func oldHeartbeats(t *testing.T, round int) bool {
	c := labtest.New(t, 3, labtest.Round(round))
	defer c.Shutdown()
	old := c.Leader()
	left, asked, heard := -1, false, 0 // left is alone with the old leader
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case left < 0 && m.Involves(old):
			return labrpc.Never()
		case left < 0:
			return labrpc.Usual()
		case m.From == old && m.To == left && !m.Reply:
			heard++
			return labrpc.Usual()
		}
		asked = asked || m.From == left && m.Asks()
		return labrpc.Never()
	})
	rest := c.Others(old)
	next := c.LeaderOf(rest...)
	c.Sleep(200 * time.Millisecond) // for the follower to hear of it
	c.Scripted(func() { left = pick(rest, next) })
	stands := c.Eventually(labtest.ElectionLimit, func() bool { return between(c, func() bool { return asked }) })
	_, believes := c.State(old)
	if _, leads := c.State(left); leads { // elected since, and nobody told it
		return false
	}
	if !believes || between(c, func() int { return heard }) == 0 {
		return false
	}
	if !stands {
		t.Errorf("a server that hears from an old leader alone does not stand for election within %v", labtest.ElectionLimit)
	}
	return true
}
