// Package paxos has single-decree Paxos, and a replicated log of instances (Lamport, The
// Part-Time Parliament, TOCS 1998, and Paxos Made Simple, 2001).
//
// Each slot of the log is an instance of single-decree Paxos, which chooses one value among
// the proposed ones. A [Node] is acceptor and proposer at once. A proposer picks a ballot that
// nobody else uses, larger than any it has seen.
//
//   - Phase 1: Prepare(ballot). An acceptor promises to ignore smaller ballots, and reports
//     the value that it has accepted with the largest ballot so far.
//   - Phase 2: Accept(ballot, value). With promises of a majority, the proposer proposes the
//     reported value with the largest ballot, and its own value only if no promise
//     reported one. An acceptor accepts unless it has promised a larger ballot.
//
// A value accepted by a majority with one ballot is chosen. Every later proposer meets one of
// these acceptors in phase 1 and proposes the same value, so no other value is ever chosen.
//
// # Multi-Paxos
//
// [Node.Append] proposes a command in the first slot without a known value, and moves on to the next
// slot when another command was chosen there. Phase 1 can cover all slots from one on. A
// node that keeps its ballot is the leader, and needs phase 2 only, one round trip a
// command, until another node prepares a larger ballot.
//
// # Beside Raft
//
//	Paxos                              Raft
//	ballot                             term
//	Prepare and its promise            RequestVote and its vote
//	Accept                             AppendEntries
//	adopts values of the promises      votes only for logs that are up to date
//	slots are chosen in any order      the log commits in order, without gaps
//
// Raft moves no values in elections, because a voter refuses a candidate with an older log
// (section 5.4.1). A Paxos proposer may lack any value and learns the values from the
// promises. The rule against Figure 8 of the Raft paper has its counterpart here. A value counts as
// chosen under the ballot of its accepts, never under an older one.
package paxos

import (
	"sync"
	"time"

	"raftlab/labrpc"
	"raftlab/protocols/quorum"
)

// A Ballot is a number without an equal among nodes. The zero Ballot precedes all others.
type Ballot struct{ Round, Node int }

// Less reports whether a ballot is smaller.
func (b Ballot) Less(o Ballot) bool {
	return b.Round < o.Round || b.Round == o.Round && b.Node < o.Node
}

// A Vote is a value that an acceptor has accepted in a slot.
type Vote struct {
	Ballot Ballot
	Value  string
}

// PrepareArgs ask for a promise for the slots from From on.
type PrepareArgs struct {
	Ballot Ballot
	From   int
}

// PrepareReply is a promise if OK, with the acceptor's votes. Otherwise Promised is larger.
type PrepareReply struct {
	OK       bool
	Promised Ballot
	Votes    map[int]Vote
}

// AcceptArgs propose a value in a slot.
type AcceptArgs struct {
	Ballot Ballot
	Slot   int
	Value  string
}

// AcceptReply says whether the acceptor accepted. Otherwise Promised is larger.
type AcceptReply struct {
	OK       bool
	Promised Ballot
}

// A Chosen value was accepted by a majority.
type Chosen struct {
	Slot  int
	Value string
}

// Disk is the part of a node that survives a crash. A real node syncs a change before its reply. The
// zero value is an empty disk.
type Disk struct {
	promised Ballot
	votes    map[int]Vote
}

// promise promises to ignore smaller ballots than b.
func (d *Disk) promise(b Ballot) {
	if d.promised.Less(b) {
		d.promised = b
	}
}

// A Node is acceptor, proposer and learner. The votes and the log grow with each command, and a real
// system replaces their beginning by a snapshot. The methods may be called
// concurrently.
type Node struct {
	peers []*labrpc.ClientEnd
	me    int
	// Forgetful makes the proposer ignore the votes in promises, which breaks agreement.
	Forgetful bool

	proposing sync.Mutex // one command at a time; held during RPCs by Append alone

	mu     sync.Mutex
	disk   *Disk
	closed bool // the disk belongs to a later node
	chosen map[int]string
	ballot Ballot       // the largest seen, or the node's own
	leads  bool         // phase 1 has succeeded with ballot
	adopt  map[int]Vote // the newest votes of the promises
}

// New starts a node with its disk.
func New(peers []*labrpc.ClientEnd, me int, disk *Disk) *Node {
	if disk.votes == nil {
		disk.votes = make(map[int]Vote)
	}
	return &Node{peers: peers, me: me, disk: disk, ballot: disk.promised, chosen: make(map[int]string)}
}

// Close ends the node's use of the disk, which another node may then have. A closed node proposes
// nothing.
func (n *Node) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
}

// Prepare is phase 1 at an acceptor.
func (n *Node) Prepare(a PrepareArgs, r *PrepareReply) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.disk.promise(a.Ballot)
	r.Promised = n.disk.promised
	if r.OK = r.Promised == a.Ballot; !r.OK {
		return
	}
	r.Votes = make(map[int]Vote)
	for slot, vote := range n.disk.votes {
		if slot >= a.From {
			r.Votes[slot] = vote
		}
	}
}

// Accept is phase 2 at an acceptor.
func (n *Node) Accept(a AcceptArgs, r *AcceptReply) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if r.OK = !a.Ballot.Less(n.disk.promised); r.OK {
		n.disk.promised = a.Ballot
		n.disk.votes[a.Slot] = Vote{a.Ballot, a.Value}
	}
	r.Promised = n.disk.promised
}

// Learn takes a chosen value. The message is one-way. A node that misses it learns the value by
// proposing in the slot.
func (n *Node) Learn(c Chosen) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.chosen[c.Slot] = c.Value
}

// Append puts a command into the log and returns its slot. Append returns false after a
// failed attempt. The command may then be chosen nevertheless, so a caller that tries again
// must recognize duplicates. Commands must be distinct.
func (n *Node) Append(command string) (slot int, ok bool) {
	n.proposing.Lock()
	defer n.proposing.Unlock()
	for {
		slot = n.firstFree()
		value, ok := n.decide(slot, command)
		if !ok || value == command {
			return slot, ok
		}
	}
}

// firstFree returns the first slot without a known value.
func (n *Node) firstFree() (slot int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if _, known := n.chosen[slot]; !known {
			return slot
		}
		slot++
	}
}

// decide runs Paxos in one slot, with phase 1 unless the node leads. The result is the
// chosen value, of whichever proposer.
func (n *Node) decide(slot int, command string) (string, bool) {
	ballot, ok := n.lead(slot)
	if !ok {
		return "", false
	}
	n.mu.Lock()
	value := command
	if vote, voted := n.adopt[slot]; voted && !n.Forgetful {
		value = vote.Value
	}
	n.mu.Unlock()
	replies, ok := quorum.Call[AcceptReply](n.peers, "Node.Accept", AcceptArgs{ballot, slot, value})
	for _, r := range replies {
		ok = ok && r.OK
		n.see(r.Promised)
	}
	if !ok {
		n.see(Ballot{ballot.Round, len(n.peers)}) // a new ballot, as the value may differ next time
		return "", false
	}
	n.Learn(Chosen{slot, value})
	for i, peer := range n.peers {
		if i != n.me {
			peer.Send("Node.Learn", Chosen{slot, value})
		}
	}
	return value, true
}

// lead runs phase 1 for all slots from one on, unless the node leads already.
func (n *Node) lead(from int) (Ballot, bool) {
	n.mu.Lock()
	if n.closed || n.leads {
		defer n.mu.Unlock()
		return n.ballot, !n.closed
	}
	ballot := Ballot{n.ballot.Round + 1, n.me}
	n.ballot = ballot
	n.disk.promise(ballot) // now, as the node's own Prepare may get lost, and no crash may bring the ballot back
	n.mu.Unlock()
	replies, ok := quorum.Call[PrepareReply](n.peers, "Node.Prepare", PrepareArgs{ballot, from})
	adopt := make(map[int]Vote)
	for _, r := range replies {
		ok = ok && r.OK
		n.see(r.Promised)
		for slot, vote := range r.Votes {
			if adopt[slot].Ballot.Less(vote.Ballot) {
				adopt[slot] = vote
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leads = ok && n.ballot == ballot; n.leads {
		n.adopt = adopt
	}
	return ballot, n.leads
}

// see notes a ballot. A larger one than its own ends the node's lead.
func (n *Node) see(b Ballot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ballot.Less(b) {
		n.ballot, n.leads = b, false
	}
}

// AppendRetry appends until the command is chosen or limit has passed. Growing random pauses
// keep two proposers from pre-empting each other forever.
func (n *Node) AppendRetry(command string, limit time.Duration, random func(n int) int) (slot int, ok bool) {
	pause := 10
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if slot, ok = n.Append(command); ok {
			return slot, true
		}
		time.Sleep(time.Duration(1+random(pause)) * time.Millisecond)
		pause = min(2*pause, 500)
	}
	return 0, false
}

// Log returns the known chosen values by slot.
func (n *Node) Log() map[int]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := make(map[int]string, len(n.chosen))
	for slot, value := range n.chosen {
		log[slot] = value
	}
	return log
}
