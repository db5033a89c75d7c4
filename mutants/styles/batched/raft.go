// Package raft batches: Start only appends and wakes one sender, and each advance of
// commitIndex makes a goroutine that delivers its batch after the batch before.
package raft

import (
	"math/rand"
	"sync"
	"time"

	"raftlab/labrpc"
)

// ApplyMsg is what the service reads from applyCh.
type ApplyMsg struct {
	CommandValid bool
	Command      interface{}
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

const (
	nobody = -1

	tick      = 100 * time.Millisecond // between heartbeats
	gather    = 3 * time.Millisecond   // between a Start and its batch
	patience  = 150 * time.Millisecond // until a batch without an answer is sent again
	batchSize = 200                    // entries in a request
)

type role string

const (
	follower  role = "follower"
	candidate role = "candidate"
	leader    role = "leader"
)

// peerState is what a leader knows about a peer.
type peerState struct {
	next      int
	match     int
	busyUntil time.Time // a batch is on its way
}

// Raft is a server of the group.
type Raft struct {
	mu      sync.Mutex
	peers   []*labrpc.ClientEnd
	me      int
	disk    saver
	applyCh chan ApplyMsg
	stop    chan struct{}
	once    sync.Once

	hard   hardState
	role   role
	commit int // everything up to here has been handed to a delivery
	votes  map[int]bool
	others []peerState
	timer  *time.Timer   // of elections
	wake   chan struct{} // of the sender
	turn   chan struct{} // closed when the newest delivery is done
}

// Make starts a server.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:   peers,
		me:      me,
		disk:    saver{persister},
		applyCh: applyCh,
		stop:    make(chan struct{}),
		role:    follower,
		others:  make([]peerState, len(peers)),
		wake:    make(chan struct{}, 1),
		turn:    make(chan struct{}),
	}
	close(rf.turn)
	rf.hard = rf.disk.load()
	rf.commit = rf.hard.Log.Base
	rf.timer = time.NewTimer(patienceWithLeader())
	go rf.watch()
	go rf.sender()
	return rf
}

// Kill stops the goroutines. Deliveries that nobody reads stop, too.
func (rf *Raft) Kill() {
	rf.once.Do(func() { close(rf.stop) })
}

func (rf *Raft) killed() bool {
	select {
	case <-rf.stop:
		return true
	default:
		return false
	}
}

// GetState returns the term and whether this server leads.
func (rf *Raft) GetState() (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.hard.Term, rf.role == leader
}

// PersistBytes returns the size of the saved state.
func (rf *Raft) PersistBytes() int {
	return rf.disk.p.RaftStateSize()
}

// Start appends. The sender does the rest.
func (rf *Raft) Start(command interface{}) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.role != leader || rf.killed() {
		return -1, rf.hard.Term, false
	}
	index := rf.hard.Log.Append(Entry{Term: rf.hard.Term, Command: command})
	rf.disk.save(&rf.hard)
	rf.wakeSender()
	return index, rf.hard.Term, true
}

func patienceWithLeader() time.Duration {
	return 350*time.Millisecond + time.Duration(rand.Intn(350))*time.Millisecond
}

// meet is the rule for all servers: a newer term makes a follower.
func (rf *Raft) meet(term int) {
	if term <= rf.hard.Term {
		return
	}
	if rf.role == leader {
		rf.timer.Reset(patienceWithLeader())
	}
	rf.hard.Term = term
	rf.hard.Vote = nobody
	rf.role = follower
	rf.disk.save(&rf.hard)
}

// deliver hands messages to the service, after all earlier ones. The lock is held, and
// the work is done by a goroutine without the lock.
func (rf *Raft) deliver(batch []ApplyMsg) {
	before, done := rf.turn, make(chan struct{})
	rf.turn = done
	go func() {
		defer close(done)
		<-before
		for _, m := range batch {
			select {
			case rf.applyCh <- m:
			case <-rf.stop:
				return
			}
		}
	}()
}

// commitTo raises commit and delivers the new entries.
func (rf *Raft) commitTo(index int) {
	if index <= rf.commit {
		return
	}
	var batch []ApplyMsg
	for i, e := range rf.hard.Log.Slice(rf.commit+1, index) {
		batch = append(batch, ApplyMsg{
			CommandValid: true,
			Command:      e.Command,
			CommandIndex: rf.commit + 1 + i,
		})
	}
	rf.commit = index
	rf.deliver(batch)
}
