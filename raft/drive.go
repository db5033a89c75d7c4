package raft

import (
	"fmt"
	"math/rand/v2"
	"time"

	"raftlab/labgob"
	"raftlab/raft/core"
)

// applyBatchBytes is about how much is taken out of the core at a time to be
// applied.
const applyBatchBytes = 1 << 20

// with lets f act on the core, tells those who wait if the server's standing
// has changed, and wakes the driver. After Kill it does nothing.
func (rf *Raft) with(f func(*core.Core)) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.killed() {
		return
	}
	f(rf.core)
	rf.observe()
	signal(rf.wake)
}

// observe notices a change of term or leadership. The lock is held.
func (rf *Raft) observe() {
	st := rf.core.Status()
	now := standing{term: st.CurrentTerm, isLeader: st.State == core.Leader}
	if now == rf.seen {
		return
	}
	rf.seen = now
	rf.announce()
	rf.log.Info("standing", "term", st.CurrentTerm, "state", st.State.String(),
		"leader", peer(st.Leader), "lastIndex", st.LastIndex, "commitIndex", st.CommitIndex)
}

// announce wakes those who wait for a change. The lock is held.
func (rf *Raft) announce() {
	close(rf.changed)
	rf.changed = make(chan struct{})
}

// signal puts a token into a channel of capacity 1, if there is none.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// drive is the goroutine that gives the core its time and does what it wants
// done, but for the saving: what is to be saved it hands to the saver.
func (rf *Raft) drive() {
	// The first tick comes at a random moment, so that servers that were started
	// together, as tests do, do not time out together.
	ticker := time.NewTicker(1 + rand.N(rf.interval))
	defer ticker.Stop()
	for {
		select {
		case <-rf.stop:
			return
		case <-ticker.C:
			ticker.Reset(rf.interval)
			rf.with(rf.tick)
		case <-rf.wake:
		}
		rf.work()
	}
}

// work carries out the core's wishes until it has none, in the order that
// package core prescribes. While the disk is busy only the messages go out that
// do not wait for it: a leader replicates and keeps its followers from
// electing another however slow its own disk is (thesis 10.2.1). What comes in
// meanwhile shares the next save.
func (rf *Raft) work() {
	for {
		rf.mu.Lock()
		var rd core.Ready
		if rf.saving {
			rd.Messages = rf.core.Outgoing()
		} else {
			rd = rf.core.Ready()
			if rf.saving = rd.NeedsSave(); rf.saving {
				rf.stall.begin(rd, rf.interval)
			}
		}
		if rf.core.HasToApply() {
			signal(rf.applying)
		}
		rf.mu.Unlock()
		rf.sendAll(rd.Messages)
		switch {
		case rd.NeedsSave():
			rf.toSave <- rd // has room: there is none other
		case rd.Empty():
			return
		default:
			rf.sendAll(rd.AfterSave)
		}
	}
}

// saveAll is the goroutine that alone saves entries, so saves are in order.
func (rf *Raft) saveAll() {
	for {
		select {
		case <-rf.stop:
			return
		case rd := <-rf.toSave:
			if rf.killed() {
				return // the storage may be another's by now
			}
			err := rf.storage.Save(Update{HardState: rd.HardState, Snapshot: rd.Snapshot, Entries: rd.Entries})
			if err != nil {
				rf.fail(fmt.Errorf("raft: saving: %w", err))
				return
			}
			rf.sendAll(rd.AfterSave)
			rf.with(func(c *core.Core) {
				c.Saved(rd)
				rf.saving = false
				rf.endStall()
			})
		}
	}
}

// apply is the goroutine that feeds the service. It holds no lock while it
// waits for applyCh, so the service may call any method meanwhile.
func (rf *Raft) apply() {
	for {
		select {
		case <-rf.applying:
		case <-rf.stop:
			return
		}
		for rf.applyNext() {
		}
	}
}

// applyNext hands the next batch to the service. It says false if there is
// none, or the server was stopped.
func (rf *Raft) applyNext() bool {
	rf.mu.Lock()
	snap, entries := rf.core.NextToApply(applyBatchBytes)
	if snap != nil {
		rf.installed = int(snap.LastIncludedIndex)
	}
	rf.mu.Unlock()
	if snap != nil {
		return rf.deliver(snapshotMsg(snap))
	}
	for _, e := range entries {
		msg, err := commandMsg(e)
		if err != nil {
			rf.fail(err)
			return false
		}
		if !rf.deliver(msg) {
			return false
		}
	}
	return len(entries) > 0
}

// deliver puts a message on applyCh; it says false if the server is killed first.
func (rf *Raft) deliver(msg ApplyMsg) bool {
	select {
	case rf.applyCh <- msg:
		return true
	case <-rf.stop:
		return false
	}
}

func snapshotMsg(snap *core.Snapshot) ApplyMsg {
	return ApplyMsg{
		SnapshotValid: true,
		Snapshot:      snap.Data,
		SnapshotTerm:  int(snap.LastIncludedTerm),
		SnapshotIndex: int(snap.LastIncludedIndex),
	}
}

func commandMsg(e core.Entry) (ApplyMsg, error) {
	command, err := labgob.Unmarshal(e.Data)
	if err != nil {
		return ApplyMsg{}, fmt.Errorf("raft: decoding the command at index %d: %w", e.Index, err)
	}
	return ApplyMsg{CommandValid: true, Command: command, CommandIndex: int(e.Index)}, nil
}
