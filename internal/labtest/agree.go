package labtest

import (
	"reflect"
	"time"
)

// Limits within which a lab's Raft must act.
const (
	// ElectionLimit is how long a connected majority may be without a leader.
	ElectionLimit = 5 * time.Second
	// AgreementLimit is how long a command may take to commit, with a majority
	// connected and whatever happened before.
	AgreementLimit = 10 * time.Second
	// retryAfter is when a command that was taken in and has not committed is
	// given to a leader again.
	retryAfter = 2 * time.Second
	// poll is how often conditions are looked at.
	poll = 2 * time.Millisecond
)

// Check ends the test if a check has failed meanwhile.
func (c *Cluster) Check() {
	c.t.Helper()
	c.mu.Lock()
	failed := c.failed
	c.mu.Unlock()
	if failed {
		c.t.FailNow()
	}
}

// Eventually waits until cond holds, and says whether it did within the limit.
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

// WaitFor waits until cond holds, and ends the test if it does not in time.
func (c *Cluster) WaitFor(limit time.Duration, what string, cond func() bool) {
	c.t.Helper()
	if !c.Eventually(limit, cond) {
		c.t.Fatalf("waited %v in vain for %s", limit, what)
	}
}

// Sleep lets time pass, while the checks go on.
func (c *Cluster) Sleep(d time.Duration) {
	c.t.Helper()
	time.Sleep(d)
	c.Check()
}

// Leader waits for a leader among the connected servers, and returns the one
// of the highest term.
func (c *Cluster) Leader() int {
	c.t.Helper()
	return c.LeaderOf(c.Connected()...)
}

// LeaderOf waits for a leader among the servers named, and returns the one of
// the highest term.
func (c *Cluster) LeaderOf(ids ...int) int {
	c.t.Helper()
	leader := -1
	c.WaitFor(ElectionLimit, "a leader", func() bool {
		leader = c.leaderNow(ids)
		return leader >= 0
	})
	return leader
}

// leaderNow returns the leader of the highest term that any of the servers is
// in, or -1.
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
			c.t.Fatalf("server %d leads term %d without a majority", i, term)
		}
	}
}

// Term waits until the connected servers are in one term, and returns it.
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

// Applied returns on how many servers the command at index is part of the
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

// AppliedBy returns the last index that server i has applied.
func (c *Cluster) AppliedBy(i int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i].applied
}

// LastApplied returns the last index that any server has ever applied.
func (c *Cluster) LastApplied() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ledger.commands)
}

// WaitApplied waits until the command at index is part of the state of a
// number of servers, and returns the command.
func (c *Cluster) WaitApplied(index, servers int, limit time.Duration) any {
	c.t.Helper()
	count, command := 0, any(nil)
	if !c.Eventually(limit, func() bool { count, command = c.Applied(index); return count >= servers }) {
		c.t.Fatalf("index %d was applied by %d servers within %v; want %d", index, count, limit, servers)
	}
	return command
}

// One brings a command to agreement: it is given to leaders until one of them
// gets it applied on so many servers, and its index is returned. It may have
// been committed more than once then.
func (c *Cluster) One(command any, servers int) int {
	c.t.Helper()
	return c.one(c.Connected, command, servers, true)
}

// OneAt is One among the servers named, of which all must apply the command:
// for partitions that a rule of Direct makes.
func (c *Cluster) OneAt(ids []int, command any) int {
	c.t.Helper()
	return c.one(func() []int { return ids }, command, len(ids), true)
}

// Once is One where the first leader that takes the command in must succeed.
func (c *Cluster) Once(command any, servers int) int {
	c.t.Helper()
	return c.one(c.Connected, command, servers, false)
}

func (c *Cluster) one(among func() []int, command any, servers int, retry bool) int {
	c.t.Helper()
	for start := time.Now(); time.Since(start) < AgreementLimit; {
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
	c.t.Fatalf("no agreement on %.40v among %d servers", command, servers)
	return 0
}

// propose gives a command to the first server that takes it in, and returns its
// index, or -1.
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
