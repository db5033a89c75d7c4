// Package raft is written with one mutex, a ticker that sleeps for random times, an
// applier with a condition variable, and a log with a sentinel at position 0.
package raft

import (
	"bytes"
	"math/rand"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
)

const (
	heartbeatInterval  = 110 * time.Millisecond
	minElectionTimeout = 300 * time.Millisecond
	maxElectionTimeout = 600 * time.Millisecond
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

type State int

const (
	Follower State = iota
	Candidate
	Leader
)

// LogEntry is an entry of the log. The sentinel log[0] has the index and term of the
// last entry that the snapshot covers.
type LogEntry struct {
	Index   int
	Term    int
	Command any
}

type Raft struct {
	mu        sync.Mutex
	applyCond *sync.Cond
	peers     []*labrpc.ClientEnd
	persister *Persister
	me        int
	dead      int32
	applyCh   chan ApplyMsg

	// persistent state on all servers
	currentTerm int
	votedFor    int
	log         []LogEntry

	// volatile state on all servers
	state       State
	commitIndex int
	lastApplied int
	lastHeard   time.Time // from a leader, or of a vote granted
	snapshot    *ApplyMsg // from a leader, not yet put on applyCh

	// volatile state on leaders
	nextIndex  []int
	matchIndex []int
}

func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:      peers,
		persister:  persister,
		me:         me,
		applyCh:    applyCh,
		votedFor:   -1,
		log:        []LogEntry{{Index: 0, Term: 0}},
		lastHeard:  time.Now(),
		nextIndex:  make([]int, len(peers)),
		matchIndex: make([]int, len(peers)),
	}
	rf.applyCond = sync.NewCond(&rf.mu)
	rf.readPersist(persister.ReadRaftState())
	rf.commitIndex = rf.firstIndex()
	rf.lastApplied = rf.firstIndex()

	go rf.ticker()
	go rf.applier()
	return rf
}

func (rf *Raft) GetState() (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.currentTerm, rf.state == Leader
}

// Start appends the command to the log if this server is the leader.
func (rf *Raft) Start(command any) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.state != Leader || rf.killed() {
		return -1, rf.currentTerm, false
	}
	index := rf.lastEntry().Index + 1
	rf.log = append(rf.log, LogEntry{Index: index, Term: rf.currentTerm, Command: command})
	rf.persist()
	rf.broadcast()
	return index, rf.currentTerm, true
}

func (rf *Raft) Kill() {
	atomic.StoreInt32(&rf.dead, 1)
	rf.mu.Lock()
	rf.applyCond.Broadcast()
	rf.mu.Unlock()
}

func (rf *Raft) killed() bool {
	return atomic.LoadInt32(&rf.dead) == 1
}

// firstIndex is the index of the sentinel.
func (rf *Raft) firstIndex() int {
	return rf.log[0].Index
}

func (rf *Raft) lastEntry() LogEntry {
	return rf.log[len(rf.log)-1]
}

// entry returns the entry with the given index, which the log must have.
func (rf *Raft) entry(index int) LogEntry {
	return rf.log[index-rf.firstIndex()]
}

func (rf *Raft) becomeFollower(term int) {
	rf.state = Follower
	if term > rf.currentTerm {
		rf.currentTerm = term
		rf.votedFor = -1
		rf.persist()
	}
}

func (rf *Raft) becomeLeader() {
	rf.state = Leader
	for i := range rf.peers {
		rf.nextIndex[i] = rf.lastEntry().Index + 1
		rf.matchIndex[i] = 0
	}
	go rf.heartbeats(rf.currentTerm)
}

// ticker starts an election if a whole random sleep passed without a word from a leader.
func (rf *Raft) ticker() {
	for !rf.killed() {
		before := time.Now()
		time.Sleep(minElectionTimeout + time.Duration(rand.Int63n(int64(maxElectionTimeout-minElectionTimeout))))
		rf.mu.Lock()
		if rf.state != Leader && !rf.lastHeard.After(before) {
			rf.startElection()
		}
		rf.mu.Unlock()
	}
}

func (rf *Raft) heartbeats(term int) {
	for !rf.killed() {
		rf.mu.Lock()
		if rf.state != Leader || rf.currentTerm != term {
			rf.mu.Unlock()
			return
		}
		rf.broadcast()
		rf.mu.Unlock()
		time.Sleep(heartbeatInterval)
	}
}

// broadcast sends each peer what the peer lacks, or a heartbeat.
func (rf *Raft) broadcast() {
	for i := range rf.peers {
		if i != rf.me {
			go rf.replicate(i, rf.currentTerm)
		}
	}
}

func (rf *Raft) replicate(peer, term int) {
	rf.mu.Lock()
	if rf.state != Leader || rf.currentTerm != term {
		rf.mu.Unlock()
		return
	}
	if rf.nextIndex[peer] <= rf.firstIndex() {
		args := &InstallSnapshotArgs{
			Term:              rf.currentTerm,
			LeaderId:          rf.me,
			LastIncludedIndex: rf.log[0].Index,
			LastIncludedTerm:  rf.log[0].Term,
			Data:              rf.persister.ReadSnapshot(),
		}
		rf.mu.Unlock()
		rf.sendSnapshot(peer, args)
		return
	}
	prev := rf.entry(rf.nextIndex[peer] - 1)
	args := &AppendEntriesArgs{
		Term:         rf.currentTerm,
		LeaderId:     rf.me,
		PrevLogIndex: prev.Index,
		PrevLogTerm:  prev.Term,
		Entries:      append([]LogEntry{}, rf.log[prev.Index+1-rf.firstIndex():]...),
		LeaderCommit: rf.commitIndex,
	}
	rf.mu.Unlock()
	rf.sendEntries(peer, args)
}

func (rf *Raft) sendEntries(peer int, args *AppendEntriesArgs) {
	reply := &AppendEntriesReply{}
	if !rf.peers[peer].Call("Raft.AppendEntries", args, reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.becomeFollower(reply.Term)
		return
	}
	if rf.state != Leader || rf.currentTerm != args.Term {
		return
	}
	if reply.Success {
		match := args.PrevLogIndex + len(args.Entries)
		if match > rf.matchIndex[peer] {
			rf.matchIndex[peer] = match
			rf.nextIndex[peer] = match + 1
			rf.updateCommitIndex()
		}
		return
	}
	if rf.nextIndex[peer] != args.PrevLogIndex+1 || args.PrevLogIndex <= rf.matchIndex[peer] {
		return // a stale rejection
	}
	rf.nextIndex[peer] = max(rf.backUp(args, reply), rf.matchIndex[peer]+1)
	go rf.replicate(peer, rf.currentTerm)
}

// backUp returns the next index to try after a rejection, as in the lecture: XLen for a
// log too short, the leader's last entry of XTerm, or XIndex if the leader has none.
func (rf *Raft) backUp(args *AppendEntriesArgs, reply *AppendEntriesReply) int {
	if reply.XTerm == -1 {
		return reply.XLen
	}
	for i := args.PrevLogIndex; i > rf.firstIndex() && rf.entry(i).Term >= reply.XTerm; i-- {
		if rf.entry(i).Term == reply.XTerm {
			return i + 1
		}
	}
	return reply.XIndex
}

// updateCommitIndex commits what a majority has, if the entry is of the current term.
func (rf *Raft) updateCommitIndex() {
	rf.matchIndex[rf.me] = rf.lastEntry().Index
	sorted := append([]int{}, rf.matchIndex...)
	sort.Ints(sorted)
	n := sorted[(len(sorted)-1)/2]
	if n > rf.commitIndex && rf.entry(n).Term == rf.currentTerm {
		rf.commitIndex = n
		rf.applyCond.Signal()
	}
}

func (rf *Raft) sendSnapshot(peer int, args *InstallSnapshotArgs) {
	reply := &InstallSnapshotReply{}
	if !rf.peers[peer].Call("Raft.InstallSnapshot", args, reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if reply.Term > rf.currentTerm {
		rf.becomeFollower(reply.Term)
		return
	}
	if rf.state != Leader || rf.currentTerm != args.Term {
		return
	}
	if args.LastIncludedIndex > rf.matchIndex[peer] {
		rf.matchIndex[peer] = args.LastIncludedIndex
		rf.nextIndex[peer] = args.LastIncludedIndex + 1
		rf.updateCommitIndex()
	}
}

// applier puts snapshots and committed commands on applyCh, without the lock.
func (rf *Raft) applier() {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	for !rf.killed() {
		var msgs []ApplyMsg
		switch {
		case rf.snapshot != nil:
			msgs = append(msgs, *rf.snapshot)
			rf.snapshot = nil
		case rf.lastApplied < rf.commitIndex:
			for i := rf.lastApplied + 1; i <= rf.commitIndex; i++ {
				msgs = append(msgs, ApplyMsg{CommandValid: true, Command: rf.entry(i).Command, CommandIndex: i})
			}
			rf.lastApplied = rf.commitIndex
		default:
			rf.applyCond.Wait()
			continue
		}
		rf.mu.Unlock()
		for _, msg := range msgs {
			if !rf.killed() {
				rf.applyCh <- msg
			}
		}
		rf.mu.Lock()
	}
}

func (rf *Raft) encodeState() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(rf.currentTerm)
	e.Encode(rf.votedFor)
	e.Encode(rf.log)
	return w.Bytes()
}

func (rf *Raft) persist() {
	rf.persister.SaveRaftState(rf.encodeState())
}

func (rf *Raft) readPersist(data []byte) {
	if len(data) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewBuffer(data))
	var term, votedFor int
	var log []LogEntry
	if d.Decode(&term) != nil || d.Decode(&votedFor) != nil || d.Decode(&log) != nil {
		panic("cannot read the persisted state")
	}
	rf.currentTerm, rf.votedFor, rf.log = term, votedFor, log
}
