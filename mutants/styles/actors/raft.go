// Package raft is an actor: one goroutine owns all state without a mutex, and runs the
// state functions follower, candidate and leader on the messages of its inbox.
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

// ApplyMsg is a message for the service.
type ApplyMsg struct {
	CommandValid bool
	Command      any
	CommandIndex int

	SnapshotValid bool
	Snapshot      []byte
	SnapshotTerm  int
	SnapshotIndex int
}

// Raft is the handle of the actor. Only the actor touches the fields below "owned".
type Raft struct {
	peers     []*labrpc.ClientEnd
	me        int
	persister *Persister
	inbox     chan func()
	done      chan struct{} // closed by Kill
	kill      sync.Once
	lastTerm  atomic.Int64 // for GetState after Kill
	mail      *mailbox

	// owned
	next      stateFn // the state that a message asks for
	term      int
	votedFor  int
	log       journal
	snapshot  []byte
	commit    int
	applied   int // handed to the mailbox
	reign     *reign
	alarm     *time.Timer
	alarmNo   int
	following bool
}

// stateFn runs a role until it ends, and returns the next one, or nil after Kill.
type stateFn func() stateFn

// Make starts the actor and its courier.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		peers:     peers,
		me:        me,
		persister: persister,
		inbox:     make(chan func()),
		done:      make(chan struct{}),
		votedFor:  -1,
		snapshot:  persister.ReadSnapshot(),
		mail:      newMailbox(),
	}
	rf.restore()
	rf.commit, rf.applied = rf.log.Start, rf.log.Start
	rf.lastTerm.Store(int64(rf.term))
	go rf.mail.carry(applyCh, rf.done)
	go rf.run()
	return rf
}

func (rf *Raft) run() {
	defer rf.disarm()
	for f := stateFn(rf.follower); f != nil; {
		rf.next = nil
		f = f()
	}
}

// Kill closes the stop channel once.
func (rf *Raft) Kill() {
	rf.kill.Do(func() { close(rf.done) })
}

// ask lets the actor run f, and waits for the end of f. After Kill ask does nothing.
func (rf *Raft) ask(f func()) {
	ran := make(chan struct{})
	if rf.tell(func() { f(); close(ran) }) {
		<-ran
	}
}

// tell lets the actor run f.
func (rf *Raft) tell(f func()) bool {
	select {
	case <-rf.done:
		return false
	default:
	}
	select {
	case rf.inbox <- f:
		return true
	case <-rf.done:
		return false
	}
}

// serve runs messages until one of them asks for another state.
func (rf *Raft) serve() stateFn {
	for rf.next == nil {
		select {
		case f := <-rf.inbox:
			f()
		case <-rf.done:
			return nil
		}
	}
	return rf.next
}

// become asks for another state. The last request of a message counts.
func (rf *Raft) become(f stateFn) { rf.next = f }

// arm sets the only alarm of the actor. An alarm that was set before does nothing.
func (rf *Raft) arm(d time.Duration, f func()) {
	rf.disarm()
	no := rf.alarmNo
	rf.alarm = time.AfterFunc(d, func() {
		rf.tell(func() {
			if rf.alarmNo == no {
				f()
			}
		})
	})
}

func (rf *Raft) disarm() {
	rf.alarmNo++
	if rf.alarm != nil {
		rf.alarm.Stop()
	}
}

func patience() time.Duration {
	return time.Duration(300+rand.Intn(300)) * time.Millisecond
}

// GetState returns the term and whether this server leads.
func (rf *Raft) GetState() (int, bool) {
	term, leads := int(rf.lastTerm.Load()), false
	rf.ask(func() { term, leads = rf.term, rf.reign != nil })
	return term, leads
}

// Start gives a command to the leader.
func (rf *Raft) Start(command any) (int, int, bool) {
	index, term, leads := -1, int(rf.lastTerm.Load()), false
	rf.ask(func() {
		term = rf.term
		if rf.reign == nil {
			return
		}
		leads = true
		rf.log.Records = append(rf.log.Records, Record{rf.term, command})
		index = rf.log.end()
		rf.save()
		rf.reign.spread()
	})
	return index, term, leads
}

// Snapshot compacts the log up to index.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.ask(func() {
		if index <= rf.log.Start || index > rf.applied {
			return
		}
		rf.log = rf.log.after(index, rf.log.termOf(index))
		rf.snapshot = snapshot
		rf.save()
	})
}

// CondInstallSnapshot has nothing to decide. The actor delivers in order.
func (rf *Raft) CondInstallSnapshot(int, int, []byte) bool { return true }

// PersistBytes returns the size of the saved state.
func (rf *Raft) PersistBytes() int { return rf.persister.RaftStateSize() }

func (rf *Raft) save() {
	var b bytes.Buffer
	e := labgob.NewEncoder(&b)
	e.Encode(rf.term)
	e.Encode(rf.votedFor)
	e.Encode(rf.log)
	rf.persister.Save(b.Bytes(), rf.snapshot)
	rf.lastTerm.Store(int64(rf.term))
}

func (rf *Raft) restore() {
	data := rf.persister.ReadRaftState()
	if len(data) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewReader(data))
	var term, vote int
	var log journal
	if d.Decode(&term) != nil || d.Decode(&vote) != nil || d.Decode(&log) != nil {
		panic("raft: cannot restore the state")
	}
	rf.term, rf.votedFor, rf.log = term, vote, log
}
