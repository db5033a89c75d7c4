package raft

import (
	"errors"
	"fmt"
	"time"

	"raftlab/raft/core"
)

// ErrStalled is matched by [Raft.Err] while a save takes longer than
// [Options.StorageTimeout]. A stalled leader steps down. A stalled server neither
// votes nor answers, since every answer waits for the disk, and its clock stands
// still. When the save returns, the server goes on as a follower.
var ErrStalled = errors.New("the storage does not answer")

// stall watches over the save that is under way. Raft.mu guards it.
type stall struct {
	limit int    // in ticks, for a small save; 0: none
	first uint64 // index of the save's first entry; noIndex: no entries
	extra int    // ticks for the size of the save
	ticks int    // that the save has taken
	err   error  // matches ErrStalled while the save takes longer than allowed
}

const (
	noIndex = ^uint64(0)
	// slowestBytes is the rate of a disk, in bytes a second, that is slow and not
	// hung.
	slowestBytes = 8 << 20
	// sharedPatience multiplies the limit while the others have not saved these
	// entries either: a disk that all servers share is slow for all of them, and
	// another leader would be no better.
	sharedPatience = 4
)

// begin notes that rd is about to be saved.
func (s *stall) begin(rd core.Ready, tick time.Duration) {
	size := 0
	for _, e := range rd.Entries {
		size += len(e.Data)
	}
	if rd.Snapshot != nil {
		size += len(rd.Snapshot.Data)
	}
	s.first = noIndex
	if len(rd.Entries) > 0 {
		s.first = rd.Entries[0].Index
	}
	s.extra = ticksIn(time.Duration(size)*time.Second/slowestBytes, tick)
}

// allowed returns how many ticks the save may take. An entry of the save that is
// committed already has been saved by a quorum of the others.
func (s *stall) allowed(commitIndex uint64) int {
	ticks := s.limit + s.extra + 1 // the first tick came in the middle of an interval
	if commitIndex < s.first {
		ticks *= sharedPatience
	}
	return ticks
}

// ticksIn returns how many ticks d lasts, rounded up.
func ticksIn(d, tick time.Duration) int { return int((d + tick - 1) / tick) }

// tick lets one tick pass, for the core or for the save that it waits for. A
// stalled core gets no ticks: its candidacies would wait for the disk too, and
// would only pile up. The lock is held.
func (rf *Raft) tick(c *core.Core) {
	if rf.saving && rf.stall.limit > 0 {
		rf.stall.ticks++
		if rf.stall.err == nil && rf.stall.ticks >= rf.stall.allowed(c.Status().CommitIndex) {
			rf.beginStall(c)
		}
	}
	if rf.stall.err == nil {
		c.Tick()
	}
}

// beginStall gives up leadership, and releases the handlers that wait for the
// disk, so that no more of them gather than one storage timeout brings.
func (rf *Raft) beginStall(c *core.Core) {
	st := c.Status()
	c.StepDown()
	rf.stall.err = fmt.Errorf("raft: %w: a save has taken more than %v", ErrStalled, time.Duration(rf.stall.ticks-1)*rf.interval)
	for _, reply := range rf.replies {
		close(reply)
	}
	clear(rf.replies)
	rf.log.Error("storage does not answer", "error", rf.stall.err, "term", st.CurrentTerm, "steppedDown", st.State == core.Leader)
	rf.announce()
}

// endStall notes that the save has returned. The lock is held.
func (rf *Raft) endStall() {
	if rf.stall.err != nil {
		rf.log.Warn("storage answers again", "after", time.Duration(rf.stall.ticks)*rf.interval)
		rf.announce()
	}
	rf.stall.ticks, rf.stall.err = 0, nil
}
