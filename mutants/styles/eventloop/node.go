package raft

import (
	"bytes"
	"math/rand"
	"slices"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
)

const (
	tickLength     = 15 * time.Millisecond
	heartbeatTicks = 7
	electionTicks  = 20 // and up to as many more
)

type role int

const (
	follower role = iota
	candidate
	leader
)

// progress is a leader's knowledge of a peer. next rises when entries are sent, and
// falls back when entries are lost or refused.
// waiting is true while a message with entries is under way.
type progress struct {
	next, match int
	waiting     bool
}

// node is the state of the algorithm. None of its methods blocks.
type node struct {
	peers     []*labrpc.ClientEnd
	me        int
	persister *Persister
	answer    func(func(*node))

	term     int
	votedFor int
	log      logMap

	role     role
	commit   int
	applyIdx int
	snapshot *ApplyMsg // to put on applyCh before further commands
	votes    map[int]bool
	progress []progress

	elapsed int // ticks since the last heartbeat, sent or received
	timeout int // ticks until the next election
}

func newNode(peers []*labrpc.ClientEnd, me int, persister *Persister, answer func(func(*node))) *node {
	n := &node{peers: peers, me: me, persister: persister, answer: answer, votedFor: -1}
	n.log.entries = map[int]Entry{}
	n.load(persister.ReadRaftState())
	n.commit, n.applyIdx = n.log.snapIndex, n.log.snapIndex
	n.resetTimer()
	return n
}

func (n *node) resetTimer() {
	n.elapsed = 0
	n.timeout = electionTicks + rand.Intn(electionTicks)
}

func (n *node) tick() {
	n.elapsed++
	switch {
	case n.role == leader && n.elapsed >= heartbeatTicks:
		n.elapsed = 0
		n.heartbeat()
	case n.role != leader && n.elapsed >= n.timeout:
		n.campaign()
	}
}

// observe steps down if the term is newer than the node's.
func (n *node) observe(term int) {
	if term > n.term {
		n.term, n.votedFor, n.role = term, -1, follower
		n.save()
	}
}

func (n *node) campaign() {
	n.role = candidate
	n.term++
	n.votedFor = n.me
	n.votes = map[int]bool{n.me: true}
	n.resetTimer()
	n.save()
	args := &RequestVoteArgs{n.term, n.me, n.log.last, n.log.lastTerm()}
	for i := range n.peers {
		if i == n.me {
			continue
		}
		go func() {
			reply := &RequestVoteReply{}
			if n.peers[i].Call("Raft.RequestVote", args, reply) {
				n.answer(func(n *node) { n.voted(i, args, reply) })
			}
		}()
	}
	n.countVotes()
}

func (n *node) voted(peer int, args *RequestVoteArgs, reply *RequestVoteReply) {
	n.observe(reply.Term)
	if n.role == candidate && n.term == args.Term && reply.Granted {
		n.votes[peer] = true
		n.countVotes()
	}
}

func (n *node) countVotes() {
	if len(n.votes) <= len(n.peers)/2 {
		return
	}
	n.role = leader
	n.progress = make([]progress, len(n.peers))
	for i := range n.progress {
		n.progress[i].next = n.log.last + 1
	}
	n.elapsed = 0
	n.heartbeat()
}

func (n *node) requestVote(args *RequestVoteArgs) RequestVoteReply {
	n.observe(args.Term)
	free := n.votedFor == -1 || n.votedFor == args.Candidate
	lastTerm := n.log.lastTerm()
	fresh := args.LastTerm > lastTerm || args.LastTerm == lastTerm && args.LastIndex >= n.log.last
	if args.Term < n.term || !free || !fresh {
		return RequestVoteReply{Term: n.term}
	}
	n.votedFor = args.Candidate
	n.save()
	n.resetTimer()
	return RequestVoteReply{Term: n.term, Granted: true}
}

func (n *node) append(command any) {
	n.log.add(Entry{n.term, command})
}

// advanceCommit commits the largest index of a majority, if the entry has the current term.
func (n *node) advanceCommit() {
	n.progress[n.me].match = n.log.last
	var have []int
	for _, p := range n.progress {
		have = append(have, p.match)
	}
	slices.Sort(have)
	index := have[(len(have)-1)/2]
	if term, ok := n.log.term(index); ok && term == n.term && index > n.commit {
		n.commit = index
	}
}

// nextToApply returns the message that applyCh should get next, if any.
func (n *node) nextToApply() (ApplyMsg, bool) {
	if n.snapshot != nil {
		return *n.snapshot, true
	}
	if n.applyIdx >= n.commit {
		return ApplyMsg{}, false
	}
	index := n.applyIdx + 1
	return ApplyMsg{CommandValid: true, Command: n.log.entries[index].Command, CommandIndex: index}, true
}

func (n *node) applied(msg ApplyMsg) {
	if msg.SnapshotValid {
		n.snapshot, n.applyIdx = nil, msg.SnapshotIndex
	} else {
		n.applyIdx = msg.CommandIndex
	}
}

// cut replaces the applied entries up to index by the service's snapshot.
func (n *node) cut(index int, snapshot []byte) {
	if index <= n.log.snapIndex || index > n.applyIdx {
		return
	}
	term, _ := n.log.term(index)
	n.log.compact(index, term)
	n.persister.Save(n.encode(), snapshot)
}

func (n *node) save() {
	n.persister.SaveRaftState(n.encode())
}

func (n *node) encode() []byte {
	var buf bytes.Buffer
	enc := labgob.NewEncoder(&buf)
	for _, number := range []int{n.term, n.votedFor, n.log.snapIndex, n.log.snapTerm} {
		enc.Encode(number)
	}
	enc.Encode(n.log.from(n.log.snapIndex + 1))
	return buf.Bytes()
}

func (n *node) load(state []byte) {
	if len(state) == 0 {
		return
	}
	dec := labgob.NewDecoder(bytes.NewReader(state))
	var numbers [4]int
	for i := range numbers {
		if err := dec.Decode(&numbers[i]); err != nil {
			panic(err)
		}
	}
	var entries []Entry
	if err := dec.Decode(&entries); err != nil {
		panic(err)
	}
	n.term, n.votedFor = numbers[0], numbers[1]
	n.log.snapIndex, n.log.snapTerm, n.log.last = numbers[2], numbers[3], numbers[2]
	for _, e := range entries {
		n.log.add(e)
	}
}
