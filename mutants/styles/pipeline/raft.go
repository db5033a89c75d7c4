// Package raft pipelines its requests. A leader sends entries before the peer has
// acknowledged earlier entries, numbers the requests, and takes the answers in any order.
package raft

import (
	"math/rand"
	"sync"
	"time"

	"raftlab/labrpc"
)

// ApplyMsg goes to the service.
type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

const (
	roleFollower = iota
	roleCandidate
	roleLeader
)

const (
	beatEvery   = 100 * time.Millisecond
	answerAfter = 250 * time.Millisecond // a stream without answers starts again
	window      = 8                      // requests in flight to a peer
	maxEntries  = 256                    // in a request
)

// Raft is a peer.
type Raft struct {
	mu    sync.Mutex
	news  *sync.Cond // there is something to apply, or the server is killed
	ends  []*labrpc.ClientEnd
	me    int
	store *Persister
	ch    chan ApplyMsg
	quit  chan struct{}

	term int
	vote int // plus one, so that zero is nobody
	log  columns
	snap []byte // belongs to log.offset

	role     int
	ballots  int
	commit   int
	applied  int
	handover bool // the snapshot must go to the service
	streams  []*stream
	deadline time.Time // of the election timeout
}

// Make returns a running server.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		ends:  peers,
		me:    me,
		store: persister,
		ch:    applyCh,
		quit:  make(chan struct{}),
		snap:  persister.ReadSnapshot(),
	}
	rf.news = sync.NewCond(&rf.mu)
	rf.load(persister.ReadRaftState())
	rf.commit = rf.log.offset
	rf.applied = rf.log.offset
	rf.postpone()
	go rf.clock()
	go rf.apply()
	return rf
}

// Kill ends the server. A second call does nothing.
func (rf *Raft) Kill() {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if !rf.dead() {
		close(rf.quit)
		rf.news.Broadcast()
	}
}

func (rf *Raft) dead() bool {
	select {
	case <-rf.quit:
		return true
	default:
		return false
	}
}

// GetState returns the term, and whether this server is its leader.
func (rf *Raft) GetState() (int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.term, rf.role == roleLeader
}

// PersistBytes returns the size of the state on disk.
func (rf *Raft) PersistBytes() int { return rf.store.RaftStateSize() }

// Start appends a command, and pumps it into the streams that have room.
func (rf *Raft) Start(command any) (int, int, bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.role != roleLeader || rf.dead() {
		return -1, rf.term, false
	}
	rf.log.push(rf.term, command)
	rf.save()
	rf.settle()
	for _, s := range rf.streams {
		rf.pump(s)
	}
	return rf.log.last(), rf.term, true
}

// postpone moves the election timeout.
func (rf *Raft) postpone() {
	rf.deadline = time.Now().Add(300*time.Millisecond + time.Duration(rand.Int63n(int64(300*time.Millisecond))))
}

// clock sleeps until the next beat or the election timeout.
func (rf *Raft) clock() {
	for {
		rf.mu.Lock()
		pause := time.Until(rf.deadline)
		switch {
		case rf.dead():
			rf.mu.Unlock()
			return
		case rf.role == roleLeader:
			rf.beat()
			pause = beatEvery
		case pause <= 0:
			rf.stand()
			pause = time.Until(rf.deadline)
		}
		rf.mu.Unlock()
		time.Sleep(min(pause, beatEvery))
	}
}

// newer is the rule for all servers: a newer term makes a follower.
func (rf *Raft) newer(term int) bool {
	if term <= rf.term {
		return false
	}
	if rf.role == roleLeader {
		rf.postpone()
	}
	rf.term, rf.vote, rf.role = term, 0, roleFollower
	rf.streams = nil
	rf.save()
	return true
}

// apply hands the snapshot and the commands to the service, one by one.
func (rf *Raft) apply() {
	for {
		rf.mu.Lock()
		for !rf.handover && rf.applied == rf.commit && !rf.dead() {
			rf.news.Wait()
		}
		if rf.dead() {
			rf.mu.Unlock()
			return
		}
		var msg ApplyMsg
		if rf.handover {
			rf.handover = false
			msg = ApplyMsg{
				SnapshotValid: true,
				Snapshot:      rf.snap,
				SnapshotTerm:  rf.log.offsetTerm,
				SnapshotIndex: rf.log.offset,
			}
			rf.applied = rf.log.offset
		} else {
			rf.applied++
			msg = ApplyMsg{
				CommandValid: true,
				Command:      rf.log.command(rf.applied),
				CommandIndex: rf.applied,
			}
		}
		rf.mu.Unlock()
		select {
		case <-rf.quit:
			return
		case rf.ch <- msg:
		}
	}
}
