package raft

import (
	"errors"
	"fmt"
	"time"

	"raftlab/raft/core"
)

// ErrStalled is the error of [Raft.Err] while a save takes longer than
// [Options.StorageTimeout]. A stalled leader steps down. A stalled server neither
// votes nor answers, since every answer waits for the disk, and counts no ticks.
// When the save returns, the server goes on as a follower.
var ErrStalled = errors.New("the storage does not answer")

// stall measures the save under way. Raft.mu guards stall.
type stall struct {
	limit int    // in ticks, for a small save; 0: none
	first uint64 // index of the save's first entry, or noIndex
	extra int    // ticks for the size of the save
	ticks int    // since the beginning of the save
	err   error  // ErrStalled with details, or nil
}

const (
	noIndex = ^uint64(0)
	// slowestBytes is the rate of a slow disk, in bytes a second. A disk below that
	// rate counts as hung.
	slowestBytes = 8 << 20
	// sharedPatience multiplies the limit while the others have not saved these
	// entries either. All servers may share a slow disk, and another leader would
	// then be no better.
	sharedPatience = 4
)

// begin notes the beginning of the save of rd.
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

// allowed returns the ticks for the save. If an entry of the save has committed, a
// quorum of the others has saved the entry already.
func (s *stall) allowed(commitIndex uint64) int {
	ticks := s.limit + s.extra + 1 // the first tick came in the middle of an interval
	if commitIndex < s.first {
		ticks *= sharedPatience
	}
	return ticks
}

// ticksIn returns d in ticks, rounded up.
func ticksIn(d, tick time.Duration) int { return int((d + tick - 1) / tick) }

// tick lets one tick pass for the core and for the save under way. A stalled core
// gets no ticks, because its requests for votes would pile up behind the disk. The
// lock is held.
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

// beginStall gives up leadership, and releases the handlers behind the disk. So at
// most the handlers of one storage timeout gather. The lock is held.
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

// endStall notes the end of the save. The lock is held.
func (rf *Raft) endStall() {
	if rf.stall.err != nil {
		rf.log.Warn("storage answers again", "after", time.Duration(rf.stall.ticks)*rf.interval)
		rf.announce()
	}
	rf.stall.ticks, rf.stall.err = 0, nil
}
