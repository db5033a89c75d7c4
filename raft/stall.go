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
	limit int   // in ticks; 0: none
	ticks int   // that the save has taken
	err   error // matches ErrStalled while the save takes longer than the limit
}

// ticksIn returns how many ticks d lasts, rounded up.
func ticksIn(d, tick time.Duration) int { return int((d + tick - 1) / tick) }

// tick lets one tick pass, for the core or for the save that it waits for. A
// stalled core gets no ticks: its candidacies would wait for the disk too, and
// would only pile up. The lock is held.
func (rf *Raft) tick(c *core.Core) {
	if rf.saving && rf.stall.limit > 0 {
		rf.stall.ticks++
		if rf.stall.ticks == rf.stall.limit+1 { // the first tick came in the middle of an interval
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
	rf.stall.err = fmt.Errorf("raft: %w: a save has taken more than %v", ErrStalled, time.Duration(rf.stall.limit)*rf.interval)
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
