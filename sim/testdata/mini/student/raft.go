// Package student holds the leader election of a Raft as a student might write
// it, with a mistake that no run with a plain schedule shows: a candidate that
// has its votes lets go of the lock before it becomes leader.
package student

import (
	"math/rand"
	"sync"
	"time"
)

type role int

const (
	follower role = iota
	candidate
	leader
)

type raft struct {
	mu       sync.Mutex
	peers    []*raft
	me       int
	term     int
	votedFor int
	role     role
	heard    time.Time
}

// call delivers an RPC after a while, or not.
func (rf *raft) call(peer int, rpc func(to *raft)) bool {
	time.Sleep(time.Duration(rand.Intn(20)) * time.Millisecond)
	if rand.Intn(10) == 0 {
		return false
	}
	rpc(rf.peers[peer])
	time.Sleep(time.Duration(rand.Intn(20)) * time.Millisecond)
	return true
}

// observe steps down for a newer term.
func (rf *raft) observe(term int) {
	if term > rf.term {
		rf.term, rf.votedFor, rf.role = term, -1, follower
	}
}

func (rf *raft) requestVote(term, from int) (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(term)
	if term < rf.term || rf.votedFor != -1 && rf.votedFor != from {
		return rf.term, false
	}
	rf.votedFor, rf.heard = from, time.Now()
	return rf.term, true
}

func (rf *raft) appendEntries(term int) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(term)
	if term == rf.term {
		rf.role, rf.heard = follower, time.Now()
	}
}

// elect is called with the lock held.
func (rf *raft) elect() {
	rf.term++
	rf.role, rf.votedFor, rf.heard = candidate, rf.me, time.Now()
	term, votes := rf.term, 1
	for peer := range rf.peers {
		if peer != rf.me {
			go func() {
				granted := false
				rf.call(peer, func(to *raft) { _, granted = to.requestVote(term, rf.me) })
				if granted {
					rf.count(term, &votes)
				}
			}()
		}
	}
}

func (rf *raft) count(term int, votes *int) {
	rf.mu.Lock()
	if rf.term != term || rf.role != candidate {
		rf.mu.Unlock()
		return
	}
	*votes++
	won := *votes == len(rf.peers)/2+1
	rf.mu.Unlock()
	if won {
		rf.mu.Lock() // in another term by now, perhaps
		rf.role = leader
		rf.mu.Unlock()
	}
}

func (rf *raft) run(until time.Time) {
	for time.Now().Before(until) {
		time.Sleep(time.Duration(20+rand.Intn(60)) * time.Millisecond)
		rf.mu.Lock()
		switch {
		case rf.role == leader:
			term := rf.term
			for peer := range rf.peers {
				if peer != rf.me {
					go rf.call(peer, func(to *raft) { to.appendEntries(term) })
				}
			}
		case time.Since(rf.heard) > 50*time.Millisecond:
			rf.elect()
		}
		rf.mu.Unlock()
	}
}
