package raft

import (
	"slices"
	"time"
)

// EntriesArgs are those of AppendEntries.
type EntriesArgs struct {
	Term      int
	Leader    int
	PrevIndex int
	PrevTerm  int
	Terms     []int
	Commands  []any
	Commit    int
}

// EntriesReply refuses with Retry. The follower's log differs from the leader's log at
// index Retry and behind.
type EntriesReply struct {
	Term    int
	Success bool
	Retry   int
}

// SnapshotArgs are those of InstallSnapshot, in one piece.
type SnapshotArgs struct {
	Term      int
	Leader    int
	LastIndex int
	LastTerm  int
	Data      []byte
}

// SnapshotReply is that of InstallSnapshot.
type SnapshotReply struct {
	Term int
}

// stream holds a leader's requests to one peer. A stream probes with one request at a
// time until the peer agrees. Then the stream is open. An open stream moves next with
// each sending, and has up to window requests in flight.
type stream struct {
	peer  int
	next  int // the first index not sent
	match int
	open  bool

	seq    int               // number of the newest request
	valid  int               // answers to requests before this number are of the past
	flight map[int]time.Time // when each request without an answer was sent
}

// begin numbers a request.
func (s *stream) begin() int {
	s.seq++
	if s.flight == nil {
		s.flight = make(map[int]time.Time)
	}
	s.flight[s.seq] = time.Now()
	return s.seq
}

// restart forgets what is in flight, and probes at next.
func (s *stream) restart(next int) {
	s.open = false
	s.next = max(next, s.match+1)
	s.valid = s.seq + 1
	s.flight = nil
}

// room reports whether another request may go out.
func (s *stream) room() bool {
	if s.open {
		return len(s.flight) < window
	}
	return len(s.flight) == 0
}

// stuck reports whether the peer leaves a request without an answer for too long.
func (s *stream) stuck() bool {
	for _, sent := range s.flight {
		if time.Since(sent) > answerAfter {
			return true
		}
	}
	return false
}

// pump sends entries as long as the stream has room.
func (rf *Raft) pump(s *stream) {
	for s.peer != rf.me && s.room() && s.next <= rf.log.last() {
		rf.request(s)
	}
}

// beat sends to each peer, with entries if the stream has room for them.
func (rf *Raft) beat() {
	rf.settle()
	for _, s := range rf.streams {
		if s.peer == rf.me {
			continue
		}
		if s.stuck() {
			s.restart(s.match + 1)
		}
		if s.room() && s.next <= rf.log.last() {
			rf.pump(s)
		} else {
			rf.heartbeat(s)
		}
	}
}

// heartbeat sends no entries. An open stream compares at match, where the logs agree.
func (rf *Raft) heartbeat(s *stream) {
	prev := max(s.match, rf.log.offset)
	if !s.open {
		prev = max(s.next-1, rf.log.offset)
	}
	rf.sendEntries(s, prev, prev)
}

// request sends the next entries, or the snapshot.
func (rf *Raft) request(s *stream) {
	prev := s.next - 1
	if prev < rf.log.offset {
		rf.sendSnapshot(s)
		return
	}
	to := min(rf.log.last(), prev+maxEntries)
	rf.sendEntries(s, prev, to)
	if s.open {
		s.next = to + 1
	}
}

func (rf *Raft) sendEntries(s *stream, prev, to int) {
	args := EntriesArgs{
		Term:      rf.term,
		Leader:    rf.me,
		PrevIndex: prev,
		PrevTerm:  rf.log.term(prev),
		Commit:    rf.commit,
	}
	args.Terms, args.Commands = rf.log.between(prev, to)
	seq := 0
	if to > prev || !s.open {
		seq = s.begin()
	}
	go func() {
		reply := EntriesReply{}
		ok := rf.ends[s.peer].Call("Raft.Replicate", args, &reply)
		rf.mu.Lock()
		defer rf.mu.Unlock()
		if rf.newer(reply.Term) || rf.role != roleLeader || rf.term != args.Term {
			return
		}
		switch {
		case !ok:
			rf.failed(s, seq)
		case reply.Success:
			rf.confirmed(s, seq, to)
		default:
			rf.refused(s, seq, min(prev, reply.Retry))
		}
	}()
}

func (rf *Raft) sendSnapshot(s *stream) {
	args := SnapshotArgs{rf.term, rf.me, rf.log.offset, rf.log.offsetTerm, rf.snap}
	s.open = false
	seq := s.begin()
	go func() {
		reply := SnapshotReply{}
		ok := rf.ends[s.peer].Call("Raft.Transfer", args, &reply)
		rf.mu.Lock()
		defer rf.mu.Unlock()
		if rf.newer(reply.Term) || rf.role != roleLeader || rf.term != args.Term {
			return
		}
		if ok {
			rf.confirmed(s, seq, args.LastIndex)
		} else {
			rf.failed(s, seq)
		}
	}()
}

// confirmed takes an agreement. The peer agrees with the whole log up to match, so the
// order of the answers does not matter.
func (rf *Raft) confirmed(s *stream, seq, match int) {
	delete(s.flight, seq)
	s.match = max(s.match, match)
	if seq >= s.valid {
		s.open = true
	}
	s.next = max(s.next, s.match+1)
	rf.settle()
	rf.pump(s)
}

// refused goes back. Only the first refusal counts, because restart invalidates all
// requests in flight.
func (rf *Raft) refused(s *stream, seq, retry int) {
	if seq != 0 && seq < s.valid {
		return
	}
	s.restart(retry)
	rf.probe(s)
}

// failed restarts after a lost request or a lost answer. The next beat probes.
func (rf *Raft) failed(s *stream, seq int) {
	if seq >= s.valid && seq != 0 {
		s.restart(s.match + 1)
	}
}

// probe sends one request to a stream that is not open.
func (rf *Raft) probe(s *stream) {
	if s.next <= rf.log.last() {
		rf.pump(s)
	} else {
		rf.heartbeat(s)
	}
}

// settle sorts the matches, and finds the index that a majority has reached. The leader
// commits this index if the entry is of the present term (section 5.4.2).
func (rf *Raft) settle() {
	matches := make([]int, 0, len(rf.streams))
	for _, s := range rf.streams {
		if s.peer == rf.me {
			matches = append(matches, rf.log.last())
		} else {
			matches = append(matches, s.match)
		}
	}
	slices.Sort(matches)
	n := matches[(len(matches)-1)/2]
	if n > rf.commit && rf.log.term(n) == rf.term {
		rf.commit = n
		rf.news.Signal()
	}
}
