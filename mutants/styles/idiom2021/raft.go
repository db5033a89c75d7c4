// Package raft polls every 10 ms, as in 2021: killed() checks, debug prints behind a
// constant, and CondInstallSnapshot, by which the service decides and Raft installs.
package raft

import (
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labrpc"
)

// ApplyMsg is a message to the service or to the tester.
type ApplyMsg struct {
	CommandValid bool
	Command      interface{}
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

// The roles of a server.
const (
	Follower = iota
	Candidate
	Leader
)

// Raft is one peer.
type Raft struct {
	mu        sync.Mutex
	peers     []*labrpc.ClientEnd
	persister *Persister
	me        int
	dead      int32
	applyCh   chan ApplyMsg

	// persistent state
	currentTerm       int
	votedFor          int
	log               []LogEntry
	lastIncludedIndex int
	lastIncludedTerm  int

	// volatile state
	role        int
	commitIndex int
	lastApplied int
	voteCount   int

	// of leaders
	nextIndex  []int
	matchIndex []int
	sentIndex  []int // the last index that has been sent once
	lastSend   []time.Time

	// the election timer
	lastReset time.Time
	timeout   time.Duration

	// a snapshot that waits for the service
	pendingSnapshot *ApplyMsg
	offered         bool // the service has the snapshot, and has not decided
}

// GetState returns currentTerm, and whether this server believes that it is the leader.
func (rf *Raft) GetState() (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.currentTerm, rf.role == Leader
}

// PersistBytes returns the size of the persisted state.
func (rf *Raft) PersistBytes() int {
	return rf.persister.RaftStateSize()
}

// Start appends a command to the leader's log. The replication loop sends the command.
func (rf *Raft) Start(command interface{}) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.role != Leader || rf.killed() {
		return -1, rf.currentTerm, false
	}
	rf.log = append(rf.log, LogEntry{Term: rf.currentTerm, Command: command})
	rf.persist()
	DPrintf("[%d] starts %d in term %d", rf.me, rf.lastLogIndex(), rf.currentTerm)
	return rf.lastLogIndex(), rf.currentTerm, true
}

// Kill stops the loops at their next check.
func (rf *Raft) Kill() {
	atomic.StoreInt32(&rf.dead, 1)
}

func (rf *Raft) killed() bool {
	return atomic.LoadInt32(&rf.dead) == 1
}

// becomeFollower enters a term as a follower. The caller persists.
func (rf *Raft) becomeFollower(term int) {
	if rf.role == Leader {
		rf.resetElectionTimer() // a leader's own timer has not run
	}
	rf.role = Follower
	if term > rf.currentTerm {
		rf.currentTerm = term
		rf.votedFor = -1
	}
}

func (rf *Raft) resetElectionTimer() {
	rf.lastReset = time.Now()
	rf.timeout = randomElectionTimeout()
}

// Make creates a Raft server and starts its loops.
func Make(peers []*labrpc.ClientEnd, me int,
	persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{}
	rf.peers = peers
	rf.persister = persister
	rf.me = me
	rf.applyCh = applyCh
	rf.votedFor = -1
	rf.role = Follower
	rf.nextIndex = make([]int, len(peers))
	rf.matchIndex = make([]int, len(peers))
	rf.sentIndex = make([]int, len(peers))
	rf.lastSend = make([]time.Time, len(peers))
	rf.readPersist(persister.ReadRaftState())
	rf.commitIndex = rf.lastIncludedIndex
	rf.lastApplied = rf.lastIncludedIndex
	rf.resetElectionTimer()

	go rf.electionLoop()
	go rf.replicationLoop()
	go rf.applier()
	return rf
}
