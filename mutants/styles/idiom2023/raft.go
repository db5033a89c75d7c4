// Package raft is in the idiom of 2023: a ticker with random sleeps, a goroutine for each
// RPC, atomic counters, an RWMutex, and a sentinel at the head of the log.
package raft

import (
	"bytes"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
)

// ApplyMsg carries a committed command or a snapshot to the service.
type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

// State is the role of a server.
type State int32

// The roles of Figure 4.
const (
	StateFollower State = iota
	StateCandidate
	StateLeader
)

// Entry is an entry of the log. The first one of the log is a sentinel, which has
// lastIncludedIndex and lastIncludedTerm.
type Entry struct {
	Index   int
	Term    int
	Command any
}

const (
	heartbeatPeriod = 110 * time.Millisecond
	coalesceDelay   = time.Millisecond
)

// Raft is one server.
type Raft struct {
	mu        sync.RWMutex
	peers     []*labrpc.ClientEnd
	persister *Persister
	me        int
	dead      atomic.Bool
	applyCh   chan ApplyMsg
	applyCond *sync.Cond

	state       State
	currentTerm int
	votedFor    int
	log         []Entry

	commitIndex int
	lastApplied int
	nextIndex   []int
	matchIndex  []int

	heard    atomic.Bool // a leader or a candidate has been heard since the last tick
	kicked   atomic.Bool // a round of AppendEntries is about to begin
	snapshot []byte      // the newest snapshot
	toApply  *ApplyMsg   // a snapshot for the service
}

func (rf *Raft) first() Entry { return rf.log[0] }
func (rf *Raft) last() Entry  { return rf.log[len(rf.log)-1] }

// at returns the entry with that index, which must lie in the log.
func (rf *Raft) at(index int) Entry { return rf.log[index-rf.log[0].Index] }

// GetState returns the term, and whether this server believes to be the leader.
func (rf *Raft) GetState() (int, bool) {
	rf.mu.RLock()
	defer rf.mu.RUnlock()
	return rf.currentTerm, rf.state == StateLeader
}

// PersistBytes is the size of the persisted state.
func (rf *Raft) PersistBytes() int { return rf.persister.RaftStateSize() }

func (rf *Raft) encode() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(rf.currentTerm)
	e.Encode(rf.votedFor)
	e.Encode(rf.log)
	return w.Bytes()
}

func (rf *Raft) persist() {
	rf.persister.Save(rf.encode(), rf.snapshot)
}

func (rf *Raft) readPersist(data []byte) {
	if len(data) == 0 {
		return
	}
	var term, vote int
	var log []Entry
	d := labgob.NewDecoder(bytes.NewBuffer(data))
	if d.Decode(&term) != nil || d.Decode(&vote) != nil || d.Decode(&log) != nil || len(log) == 0 {
		panic("raft: persisted state is damaged")
	}
	rf.currentTerm, rf.votedFor, rf.log = term, vote, log
	rf.commitIndex = log[0].Index
	rf.lastApplied = log[0].Index
}

// stepDown enters a newer term. The lock is held.
func (rf *Raft) stepDown(term int) {
	rf.state = StateFollower
	rf.currentTerm = term
	rf.votedFor = -1
	rf.persist()
}

// Start appends the command if this server is the leader.
func (rf *Raft) Start(command any) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.state != StateLeader || rf.killed() {
		return -1, rf.currentTerm, false
	}
	index := rf.last().Index + 1
	rf.log = append(rf.log, Entry{Index: index, Term: rf.currentTerm, Command: command})
	rf.persist()
	rf.advanceCommit()
	if rf.kicked.CompareAndSwap(false, true) {
		go rf.kick(rf.currentTerm)
	}
	return index, rf.currentTerm, true
}

// kick replicates shortly after a Start, so that a burst of commands shares its RPCs.
func (rf *Raft) kick(term int) {
	time.Sleep(coalesceDelay)
	rf.kicked.Store(false)
	rf.broadcast(term)
}

// Kill ends the goroutines of this server.
func (rf *Raft) Kill() {
	rf.dead.Store(true)
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.applyCond.Broadcast()
}

func (rf *Raft) killed() bool { return rf.dead.Load() }

// ticker starts an election if nothing was heard between two ticks.
func (rf *Raft) ticker() {
	for !rf.killed() {
		ms := 280 + (rand.Int63() % 320)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		if rf.heard.Swap(false) {
			continue
		}
		rf.mu.Lock()
		if rf.state != StateLeader && !rf.killed() {
			rf.campaign()
		}
		rf.mu.Unlock()
	}
}

// Make creates a server and starts its goroutines.
func Make(peers []*labrpc.ClientEnd, me int,
	persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:      peers,
		persister:  persister,
		me:         me,
		applyCh:    applyCh,
		state:      StateFollower,
		votedFor:   -1,
		log:        []Entry{{Index: 0, Term: 0}},
		nextIndex:  make([]int, len(peers)),
		matchIndex: make([]int, len(peers)),
		snapshot:   persister.ReadSnapshot(),
	}
	rf.applyCond = sync.NewCond(&rf.mu)
	rf.readPersist(persister.ReadRaftState())
	go rf.ticker()
	go rf.applier()
	return rf
}
