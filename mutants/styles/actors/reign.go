package raft

import "time"

const (
	heartbeat   = 105 * time.Millisecond
	answerLimit = 200 * time.Millisecond
)

// CopyArgs are the arguments of AppendEntries in Figure 2.
type CopyArgs struct {
	Term     int
	Leader   int
	Prev     int
	PrevTerm int
	Records  []Record
	Commit   int
}

// CopyReply is the result of AppendEntries. End is the end of the follower's log, or the
// last index before the run of the conflicting term.
type CopyReply struct {
	Term int
	OK   bool
	End  int
}

// InstallArgs are the arguments of InstallSnapshot in Figure 13.
type InstallArgs struct {
	Term      int
	Leader    int
	LastIndex int
	LastTerm  int
	Data      []byte
}

// InstallReply is the result of InstallSnapshot in Figure 13.
type InstallReply struct {
	Term int
}

// reign is the leadership of one term. It belongs to the actor.
type reign struct {
	rf      *Raft
	term    int
	next    []int
	match   []int
	waiting []time.Time // since when an answer is expected, or zero
}

func newReign(rf *Raft) *reign {
	n := len(rf.peers)
	r := &reign{rf: rf, term: rf.term,
		next: make([]int, n), match: make([]int, n), waiting: make([]time.Time, n)}
	for i := range r.next {
		r.next[i] = rf.log.end() + 1
	}
	return r
}

// over reports whether the reign has ended.
func (r *reign) over() bool { return r.rf.reign != r }

// beat sends to all peers, and again after a pause.
func (r *reign) beat() {
	for i := range r.rf.peers {
		r.send(i)
	}
	r.rf.arm(heartbeat, r.beat)
}

// spread sends new records to the peers that owe no answer.
func (r *reign) spread() {
	r.count()
	for i := range r.rf.peers {
		if time.Since(r.waiting[i]) > answerLimit && r.next[i] <= r.rf.log.end() {
			r.send(i)
		}
	}
}

func (r *reign) send(i int) {
	rf := r.rf
	if i == rf.me {
		return
	}
	sent := time.Now()
	r.waiting[i] = sent
	prev := r.next[i] - 1
	if prev < rf.log.Start {
		args := InstallArgs{r.term, rf.me, rf.log.Start, rf.log.StartTerm, rf.snapshot}
		go func() {
			var reply InstallReply
			if rf.peers[i].Call("Raft.Install", &args, &reply) {
				rf.tell(func() { r.answered(i, sent, reply.Term, args.LastIndex) })
			}
		}()
		return
	}
	args := CopyArgs{r.term, rf.me, prev, rf.log.termOf(prev), rf.log.from(prev), rf.commit}
	go func() {
		var reply CopyReply
		if !rf.peers[i].Call("Raft.Copy", &args, &reply) {
			return
		}
		rf.tell(func() {
			if reply.OK {
				r.answered(i, sent, reply.Term, args.Prev+len(args.Records))
			} else {
				r.refused(i, args.Prev, reply)
			}
		})
	}()
}

// answered notes that the peer has the log up to match.
func (r *reign) answered(i int, sent time.Time, term, match int) {
	if r.rf.outdated(term) || r.over() {
		return
	}
	if r.waiting[i].Equal(sent) {
		r.waiting[i] = time.Time{}
	}
	if match > r.match[i] {
		r.match[i] = match
		r.next[i] = max(r.next[i], match+1)
	}
	r.spread()
}

// refused goes back after a failed consistency check.
func (r *reign) refused(i, prev int, reply CopyReply) {
	if r.rf.outdated(reply.Term) || r.over() || r.next[i] != prev+1 {
		return
	}
	r.next[i] = max(r.match[i], min(prev-1, reply.End)) + 1
	r.send(i)
}

// count commits the records of this term that a majority has.
func (r *reign) count() {
	rf := r.rf
	for index := rf.log.end(); index > rf.commit && rf.log.termOf(index) == r.term; index-- {
		n := 1
		for i := range r.match {
			if i != rf.me && r.match[i] >= index {
				n++
			}
		}
		if 2*n > len(rf.peers) {
			rf.commitTo(index)
			return
		}
	}
}

// Copy takes the records of a leader.
func (rf *Raft) Copy(args *CopyArgs, reply *CopyReply) {
	rf.ask(func() {
		current := rf.obey(args.Term)
		reply.Term = rf.term
		if !current {
			return
		}
		if args.Prev > rf.log.end() {
			reply.End = rf.log.end()
			return
		}
		if have := rf.log.termOf(args.Prev); args.Prev >= rf.log.Start && have != args.PrevTerm {
			reply.End = args.Prev
			for reply.End > rf.log.Start && rf.log.termOf(reply.End) == have {
				reply.End--
			}
			return
		}
		if rf.log.put(args.Prev, args.Records) {
			rf.save()
		}
		reply.OK = true
		rf.commitTo(min(args.Commit, args.Prev+len(args.Records)))
	})
}

// Install takes the snapshot of a leader.
func (rf *Raft) Install(args *InstallArgs, reply *InstallReply) {
	rf.ask(func() {
		current := rf.obey(args.Term)
		reply.Term = rf.term
		if !current || args.LastIndex <= rf.commit {
			return
		}
		rf.log = rf.log.after(args.LastIndex, args.LastTerm)
		rf.snapshot = args.Data
		rf.commit, rf.applied = args.LastIndex, args.LastIndex
		rf.save()
		rf.mail.post(ApplyMsg{
			SnapshotValid: true,
			Snapshot:      args.Data,
			SnapshotTerm:  args.LastTerm,
			SnapshotIndex: args.LastIndex,
		})
	})
}
