package labtest

import (
	"reflect"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtrace"
	"raftlab/trace"
)

// Time limits for a lab's Raft.
const (
	// ElectionLimit bounds the time a connected majority may be without a leader.
	ElectionLimit = 5 * time.Second
	// AgreementLimit bounds the time a command may take to commit while a majority is
	// connected, regardless of earlier events.
	AgreementLimit = 10 * time.Second
	// restlessLimit bounds that time instead while leaders keep changing. A legal
	// implementation may send its first heartbeat so late that a follower of five
	// already stands for election. Agreement then depends on chance.
	restlessLimit = 4 * AgreementLimit
	// OperationLimit bounds an operation of a service's clerk, whatever is broken when the
	// operation begins. The clerks of the labs retry for ever.
	OperationLimit = time.Minute
	// retryAfter is the time an accepted command has to commit before One gives the
	// command to a leader again.
	retryAfter = 2 * time.Second
	// poll is the interval between two evaluations of a condition.
	poll = 2 * time.Millisecond
)

// Check ends the test if a background check has failed.
func (c *Cluster) Check() {
	c.t.Helper()
	c.mu.Lock()
	failed := c.failed
	c.mu.Unlock()
	if failed {
		c.t.FailNow()
	}
}

// Eventually waits until cond holds, and reports whether cond held within the limit.
func (c *Cluster) Eventually(limit time.Duration, cond func() bool) bool {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(poll) {
		c.Check()
		if cond() {
			return true
		}
		if !time.Now().Before(deadline) {
			return false
		}
	}
}

// WaitFor waits until cond holds, and ends the test after the limit.
func (c *Cluster) WaitFor(limit time.Duration, what string, cond func() bool) {
	c.t.Helper()
	if !c.Eventually(limit, cond) {
		if what == aLeader {
			c.breaks(trace.Breach{Rule: trace.LeaderInTime}, "waited %v in vain for %s", limit, what)
		}
		c.t.Fatalf("waited %v in vain for %s", limit, what)
	}
}

// Sleep lets time pass while the background checks go on.
func (c *Cluster) Sleep(d time.Duration) {
	c.t.Helper()
	time.Sleep(d)
	c.Check()
}

// Leader waits for a leader among the connected servers, and returns the leader of
// the highest term.
func (c *Cluster) Leader() int {
	c.t.Helper()
	return c.LeaderOf(c.Connected()...)
}

// aLeader is what LeaderOf waits for.
const aLeader = "a leader"

// LeaderOf waits for a leader among the servers ids, and returns the leader of the
// highest term.
func (c *Cluster) LeaderOf(ids ...int) int {
	c.t.Helper()
	leader := -1
	c.WaitFor(ElectionLimit, aLeader, func() bool {
		leader = c.leaderNow(ids)
		return leader >= 0
	})
	return leader
}

// leaderNow returns the leader of the highest term of any of the servers, or -1 if
// that term has no leader among the servers.
func (c *Cluster) leaderNow(ids []int) int {
	leader, highest := -1, -1
	for _, i := range ids {
		term, isLeader := c.State(i)
		if term > highest {
			highest, leader = term, -1
		}
		if isLeader && term == highest {
			leader = i
		}
	}
	return leader
}

// NoLeader ends the test if any of the servers leads.
func (c *Cluster) NoLeader(ids ...int) {
	c.t.Helper()
	for _, i := range ids {
		if term, isLeader := c.State(i); isLeader {
			c.breaks(trace.Breach{Rule: trace.QuorumToLead, Lanes: []int{i}, Term: term}, "server %d leads term %d without a majority", i, term)
			c.t.Fatalf("server %d leads term %d without a majority", i, term)
		}
	}
}

// Term waits until the connected servers agree on a term, and returns the term.
func (c *Cluster) Term() int {
	c.t.Helper()
	var term int
	c.WaitFor(ElectionLimit, "the servers to be in one term", func() bool {
		ids := c.Connected()
		for k, i := range ids {
			t, _ := c.State(i)
			if k > 0 && t != term {
				return false
			}
			term = t
		}
		return true
	})
	return term
}

// NewestTerm returns the highest term of any running server.
func (c *Cluster) NewestTerm() int {
	newest := 0
	for i := range c.N {
		term, _ := c.State(i)
		newest = max(newest, term)
	}
	return newest
}

// Steady plays a scene that is judged only if no term begins meanwhile. Servers may
// elect another leader at any time, also without a failure, and a scene that counts
// messages or indexes then says nothing. Steady repeats such a scene, up to some
// times. The scene returns an error if something is wrong.
func (c *Cluster) Steady(times int, scene func() error) {
	c.t.Helper()
	if !c.InOneTerm(times, scene) {
		c.t.Fatalf("the leader kept changing though nothing failed, in %d attempts", times)
	}
}

// InOneTerm is Steady for a scene that may itself disturb the leader. It returns false if
// a term has begun in each attempt.
func (c *Cluster) InOneTerm(times int, scene func() error) bool {
	c.t.Helper()
	for range times {
		c.Leader()
		term := c.Term()
		err := scene()
		c.Check()
		if c.NewestTerm() != term {
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return true
	}
	return false
}

// Applied returns the number of running servers with the command at index in their
// state, and the command.
func (c *Cluster) Applied(index int) (count int, command any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		if !s.down && s.applied >= index {
			count++
		}
	}
	if index >= 1 && index <= len(c.ledger.commands) {
		command = c.ledger.commands[index-1]
	}
	return count, command
}

// AppliedBy returns server i's last applied index.
func (c *Cluster) AppliedBy(i int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i].applied
}

// LastApplied returns the highest index ever applied by any server.
func (c *Cluster) LastApplied() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ledger.commands)
}

// WaitApplied waits until the command at index is part of the state of at least the
// given number of servers, and returns the command.
func (c *Cluster) WaitApplied(index, servers int, limit time.Duration) any {
	c.t.Helper()
	count, command := 0, any(nil)
	if !c.Eventually(limit, func() bool { count, command = c.Applied(index); return count >= servers }) {
		c.breaks(trace.Breach{Rule: trace.AgreementInTime, Index: index}, "index %d was applied by %d servers within %v; want %d", index, count, limit, servers)
		c.t.Fatalf("index %d was applied by %d servers within %v; want %d", index, count, limit, servers)
	}
	return command
}

// AppliedIn waits until the command at index, proposed in a term, is part of the state
// of at least the given number of servers, and returns the command. ok is false if a
// newer term begins first, because the command may then be lost.
func (c *Cluster) AppliedIn(term, index, servers int) (command any, ok bool) {
	c.t.Helper()
	count := 0
	done := c.Eventually(AgreementLimit, func() bool {
		count, command = c.Applied(index)
		return count >= servers || c.NewestTerm() > term
	})
	if !done {
		c.breaks(trace.Breach{Rule: trace.AgreementInTime, Index: index}, "index %d was applied by %d servers within %v; want %d", index, count, AgreementLimit, servers)
		c.t.Fatalf("index %d was applied by %d servers within %v; want %d", index, count, AgreementLimit, servers)
	}
	return command, count >= servers
}

// One proposes a command to leaders until the given number of servers has applied
// the command, and returns the command's index. Because of retries the command may
// have been committed more than once.
func (c *Cluster) One(command any, servers int) int {
	c.t.Helper()
	return c.one(c.Connected, command, servers, true)
}

// OneAt is One among the servers ids. All of them must apply the command. OneAt
// serves tests with partitions made by a rule of Direct.
func (c *Cluster) OneAt(ids []int, command any) int {
	c.t.Helper()
	return c.one(func() []int { return ids }, command, len(ids), true)
}

// Once is One without retries. The first leader to accept the command must commit
// the command.
func (c *Cluster) Once(command any, servers int) int {
	c.t.Helper()
	return c.one(c.Connected, command, servers, false)
}

func (c *Cluster) one(among func() []int, command any, servers int, retry bool) int {
	c.t.Helper()
	var calm restlessness
	for start := time.Now(); c.patient(&calm, start, among()); {
		index := c.propose(among(), command)
		if index < 0 {
			c.Sleep(20 * time.Millisecond)
			continue
		}
		agreed := c.Eventually(retryAfter, func() bool {
			count, applied := c.Applied(index)
			return count >= servers && reflect.DeepEqual(applied, command)
		})
		if agreed {
			return index
		}
		if !retry {
			break
		}
	}
	c.Check()
	shown := labtrace.CommandOf(command)
	c.breaks(trace.Breach{Rule: trace.AgreementInTime, After: shown}, "no agreement on %s among %d servers", shown, servers)
	c.t.Fatalf("no agreement on %s among %d servers", shown, servers)
	return 0
}

// propose gives a command to the servers in turn until one accepts the command, and
// returns the command's index. propose returns -1 if no server accepts the command.
func (c *Cluster) propose(ids []int, command any) int {
	for k := range ids {
		i := ids[(c.next+k)%len(ids)]
		if index, _, isLeader := c.Start(i, command); isLeader {
			c.next = (c.next + k) % len(ids)
			return index
		}
	}
	c.next++
	return -1
}

// restlessness is the history of terms while One waits.
type restlessness struct {
	term  int // the newest
	since time.Time
	noted bool
}

// patient reports whether One goes on. The limit is longer while terms change more often
// than a command may take, because no leader then has the time to commit the command.
func (c *Cluster) patient(r *restlessness, start time.Time, ids []int) bool {
	waited := time.Since(start)
	if waited < AgreementLimit/2 {
		return true
	}
	term := 0
	for _, i := range ids {
		t, _ := c.State(i)
		term = max(term, t)
	}
	r.see(term, time.Now())
	if waited < AgreementLimit {
		return true
	}
	if waited >= restlessLimit || !r.restless(time.Now()) {
		return false
	}
	if !r.noted {
		r.noted = true
		labrun.Note(c.t, "leaders change so often that a command takes more than %v", AgreementLimit)
	}
	return true
}

// see records the newest term.
func (r *restlessness) see(term int, now time.Time) {
	if term != r.term {
		r.term, r.since = term, now
	}
}

// restless reports whether the newest term is younger than the time of an attempt.
func (r *restlessness) restless(now time.Time) bool { return now.Sub(r.since) <= retryAfter }
