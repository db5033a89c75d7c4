// Package raft is driven by a time.Timer for elections and a time.Ticker for heartbeats,
// keeps the log in a slice without a sentinel, and sends messages through a queue with
// a goroutine.
package raft

import (
	"math/rand"
	"sync"
	"time"

	"raftlab/labrpc"
)

const heartbeatEvery = 100 * time.Millisecond

func electionTimeout() time.Duration {
	return time.Duration(400+rand.Intn(400)) * time.Millisecond
}

type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

type Raft struct {
	lock      sync.Mutex
	peers     []*labrpc.ClientEnd
	me        int
	persister *Persister
	quit      chan struct{}
	quitOnce  sync.Once

	hard  hardState
	log   raftLog
	queue *applyQueue

	electionTimer   *time.Timer
	heartbeatTicker *time.Ticker
	sendNow         chan struct{} // wakes watchTimers before the next heartbeat

	isLeader    bool
	isCandidate bool
	votes       int
	commitIndex int
	followers   []followerState
}

// hardState is the persistent state beside the log.
type hardState struct {
	Term     int
	VotedFor int // -1 for nobody
}

type followerState struct {
	nextIndex  int
	matchIndex int
}

func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:           peers,
		me:              me,
		persister:       persister,
		quit:            make(chan struct{}),
		hard:            hardState{VotedFor: -1},
		electionTimer:   time.NewTimer(electionTimeout()),
		heartbeatTicker: time.NewTicker(heartbeatEvery),
		sendNow:         make(chan struct{}, 1),
		followers:       make([]followerState, len(peers)),
	}
	rf.restore(persister.ReadRaftState())
	rf.commitIndex = rf.log.Base
	rf.queue = newApplyQueue(applyCh, rf.quit)
	go rf.queue.run()
	go rf.watchTimers()
	return rf
}

func (rf *Raft) watchTimers() {
	defer rf.electionTimer.Stop()
	defer rf.heartbeatTicker.Stop()
	for {
		select {
		case <-rf.quit:
			return
		case <-rf.electionTimer.C:
			rf.lock.Lock()
			if !rf.isLeader {
				rf.campaign()
			}
			rf.lock.Unlock()
		case <-rf.heartbeatTicker.C:
			rf.sendToAll()
		case <-rf.sendNow:
			rf.sendToAll()
		}
	}
}

// resetElectionTimer is called with the lock held.
func (rf *Raft) resetElectionTimer() {
	rf.electionTimer.Reset(electionTimeout())
}

func (rf *Raft) GetState() (int, bool) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	return rf.hard.Term, rf.isLeader
}

func (rf *Raft) Start(command any) (int, int, bool) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if !rf.isLeader || rf.stopped() {
		return -1, rf.hard.Term, false
	}
	rf.log.push(Entry{Term: rf.hard.Term, Command: command})
	rf.persist()
	rf.followers[rf.me].matchIndex = rf.log.lastIndex()
	rf.advanceCommit()
	rf.wakeSender()
	return rf.log.lastIndex(), rf.hard.Term, true
}

// wakeSender does nothing if a signal is waiting already.
func (rf *Raft) wakeSender() {
	select {
	case rf.sendNow <- struct{}{}:
	default:
	}
}

func (rf *Raft) Kill() {
	rf.quitOnce.Do(func() { close(rf.quit) })
}

func (rf *Raft) stopped() bool {
	select {
	case <-rf.quit:
		return true
	default:
		return false
	}
}

// campaign starts an election, with the lock held.
func (rf *Raft) campaign() {
	rf.hard.Term++
	rf.hard.VotedFor = rf.me
	rf.persist()
	rf.isCandidate = true
	rf.votes = 1
	rf.resetElectionTimer()
	args := RequestVoteArgs{
		Term:         rf.hard.Term,
		CandidateId:  rf.me,
		LastLogIndex: rf.log.lastIndex(),
		LastLogTerm:  rf.log.lastTerm(),
	}
	if rf.votes > len(rf.peers)/2 {
		rf.lead()
		return
	}
	for server := range rf.peers {
		if server == rf.me {
			continue
		}
		go func() {
			var reply RequestVoteReply
			if rf.peers[server].Call("Raft.RequestVote", &args, &reply) {
				rf.handleVote(args, reply)
			}
		}()
	}
}

func (rf *Raft) handleVote(args RequestVoteArgs, reply RequestVoteReply) {
	rf.lock.Lock()
	defer rf.lock.Unlock()
	if rf.sawTerm(reply.Term) || rf.hard.Term != args.Term || !rf.isCandidate {
		return
	}
	if reply.VoteGranted {
		rf.votes++
	}
	if rf.votes > len(rf.peers)/2 {
		rf.lead()
	}
}

func (rf *Raft) lead() {
	rf.isCandidate, rf.isLeader = false, true
	for i := range rf.followers {
		rf.followers[i] = followerState{nextIndex: rf.log.lastIndex() + 1}
	}
	rf.followers[rf.me].matchIndex = rf.log.lastIndex()
	rf.heartbeatTicker.Reset(heartbeatEvery)
	rf.wakeSender()
}

// sawTerm makes the server a follower if term is newer, and reports whether term is newer.
func (rf *Raft) sawTerm(term int) bool {
	if term <= rf.hard.Term {
		return false
	}
	rf.hard = hardState{Term: term, VotedFor: -1}
	rf.persist()
	if rf.isLeader {
		rf.resetElectionTimer() // a leader's timer does not run
	}
	rf.isLeader, rf.isCandidate = false, false
	return true
}
