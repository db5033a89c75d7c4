package raft

import (
	"raftlab/raft/core"
)

// RequestVote is the RPC handler of section 5.2, for the network.
func (rf *Raft) RequestVote(args *core.RequestVote, reply *core.RequestVoteReply) {
	if body, ok := rf.handle(args.CandidateID, args).(*core.RequestVoteReply); ok {
		*reply = *body
	}
}

// AppendEntries is the RPC handler of section 5.3, for the network.
func (rf *Raft) AppendEntries(args *core.AppendEntries, reply *core.AppendEntriesReply) {
	if body, ok := rf.handle(args.LeaderID, args).(*core.AppendEntriesReply); ok {
		*reply = *body
	}
}

// InstallSnapshot is the RPC handler of section 7, for the network.
func (rf *Raft) InstallSnapshot(args *core.InstallSnapshot, reply *core.InstallSnapshotReply) {
	if body, ok := rf.handle(args.LeaderID, args).(*core.InstallSnapshotReply); ok {
		*reply = *body
	}
}

// handle passes a request to the core and waits for the reply, which the core
// releases when the state behind the reply is saved. handle returns nil if the
// server is killed or stalled, or if no correct server sends such a request. The
// peer then receives the zero reply, and ignores its term 0.
func (rf *Raft) handle(from core.NodeID, request core.Body) core.Body {
	reply := make(chan core.Body, 1)
	rf.with(func(c *core.Core) {
		if rf.stall.err != nil {
			close(reply) // a reply would wait for the disk
			return
		}
		rf.lastCall++
		err := c.Step(core.Message{From: from, To: nodeID(rf.me), Call: rf.lastCall, Body: request})
		if err != nil {
			rf.log.Warn("request dropped", "from", peer(from), "error", err)
			close(reply)
			return
		}
		rf.replies[rf.lastCall] = reply
	})
	select {
	case body := <-reply:
		return body
	case <-rf.stop:
		return nil
	}
}

// sendAll passes replies to the waiting handlers, and sends each request from its
// own goroutine, so that a slow call delays no other.
func (rf *Raft) sendAll(messages []core.Message) {
	for _, m := range messages {
		if m.Call == 0 {
			go rf.call(m)
			continue
		}
		rf.mu.Lock()
		reply := rf.replies[m.Call]
		delete(rf.replies, m.Call)
		rf.mu.Unlock()
		if reply != nil { // nil: a stall has released the handler
			reply <- m.Body
		}
	}
}

// call makes one RPC and passes its outcome to the core.
func (rf *Raft) call(m core.Message) {
	if rf.killed() {
		return
	}
	answer, ok := rf.exchange(peer(m.To), m.Body)
	rf.with(func(c *core.Core) {
		if !ok {
			c.Unreachable(m.To)
			return
		}
		if err := c.Step(core.Message{From: m.To, To: m.From, Body: answer}); err != nil {
			rf.log.Warn("reply dropped", "from", peer(m.To), "error", err)
		}
	})
}

// exchange sends a request to a peer and returns its reply.
func (rf *Raft) exchange(to int, request core.Body) (core.Body, bool) {
	switch args := request.(type) {
	case *core.RequestVote:
		reply := new(core.RequestVoteReply)
		return reply, rf.peers[to].Call("Raft.RequestVote", args, reply)
	case *core.AppendEntries:
		reply := new(core.AppendEntriesReply)
		return reply, rf.peers[to].Call("Raft.AppendEntries", args, reply)
	case *core.InstallSnapshot:
		snap, err := rf.storage.ReadSnapshot()
		if err != nil {
			rf.fail(err)
			return nil, false
		}
		args.LastIncludedIndex, args.LastIncludedTerm = snap.LastIncludedIndex, snap.LastIncludedTerm
		args.Data = snap.Data
		reply := new(core.InstallSnapshotReply)
		return reply, rf.peers[to].Call("Raft.InstallSnapshot", args, reply)
	}
	return nil, false
}
