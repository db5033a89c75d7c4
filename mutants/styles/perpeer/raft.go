// Package raft has a replicator with a condition variable and a heartbeat goroutine for
// each peer, sends entries in batches of a limited size, and keeps the log in parallel
// slices.
package raft

import (
	"math/rand"
	"sync"
	"time"

	"raftlab/labrpc"
)

const (
	beatPause    = 100 * time.Millisecond
	resendAfter  = 120 * time.Millisecond // if an RPC has not returned
	failurePause = 40 * time.Millisecond
	maxBatch     = 64 // entries in one AppendEntries
)

type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

type Role string

const (
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleLeader    Role = "leader"
)

type Raft struct {
	mu        sync.Mutex
	peers     []*labrpc.ClientEnd
	me        int
	persister *Persister
	applyCh   chan ApplyMsg
	killed    bool
	killCh    chan struct{}

	term     int
	vote     int // -1 if none
	log      Log
	snapshot []byte

	role        Role
	deadline    time.Time // of the election timer
	commitIndex int
	lastApplied int
	installed   bool // the snapshot waits for the applier
	applyCond   *sync.Cond

	remotes []*Remote
}

// Remote is the leader's state of a peer. cond is signalled when new entries may have to
// be sent.
type Remote struct {
	id    int
	cond  *sync.Cond
	next  int
	match int
}

func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:     peers,
		me:        me,
		persister: persister,
		applyCh:   applyCh,
		killCh:    make(chan struct{}),
		vote:      -1,
		log:       Log{Terms: []int{0}, Commands: []any{nil}},
		role:      RoleFollower,
	}
	rf.applyCond = sync.NewCond(&rf.mu)
	rf.load()
	rf.commitIndex = rf.log.Base
	rf.lastApplied = rf.log.Base
	rf.pushDeadline()
	for id := range peers {
		r := &Remote{id: id, cond: sync.NewCond(&rf.mu)}
		rf.remotes = append(rf.remotes, r)
		if id != me {
			go rf.replicator(r)
		}
	}
	go rf.electionClock()
	go rf.applier()
	return rf
}

func (rf *Raft) GetState() (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.term, rf.role == RoleLeader
}

func (rf *Raft) Start(command any) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.killed || rf.role != RoleLeader {
		return -1, rf.term, false
	}
	rf.log.Append(rf.term, command)
	rf.save()
	rf.updateCommit()
	rf.wakeReplicators()
	return rf.log.Last(), rf.term, true
}

func (rf *Raft) wakeReplicators() {
	for _, r := range rf.remotes {
		r.cond.Signal()
	}
}

func (rf *Raft) Kill() {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if !rf.killed {
		rf.killed = true
		close(rf.killCh)
		rf.applyCond.Signal()
		rf.wakeReplicators()
	}
}

func (rf *Raft) pushDeadline() {
	rf.deadline = time.Now().Add(350*time.Millisecond + time.Duration(rand.Intn(350))*time.Millisecond)
}

// electionClock sleeps until the deadline, and again if the deadline has moved.
func (rf *Raft) electionClock() {
	for {
		rf.mu.Lock()
		if rf.killed {
			rf.mu.Unlock()
			return
		}
		if rf.role == RoleLeader {
			rf.pushDeadline()
		} else if !time.Now().Before(rf.deadline) {
			rf.beginElection()
		}
		rest := time.Until(rf.deadline)
		rf.mu.Unlock()
		time.Sleep(rest)
	}
}

// stepDown makes the server a follower in a term at or above the current term.
func (rf *Raft) stepDown(term int) {
	if term > rf.term {
		rf.term = term
		rf.vote = -1
		rf.save()
	}
	if rf.role == RoleLeader {
		rf.pushDeadline()
	}
	rf.role = RoleFollower
}

// applier sends one message at a time, the snapshot first.
func (rf *Raft) applier() {
	for {
		rf.mu.Lock()
		for !rf.killed && !rf.installed && rf.lastApplied >= rf.commitIndex {
			rf.applyCond.Wait()
		}
		if rf.killed {
			rf.mu.Unlock()
			return
		}
		var msg ApplyMsg
		if rf.installed {
			rf.installed = false
			rf.lastApplied = rf.log.Base
			msg.SnapshotValid = true
			msg.Snapshot = rf.snapshot
			msg.SnapshotIndex = rf.log.Base
			msg.SnapshotTerm = rf.log.Term(rf.log.Base)
		} else {
			rf.lastApplied++
			msg.CommandValid = true
			msg.CommandIndex = rf.lastApplied
			msg.Command = rf.log.Command(rf.lastApplied)
		}
		rf.mu.Unlock()
		select {
		case <-rf.killCh:
			return
		case rf.applyCh <- msg:
		}
	}
}
