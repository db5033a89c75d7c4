package raft

import (
	"errors"
	"sync"

	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// transport carries the messages of a server as the RPCs of Figure 2. A reply
// travels in the reply of its RPC.
//
// The labs' network does not authenticate callers. A request counts as sent by the peer
// in its arguments, and a request in the name of a stranger or of this server is refused.
// A reply counts as sent by the peer at the other end of the call.
type transport struct {
	peers    []*labrpc.ClientEnd
	stop     <-chan struct{} // closed by Kill
	self     core.NodeID
	receiver node.Receiver

	mu       sync.Mutex
	lastCall uint64
	replies  map[uint64]chan core.Body // of waiting handlers, by call number
}

var _ node.Transport = (*transport)(nil)

func newTransport(peers []*labrpc.ClientEnd, stop <-chan struct{}) *transport {
	return &transport{peers: peers, stop: stop, replies: make(map[uint64]chan core.Body)}
}

// Start implements [node.Transport].
func (t *transport) Start(self node.Identity, receiver node.Receiver) error {
	t.self, t.receiver = self.Host, receiver
	return nil
}

// Send passes replies to the waiting handlers. Each request has a goroutine of its own,
// so a slow call delays no other call. The goroutine ends with the answer of the network.
func (t *transport) Send(to core.NodeID, messages []node.Message) {
	select {
	case <-t.stop:
		return
	default:
	}
	for _, m := range messages {
		if m.Call == 0 {
			go t.call(to, m)
			continue
		}
		t.mu.Lock()
		reply := t.replies[m.Call]
		delete(t.replies, m.Call)
		t.mu.Unlock()
		if reply != nil {
			reply <- m.Body
		}
	}
}

// errCallFailed says that the network lost a request or its reply.
var errCallFailed = errors.New("the call failed")

// call makes one RPC and passes the outcome to the server.
func (t *transport) call(to core.NodeID, m node.Message) {
	if body, ok := exchange(t.peers[peer(to)], m.Body); ok {
		t.receiver.Receive(to, []node.Message{{Group: m.Group, Body: body}})
	} else {
		t.receiver.PeerDown(to, errCallFailed)
	}
}

// exchange sends a request over an end and returns the reply.
func exchange(end *labrpc.ClientEnd, request core.Body) (core.Body, bool) {
	switch args := request.(type) {
	case *core.RequestVote:
		reply := new(core.RequestVoteReply)
		return reply, end.Call("Raft.RequestVote", args, reply)
	case *core.AppendEntries:
		reply := new(core.AppendEntriesReply)
		return reply, end.Call("Raft.AppendEntries", args, reply)
	case *core.InstallSnapshot:
		reply := new(core.InstallSnapshotReply)
		return reply, end.Call("Raft.InstallSnapshot", args, reply)
	}
	return nil, false // no other request belongs to the labs
}

// handle passes a request to the server and waits for the reply. The server releases
// the reply after saving the state behind the reply. handle returns nil if the server
// stops or drops the request. The peer then receives the zero reply, and ignores term 0.
func (t *transport) handle(from core.NodeID, request core.Body, stopped <-chan struct{}) core.Body {
	if from == t.self || peer(from) < 0 || peer(from) >= len(t.peers) {
		return nil
	}
	reply := make(chan core.Body, 1)
	t.mu.Lock()
	t.lastCall++
	call := t.lastCall
	t.replies[call] = reply
	t.mu.Unlock()
	t.receiver.Receive(from, []node.Message{{Group: onlyGroup, Call: call, Body: request}})
	select {
	case body := <-reply:
		return body
	case <-t.stop:
	case <-stopped:
	}
	return nil
}

// RequestVote is the RPC handler of section 5.2, for the network.
func (rf *Raft) RequestVote(args *core.RequestVote, reply *core.RequestVoteReply) {
	if body, ok := rf.transport.handle(args.CandidateID, args, rf.node.Done()).(*core.RequestVoteReply); ok {
		*reply = *body
	}
}

// AppendEntries is the RPC handler of section 5.3, for the network.
func (rf *Raft) AppendEntries(args *core.AppendEntries, reply *core.AppendEntriesReply) {
	if body, ok := rf.transport.handle(args.LeaderID, args, rf.node.Done()).(*core.AppendEntriesReply); ok {
		*reply = *body
	}
}

// InstallSnapshot is the RPC handler of section 7, for the network.
func (rf *Raft) InstallSnapshot(args *core.InstallSnapshot, reply *core.InstallSnapshotReply) {
	if body, ok := rf.transport.handle(args.LeaderID, args, rf.node.Done()).(*core.InstallSnapshotReply); ok {
		*reply = *body
	}
}

// The peers are known from the start, and their ends belong to the network.

func (t *transport) SetPeer(core.NodeID, string) {}
func (t *transport) RemovePeer(core.NodeID)      {}
func (t *transport) Address() string             { return "" }
func (t *transport) Close() error                { return nil }
