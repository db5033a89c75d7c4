// Package raft is a student's Raft with one mutex, one ticker and a goroutine for
// each RPC. The package follows Figures 2 and 13 of the paper in plain form, without
// pre-vote, pipelining or other features beyond the labs.
//
// The implementation is correct and serves as the control of the mutants. In the
// place of raftlab/raft the package passes the suites of all labs. With a student's
// mistake planted, the package must fail a suite.
package raft

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
)

const (
	heartbeatInterval = 100 * time.Millisecond
	electionTimeout   = 300 * time.Millisecond // the minimum; at random up to twice as long (section 5.2)
	tickInterval      = 10 * time.Millisecond
)

// ApplyMsg carries to the service a committed command, or a snapshot that replaces
// all commands up to its index.
type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

// An Entry is a command in the log, with the term of the leader that accepted the
// command.
type Entry struct {
	Term    int
	Command any
}

type role int

const (
	follower role = iota
	candidate
	leader
)

// Raft is one server. The lock mu guards all fields below mu. The caller of a method
// that does not take the lock must hold the lock. No method holds the lock while
// waiting for an RPC or for the service.
type Raft struct {
	peers     []*labrpc.ClientEnd
	me        int
	persister *Persister
	applyCh   chan ApplyMsg
	stop      chan struct{} // closed by Kill
	kill      sync.Once

	mu        sync.Mutex
	committed *sync.Cond // the applier waits for a commit, or for Kill
	//lab:begin 2A Add the state of Figure 2.

	role        role
	electionDue time.Time // a follower or candidate stands for election then
	sendDue     time.Time // a leader sends its next AppendEntries then

	// Persistent (Figure 2). log[0] represents the last entry in the snapshot. log[i]
	// has index firstIndex+i.
	currentTerm int
	votedFor    int // or nobody
	log         []Entry
	firstIndex  int
	snapshot    []byte

	// Volatile.
	commitIndex int
	lastApplied int
	nextIndex   []int // of the leader
	matchIndex  []int // of the leader
	//lab:end
}

const nobody = -1

// Make starts server me from the contents of persister. The server sends committed
// commands to applyCh.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:     peers,
		me:        me,
		persister: persister,
		applyCh:   applyCh,
		stop:      make(chan struct{}),
	}
	rf.committed = sync.NewCond(&rf.mu)
	rf.readPersist()
	//lab:begin 2A Begin as a follower with a random election timeout.
	rf.commitIndex, rf.lastApplied = rf.firstIndex, rf.firstIndex
	rf.resetElectionTimer()
	//lab:end
	go rf.ticker()
	go rf.applier()
	return rf
}

// Kill stops the server.
func (rf *Raft) Kill() {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.kill.Do(func() { close(rf.stop) })
	rf.committed.Broadcast()
}

func (rf *Raft) killed() bool {
	select {
	case <-rf.stop:
		return true
	default:
		return false
	}
}

// GetState returns the current term, and whether this server believes itself the
// term's leader.
func (rf *Raft) GetState() (term int, isLeader bool) {
	//lab:begin 2A Return the term and the role.
	//lab:stub return 0, false
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.currentTerm, rf.role == leader
	//lab:end
}

// Start begins agreement on a command, if this server leads.
func (rf *Raft) Start(command any) (index int, term int, isLeader bool) {
	//lab:begin 2B Append the command to the log of the leader, and return its index at once.
	//lab:stub return -1, -1, false
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.role != leader || rf.killed() {
		return -1, rf.currentTerm, false
	}
	rf.log = append(rf.log, Entry{rf.currentTerm, command})
	rf.persist()
	rf.sendDue = time.Now() // with whatever else comes until the next tick
	return rf.lastIndex(), rf.currentTerm, true
	//lab:end
}

//lab:begin 2B Helpers for indexes and terms of the log. In 2D the log no longer begins at index 1.

// The log.

func (rf *Raft) lastIndex() int         { return rf.firstIndex + len(rf.log) - 1 }
func (rf *Raft) termAt(index int) int   { return rf.log[index-rf.firstIndex].Term }
func (rf *Raft) from(index int) []Entry { return append([]Entry(nil), rf.log[index-rf.firstIndex:]...) }

// compact replaces the log up to index by a snapshot.
func (rf *Raft) compact(index, term int, snapshot []byte) {
	var rest []Entry
	if index <= rf.lastIndex() && rf.termAt(index) == term {
		rest = rf.from(index + 1) // Figure 13, step 6
	}
	rf.log = append([]Entry{{Term: term}}, rest...)
	rf.firstIndex, rf.snapshot = index, snapshot
}

//lab:end

// persist saves the state that must survive a crash. Callers persist a change before
// any other server can learn of the change.
func (rf *Raft) persist() {
	//lab:begin 2C Encode the persistent state of Figure 2 with labgob, and save it.
	var state bytes.Buffer
	e := labgob.NewEncoder(&state)
	for _, v := range []any{rf.currentTerm, rf.votedFor, rf.firstIndex, rf.log} {
		if err := e.Encode(v); err != nil {
			panic(fmt.Sprintf("server %d cannot encode its state: %v", rf.me, err))
		}
	}
	rf.persister.Save(state.Bytes(), rf.snapshot)
	//lab:end
}

// readPersist loads the state that persist saved before a crash. After the first start
// there is none.
func (rf *Raft) readPersist() {
	//lab:begin 2C Decode what persist has encoded.
	state := rf.persister.ReadRaftState()
	if len(state) == 0 { // the first start
		rf.votedFor, rf.log = nobody, make([]Entry, 1)
		return
	}
	d := labgob.NewDecoder(bytes.NewReader(state))
	for _, v := range []any{&rf.currentTerm, &rf.votedFor, &rf.firstIndex, &rf.log} {
		if err := d.Decode(v); err != nil {
			panic(fmt.Sprintf("server %d cannot decode its state: %v", rf.me, err))
		}
	}
	rf.snapshot = rf.persister.ReadSnapshot()
	//lab:end
}

// Elections (section 5.2).

//lab:begin 2A
//lab:stub // ticker wakes at each tickInterval.
//lab:stub func (rf *Raft) ticker() {
//lab:stub 	for !rf.killed() {
//lab:stub 		// Your code here (2A): begin an election, or send heartbeats, when it is time.
//lab:stub 		time.Sleep(tickInterval)
//lab:stub 	}
//lab:stub }

// ticker wakes at each tickInterval, and sends a due broadcast or begins a due
// election.
func (rf *Raft) ticker() {
	for !rf.killed() {
		rf.mu.Lock()
		now := time.Now()
		if rf.role == leader && !now.Before(rf.sendDue) {
			rf.broadcast()
		}
		if rf.role != leader && !now.Before(rf.electionDue) {
			rf.stand()
		}
		rf.mu.Unlock()
		time.Sleep(tickInterval)
	}
}

func (rf *Raft) resetElectionTimer() {
	rf.electionDue = time.Now().Add(electionTimeout + rand.N(electionTimeout))
}

// observe adopts a newer term. A leader or candidate becomes a follower (section
// 5.1).
func (rf *Raft) observe(term int) {
	if term > rf.currentTerm {
		rf.currentTerm, rf.votedFor = term, nobody
		rf.role = follower
		rf.persist()
	}
}

// stand begins an election.
func (rf *Raft) stand() {
	rf.role = candidate
	rf.currentTerm++
	rf.votedFor = rf.me
	rf.persist()
	rf.resetElectionTimer()
	args := RequestVoteArgs{rf.currentTerm, rf.me, rf.lastIndex(), rf.termAt(rf.lastIndex())}
	votes := 1
	for peer := range rf.peers {
		if peer != rf.me {
			go rf.askForVote(peer, args, &votes)
		}
	}
}

// askForVote asks one peer for its vote. votes counts the votes of the election.
func (rf *Raft) askForVote(peer int, args RequestVoteArgs, votes *int) {
	var reply RequestVoteReply
	if !rf.peers[peer].Call("Raft.RequestVote", args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(reply.Term)
	if rf.role != candidate || rf.currentTerm != args.Term || !reply.VoteGranted {
		return // while the lock was not held, the election ended
	}
	*votes++
	if *votes > len(rf.peers)/2 {
		rf.lead()
	}
}

func (rf *Raft) lead() {
	rf.role = leader
	rf.nextIndex, rf.matchIndex = make([]int, len(rf.peers)), make([]int, len(rf.peers))
	for peer := range rf.peers {
		rf.nextIndex[peer] = rf.lastIndex() + 1
	}
	rf.broadcast()
}

//lab:end

// RequestVoteArgs asks for a vote (Figure 2).
type RequestVoteArgs struct {
	Term         int
	CandidateID  int
	LastLogIndex int
	LastLogTerm  int
}

// RequestVoteReply is the answer.
type RequestVoteReply struct {
	Term        int
	VoteGranted bool
}

//lab:begin 2A
//lab:stub // RequestVote answers a candidate (Figure 2).
//lab:stub func (rf *Raft) RequestVote(args RequestVoteArgs, reply *RequestVoteReply) {
//lab:stub 	// Your code here (2A, 2B): compare the terms, and from 2B on the logs.
//lab:stub }

// RequestVote answers a candidate (Figure 2).
func (rf *Raft) RequestVote(args RequestVoteArgs, reply *RequestVoteReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(args.Term)
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	free := rf.votedFor == nobody || rf.votedFor == args.CandidateID
	if free && rf.upToDate(args.LastLogIndex, args.LastLogTerm) {
		rf.votedFor = args.CandidateID
		rf.persist()
		rf.resetElectionTimer()
		reply.VoteGranted = true
	}
}

// upToDate reports whether a candidate's log is at least as up to date as this
// server's log (section 5.4.1).
func (rf *Raft) upToDate(lastIndex, lastTerm int) bool {
	mine := rf.termAt(rf.lastIndex())
	return lastTerm > mine || lastTerm == mine && lastIndex >= rf.lastIndex()
}

//lab:end

// Replication (section 5.3).

//lab:begin 2B Send each peer its missing entries. Commit what a majority has.

// broadcast sends each peer its missing entries, or a heartbeat.
func (rf *Raft) broadcast() {
	rf.sendDue = time.Now().Add(heartbeatInterval)
	for peer := range rf.peers {
		if peer != rf.me {
			go rf.replicate(peer, rf.currentTerm)
		}
	}
}

// replicate sends a peer its missing entries. After a refusal replicate sends earlier
// entries as well.
func (rf *Raft) replicate(peer, term int) {
	for again := true; again; {
		rf.mu.Lock()
		if rf.role != leader || rf.currentTerm != term || rf.killed() {
			rf.mu.Unlock()
			return // lost the leadership after broadcast released the lock
		}
		if rf.nextIndex[peer] <= rf.firstIndex {
			args := InstallSnapshotArgs{term, rf.me, rf.firstIndex, rf.log[0].Term, rf.snapshot}
			rf.mu.Unlock()
			again = rf.sendSnapshot(peer, args)
		} else {
			prev := rf.nextIndex[peer] - 1
			args := AppendEntriesArgs{term, rf.me, prev, rf.termAt(prev), rf.from(prev + 1), rf.commitIndex}
			rf.mu.Unlock()
			again = rf.sendEntries(peer, args)
		}
	}
}

// sendEntries sends one AppendEntries, and reports whether to try again at once.
func (rf *Raft) sendEntries(peer int, args AppendEntriesArgs) (again bool) {
	var reply AppendEntriesReply
	if !rf.peers[peer].Call("Raft.AppendEntries", args, &reply) {
		return false
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(reply.Term)
	if rf.role != leader || rf.currentTerm != args.Term {
		return false
	}
	if reply.Success {
		rf.matched(peer, args.PrevLogIndex+len(args.Entries))
		return false
	}
	if args.PrevLogIndex != rf.nextIndex[peer]-1 {
		return false // an answer that comes late: another has moved nextIndex
	}
	rf.nextIndex[peer] = max(rf.backUp(args.PrevLogIndex, reply), rf.matchIndex[peer]+1)
	return true
}

// matched records that a peer's log equals the leader's log up to index.
func (rf *Raft) matched(peer, index int) {
	if index <= rf.matchIndex[peer] {
		return // an answer that comes late
	}
	rf.matchIndex[peer], rf.nextIndex[peer] = index, index+1
	for n := rf.lastIndex(); n > rf.commitIndex && rf.termAt(n) == rf.currentTerm; n-- {
		if rf.onMajority(n) { // and of this term (section 5.4.2)
			rf.commit(n)
			return
		}
	}
}

func (rf *Raft) onMajority(index int) bool {
	count := 1 // me
	for _, match := range rf.matchIndex {
		if match >= index {
			count++
		}
	}
	return count > len(rf.peers)/2
}

// backUp returns the next index after a refusal. If the leader's log has entries of
// the conflicting term, the next index follows the last of them. Otherwise the next
// index is the follower's first index of the conflicting term.
func (rf *Raft) backUp(prev int, reply AppendEntriesReply) int {
	for index := min(prev, rf.lastIndex()); index > rf.firstIndex && rf.termAt(index) >= reply.ConflictTerm; index-- {
		if rf.termAt(index) == reply.ConflictTerm {
			return index + 1
		}
	}
	return reply.ConflictIndex
}

//lab:end

// AppendEntriesArgs carries entries or a heartbeat (Figure 2).
type AppendEntriesArgs struct {
	Term         int
	LeaderID     int
	PrevLogIndex int
	PrevLogTerm  int
	Entries      []Entry
	LeaderCommit int
}

// AppendEntriesReply is the answer.
type AppendEntriesReply struct {
	Term    int
	Success bool
	//lab:begin 2C The leader must find the conflict in few steps.

	// A refusal carries the term of the follower's entry at PrevLogIndex, and the
	// first index of that term. Without such an entry the term is 0, and the index is
	// the end of the follower's log.
	ConflictTerm  int
	ConflictIndex int
	//lab:end
}

//lab:begin 2A
//lab:stub // AppendEntries handles a leader's entries or heartbeat (Figure 2).
//lab:stub func (rf *Raft) AppendEntries(args AppendEntriesArgs, reply *AppendEntriesReply) {
//lab:stub 	// Your code here (2A, 2B): a heartbeat first, then the entries.
//lab:stub }

// AppendEntries handles a leader's entries or heartbeat (Figure 2).
func (rf *Raft) AppendEntries(args AppendEntriesArgs, reply *AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(args.Term)
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	rf.role = follower // a candidate gives way to the leader of its term
	rf.resetElectionTimer()
	if args.PrevLogIndex > rf.lastIndex() {
		reply.ConflictIndex = rf.lastIndex() + 1
		return
	}
	if args.PrevLogIndex >= rf.firstIndex && rf.termAt(args.PrevLogIndex) != args.PrevLogTerm {
		reply.ConflictTerm = rf.termAt(args.PrevLogIndex)
		reply.ConflictIndex = rf.firstOf(args.PrevLogIndex)
		return
	}
	rf.merge(args.PrevLogIndex, args.Entries)
	reply.Success = true
	rf.commit(min(args.LeaderCommit, args.PrevLogIndex+len(args.Entries)))
}

// firstOf returns the first index of the term at index.
func (rf *Raft) firstOf(index int) int {
	first := index
	for first > rf.firstIndex+1 && rf.termAt(first-1) == rf.termAt(index) {
		first--
	}
	return first
}

// merge stores entries after prev. Only a conflict truncates the log, because the
// request may be old and the log may have later entries.
func (rf *Raft) merge(prev int, entries []Entry) {
	for i, e := range entries {
		index := prev + 1 + i
		if index <= rf.firstIndex || index <= rf.lastIndex() && rf.termAt(index) == e.Term {
			continue
		}
		rf.log = append(rf.log[:index-rf.firstIndex], entries[i:]...)
		rf.persist()
		return
	}
}

//lab:end

// Snapshots (section 7, Figure 13).

// Snapshot saves the service's snapshot of all commands up to index. The log no
// longer needs these entries.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	//lab:begin 2D Discard the log up to index, and save the snapshot.
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if index <= rf.firstIndex || index > rf.lastApplied {
		return
	}
	rf.compact(index, rf.termAt(index), snapshot)
	rf.persist()
	//lab:end
}

// InstallSnapshotArgs carries a whole snapshot (Figure 13, without offset and done).
type InstallSnapshotArgs struct {
	Term              int
	LeaderID          int
	LastIncludedIndex int
	LastIncludedTerm  int
	Data              []byte
}

// InstallSnapshotReply is the answer.
type InstallSnapshotReply struct{ Term int }

//lab:begin 2D
//lab:stub // InstallSnapshot handles a leader's snapshot.
//lab:stub func (rf *Raft) InstallSnapshot(args InstallSnapshotArgs, reply *InstallSnapshotReply) {
//lab:stub 	// Your code here (2D): refuse what is old, and send the snapshot to applyCh.
//lab:stub }

// InstallSnapshot handles a leader's snapshot. The applier sends the snapshot to the
// service.
func (rf *Raft) InstallSnapshot(args InstallSnapshotArgs, reply *InstallSnapshotReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(args.Term)
	reply.Term = rf.currentTerm
	if args.Term < rf.currentTerm {
		return
	}
	rf.role = follower
	rf.resetElectionTimer()
	if args.LastIncludedIndex <= rf.commitIndex {
		return // what is committed here will be applied
	}
	rf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)
	rf.persist()
	rf.commit(args.LastIncludedIndex)
}

// sendSnapshot sends a snapshot, and reports whether to send entries at once.
func (rf *Raft) sendSnapshot(peer int, args InstallSnapshotArgs) (again bool) {
	var reply InstallSnapshotReply
	if !rf.peers[peer].Call("Raft.InstallSnapshot", args, &reply) {
		return false
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.observe(reply.Term)
	if rf.role != leader || rf.currentTerm != args.Term {
		return false
	}
	rf.matched(peer, args.LastIncludedIndex)
	return true
}

//lab:end

// Applying.

//lab:begin 2B
//lab:stub // applier is the only goroutine to write to applyCh. It holds no lock meanwhile.
//lab:stub func (rf *Raft) applier() {
//lab:stub 	// Your code here (2B): send committed commands in order, each once.
//lab:stub }

func (rf *Raft) commit(index int) {
	if index > rf.commitIndex {
		rf.commitIndex = index
		rf.committed.Broadcast()
	}
}

// applier is the only goroutine to write to applyCh.
func (rf *Raft) applier() {
	for {
		msg, ok := rf.nextToApply()
		if !ok {
			return
		}
		select {
		case rf.applyCh <- msg: // without the lock: its reader may call Snapshot
		case <-rf.stop:
			return
		}
	}
}

// nextToApply waits for the next command or snapshot. ok is false after Kill.
func (rf *Raft) nextToApply() (msg ApplyMsg, ok bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	for rf.lastApplied >= rf.commitIndex && !rf.killed() {
		rf.committed.Wait()
	}
	if rf.lastApplied < rf.firstIndex {
		rf.lastApplied = rf.firstIndex
		msg = ApplyMsg{SnapshotValid: true, Snapshot: rf.snapshot, SnapshotTerm: rf.log[0].Term, SnapshotIndex: rf.firstIndex}
	} else if rf.lastApplied < rf.commitIndex {
		rf.lastApplied++
		msg = ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied}
	}
	return msg, !rf.killed()
}

//lab:end
