// Package raft is written around one goroutine that owns all state: handlers, the service
// and replies send events to its channels, and no mutex exists. Time is counted in ticks,
// and the log is a map.
package raft

import (
	"sync"
	"time"

	"raftlab/labrpc"
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

// Raft is the face of a server. The node behind belongs to the goroutine of run.
type Raft struct {
	persister *Persister
	node      *node

	voteReqs  chan voteReq
	entryReqs chan entryReq
	snapReqs  chan snapReq
	startReqs chan startReq
	stateReqs chan chan stateRes
	cutReqs   chan cutReq
	replies   chan func(*node)

	killOnce sync.Once
	done     chan struct{} // closed by Kill
	stopped  chan struct{} // closed when run has ended
}

type voteReq struct {
	args *RequestVoteArgs
	res  chan RequestVoteReply
}

type entryReq struct {
	args *AppendEntriesArgs
	res  chan AppendEntriesReply
}

type snapReq struct {
	args *InstallSnapshotArgs
	res  chan InstallSnapshotReply
}

type startReq struct {
	command any
	res     chan startRes
}

type startRes struct {
	index, term int
	leader      bool
}

type stateRes struct {
	term   int
	leader bool
}

type cutReq struct {
	index    int
	snapshot []byte
	res      chan struct{}
}

func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf := &Raft{
		persister: persister,
		voteReqs:  make(chan voteReq),
		entryReqs: make(chan entryReq),
		snapReqs:  make(chan snapReq),
		startReqs: make(chan startReq, 64),
		stateReqs: make(chan chan stateRes),
		cutReqs:   make(chan cutReq),
		replies:   make(chan func(*node)),
		done:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	rf.node = newNode(peers, me, persister, rf.answer)
	go rf.run(applyCh)
	return rf
}

// run handles events one by one until Kill.
func (rf *Raft) run(applyCh chan ApplyMsg) {
	defer close(rf.stopped)
	n := rf.node
	ticker := time.NewTicker(tickLength)
	defer ticker.Stop()
	for {
		// A nil channel is never ready, so nothing is sent while nothing is to apply.
		var out chan ApplyMsg
		msg, some := n.nextToApply()
		if some {
			out = applyCh
		}
		select {
		case <-rf.done:
			return
		case out <- msg:
			n.applied(msg)
		case <-ticker.C:
			n.tick()
		case req := <-rf.voteReqs:
			req.res <- n.requestVote(req.args)
		case req := <-rf.entryReqs:
			req.res <- n.appendEntries(req.args)
		case req := <-rf.snapReqs:
			req.res <- n.installSnapshot(req.args)
		case req := <-rf.startReqs:
			rf.propose(req)
		case res := <-rf.stateReqs:
			res <- stateRes{n.term, n.role == leader}
		case req := <-rf.cutReqs:
			n.cut(req.index, req.snapshot)
			close(req.res)
		case handle := <-rf.replies:
			handle(n)
		}
	}
}

// propose appends the command and all waiting commands, and sends the entries together.
func (rf *Raft) propose(req startReq) {
	n := rf.node
	if n.role != leader {
		req.res <- startRes{-1, n.term, false}
		return
	}
	var answers []func()
	for more := true; more; {
		n.append(req.command)
		res, answer := startRes{n.log.last, n.term, true}, req.res
		answers = append(answers, func() { answer <- res })
		select {
		case req = <-rf.startReqs:
		default:
			more = false
		}
	}
	n.save()
	for _, answer := range answers {
		answer()
	}
	n.advanceCommit()
	n.replicateNew()
}

// answer hands the reply of an RPC to the loop, or drops it after Kill.
func (rf *Raft) answer(handle func(*node)) {
	select {
	case rf.replies <- handle:
	case <-rf.done:
	}
}

// ask sends a request to the loop and waits for the answer. After Kill ask returns false.
func ask[Req, Res any](rf *Raft, to chan Req, req Req, res chan Res) (Res, bool) {
	var zero Res
	select {
	case to <- req:
	case <-rf.done:
		return zero, false
	}
	select {
	case r, ok := <-res:
		return r, ok
	case <-rf.stopped:
		return zero, false
	}
}

func (rf *Raft) Start(command any) (int, int, bool) {
	req := startReq{command, make(chan startRes, 1)}
	if r, ok := ask(rf, rf.startReqs, req, req.res); ok {
		return r.index, r.term, r.leader
	}
	return -1, 0, false
}

func (rf *Raft) GetState() (int, bool) {
	res := make(chan stateRes, 1)
	if r, ok := ask(rf, rf.stateReqs, res, res); ok {
		return r.term, r.leader
	}
	<-rf.stopped // the node has no owner now
	return rf.node.term, false
}

func (rf *Raft) Snapshot(index int, snapshot []byte) {
	req := cutReq{index, snapshot, make(chan struct{})}
	ask(rf, rf.cutReqs, req, req.res)
}

// CondInstallSnapshot is always true, because the loop installs a snapshot before sending the message.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	return true
}

func (rf *Raft) PersistBytes() int {
	return rf.persister.RaftStateSize()
}

func (rf *Raft) Kill() {
	rf.killOnce.Do(func() { close(rf.done) })
}

func (rf *Raft) RequestVote(args *RequestVoteArgs, reply *RequestVoteReply) {
	req := voteReq{args, make(chan RequestVoteReply, 1)}
	*reply, _ = ask(rf, rf.voteReqs, req, req.res)
}

func (rf *Raft) AppendEntries(args *AppendEntriesArgs, reply *AppendEntriesReply) {
	req := entryReq{args, make(chan AppendEntriesReply, 1)}
	*reply, _ = ask(rf, rf.entryReqs, req, req.res)
}

func (rf *Raft) InstallSnapshot(args *InstallSnapshotArgs, reply *InstallSnapshotReply) {
	req := snapReq{args, make(chan InstallSnapshotReply, 1)}
	*reply, _ = ask(rf, rf.snapReqs, req, req.res)
}
