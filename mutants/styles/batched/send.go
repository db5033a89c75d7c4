package raft

import "time"

// AppendEntriesArgs follows Figure 2.
type AppendEntriesArgs struct {
	Term      int
	Leader    int
	PrevIndex int
	PrevTerm  int
	Entries   []Entry
	Commit    int
}

// AppendEntriesReply has a Hint: the index that the leader should send next.
type AppendEntriesReply struct {
	Term    int
	Success bool
	Hint    int
}

// InstallSnapshotArgs follows Figure 13, with all data at once.
type InstallSnapshotArgs struct {
	Term      int
	Leader    int
	LastIndex int
	LastTerm  int
	Data      []byte
}

// InstallSnapshotReply follows Figure 13.
type InstallSnapshotReply struct {
	Term int
}

func (rf *Raft) wakeSender() {
	select {
	case rf.wake <- struct{}{}:
	default:
	}
}

// sender is the only goroutine that begins rounds. A wake gathers commands for a few
// milliseconds. A tick begins a round that every peer gets.
func (rf *Raft) sender() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		heartbeat := false
		select {
		case <-rf.stop:
			return
		case <-ticker.C:
			heartbeat = true
		case <-rf.wake:
			time.Sleep(gather)
		}
		rf.mu.Lock()
		if rf.role == leader {
			rf.round(heartbeat)
		}
		rf.mu.Unlock()
	}
}

// round sends to all peers that have something to get. A new leader has told nobody,
// so its first round reaches all peers.
func (rf *Raft) round(heartbeat bool) {
	rf.majority()
	last, _ := rf.hard.Log.Last()
	now := time.Now()
	for i := range rf.peers {
		if i == rf.me {
			continue
		}
		p := &rf.others[i]
		first := p.busyUntil.IsZero()
		free := !now.Before(p.busyUntil)
		switch {
		case free && (p.next <= last || heartbeat || first):
			p.busyUntil = now.Add(patience)
			rf.sendTo(i, batchSize)
		case heartbeat:
			rf.sendTo(i, 0)
		}
	}
}

// sendTo sends at most limit entries, or the snapshot if the peer needs older ones.
func (rf *Raft) sendTo(i, limit int) {
	log := &rf.hard.Log
	prev := rf.others[i].next - 1
	if prev < log.Base && limit > 0 {
		go rf.sendSnapshot(i, InstallSnapshotArgs{
			rf.hard.Term, rf.me, log.Base, log.BaseTerm, rf.disk.p.ReadSnapshot()})
		return
	}
	prev = max(prev, log.Base)
	last, _ := log.Last()
	term, _ := log.Term(prev)
	args := AppendEntriesArgs{
		Term:      rf.hard.Term,
		Leader:    rf.me,
		PrevIndex: prev,
		PrevTerm:  term,
		Entries:   log.Slice(prev+1, min(last, prev+limit)),
		Commit:    rf.commit,
	}
	go func() {
		var reply AppendEntriesReply
		if rf.peers[i].Call("Raft.AppendEntries", args, &reply) {
			rf.onAppend(i, args, reply)
		}
	}()
}

func (rf *Raft) onAppend(from int, args AppendEntriesArgs, reply AppendEntriesReply) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.meet(reply.Term)
	if rf.role != leader || rf.hard.Term != args.Term {
		return
	}
	p := &rf.others[from]
	if reply.Success {
		rf.acknowledge(p, args.PrevIndex+len(args.Entries))
	} else {
		p.next = max(p.match+1, min(p.next, reply.Hint))
		rf.free(p)
	}
}

// acknowledge notes that the peer has everything up to match.
func (rf *Raft) acknowledge(p *peerState, match int) {
	p.match = max(p.match, match)
	p.next = max(p.next, p.match+1)
	rf.free(p)
	rf.majority()
}

// free ends the wait for an answer, and begins a round if the peer lacks entries.
func (rf *Raft) free(p *peerState) {
	p.busyUntil = time.Now()
	if last, _ := rf.hard.Log.Last(); p.next <= last {
		rf.wakeSender()
	}
}

// majority commits what more than half of the servers have (section 5.4.2).
func (rf *Raft) majority() {
	last, _ := rf.hard.Log.Last()
	best := rf.commit
	for n := rf.commit + 1; n <= last; n++ {
		have := 1
		for i := range rf.others {
			if i != rf.me && rf.others[i].match >= n {
				have++
			}
		}
		if have <= len(rf.peers)/2 {
			break
		}
		if term, _ := rf.hard.Log.Term(n); term == rf.hard.Term {
			best = n
		}
	}
	rf.commitTo(best)
}

func (rf *Raft) sendSnapshot(to int, args InstallSnapshotArgs) {
	var reply InstallSnapshotReply
	if !rf.peers[to].Call("Raft.InstallSnapshot", args, &reply) {
		return
	}
	rf.mu.Lock()
	defer rf.mu.Unlock()
	rf.meet(reply.Term)
	if rf.role == leader && rf.hard.Term == args.Term {
		rf.acknowledge(&rf.others[to], args.LastIndex)
	}
}
